"""Candidates agree, or are found out; each pool and state is what it claims to be."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import agreement, cases, fetch, official, ours, plain_jax
from benchmarks.pool import ClosedLoop, Pool, make_big_pool, make_pool
from tests.nights import nightly_but


def test_official_code_that_is_missing():
    with pytest.raises(official.NotAvailable, match="pip download --no-deps"):
        official.load_official(None)


def test_official_folder_without_the_wheel(tmp_path: Path):
    with pytest.raises(ValueError, match="pip download --no-deps"):
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

    def state_bytes(self) -> int:
        return self.pool.alpha.nbytes + self.pool.beta.nbytes

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


def test_a_tiled_pool_repeats_a_block():
    pool = make_big_pool(2500, seed=0, block_size=1000)
    whole = make_pool(1000, seed=0)
    task_ids = np.array([3, 1003, 2003, 2499])
    assert (pool.chances(task_ids) == whole.chances(task_ids % 1000)).all()
    candidate = plain_jax.PlainStep(2500, 8, seed=0)
    candidate.reset(pool, 0.5)
    alpha, beta = candidate.posterior()
    assert np.allclose(alpha, np.tile(whole.alpha, 3)[:2500])
    assert np.allclose(beta, np.tile(whole.beta, 3)[:2500])


@pytest.mark.parametrize(
    "name", nightly_but([ours.LAZY_SWEEP, ours.DENSE_SWEEP], ours.DENSE_SWEEP)
)
def test_the_state_of_a_tiled_pool_steps_like_that_of_a_whole_one(name: str):
    tiled = make_big_pool(2500, seed=0, block_size=1000)
    block = tiled.block
    repeat = lambda x: np.concatenate([x, x, x[:500]])  # noqa: E731
    whole = block._replace(
        references=repeat(block.references),
        alpha=repeat(block.alpha),
        beta=repeat(block.beta),
        success_prob=repeat(block.success_prob),
    )
    candidate = ours.OurStep(2500, 8, 0, name)
    found = []
    for pool in (tiled, whole):
        candidate.reset(pool, 0.5)
        assert int(candidate.state.num_eligible) == 2500
        candidate.step(candidate.encode(np.arange(8), np.full(8, 0.25)))
        found.append(candidate.posterior())
    assert np.allclose(found[0], found[1], rtol=1e-6)
    evidence = candidate.encode(np.arange(8), np.full(8, 0.25))
    candidate.step(evidence)  # the first reset's copy was not donated
    candidate.reset(whole, 0.5)


def test_making_a_tiled_state_allocates_only_the_result():
    values = jax.ShapeDtypeStruct((1000,), jnp.float32)
    analysis = ours.tile.lower(values, num_tasks=10**8).compile().memory_analysis()
    assert analysis is not None and analysis.temp_size_in_bytes < 10**5


def test_auto_is_told_apart_by_its_program():
    digests = {
        name: ours.OurStep(2000, 8, 0, name).digest()
        for name in (ours.AUTO, ours.DENSE_SWEEP, ours.LAZY_SWEEP)
    }
    assert digests[ours.AUTO] == digests[ours.DENSE_SWEEP]
    assert digests[ours.AUTO] != digests[ours.LAZY_SWEEP]


def test_a_loop_feeds_back_what_was_chosen():
    pool = make_pool(2000, seed=0)
    loop = ClosedLoop(ours.OurStep(2000, 8, 0, ours.DENSE_SWEEP), pool, 8, seed=0)
    before = loop.candidate.posterior()[0].copy()
    loop.roll_out()
    given = loop.task_ids
    loop.step()
    alpha, _ = loop.candidate.posterior()
    grown = np.argsort(alpha + loop.candidate.posterior()[1] - before)[-8:]
    assert set(given) & set(grown) and set(loop.task_ids) != set(given)
    bytes_ = loop.candidate.state_bytes()
    assert 16 * 2000 <= bytes_ < 16 * 2000 + 2000


NAMES: dict = dict.fromkeys([*ours.TIMED, *cases.OTHERS])


@pytest.mark.parametrize(
    "num_tasks, batch_size, free, run, reason",
    [
        (10**4, 32, None, set(NAMES), ""),
        (10**7, 1024, None, set(NAMES), ""),
        (10**7, 32, None, set(NAMES) - {"plain JAX"}, "timed once at this N"),
        (10**8, 32, None, set(ours.TIMED), "not run above N = 10,000,000"),
        (
            10**9,
            32,
            20 * 10**9,
            {"lazy, race", "auto"},
            "not run above N = 100,000,000",
        ),
        (10**9, 32, 10**10, set(), "GiB are free"),
    ],
)
def test_who_runs_and_why_the_others_do_not(num_tasks, batch_size, free, run, reason):
    chosen, left = cases.choose_candidates(
        NAMES, num_tasks, batch_size, (32, 1024, 4096), cases.Limits(), free
    )
    assert set(chosen) == run
    assert {timing.candidate for timing in left} == set(NAMES) - run
    assert all(timing.status == "not run" and timing.reason for timing in left)
    assert not reason or any(reason in timing.reason for timing in left)


def test_a_wheel_that_was_changed_is_not_run(tmp_path: Path, monkeypatch):
    def download(command: list[str], **_):
        folder = Path(command[command.index("--dest") + 1])
        (folder / fetch.WHEEL).write_bytes(b"something else")
        return fetch.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", download)
    with pytest.raises(ValueError, match="must have the SHA-256 51ac0d789cce"):
        fetch.fetch_official(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_that_cannot_be_had(tmp_path: Path, monkeypatch):
    def fail(command: list[str], **_):
        return fetch.subprocess.CompletedProcess(command, 1, "", "no\nno network\n")

    monkeypatch.setattr(fetch.subprocess, "run", fail)
    with pytest.raises(ValueError, match="could not download .*: no network$"):
        fetch.fetch_official(tmp_path)
    (tmp_path / "trinity-rft-0.6.0").mkdir()
    assert fetch.fetch_official(tmp_path) == tmp_path / "trinity-rft-0.6.0"
