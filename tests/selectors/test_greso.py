"""GRESO against its public code, read and written anew in NumPy."""

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax.selectors.greso import keep_chances
from tests.selectors.rivals import choices, int32, learn, run
from tests.statistical import CAUGHT, HONEST, order_counts, two_sample_pvalue

NUM_TASKS = 25


class Profiler:
    """The traces of rewards, and the two keeps, as in the authors' trainer."""

    def __init__(self, warmup: int, easy_share: float = 1 / 3):
        self.traces = {k: [] for k in range(NUM_TASKS)}
        self.easy, self.hard, self.steps = 0.5, 0.5, 0
        self.warmup, self.easy_share = warmup, easy_share

    def keep(self, task: int) -> float:
        trace = self.traces[task]
        for value, base in ((1.0, self.easy), (0.0, self.hard)):
            count = 0
            for reward in reversed(trace):
                if reward != value:
                    break
                count += 1
            if count:
                return max(base**count, 0.01)
        return 1.0

    def learn(self, ids, successes, failures) -> None:
        rates = successes / (successes + failures)
        for task, rate in zip(ids, rates, strict=True):
            self.traces[int(task)].append(float(rate))
        if self.steps >= self.warmup:
            easy, hard = np.mean(rates == 1), np.mean(rates == 0)
            target = 0.25 * self.easy_share
            step = -0.01 if easy >= target else 0.01
            self.easy = min(max(self.easy + step, 0.05), 0.95)
            step = -0.01 if hard >= 0.25 - target else 0.01
            self.hard = min(max(self.hard + step, 0.05), 0.95)
        self.steps += 1


def compare(want: Profiler) -> int:
    selector = bots_jax.greso(num_tasks=NUM_TASKS, batch_size=5)  # warm-up: 5 steps
    longest = 0
    for state, rows in run(selector, 80, seed=4, size=10):
        want.learn(*rows)
        own = state.belief.own
        assert own.num_updates == want.steps
        np.testing.assert_allclose(own.keep_easy, want.easy, atol=1e-5)
        np.testing.assert_allclose(own.keep_hard, want.hard, atol=1e-5)
        got = keep_chances(own.silent_run, own.keep_easy, own.keep_hard)
        chances = [want.keep(k) for k in range(NUM_TASKS)]
        np.testing.assert_allclose(got, chances, rtol=1e-3)
        longest = max(longest, int(np.abs(own.silent_run).max()))
    return longest


def test_long_runs():
    assert compare(Profiler(warmup=5)) >= 3


@pytest.mark.parametrize("wrong", [{"warmup": 4}, {"warmup": 5, "easy_share": 0.5}])
def test_the_comparison_catches_planted_bugs(wrong):
    with pytest.raises(AssertionError):
        compare(Profiler(**wrong))


RUNS = int32([0, 1, -1, 3, -2])
KEEP = np.array([1, 0.6, 0.3, 0.6**3, 0.3**2])


def pool_in_random_order(keep: np.ndarray, num: int = 40_000) -> np.ndarray:
    """Batches of two: skipped with chance 1 - keep, and gone through again."""
    rng = np.random.default_rng(5)
    batches = []
    for _ in range(num):
        left, batch = list(range(5)), []
        while len(batch) < 2:
            for task in rng.permutation(left):
                if len(batch) < 2 and rng.random() < keep[task]:
                    batch.append(int(task))
                    left.remove(task)
        batches.append(batch)
    return np.array(batches)


def test_law_of_skipping():
    selector = bots_jax.greso(num_tasks=5, batch_size=2, keep_easy=0.6, keep_hard=0.3)
    state = selector.init()
    own = state.belief.own._replace(silent_run=RUNS)
    state = state._replace(belief=state.belief._replace(own=own))
    ours = order_counts(choices(selector, state, 40_000), 5)
    theirs = order_counts(pool_in_random_order(KEEP), 5)
    assert two_sample_pvalue(ours, theirs) > HONEST
    # planted: easy and hard exchanged, and runs that do not count
    exchanged = np.array([1, 0.3, 0.6, 0.3**3, 0.6**2])
    wrong = order_counts(pool_in_random_order(exchanged), 5)
    assert two_sample_pvalue(ours, wrong) < CAUGHT
    once = np.array([1, 0.6, 0.3, 0.6, 0.3])
    wrong = order_counts(pool_in_random_order(once), 5)
    assert two_sample_pvalue(ours, wrong) < CAUGHT


def test_at_first_all_chances_are_equal_and_the_batch_is_full():
    selector = bots_jax.greso(num_tasks=6, batch_size=6, keep_easy=0.01)
    state = selector.init()
    own = state.belief.own._replace(silent_run=np.full(6, 100, np.int32))
    state = state._replace(belief=state.belief._replace(own=own))
    ids = np.sort(choices(selector, state, 50), axis=1)
    assert (ids == np.arange(6)).all()


def test_a_step_without_evidence_keeps_the_chances():
    selector = bots_jax.greso(num_tasks=6, batch_size=2, warmup_steps=0)
    state = selector.init()
    after, _ = jax.jit(selector.update)(state, bots_jax.empty_evidence(2))
    assert after.belief.own.keep_easy == state.belief.own.keep_easy
    with pytest.raises(ValueError, match=r"max_keep must be in \[0.5, 1\], got 0.2"):
        bots_jax.greso(num_tasks=6, batch_size=2, min_keep=0.5, max_keep=0.2)


BY_HAND = [  # a step of one group all right, one all wrong, two mixed: shares of 0.25
    ({}, 0.49, 0.49),
    ({"keep_step": 0.2}, 0.3, 0.3),
    ({"keep_step": 0.2, "min_keep": 0.4}, 0.4, 0.4),
    ({"keep_step": 0.2, "target_silent_share": 0.6}, 0.3, 0.7),  # thirds: 0.2 and 0.4
    ({"keep_step": 0.2, "target_silent_share": 0.9, "max_keep": 0.6}, 0.6, 0.6),
    ({"keep_step": 0.2, "warmup_steps": 1}, 0.5, 0.5),
    ({"keep_step": 0.2, "keep_easy": 0.8, "keep_hard": 0.6}, 0.6, 0.4),
]


@pytest.mark.parametrize(("settings", "easy", "hard"), BY_HAND)
def test_every_setting_moves_the_chances_by_hand(settings, easy, hard):
    settings = {"warmup_steps": 0} | settings
    selector = bots_jax.greso(num_tasks=6, batch_size=4, **settings)
    own = learn(selector, [0, 1, 2, 3], [8, 0, 4, 2], [0, 8, 4, 6]).belief.own
    np.testing.assert_allclose([own.keep_easy, own.keep_hard], [easy, hard], rtol=1e-6)
