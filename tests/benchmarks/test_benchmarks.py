"""Every benchmark runs at its smallest size, and says what its README says."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks import agreement, figures, harness, load, official, tables
from benchmarks.harness import Candidate
from benchmarks.pool import Pool, make_pool

STAMP_FIELDS = {
    "cpu",
    "cores",
    "memory_gib",
    "platform",
    "python",
    "packages",
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


def run_quick(name: str, folder: Path) -> dict:
    """Runs a script as a user does, and reads what it wrote."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick"]
    done = subprocess.run(
        [*command, "--results", str(folder)],
        capture_output=True,
        text=True,
        cwd=harness.ROOT,
    )
    assert done.returncode == 0, done.stderr
    text = (folder / f"{name}_quick.json").read_text()
    for path in (str(harness.ROOT), str(folder), str(Path.home()), sys.prefix):
        assert path not in text
    record = json.loads(text)
    assert set(record["machine"]) == STAMP_FIELDS
    assert record["question"].endswith("?")
    (folder / f"{name}.json").write_text(text)
    return record


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def step_record(results: Path) -> dict:
    return run_quick("step", results)


def test_step(step_record: dict):
    rows = {row["candidate"]: row for row in step_record["rows"]}
    assert set(rows) == {
        "bots_jax",
        "plain JAX",
        "official",
        "official, as shipped",
        "update",
        "sample",
        "top_k",
    }
    for name, row in rows.items():
        if name.startswith("official"):  # no wheel was given
            assert row["status"] == "not run"
            assert "pip download --no-deps trinity-rft==0.6.0" in row["reason"]
            continue
        assert row["status"] == "ok", row
        assert set(row) >= TIMED_FIELDS | {"kind", "num_tasks", "batch_size"}
        assert row["quartile_1_s"] <= row["median_s"] <= row["quartile_3_s"]
        assert len(row["seconds"]) == row["repetitions"] == 3
    assert 0.2 < rows["bots_jax"]["last_batch_success_rate"] < 0.8
    assert all(check["agrees"] for check in step_record["agreement"])
    assert len(step_record["agreement"]) == 4
    (compiled,) = step_record["compile"]
    assert set(compiled["bots_jax"]) == {"trace_s", "lower_s", "compile_s"}


def test_sampler(results: Path):
    record = run_quick("sampler", results)
    assert len(record["rows"]) == 6 and len(record["agreement"]) == 6
    for row in record["rows"]:
        assert row["status"] == "ok", row
        assert set(row) >= TIMED_FIELDS | {"shapes", "num_draws", "ns_per_draw"}
    assert all(check["agrees"] for check in record["agreement"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(results: Path):
    record = run_quick("memory", results)
    rows = {row["candidate"]: row for row in record["rows"]}
    assert set(rows) == {"bots_jax", "plain JAX", "official"}
    assert rows["official"]["status"] == "not run"
    for name in ("bots_jax", "plain JAX"):
        assert rows[name]["status"] == "ok", rows[name]
        assert rows[name]["peak_mib"] > 1.6  # four float32 for 100,000 tasks


def test_step_figure(step_record: dict, tmp_path: Path):
    axes = Figure().add_subplot()
    figures.draw_step(step_record["rows"], axes)
    assert len(axes.containers) == 2  # ours and plain JAX; the official did not run
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    figures.save_step_figure(step_record, tmp_path / "step.png")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")


def test_committed_tables_are_those_of_the_committed_results():
    readme = tables.README.read_text()
    assert tables.with_tables(readme, harness.RESULTS) == readme


def test_readme_names_every_script():
    readme = tables.README.read_text()
    for script in ("step", "sampler", "memory", "tables", "figures"):
        assert f"python -m benchmarks.{script}" in readme


def timed_row(candidate: str, median_s: float) -> dict:
    timing = harness.Timing(candidate, seconds=[median_s] * 3)
    case = {"kind": "step", "num_tasks": 10_000, "batch_size": 32}
    return case | timing.as_row()


def test_tables_say_where_we_lose():
    rows = [timed_row("bots_jax", 2e-3), timed_row("official", 1e-3)]
    assert tables.losses({"step": {"rows": rows}}) == [
        "a step, N = 10^4, B = 32: official is 2.00 times faster."
    ]
    assert "**0.50x**" in tables.step_table(rows)
    assert tables.losses({"step": {"rows": rows[:1]}}) == []


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


def test_official_code_that_is_missing():
    with pytest.raises(official.NotAvailable, match="pip download --no-deps"):
        official.load_official(None)


def test_official_folder_without_the_wheel(tmp_path: Path):
    with pytest.raises(SystemExit, match="pip download --no-deps"):
        official.load_official(tmp_path)


class NumpyStep:
    """A step in NumPy that can be planted with a bug."""

    name = "planted"

    def __init__(self, bug: str = ""):
        self.bug = bug
        self.rng = np.random.default_rng(0)

    def reset(self, pool: Pool, target_success_prob: float) -> None:
        self.pool, self.target = pool, target_success_prob

    def encode(self, task_ids: np.ndarray, success_rates: np.ndarray) -> tuple:
        return task_ids, success_rates

    def step(self, evidence: tuple) -> np.ndarray:
        task_ids, rates = evidence
        self.pool = agreement.reference_update(self.pool, task_ids, rates)
        alpha, beta = self.pool.alpha, self.pool.beta
        if self.bug == "swapped":
            alpha, beta = beta, alpha
        draws = self.rng.beta(alpha, beta)
        if self.bug == "means":
            draws = alpha / (alpha + beta) + 1e-9 * draws
        return np.argpartition(np.abs(draws - self.target), 32)[:32]

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        off = 1e-4 if self.bug == "rounded" else 0
        return self.pool.alpha * (1 + off), self.pool.beta


@pytest.mark.parametrize("bug", ["", "swapped", "means", "rounded"])
def test_agreement_finds_planted_bugs(bug: str):
    def make(num_tasks: int, batch_size: int) -> NumpyStep:
        return NumpyStep(bug)

    if bug:
        with pytest.raises(SystemExit, match="do not agree"):
            agreement.check_all([make], 3000, 32, 50, seed=0)
    else:
        checks = agreement.check_all([make], 3000, 32, 50, seed=0)
        assert all(check["agrees"] for check in checks)


def test_pool_is_what_the_readme_says():
    made = make_pool(20_000, seed=0)
    assert (made.references * 16 == np.round(made.references * 16)).all()
    assert made.alpha.min() >= 1 and made.beta.min() >= 1
    concentration = made.alpha + made.beta
    assert 0.03 < np.mean(concentration > 18.01) < 0.07
    assert np.isclose(concentration.min(), 18)
    inverted = np.mean(made.references[:, 0] > made.references[:, 1])
    assert 0.01 < inverted < 0.1
