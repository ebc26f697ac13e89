"""INSIGHT against entropies in float64, as the paper has them."""

import jax
import numpy as np
from scipy import stats

import bots_jax
from tests.selectors.rivals import TouchedBeta, assert_counts, run

NUM_TASKS, BATCH_SIZE, GROUP_SIZE = 40, 5, 8


def acquisition(alpha, beta, center=0.3, sharpness=1.0, with_information=True):
    """w(m) * (H(Beta) - E[H(Beta after G rollouts)]) of one task."""
    mean = alpha / (alpha + beta)
    weight = mean * (1 - mean) * np.exp(-sharpness * (mean - center) ** 2)
    if not with_information:
        return weight
    seen = np.arange(GROUP_SIZE + 1)
    chance = stats.betabinom.pmf(seen, GROUP_SIZE, alpha, beta)
    after = stats.beta(alpha + seen, beta + GROUP_SIZE - seen).entropy()
    return weight * (stats.beta(alpha, beta).entropy() - chance @ after)


def shortfall(ids: np.ndarray, scores: np.ndarray) -> float:
    """How far a batch's scores are below the best, as a share."""
    best = np.sort(scores)[-BATCH_SIZE:].sum()
    return 1 - scores[ids].sum() / best


def test_the_best_of_long_runs_are_chosen():
    selector = bots_jax.insight(
        num_tasks=NUM_TASKS,
        batch_size=BATCH_SIZE,
        group_size=GROUP_SIZE,
        candidate_ratio=None,
    )
    select = jax.jit(selector.select)
    state = None
    want, plain = TouchedBeta(NUM_TASKS, 1.0), []
    for number, (state, rows) in enumerate(run(selector, 60)):
        want.learn(*rows)
        if number % 12 == 6:
            pairs = list(zip(want.alpha, want.beta, strict=True))
            ids = np.asarray(select(jax.random.key(number), state)[0])
            assert shortfall(ids, np.array([acquisition(*p) for p in pairs])) < 1e-5
            plain.append(
                shortfall(
                    ids,
                    np.array([acquisition(*p, with_information=False) for p in pairs]),
                )
            )
    assert state is not None
    assert_counts(selector, state, want)
    assert max(plain) > 1e-2  # planted: without the information


def test_candidates_are_drawn_at_random():
    """With candidates, a batch of the same state differs by key."""
    selector = bots_jax.insight(num_tasks=NUM_TASKS, batch_size=2, candidate_ratio=2)
    select, state = jax.jit(selector.select), selector.init()
    batches = {tuple(select(jax.random.key(i), state)[0].tolist()) for i in range(5)}
    assert len(batches) > 1
