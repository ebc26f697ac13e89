"""Pushed evidence against a slow reference, and neighbours against brute force."""

import numpy as np
import pytest
from scipy import stats

from bots_jax.evidence.nearest import nearest_neighbours
from bots_jax.evidence.neighbours import neighbours
from bots_jax.shard import Shard
from tests.evidence.plugin_laws import (
    WORTH,
    assert_laws,
    assert_same_numbers,
    everyone,
    random_steps,
    taught,
)

N, K = 19, 4
RNG = np.random.default_rng(3)
IDS = np.stack([RNG.choice(N, K, replace=False) for _ in range(N)])
IDS[2, 1:] = -1
IDS[5, 0] = 5 if 5 not in IDS[5] else IDS[5, 0]
WEIGHTS = RNG.uniform(0, 2, (N, K))


def run(plugin, steps, num_tasks=N):
    state = taught(plugin, steps, num_tasks)
    return state, plugin.predict(state, everyone, Shard(num_tasks))


def slow(steps, weights, forgetting, prior_weight, momentum):
    """Every task decayed in every update, one neighbour at a time, in float64."""
    successes, failures, mean = np.zeros(N), np.zeros(N), None
    for ids, good, trials in steps:
        successes *= 1 - forgetting
        failures *= 1 - forgetting
        rates = [s / n for k, s, n in zip(ids, good, trials, strict=True) if k >= 0]
        if rates:
            rate = np.mean(rates)
            mean = rate if mean is None else momentum * mean + (1 - momentum) * rate
        for k, s, n in zip(ids, good, trials, strict=True):
            if k < 0:
                continue
            w = 1 / (1 + (n - 1) / (1 + WORTH))
            for i, j in enumerate(IDS[k]):
                if j < 0 or j == k:
                    continue
                edge = 1.0 if weights is None else weights[k, i]
                successes[j] += edge * w * s
                failures[j] += edge * w * (n - s)
    mean = 0.5 if mean is None else mean
    total = successes + failures
    return (prior_weight * mean + successes) / (prior_weight + total), total


@pytest.mark.parametrize("forgetting", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_lazy_decay_is_the_slow_reference(weights, forgetting):
    steps = random_steps(7, N, 15)
    steps.insert(4, (np.array([-1, -1]), np.array([0, 0]), np.array([1, 1])))
    settings = {"forgetting": forgetting, "prior_weight": 1.5, "mean_momentum": 0.8}
    _, said = run(neighbours(IDS, weights, **settings), steps)
    p, total = slow(steps, weights, forgetting, 1.5, 0.8)
    np.testing.assert_allclose(said.success_prob, p, rtol=2e-5)
    np.testing.assert_allclose(said.concentration, total, rtol=2e-5, atol=1e-6)
    # planted bugs: another decay, and another momentum of the mean
    for wrong in (
        slow(steps, weights, abs(forgetting - 0.05), 1.5, 0.8),
        slow(steps, weights, forgetting, 1.5, 0.7),
    ):
        assert np.abs(np.asarray(said.success_prob) - wrong[0]).max() > 1e-3


def test_a_task_never_teaches_itself():
    ids = np.array([[0, 1], [1, 0], [-1, 2]])
    state, said = run(neighbours(ids), [([0], [4], 4), ([2], [4], 4)], 3)
    assert said.concentration[0] == 0 and said.concentration[1] > 2
    assert said.concentration[2] == 0
    assert int(state.pushed_update[1]) == 1


def test_two_teachers_of_one_task_add_up():
    # 1 rollout each: 1 success and 1 failure of weight 1 arrive at task 2
    _, said = run(neighbours([[2], [2], [-1]]), [([0, 1], [1, 0], 1)], 3)
    assert said.concentration.tolist() == [0, 0, 2]
    assert float(said.success_prob[2]) == pytest.approx(0.5)


def test_recovers_rates_that_neighbours_share():
    """Tasks on a circle whose rates vary smoothly: neighbours tell what the mean can't.

    Some 90 independent rollouts arrive per task, so that an error is about .05.
    """
    n = 120
    p = 0.5 + 0.4 * np.sin(np.arange(n) * 2 * np.pi / n)
    ring = (np.arange(n)[:, None] + np.array([-2, -1, 1, 2])) % n
    rng = np.random.default_rng(8)
    steps = []
    for _ in range(30):
        ids = rng.choice(n, 30, replace=False)
        steps.append((ids, rng.binomial(8, p[ids]), 8))
    plugin = neighbours(ring, forgetting=0.0)
    _, said = run(plugin, steps, n)
    got = np.asarray(said.success_prob)
    assert np.abs(got - p).mean() < 0.05
    assert np.corrcoef(stats.rankdata(got), stats.rankdata(p))[0, 1] > 0.95
    shuffled = neighbours(np.random.default_rng(9).permutation(ring), forgetting=0.0)
    lost = np.asarray(run(shuffled, steps, n)[1].success_prob)
    assert np.abs(lost - p).mean() > 0.2  # planted bug: lists of other tasks


def test_laws():
    assert_laws(neighbours(IDS, WEIGHTS), None, N)
    assert_laws(neighbours(IDS), np.ones((N, 2)), N)


def test_sums_stay_finite_when_nothing_is_forgotten_and_after_long_rest():
    plugin = neighbours(IDS, np.full((N, K), 1e3), forgetting=0.5)
    state, _ = run(plugin, random_steps(1, N, 3))
    rested = state._replace(num_updates=state.num_updates + 2**30)
    said = plugin.predict(rested, everyone, Shard(N))
    assert (np.asarray(said.concentration) == 0).all()
    np.testing.assert_array_equal(said.success_prob, float(state.mean_rate))


def test_fit_cuts_and_continues():
    plugin = neighbours(IDS, WEIGHTS)
    grown = plugin.fit(N + 3).init(None)
    assert (np.asarray(grown.neighbour_ids)[N:] == -1).all()
    np.testing.assert_array_equal(np.asarray(grown.neighbour_ids)[:N], IDS)
    cut = np.asarray(plugin.fit(6).init(None).neighbour_ids)
    assert cut.shape == (6, K) and cut.max() < 6
    np.testing.assert_array_equal(cut, np.where(IDS[:6] < 6, IDS[:6], -1))


@pytest.mark.parametrize("block_size", [1, 7, 16, 33, 100])
def test_nearest_neighbours_are_those_of_brute_force(block_size):
    rows = np.random.default_rng(1).normal(size=(33, 5))
    ids, weights = nearest_neighbours(rows, 6, block_size=block_size)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    want = np.argsort(-cosines, axis=1)[:, :6]
    np.testing.assert_array_equal(ids, want)
    best = np.clip(np.take_along_axis(cosines, want, 1), 0, 1)
    np.testing.assert_allclose(weights, best, atol=1e-6)
    assert ids.dtype == np.int32 and weights.dtype == np.float32
    # planted bug: inner products instead of cosines
    inner = rows @ rows.T
    np.fill_diagonal(inner, -np.inf)
    assert (np.argsort(-inner, axis=1)[:, :6] != want).any()


def test_embeddings_of_any_size_and_type():
    rows = np.random.default_rng(1).integers(-3, 4, (9, 4)) + 0.5
    plain = nearest_neighbours(rows, 3)
    for scale in (1e30, 1e-30, 1e200):
        assert_same_numbers(nearest_neighbours(rows * scale, 3), plain)


@pytest.mark.parametrize(
    "rows, k, message",
    [
        (np.array([[1.0, np.nan], [1, 1]]), 1, "finite, got nan at row 0, column 1"),
        (np.array([[1.0, 1], [np.inf, 1]]), 1, "finite, got inf at row 1, column 0"),
        (np.array([[1.0, 1], [0, 0]]), 1, "got zeros alone at row 1"),
        (np.ones(4), 1, "must have shape"),
        (np.ones((4, 2)), 4, r"k must be an integer in \[1, 3\]"),
    ],
)
def test_bad_embeddings(rows, k, message):
    with pytest.raises(ValueError, match=message):
        nearest_neighbours(rows, k)


@pytest.mark.parametrize(
    "ids, weights, message",
    [
        ([[1], [2]], None, r"neighbour_ids must be in \[-1, 1\], got 2"),
        ([[1, 1], [0, -1]], None, "got 1 twice in row 0"),
        ([1, 0], None, "neighbour_ids must have shape"),
        ([[1.0], [0.0]], None, "must be integers"),
        ([[1], [0]], [[1.0]], "weights must have shape"),
        ([[1], [0]], [[1.0], [np.nan]], "weights must be in"),
        ([[1], [0]], [[1.0], [-1.0]], "weights must be in"),
    ],
)
def test_bad_graphs(ids, weights, message):
    with pytest.raises(ValueError, match=message):
        neighbours(ids, weights)
