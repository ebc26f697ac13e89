"""Every benchmark runs at its smallest size, and says what its README says."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from benchmarks import (
    checkpoint,
    figures,
    harness,
    host,
    load,
    machine,
    ours,
    regimes,
    sampler,
    step,
    tables,
    targets,
    update,
)
from benchmarks.harness import Candidate

STAMP_FIELDS = {
    "cpu",
    "cores",
    "memory_gib",
    "platform",
    "python",
    "packages",
    "backend",
    "jax_devices",
    "git_commit",
    "git_dirty",
    "engine_dirty",
    "started_utc",
    "finished_utc",
    "load_average_start",
    "load_average_end",
    "seed",
}
TIMED_FIELDS = {
    "median_s",
    "quartile_1_s",
    "quartile_3_s",
    "repetitions",
    "warmups",
    "other_cores",
    "seconds",
}


def check_file(path: Path) -> dict:
    """Reads a result file, which tells about no folder of this machine."""
    text = path.read_text()
    for folder in (str(machine.ROOT), str(path.parent), str(Path.home()), sys.prefix):
        assert folder not in text
    record = json.loads(text)
    assert set(record["machine"]) == STAMP_FIELDS
    assert record["question"].endswith("?")
    return record


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `bots-jax bench` as a user does, at its smallest size."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "bots_jax.cli", "bench", "--quick"]
    command += ["--num-tasks", "2000", "--batch-sizes", "32", "--repetitions", "2"]
    fast = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiles sooner
    done = subprocess.run(
        [*command, "--results", str(folder)],
        capture_output=True,
        text=True,
        cwd=machine.ROOT,
        env=os.environ | fast,
    )
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def step_record(results: Path) -> dict:
    return check_file(results / "step.json")


@pytest.mark.nightly
def test_step(step_record: dict):
    rows = {row["candidate"]: row for row in step_record["rows"]}
    assert set(rows) == {*ours.TIMED, "official", "official, as shipped", "plain JAX"}
    for name, row in rows.items():
        if name.startswith("official"):  # no wheel was given
            assert row["status"] == "not run"
            assert "pip download --no-deps trinity-rft==0.6.0" in row["reason"]
            continue
        assert row["status"] == "ok", row
        assert set(row) >= TIMED_FIELDS | {"kind", "num_tasks", "batch_size"}
        assert row["quartile_1_s"] <= row["median_s"] <= row["quartile_3_s"]
        assert len(row["seconds"]) == row["repetitions"] == 2
        assert 0.1 < row["last_batch_success_rate"] < 0.9
    assert rows["auto"]["same_as"] == "dense, sweep"
    assert rows["lazy, race"]["points_per_task"] > 1
    assert "points_per_task" not in rows["dense, sweep"]
    (facts,) = step_record["compile"]
    assert set(facts["lazy, race"]) == {
        "trace_s",
        "lower_s",
        "compile_s",
        "scratch_mib",
    }
    assert "auto" not in facts  # the same program is not compiled twice


@pytest.mark.nightly
def test_every_engine_agrees_also_where_a_race_gives_up(step_record: dict):
    checks = step_record["agreement"]
    assert all(check["agrees"] for check in checks)
    assert {check["candidate"] for check in checks} == {*ours.ENGINES, "plain JAX"}
    shares = {
        (check["candidate"], check["num_tasks"]): check["fell_back_share"]
        for check in checks
        if "fell_back_share" in check
    }
    for name in step.RACES:
        assert shares[name, 3000] == 0 and shares[name, 264] == 1


@pytest.mark.nightly
def test_update(results: Path):
    record = check_file(results / "update.json")
    rows = {row["candidate"]: row for row in record["rows"]}
    assert set(rows) == {"dense update", "numpy copyto", "jitted copy"}
    assert all(row["status"] == "ok" and row["gb_per_s"] > 0 for row in rows.values())
    assert rows["dense update"]["share_of_copy"] > 0
    assert all(check["agrees"] for check in record["agreement"])


@pytest.mark.nightly
def test_sampler(results: Path):
    record = check_file(results / "sampler.json")
    assert len(record["rows"]) == 6 and len(record["agreement"]) == 6
    for row in record["rows"]:
        assert row["status"] == "ok", row
        assert set(row) >= TIMED_FIELDS | {"shapes", "num_draws", "ns_per_draw"}
    assert all(check["agrees"] for check in record["agreement"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.nightly
def test_memory(results: Path):
    record = check_file(results / "memory.json")
    rows = {row["candidate"]: row for row in record["rows"]}
    assert set(rows) == {"lazy, race", "dense, race", "official"}
    assert rows["official"]["status"] == "not run"
    for name in ("lazy, race", "dense, race"):
        row = rows[name]
        assert row["status"] == "ok", row
        parts = ("state_arrays_mib", "compiling_left_mib", "scratch_mib")
        assert abs(sum(row[part] for part in parts) - row["peak_mib"]) < 0.25


@pytest.mark.nightly
def test_host_and_checkpoint(tmp_path: Path):
    for script in ("host", "checkpoint"):
        command = [sys.executable, "-m", f"benchmarks.{script}", "--quick"]
        done = subprocess.run(
            [*command, "--results", str(tmp_path)],
            capture_output=True,
            text=True,
            cwd=machine.ROOT,
        )
        assert done.returncode == 0, done.stderr
        (tmp_path / f"{script}_quick.json").rename(tmp_path / f"{script}.json")
    rows = check_file(tmp_path / "host.json")["rows"]
    assert [row["candidate"] for row in rows] == [host.BARE, host.HOST, host.NAMED]
    assert all(row["times_bare"] > 0 for row in rows[1:])
    record = check_file(tmp_path / "checkpoint.json")
    rows = record["rows"] + record["loops"]
    assert all(row["status"] == "ok" for row in rows) and len(rows) == 7
    shown = tables.render(tmp_path)
    assert "TaskSampler beside the bare step" in shown and "np.save" in shown


@pytest.mark.parametrize(
    "script",
    [
        "table",
        pytest.param("adapter", marks=pytest.mark.nightly),
        pytest.param("kept_mix", marks=pytest.mark.nightly),
    ],
)
def test_scripts_that_bench_does_not_run(script: str, tmp_path: Path):
    module = importlib.import_module(f"benchmarks.{script}")
    module.main(module.Config(results=tmp_path, quick=True))
    rows = check_file(tmp_path / f"{script}_quick.json")["rows"]
    assert rows and all(row["status"] == "ok" for row in rows)
    assert max(row["repetitions"] for row in rows) == 3


@pytest.mark.parametrize("module", [checkpoint, host, regimes, sampler, step, update])
def test_quick_sizes_are_smaller_and_the_rest_stays(module):
    config = module.Config(patience_s=1.5, seed=3)
    assert config.resized() is config
    small = dataclasses.replace(config, quick=True).resized()
    assert (small.patience_s, small.seed, small.quick) == (1.5, 3, True)
    assert small.repetitions <= 3 and small.budget_s <= 2
    assert set(module.Config.smallest) <= {f.name for f in dataclasses.fields(small)}
    for name, value in module.Config.smallest.items():
        assert getattr(small, name) == value != getattr(config, name)


@pytest.mark.nightly
def test_bench_prints_tables_and_judges_targets(results: Path):
    record = check_file(results / "bench.json")
    assert len(record["targets"]) == len(targets.all_targets("cpu"))
    assert {row["verdict"] for row in record["targets"]} == {"not measured"}
    printed = (results / "printed.txt").read_text()
    for text in ("1 of 4: step", "4 of 4: memory", "Targets", "not run: no --official"):
        assert text in printed, text
    assert (results / "step.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.nightly
def test_tables_show_all_that_was_measured(results: Path):
    text = tables.render(results)
    for title in ("Targets", "One step", "Points that", "a copy", "Beta draws", "Mem"):
        assert f"### {title}" in text or title in text, title
    assert "= dense, sweep" in text  # what auto is


@pytest.mark.nightly
def test_step_figure(step_record: dict, tmp_path: Path):
    axes = Figure().add_subplot()
    figures.draw_step(step_record["rows"], axes)
    assert len(axes.containers) == 4  # ours and plain JAX; the official did not run
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    figures.save_step_figure(step_record, tmp_path / "step.png")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")


def test_committed_tables_are_those_of_the_committed_results():
    readme = tables.README.read_text()
    assert tables.with_tables(readme, machine.RESULTS) == readme


def test_readme_names_every_script():
    readme = tables.README.read_text()
    scripts = ("step", "update", "sampler", "memory", "regimes", "gpu", "host")
    scripts += ("checkpoint", "adapter", "table")
    for script in (*scripts, "effective_tasks", "tables", "figures"):
        assert f"python -m benchmarks.{script}" in readme


def test_tables_without_results(tmp_path: Path):
    assert tables.render(tmp_path) == "Nothing has been measured yet."


def test_a_failing_candidate_is_recorded_and_the_others_go_on():
    calls = []

    def fail_at_third_call():
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError("no room for /srv/pool/state.bin")

    slow = Candidate("slow", lambda: 0, max_repetitions=1, warmups=0)
    timings = harness.interleave(
        [Candidate("fails", fail_at_third_call), Candidate("works", lambda: 0), slow],
        repetitions=4,
        warmups=0,
    )
    failed, works, once = (timing.as_row() for timing in timings)
    assert failed["status"] == "failed"
    assert failed["reason"] == "MemoryError: no room for <path>"
    assert works["status"] == "ok" and works["repetitions"] == 4
    assert once["repetitions"] == 1 and "one repetition" in once["reason"]


def test_the_budget_ends_the_rounds_and_leaves_out_the_first():
    slow = Candidate("slow", lambda: time.sleep(0.3), max_repetitions=1, warmups=0)
    fast = Candidate("fast", lambda: time.sleep(0.01))
    once, often = harness.interleave([slow, fast], repetitions=100, budget_s=0.2)
    assert len(once.seconds) == 1 and 2 < len(often.seconds) < 100


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load, "QUIET_CORES", -1.0)  # never quiet
    assert load.wait_until_quiet(0.0) < 0.01
    assert 0.05 <= load.wait_until_quiet(0.05) < 5


def test_preparation_comes_before_every_call():
    log = []
    candidate = Candidate("any", lambda: log.append("call"), lambda: log.append("prep"))
    harness.interleave([candidate], repetitions=2, warmups=1)
    assert log == ["prep", "call"] * 5  # once to warm up, then twice per round


def test_results_are_written_with_numbers_on_one_line(tmp_path: Path):
    path = tmp_path / "new" / "x.json"
    harness.write_results(path, {"machine": {}, "seconds": [0.1, 2e-7], "rows": []})
    assert '"seconds": [ 0.1, 2e-07 ]' in path.read_text()
    assert json.loads(path.read_text())["seconds"] == [0.1, 2e-7]
