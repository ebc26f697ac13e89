"""`bots-jax simulate`: a tiny comparison, going on with it, and what is refused."""

import contextlib
import io
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from bots_jax import cli
from bots_jax.cli import main
from bots_jax.evaluation import commands, simulate
from bots_jax.evaluation.arms import ARMS
from bots_jax.evaluation.intervals import mean_interval, paired_interval
from bots_jax.evaluation.store import Cell, ResultStore, write_json
from bots_jax.evaluation.summary import compare_arms, mean_curves
from bots_jax.evaluation.tables import TextTable, interval, markdown, number

ARM_NAMES = ("bots", "uniform")
OPTIONS = ["--num-tasks", "64", "--seeds", "2", "--steps", "5", "--batch-size", "4"]
OPTIONS += ["--group-size", "4", "--arms", *ARM_NAMES]


def simulated(directory: pathlib.Path, *more: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        words = ["simulate", *OPTIONS, "--output", str(directory), *more]
        assert main(words) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[pathlib.Path, str]:
    """A comparison of two arms; tests must not change its directory."""
    directory = tmp_path_factory.mktemp("runs") / "finished"
    return directory, simulated(directory)


@pytest.fixture
def copy(finished, tmp_path) -> pathlib.Path:
    """The same, to change."""
    return shutil.copytree(finished[0], tmp_path / "copy")


def refused(capsys, *words: str) -> str:
    assert main(["simulate", *words]) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    return line.removeprefix("bots-jax: error: ")


def test_what_a_comparison_leaves_behind(finished):
    directory, printed = finished
    names = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    results = {f"results/64-{arm}-{i}.json" for arm in ARM_NAMES for i in range(2)}
    figures = {"figures/value-64.png", "figures/curves-64.png"}
    assert names == results | figures | {"options.json", "table.md", "results.json"}
    for figure in figures:
        assert (directory / figure).read_bytes().startswith(b"\x89PNG")
    assert str(directory) in printed and "4/4" in printed

    record = json.loads((directory / "results.json").read_text())
    assert record["machine"]["packages"]["jax"] and record["machine"]["seed"] == 0
    assert "git_commit" in record["machine"]
    assert record["options"]["settings"]["student"]["drift"] == 4.0
    assert [(r["arm"], r["seed"]) for r in record["results"]] == [
        (arm, seed) for arm in ARM_NAMES for seed in range(2)
    ]
    assert all(r["num_rollouts"] == 5 * 4 * 4 for r in record["results"])
    values = {
        arm: [r["value"] for r in record["results"] if r["arm"] == arm]
        for arm in ARM_NAMES
    }
    bots, uniform = record["rows"]
    assert bots["gain"] is None and uniform["num_steps"] == 5
    assert uniform["value"] == mean_interval(values["uniform"], min_pairs=2)._asdict()
    gain = paired_interval(values["uniform"], values["bots"], min_pairs=2)
    assert uniform["gain"] == pytest.approx(gain._asdict())
    assert uniform["means"]["spearman"] is None and bots["means"]["spearman"] > 0

    one = json.loads((directory / "results" / "64-bots-1.json").read_text())
    assert one["settings"]["student.drift"] == 4.0 and one["seed"] == 1
    assert {len(curve) for curve in one["curves"].values()} == {5}


def test_no_ratio_without_its_coverage(finished):
    directory, printed = finished
    table = (directory / "table.md").read_text()
    row = r"\| (bots|uniform) \| \d\.\d{3} \(coverage \d\.\d\d\) \|"
    assert len(re.findall(row, table)) == 2
    ratios = re.findall(r"effective tasks \d\.\d+( \(coverage \d\.\d+\))?", printed)
    assert len(ratios) == 4 and all(ratios)
    assert (
        len(re.findall(r"^ *\w+ +\d\.\d{3} \(coverage \d\.\d\d\) ", printed, re.M)) == 2
    )
    assert "Fewer than 8 seeds" in table


def test_arms_meet_the_same_students(finished):
    records = [
        json.loads((finished[0] / "results" / f"64-{arm}-0.json").read_text())
        for arm in ARM_NAMES
    ]
    one, two = (r["curves"]["pool_success"] for r in records)
    assert one == two and records[0]["summary"] != records[1]["summary"]
    other = json.loads((finished[0] / "results" / "64-bots-1.json").read_text())
    assert other["curves"]["pool_success"] != one


def counted_runs(monkeypatch) -> list[Cell]:
    ran, prepare = [], simulate._prepare
    monkeypatch.setattr(
        simulate, "_prepare", lambda cell, s: ran.append(cell) or prepare(cell, s)
    )
    return ran


def test_finished_results_are_not_run_again(copy, monkeypatch):
    ran = counted_runs(monkeypatch)
    victim = copy / "results" / "64-uniform-1.json"
    before = json.loads(victim.read_text())
    untouched = (copy / "results" / "64-bots-0.json").read_bytes()
    victim.unlink()
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["simulate", "--resume", str(copy)]) == 0
    assert ran == [Cell(64, "uniform", 1)]
    after = json.loads(victim.read_text())
    assert after["curves"] == before["curves"]  # bit for bit what was lost
    assert (copy / "results" / "64-bots-0.json").read_bytes() == untouched


def test_a_kill_loses_at_most_one_result(copy, monkeypatch):
    """Stopped in the middle of a write: the rest is there, and the table comes out."""
    wanted = json.loads((copy / "results.json").read_text())["rows"]
    shutil.rmtree(copy / "results")
    write, left = simulate.ResultStore.write, [2]

    def dies(store, cell, record):
        left[0] -= 1
        if left[0] < 0:
            partial = store.path(cell).with_name(f"{cell.file_name}.partial")
            partial.write_text('{"summary"')
            raise KeyboardInterrupt
        write(store, cell, record)

    with monkeypatch.context() as patch:
        patch.setattr(simulate.ResultStore, "write", dies)
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["simulate", "--resume", str(copy)]) == 130
    assert len(list((copy / "results").glob("*.json"))) == 2
    ran = counted_runs(monkeypatch)
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["simulate", "--resume", str(copy)]) == 0
    assert len(ran) == 2
    rows = json.loads((copy / "results.json").read_text())["rows"]
    for row, other in zip(rows, wanted, strict=True):
        assert row["value"] == other["value"] and row["gain"] == other["gain"]


def test_arms_can_be_added(copy, monkeypatch, capsys):
    ran = counted_runs(monkeypatch)
    words = [*OPTIONS, "oracle", "--output", str(copy), "--quiet"]
    assert main(["simulate", *words]) == 0
    assert {cell.arm for cell in ran} == {"oracle"} and capsys.readouterr().out == ""
    rows = json.loads((copy / "results.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == [*ARM_NAMES, "oracle"]
    assert rows[2]["means"]["regret"] == 0


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--arms", "best"], f"arms must be among {', '.join(ARMS)}; got 'best'."),
        (["--arms"], "arms must name at least one arm, got none."),
        (["--arms", "bots", "bots"], "arms must not repeat, got ['bots', 'bots']."),
        (
            ["--num-tasks", "100", "32"],
            "batch_size must be at most num_tasks = 32, got 64.",
        ),
        (["--num-tasks", "99", "99"], "num_tasks must not repeat, got [99, 99]."),
        (["--num-tasks"], "num_tasks must name at least one size, got none."),
        (["--seeds", "1"], "seeds must be at least 2, for an interval, got 1."),
        (["--epochs", "nan"], "epochs must be in [1e-06, 1e+06], got nan."),
        (
            ["--steps", "0"],
            "steps must be an integer in [1, 2147483646], got 0.",
        ),
        (
            ["--steps", "3", "--epochs", "2"],
            "steps and epochs must not both be given, got both.",
        ),
        (["--group-size", "1"], "group_size must be an integer in [2, 4096], got 1."),
        (["--student.transfer", "2"], "transfer must be in [0, 1], got 2."),
    ],
)
def test_settings_that_are_refused(words, sentence, tmp_path, capsys):
    target = tmp_path / "run"
    assert refused(capsys, *words, "--output", str(target)) == sentence
    assert not target.exists()


@pytest.mark.parametrize(
    "words, difference",
    [
        (["--steps", "6"], "steps = 5, this comparison has 6"),
        (["--student.drift", "1"], "student.drift = 4.0, this comparison has 1.0"),
    ],
)
def test_results_made_with_other_settings(words, difference, finished, capsys):
    said = refused(capsys, *OPTIONS, *words, "--output", str(finished[0]))
    path = finished[0] / "options.json"
    assert said == (f"{path} was made with {difference}; use another output directory.")


def test_a_result_from_elsewhere(copy, capsys):
    """The options agree, but somebody copied a result in."""
    path = copy / "results" / "64-bots-0.json"
    record = json.loads(path.read_text())
    record["settings"]["batch_size"] = 8
    write_json(path, record)
    said = refused(capsys, "--resume", str(copy))
    assert said.startswith(f"{path} was made with batch_size = 8, this comparison ")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"settings": 3}', "\udcff"])
def test_a_damaged_result(text, copy, capsys):
    path = copy / "results" / "64-bots-0.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    said = refused(capsys, "--resume", str(copy))
    assert said == f"{path} cannot be read as a result; remove it."


def test_directories_that_are_refused(tmp_path, copy, capsys):
    nowhere = tmp_path / "nowhere"
    said = refused(capsys, "--resume", str(nowhere))
    assert (
        said == f"no comparison at {nowhere}: {nowhere / 'options.json'} is not there."
    )
    said = refused(capsys, "--resume", str(copy), "--output", str(nowhere))
    assert said == "--resume goes on where a comparison is; drop --output."
    said = refused(capsys, "--resume", str(copy), "--seeds", "3")
    assert said.startswith("--resume takes its options from ")
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    said = refused(capsys, *OPTIONS, "--output", str(other))
    assert said.startswith(
        "output directory must be new, empty or that of a comparison"
    )
    (copy / "options.json").write_text('{"arms": 3}')
    said = refused(capsys, "--resume", str(copy))
    assert said.startswith(f"{copy / 'options.json'} cannot be read as options: ")


def test_help_shows_defaults_and_the_command_is_listed(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["simulate", "--help"])
    printed = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert caught.value.code == 0
    assert "(default: 20000)" in printed and "(default: uniform offline" in printed
    assert "simulate" in cli.usage()


def test_an_interval_needs_a_baseline_only_for_gains():
    runs = {"uniform": [{"value": 1.0, "spearman": np.nan}] * 8}
    (row,) = compare_arms(runs, 10, "bots", min_pairs=8)
    assert row.gain is None and row.means["spearman"] is None
    with pytest.raises(ValueError, match="at least 8 pairs, got 4"):
        compare_arms({"uniform": runs["uniform"][:4]}, 10, "bots", min_pairs=8)


def test_texts():
    assert number(float("nan")) == number(None) == interval(None) == "–"
    table = TextTable("T", ["arm", "x"], [["a", "1"]])
    assert markdown(table).splitlines()[2:] == ["| arm | x |", "|:--|--:|", "| a | 1 |"]
    curves = [{"x": [1.0, None, None]}, {"x": [2.0, 3.0, None]}]
    np.testing.assert_array_equal(mean_curves(curves)["x"], [1.5, 3.0, np.nan])


def test_store_writes_nan_as_null(tmp_path):
    store = ResultStore(tmp_path, {"a": 1})
    cell = Cell(8, "bots", 0)
    assert store.read(cell) is None
    store.write(cell, {"summary": {"x": float("nan")}, "curves": {}})
    record = store.read(cell)
    assert record is not None and record["summary"] == {"x": None}
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["8-bots-0.json"]


def test_defaults():
    command = commands.SimulateCommand()
    assert command.num_tasks == (20_000,) and command.seeds == 8
    assert (command.settings.batch_size, command.settings.group_size) == (64, 16)
    assert command.arms == tuple(ARMS)
