"""Rewards that are not 0 or 1: what is counted, and what is refused or dropped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.evidence import collect, counts
from bots_jax.evidence.rewards import (
    LevelEvidence,
    MomentEvidence,
    as_levels,
    as_moments,
    evidence_from_scores,
    level_evidence_from_rewards,
    moment_evidence_from_rewards,
)

LEVELS = (-1.0, 0.25, 4.0)
collect_rows = jax.jit(counts.collect_rows, static_argnums=1)
collect_level_rows = jax.jit(collect.collect_level_rows, static_argnums=1)
collect_moment_rows = jax.jit(collect.collect_moment_rows, static_argnums=1)


# --- scores as counts


@pytest.mark.parametrize("group_size", [1, 3, 16, 1000])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.7), (5, 905)])
@pytest.mark.parametrize("jitted", [False, True])
def test_binary_rewards_count_exactly_as_they_are(group_size, bounds, jitted):
    """K rollouts, not K - 1 as K m (1 - m) / v would give, nor K (1 + 1e-7)."""
    low, high = bounds
    rng = np.random.default_rng(group_size)
    binary = rng.integers(0, 2, (32, group_size))
    ids = np.arange(32)
    make = lambda r: evidence_from_scores(ids, r, low=low, high=high)  # noqa: E731
    got = (jax.jit(make) if jitted else make)(np.where(binary, high, low))
    want = bots_jax.evidence_from_rewards(ids, binary)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def reference_scores(rewards, low, high, limit):
    """Successes and failures of one row, by the definition, in float64."""
    scores = (np.asarray(rewards, np.float64) - low) / (high - low)
    number, mean = len(scores), scores.mean()
    weight = 1.0
    if number > 1 and scores.var() > 0:
        variance = scores.var(ddof=1)
        chance = mean * (1 - mean) + variance / number  # without bias, of m (1 - m)
        weight = min(chance / variance, limit)
    return weight * number * mean, weight * number * (1 - mean)


@pytest.mark.parametrize("seed", range(4))
def test_effective_counts_are_the_definition(seed):
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.normal(0, 3, 2))
    rewards = low + (high - low) * rng.beta(0.5, 1.5, (50, 6))
    got = evidence_from_scores(
        np.arange(50), rewards, low=low, high=high, max_count_per_rollout=5.0
    )
    want = np.array([reference_scores(row, low, high, 5.0) for row in rewards]).T
    np.testing.assert_allclose(got.successes, want[0], rtol=2e-5)
    np.testing.assert_allclose(got.failures, want[1], rtol=2e-5)
    total = np.asarray(got.successes + got.failures)
    assert (total >= 6 * (1 - 1e-6)).all() and (total <= 30 * (1 + 1e-6)).all()
    assert (total > 29).any() and (total < 20).any()


def rms_error(effective_counts: bool) -> float:
    """Check 5 of the paper checks: z of the truth, 1 where the belief is calibrated."""
    rng = np.random.default_rng(0)
    mean, variance, group_size = 0.6, 0.02, 16
    scale = mean * (1 - mean) / variance - 1
    rewards = rng.beta(mean * scale, (1 - mean) * scale, (20_000, group_size))
    evidence = evidence_from_scores(
        np.arange(20_000),
        rewards,
        effective_counts=effective_counts,
        max_count_per_rollout=100.0,
    )
    alpha = 1 + np.asarray(evidence.successes, np.float64)
    beta = 1 + np.asarray(evidence.failures, np.float64)
    total = alpha + beta
    z = (mean - alpha / total) / np.sqrt(alpha * beta / (total**2 * (total + 1)))
    return float(np.sqrt((z**2).mean()))


def test_effective_counts_calibrate_the_belief():
    assert 0.95 < rms_error(True) < 1.1
    assert rms_error(False) < 0.4  # K for every row: far too unsure, and seen to be


@pytest.mark.parametrize("value", [0.7, 1 / 3, 0.1])
def test_equal_rewards_and_single_ones_count_as_they_are(value):
    rewards = np.full((1, 7), value)
    for evidence in (
        evidence_from_scores([3], rewards),
        evidence_from_scores([3], rewards.astype(np.float32), low=0, high=1),
    ):
        np.testing.assert_allclose(evidence.successes, [7 * value], rtol=1e-6)
        np.testing.assert_allclose(evidence.failures, [7 * (1 - value)], rtol=1e-6)
    single = evidence_from_scores([3], rewards[:, :1])
    np.testing.assert_allclose(single.successes + single.failures, [1], rtol=1e-6)


def test_masked_rewards_may_be_anything():
    rewards = np.array([[0.2, 0.4, 0.9], [9.0, np.nan, -np.inf]])
    mask = np.array([[1, 1, 0], [0, 0, 0]], bool)
    got = evidence_from_scores([3, 4], rewards, mask)
    want = evidence_from_scores([3], rewards[:1, :2])
    assert float(got.successes[0]) == float(want.successes[0])
    assert got.successes[1] == 0 and got.failures[1] == 0
    assert int(collect_rows(got, 9).num_masked) == 1
    # a masked reward in front must not be what deviations are taken from
    turned = evidence_from_scores([3], rewards[:1, ::-1], mask[:1, ::-1])
    np.testing.assert_allclose(turned.successes, want.successes, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
@pytest.mark.parametrize("effective_counts", [False, True])
def test_bad_score_under_jit_drops_its_row_alone(bad, effective_counts):
    rewards = jnp.array([[1, 0.5, 1], [1, bad, 0], [0.5, 0.5, 0.5]], np.float32)

    @jax.jit
    def make(rewards):
        ids = np.array([3, 4, 5])
        return evidence_from_scores(ids, rewards, effective_counts=effective_counts)

    rows = collect_rows(make(rewards), 9)
    assert int(rows.num_invalid) == 1
    assert rows.task_ids.tolist() == [3, 9, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": [[0.5, 1.5]]}, r"^rewards must be in \[0, 1\], got 1.5 at index"),
        ({"rewards": [[0.5, np.nan]]}, r"^rewards must be in \[0, 1\], got nan"),
        ({"rewards": [0.5]}, r"^rewards must have shape \(rows, rollouts\)"),
        ({"low": 1.0}, r"^high must be above low = 1, got 1\."),
        ({"low": np.nan}, r"^low must be in"),
        ({"high": [1.0]}, r"^high must be a scalar"),
        ({"max_count_per_rollout": 0.5}, r"^max_count_per_rollout must be in \[1, "),
        ({"task_ids": [0.5]}, r"^task_ids must be integers"),
    ],
)
def test_bad_scores_are_refused(change, message):
    arguments = {"task_ids": [0], "rewards": [[0.5, 1.0]]} | change
    with pytest.raises(ValueError, match=message):
        evidence_from_scores(**arguments)


# --- levels


def test_levels_are_counted():
    rewards = np.array([[4, -1, 4, 0.25], [0.25, 0.25, 0.25, 0.25], [-1, 7, 9, -1]])
    mask = np.ones((3, 4), bool)
    mask[2, 1:3] = False
    got = level_evidence_from_rewards([5, 1, 2], rewards, LEVELS, mask)
    assert got.counts.tolist() == [[1, 1, 2], [0, 4, 0], [2, 0, 0]]
    assert got.counts.dtype == jnp.float32 and got.task_ids.dtype == jnp.int32


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, bool])
def test_levels_of_every_dtype(dtype):
    rewards = np.array([[0, 1, 1]]).astype(dtype)
    assert level_evidence_from_rewards([5], rewards, (0, 1)).counts.tolist() == [[1, 2]]


def test_a_reward_is_its_level_to_1e_6():
    near, far = [[0.25 + 9e-7]], [[0.25 + 2e-5]]
    assert level_evidence_from_rewards([0], near, LEVELS).counts[0, 1] == 1
    with pytest.raises(ValueError, match=r"^rewards must be one of the levels -1, 0.2"):
        level_evidence_from_rewards([0], far, LEVELS)
    make = jax.jit(lambda r: level_evidence_from_rewards(np.array([3]), r, LEVELS))
    rows = collect_level_rows(make(jnp.float32(far)), 9)
    assert int(rows.num_invalid) == 1 and not rows.valid.any()
    assert int(collect_level_rows(make(jnp.float32(near)), 9).num_invalid) == 0


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((1.0,), "^levels must have shape"),
        (((0.0, 1.0),), "^levels must have shape"),
        ((0.0, 0.0), "^levels must increase, got 0 after 0 at index 1"),
        ((0.0, 1e-6), "^levels must increase"),
        ((0.0, np.inf), "^levels must be in"),
        ((False, True), "^levels must be real numbers"),
    ],
)
def test_bad_levels_are_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        level_evidence_from_rewards([0], [[0.0]], levels)


def test_successes_are_the_highest_level():
    evidence = bots_jax.evidence_from_counts([5, 1], [3, 0], 4)
    got = as_levels(evidence, 3)
    want = level_evidence_from_rewards(
        [5, 1], [[4, 4, 4, -1], [-1, -1, -1, -1]], LEVELS
    )
    assert got.counts.tolist() == want.counts.tolist()
    with pytest.raises(ValueError, match=r"^num_levels must be an integer in \[2,"):
        as_levels(evidence, 1)


# --- moments


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_moments_are_those_of_numpy(shift):
    rng = np.random.default_rng(0)
    rewards = (shift + rng.gamma(2.0, 3.0, (40, 9))).astype(np.float32)
    mask = rng.random((40, 9)) < 0.7
    mask[0] = False
    got = moment_evidence_from_rewards(np.arange(40), rewards, mask, low=0, high=2000)
    for row in range(40):
        kept = rewards[row][mask[row]].astype(np.float64)
        assert got.num_rewards[row] == kept.size
        mean, spread = (kept.mean(), kept.var() * kept.size) if kept.size else (0, 0)
        np.testing.assert_allclose(got.mean[row], mean, rtol=1e-6)
        np.testing.assert_allclose(got.spread[row], spread, rtol=1e-3, atol=1e-6)


def test_equal_rewards_have_no_spread():
    rewards = np.array([[1 / 3] * 7, [0.1] * 7], np.float32)
    got = moment_evidence_from_rewards([0, 1], rewards, low=0, high=1)
    assert got.spread.tolist() == [0, 0]
    assert got.mean.tolist() == rewards[:, 0].tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 10.0])
def test_bad_reward_has_no_moments(bad):
    rewards = np.array([[1, 2, 3], [1, bad, 3]], np.float32)
    with pytest.raises(ValueError, match=r"^rewards must be in \[0, 9\]"):
        moment_evidence_from_rewards([0, 1], rewards, low=0, high=9)
    make = lambda r: moment_evidence_from_rewards(np.arange(2), r, low=0, high=9)  # noqa: E731
    rows = collect_moment_rows(jax.jit(make)(rewards), 9)
    assert int(rows.num_invalid) == 1 and rows.valid.tolist() == [True, False]


def test_counts_as_moments_are_the_moments_of_their_rewards():
    rewards = np.array([[1, 0, 1, 1], [0, 0, 0, 0]])
    plain = bots_jax.evidence_from_rewards([5, 1], rewards)
    for low, high in ((0.0, 1.0), (-2.0, 3.0)):
        want = moment_evidence_from_rewards(
            [5, 1], np.where(rewards, high, low), low=low, high=high
        )
        for a, b in zip(as_moments(plain, low=low, high=high), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


BAD_COUNTS = [(np.nan, 1), (-1, 5), (5, -1), (-4, 4), (-1, -1), (np.inf, 1), (2e7, 1)]


@pytest.mark.parametrize("bad", BAD_COUNTS)
def test_counts_that_are_not_valid_stay_so(bad):
    evidence = bots_jax.Evidence(
        jnp.int32([3]), jnp.float32(bad[:1]), jnp.float32(bad[1:])
    )
    for rows in (
        collect_rows(evidence, 9),
        collect_level_rows(as_levels(evidence, 3), 9),
        collect_moment_rows(as_moments(evidence), 9),
    ):
        assert int(rows.num_invalid) == 1 and rows.task_ids.tolist() == [9]


# --- one row per task


def make_rows(seed: int):
    """Ids with repeats, padding and strays, and the rewards of each row."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 5, 20)
    ids[[2, 9]], ids[[4, 11]] = -1, (8, -2)
    return ids, rng.choice(LEVELS, (20, 6)), rng.random((20, 6)) < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_a_task_add_up(seed):
    """Whatever the order, to the levels and moments of all its rewards together."""
    ids, rewards, mask = make_rows(seed)
    mask[7] = False
    levels = level_evidence_from_rewards(ids, rewards, LEVELS, mask)
    moments = moment_evidence_from_rewards(ids, rewards, mask, low=-1, high=4)
    collected = collect_level_rows(levels, 8), collect_moment_rows(moments, 8)
    for rows in collected:
        assert int(rows.num_masked) == 3 and int(rows.num_out_of_range) == 2
        assert int(rows.num_repeated) == 15 - len(set(rows.task_ids.tolist()) - {8})
    apart = 0.0
    for task in set(ids[(ids >= 0) & (ids < 8)]):
        kept = rewards[ids == task][mask[ids == task]]
        by_levels, by_moments = (r.task_ids.tolist().index(task) for r in collected)
        shown = [(kept == level).sum() for level in LEVELS]
        assert collected[0].counts[by_levels].tolist() == shown
        got = collected[1]
        assert got.num_rewards[by_moments] == kept.size
        np.testing.assert_allclose(got.mean[by_moments], kept.mean(), rtol=1e-5)
        spread = kept.var() * kept.size
        np.testing.assert_allclose(got.spread[by_moments], spread, rtol=1e-5)
        # the spreads alone, without the distances between rows, are less
        apart += spread - np.asarray(moments.spread)[ids == task].sum()
    assert apart > 1


BAD_MOMENTS = {
    "mean": [(2, np.nan, 0), (2, np.inf, 0)],
    "spread": [(2, 0, np.nan), (2, 0, -1), (2, 0, np.inf)],
    "num_rewards": [(np.nan, 0, 0), (-1, 0, 0), (2.0**24 + 2, 0, 0)],
}


@pytest.mark.parametrize("bad", [x for rows in BAD_MOMENTS.values() for x in rows])
def test_bad_moments_are_dropped_and_harm_no_other(bad):
    columns = np.array([(2, 5, 1), bad, (4, 2, 3)], np.float32).T
    rows = collect_moment_rows(
        MomentEvidence(jnp.int32([3, 3, 3]), *map(jnp.asarray, columns)), 9
    )
    assert int(rows.num_invalid) == 1 and rows.task_ids.tolist() == [3, 9, 9]
    # 2 rewards of 5, 4 of 2: mean 3, spread 1 + 3 + 2 * 4 + 4 * 1
    got = float(rows.num_rewards[0]), float(rows.mean[0]), float(rows.spread[0])
    np.testing.assert_allclose(got, (6, 3, 16), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf, 2.0**24])
def test_bad_levels_are_dropped_and_harm_no_other(bad):
    table = jnp.array([[1, 2], [3, bad], [0, 1]], np.float32)
    rows = collect_level_rows(LevelEvidence(jnp.int32([3, 3, 3]), table), 9)
    assert int(rows.num_invalid) == 1 and int(rows.num_repeated) == 1
    assert rows.counts.tolist() == [[1, 3], [0, 0], [0, 0]]


def test_shapes_and_dtypes_are_checked():
    ids, one = jnp.int32([1]), jnp.ones(1, jnp.float32)
    with pytest.raises(ValueError, match=r"^counts must have shape \(rows, levels\)"):
        collect_level_rows(LevelEvidence(ids, one), 9)
    with pytest.raises(ValueError, match=r"^task_ids must have shape \(2,\)"):
        collect_level_rows(LevelEvidence(ids, jnp.ones((2, 3))), 9)
    with pytest.raises(ValueError, match=r"^spread must have shape \(1,\)"):
        collect_moment_rows(MomentEvidence(ids, one, one, jnp.ones(2)), 9)
    with pytest.raises(ValueError, match=r"^mean must be real numbers"):
        collect_moment_rows(MomentEvidence(ids, one, one > 0, one), 9)


@pytest.mark.parametrize("num_rollouts", [0, 4])
def test_no_rows_and_no_rollouts(num_rollouts):
    none, some = np.zeros((0, num_rollouts)), np.zeros((2, 0))
    assert evidence_from_scores([], none).successes.shape == (0,)
    assert level_evidence_from_rewards([], none, LEVELS).counts.shape == (0, 3)
    moments = moment_evidence_from_rewards([], none, low=0, high=1)
    assert collect_moment_rows(moments, 3).task_ids.shape == (0,)
    assert evidence_from_scores([0, 1], some).failures.tolist() == [0, 0]
    assert level_evidence_from_rewards([0, 1], some, LEVELS).counts.sum() == 0
    padding = moment_evidence_from_rewards([0, 1], some, low=0, high=1)
    assert int(collect_moment_rows(padding, 3).num_masked) == 2


def test_x64_changes_no_dtype():
    rewards = np.array([[0.25, 4.0, 4.0]])
    with jax.enable_x64(True):
        made = [
            evidence_from_scores([0], rewards, high=5.0),
            collect_level_rows(level_evidence_from_rewards([0], rewards, LEVELS), 3),
            collect_moment_rows(
                moment_evidence_from_rewards([0], rewards, low=0, high=5), 3
            ),
            as_moments(bots_jax.evidence_from_counts([0], [1.0], 2)),
            as_levels(bots_jax.evidence_from_counts([0], [1.0], 2), 3),
        ]
    allowed = {"float32", "int32", "bool"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(made)} <= allowed
