"""A tiny run from nothing to its pictures: what it leaves, and what it prints."""

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from bots_jax import SelectInfo, UpdateInfo
from bots_jax.cli import main
from bots_jax.grpo.config import TrainConfig, from_dict
from bots_jax.grpo.report import summarise, write_summary
from tests.grpo.tiny import TINY, arguments, read_rows, read_summary

FIGURES = {"learning_curve", "effective_task_ratio", "posterior", "picked_difficulty"}


def test_the_directory_holds_all_that_was_promised(finished_run):
    directory = finished_run.directory
    assert {path.name for path in directory.iterdir()} == {
        "checkpoints",
        "config.json",
        "figures",
        "metrics.jsonl",
        "references",
        "references.parquet",
        "strong",
        "summary.json",
        "tensorboard",
        "warmup",
    }
    saved = json.loads((directory / "config.json").read_text())
    assert from_dict(TrainConfig, saved) == TINY
    steps = {path.name for path in (directory / "checkpoints").iterdir()}
    assert steps == {"4", "6"}  # the newest keep_checkpoints = 2


def test_figures_are_pictures(finished_run):
    paths = list((finished_run.directory / "figures").iterdir())
    assert {path.stem for path in paths} == FIGURES
    for path in paths:
        assert (
            path.read_bytes().startswith(b"\x89PNG\r\n") and path.stat().st_size > 5e3
        )


def test_every_scalar_of_info_is_in_every_line(finished_run):
    lines = (finished_run.directory / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [row["step"] for row in rows] == list(range(7))
    infos = {f"update/{name}" for name in UpdateInfo._fields}
    infos |= {f"select/{name}" for name in SelectInfo._fields}
    phases = ("select", "generate", "reward", "learn", "update")
    others = {"reward", "solved", "effective_task_ratio", "coverage", "unscored"}
    others |= {"completion_length", "rollouts_total", "tokens_total"}
    others |= {f"seconds/{phase}" for phase in phases}
    others |= {f"learn/{name}" for name in ("loss", "kl", "grad_norm", "num_tokens")}
    for row in rows[:-1]:
        assert infos | others <= set(row)
        assert len(set(row["picked/task_ids"])) == TINY.grpo.batch_size
        assert len(row["picked/solved"]) == TINY.grpo.batch_size
    measured = [row["step"] for row in rows if "held_out/solved" in row]
    assert measured == [0, 2, 4, 6]


def test_counts_add_up(finished_run):
    rows = read_rows(finished_run.directory)[:-1]
    rollouts = TINY.grpo.batch_size * TINY.grpo.group_size
    assert [row["rollouts_total"] for row in rows] == [
        rollouts * (step + 1) for step in range(6)
    ]
    lengths = [row["completion_length"] * rollouts for row in rows]
    np.testing.assert_allclose(np.cumsum(lengths), [r["tokens_total"] for r in rows])
    seen = set()
    for step, row in enumerate(rows):
        seen |= set(row["picked/task_ids"])
        share = len(seen) / min(TINY.num_tasks, 8 * (step + 1))
        assert row["coverage"] == pytest.approx(share)
        assert row["update/success_rate"] == pytest.approx(row["reward"], rel=1e-5)


def test_references_are_columns_beside_their_tasks(finished_run, data):
    table = pq.read_table(finished_run.directory / "references.parquet")
    assert table["key"].to_pylist() == data.train.pool.keys.tolist()
    assert table["prompt"].to_pylist() == data.train.pool.prompts.tolist()
    for name in ("weak", "strong"):
        rates = table[f"{name}_pass_rate"].to_numpy()
        assert rates.dtype == np.float32 and 0 <= rates.min() < rates.max() <= 1
        assert set(table[f"{name}_rollouts"].to_pylist()) == {2}
        with np.load(finished_run.directory / "references" / f"{name}.npz") as file:
            np.testing.assert_array_equal(file["rates"], rates)


def test_the_summary_is_what_the_lines_say(finished_run):
    summary = read_summary(finished_run.directory)
    rows = read_rows(finished_run.directory)
    assert summary["held_out_start"] == rows[0]["held_out/solved"]
    assert summary["held_out_end"] == rows[-1]["held_out/solved"]
    assert summary["rollouts"] == 6 * 32
    assert summary["reference_rollouts"] == 2 * 2 * 200
    ratios = [row["effective_task_ratio"] for row in rows[:2]]
    assert summary["effective_task_ratio_first_third"] == pytest.approx(np.mean(ratios))
    assert summary["coverage_first_third"] == rows[1]["coverage"]


def test_the_selectors_share_of_a_step():
    """Select 1 and update 2 of 10 seconds: 0.3. The slow first step is left out."""
    usual = {"select": 1.0, "generate": 4.0, "reward": 1.0, "learn": 2.0, "update": 2.0}
    rows = []
    for step in range(5):
        row = {"step": step, "held_out/solved": 0.5, "effective_task_ratio": 0.2}
        row |= {"coverage": 1.0, "rollouts_total": 8, "tokens_total": 9}
        slow = 100 if step == 0 else 1
        rows.append(row | {f"seconds/{k}": slow * v for k, v in usual.items()})
    summary = summarise(rows)
    assert summary["selector_share"] == pytest.approx(0.3)
    assert summary["seconds_per_step"] == pytest.approx(10)


def test_a_number_that_is_not_there_is_null(tmp_path):
    path = tmp_path / "summary.json"
    write_summary(path, {"spearman": float("nan"), "rollouts": 3})
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert found == {"spearman": None, "rollouts": 3}


def test_without_a_terminal_progress_is_plain_lines(finished_run):
    printed = finished_run.printed
    phases = {
        "building tasks": 240,
        "warm-up": 30,
        "strong reference model": 4,
        "weak reference": 200,
        "strong reference": 200,
        "GRPO": 6,
    }
    for name, total in phases.items():
        assert f"\n{name}: 0/{total}\n" in printed
        assert re.search(
            rf"^{name}: {total}/{total}  done in \d+\.\d s$", printed, re.M
        )
    assert "\x1b" not in printed and "\r" not in printed


def test_the_closing_table_is_printed(finished_run):
    table = finished_run.printed[finished_run.printed.index("what this run did") :]
    for measure in (
        "held-out success at the start of GRPO",
        "held-out success at the end",
        "gain",
        "effective task ratio, first third",
        "with coverage",
        "seconds a step",
        "selector's share of a step",
    ):
        assert measure in table
    for name in FIGURES:
        assert f"{name}.png" in table


def test_tensorboard_event_files(finished_run):
    (path,) = (finished_run.directory / "tensorboard").iterdir()
    assert path.name.startswith("events.out.tfevents")
    assert b"effective_task_ratio" in path.read_bytes()


def test_warm_up_taken_from_another_run(finished_run, tmp_path):
    """Another selector on the same base: same references, nothing learnt anew."""
    directory = tmp_path / "uniform"
    options = [*arguments(), "--selector.name", "uniform", "--quiet"]
    source = str(finished_run.directory)
    status = main(
        ["train", *options, "--run-dir", str(directory), "--warmup-from", source]
    )
    assert status == 0
    for name in ("weak", "strong"):
        one, two = (
            np.load(folder / "references" / f"{name}.npz")["rates"]
            for folder in (directory, finished_run.directory)
        )
        np.testing.assert_array_equal(one, two)
    rows, others = read_rows(directory), read_rows(finished_run.directory)
    assert rows[0]["held_out/solved"] == others[0]["held_out/solved"]
    assert not list(directory.glob("*.partial"))
    # Uniform has no draws: NaN in info is null in the line.
    assert rows[0]["select/draw_mean"] is None


def test_a_disk_that_is_full_when_a_line_is_written(finished_run, tmp_path, capsys):
    directory = tmp_path / "full"
    shutil.copytree(finished_run.directory, directory)
    shutil.rmtree(directory / "checkpoints")
    (directory / "metrics.jsonl").unlink()
    (directory / "metrics.jsonl").symlink_to("/dev/full")
    assert main(["train", "--quiet", "--resume", str(directory)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bots-jax: error: ")
    assert "No space left on device" in line and str(directory) in line
