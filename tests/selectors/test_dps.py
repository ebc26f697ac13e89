"""DPS against its public sampler, read and written anew in NumPy."""

from typing import Any

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax.selectors.dps import LOCAL, PROGRESS
from tests.selectors.rivals import choices, run

NUM_TASKS, BATCH_SIZE = 30, 4


class Sampler:
    """Their sampler, all of whose tasks are known from the start."""

    def __init__(self, retention, prior, start, learns_waiting=True):
        self.prior = np.broadcast_to(np.float64(prior), (3, 3))
        self.retention, self.learns_waiting = retention, learns_waiting
        self.counts = np.stack([self.prior] * NUM_TASKS)
        self.now = np.stack([np.float64(start)] * NUM_TASKS)  # predicted
        self.before = self.now.copy()

    def learn(self, ids, successes, failures) -> None:
        seen = dict(zip(ids, zip(successes, failures, strict=True), strict=True))
        for k in range(NUM_TASKS):
            counts, extra, state = self.counts[k], 0.0, self.now[k]
            if k in seen:
                state = np.eye(3)[self.state_of(*seen[k])]
                pairs = np.outer(state, self.before[k]) * counts / counts.sum(0)
                extra = pairs / pairs.sum()
            elif not self.learns_waiting:
                continue
            fading = self.retention * counts + (1 - self.retention) * self.prior
            self.counts[k] = fading + extra
            self.before[k] = state
            self.now[k] = self.counts[k] / self.counts[k].sum(0) @ state

    @staticmethod
    def state_of(successes, failures) -> int:
        return 0 if successes == 0 else (2 if failures == 0 else 1)

    def scores(self, entropy_weight: float) -> np.ndarray:
        entropy = -np.sum(self.now * np.log(self.now + 1e-10), axis=1)
        return self.now[:, 1] + entropy_weight * entropy


def compare(want: Sampler, prior, entropy_weight: float, start=(1 / 3,) * 3) -> None:
    selector = bots_jax.dps(
        num_tasks=NUM_TASKS,
        batch_size=BATCH_SIZE,
        retention=want.retention,
        candidate_ratio=None,
        entropy_weight=entropy_weight,
        prior_transition_counts=prior,
        initial_state_probs=start,
    )
    select, state = jax.jit(selector.select), None
    for number, (state, rows) in enumerate(run(selector, 40, seed=2)):
        want.learn(*rows)
        scores = want.scores(entropy_weight)
        ids = np.asarray(select(jax.random.key(number), state)[0])
        best = np.sort(scores)[::-1][:BATCH_SIZE]
        np.testing.assert_allclose(scores[ids], best, atol=1e-5)
    assert state is not None
    alpha, beta = selector.posterior(state)
    mean = want.now[:, 2] + want.now[:, 1] / 2
    np.testing.assert_allclose(alpha / (alpha + beta), mean, atol=2e-2)


@pytest.mark.parametrize(
    ("retention", "prior", "entropy_weight"),
    [(0.7, 1.0, 0.0), (1.0, PROGRESS, 0.0), (0.5, LOCAL, 0.3)],
)
def test_the_best_of_long_runs_are_chosen(retention, prior, entropy_weight):
    want = Sampler(retention, prior, (1 / 3,) * 3)
    if prior is not LOCAL:
        return compare(want, prior, entropy_weight)
    # Impossible moves are theirs to divide by zero; leave them out.
    want.prior = np.maximum(want.prior, 0.01)
    want.counts = np.stack([want.prior] * NUM_TASKS)
    return compare(want, want.prior.astype(np.float32), entropy_weight)


def test_the_comparison_catches_planted_bugs():
    stuck = Sampler(0.7, 1.0, (1 / 3,) * 3, learns_waiting=False)
    with pytest.raises(AssertionError):
        compare(stuck, 1.0, 0.0)
    mirrored = Sampler(0.7, np.transpose(PROGRESS), (1 / 3,) * 3)
    with pytest.raises(AssertionError):
        compare(mirrored, PROGRESS, 0.0)


def test_candidates_are_drawn_at_random():
    selector = bots_jax.dps(num_tasks=6, batch_size=2, candidate_ratio=2)
    counts = np.bincount(choices(selector, selector.init(), 600).ravel(), minlength=6)
    assert counts.min() > 100  # all alike: the choice is that of the candidates


def test_refusals():
    sizes: dict[str, Any] = {"num_tasks": 4, "batch_size": 2}
    with pytest.raises(ValueError, match="must sum to at least 0.01 in every column"):
        bots_jax.dps(**sizes, prior_transition_counts=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="initial_state_probs must sum to 1"):
        bots_jax.dps(**sizes, initial_state_probs=(1.0, 1.0, 0.0))
    with pytest.raises(ValueError, match="prior_transition_counts must have shape"):
        bots_jax.dps(**sizes, prior_transition_counts=np.ones((4, 3, 3)))
