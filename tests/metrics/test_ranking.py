"""AUC and correlations against SciPy and against all pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bots_jax.metrics import auc, pearson, spearman
from bots_jax.metrics.reduce import centred_midranks


def pairs_won(predicted, successes, failures) -> float:
    """The definition: every success against every failure, in float64."""
    predicted, s, f = (
        np.asarray(x, np.float64) for x in (predicted, successes, failures)
    )
    above = (predicted[:, None] > predicted[None]) + 0.5 * (
        predicted[:, None] == predicted[None]
    )
    return float(s @ above @ f / (s.sum() * f.sum()))


def items(seed: int, n: int = 200, levels: int = 17):
    """Predictions with ties, and counts of successes and failures."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.7, 1.3, n)
    trials = rng.integers(0, 9, n)
    wins = rng.binomial(trials, p)
    predicted = np.round((p + rng.normal(0, 0.3, n)) * levels) / levels
    return predicted.astype(np.float32), wins, trials - wins


@pytest.mark.parametrize("seed", range(3))
def test_auc_of_counts_is_that_of_all_pairs(seed):
    predicted, wins, losses = items(seed)
    trials = wins + losses
    rates = (wins / np.maximum(trials, 1)).astype(np.float32)
    got = auc(*map(jnp.asarray, (predicted, rates, trials.astype(np.float32))))
    want = pairs_won(predicted, wins, losses)
    assert float(got) == pytest.approx(want, abs=1e-6)
    assert abs(pairs_won(predicted, losses, wins) - want) > 0.1  # a swap is seen
    unweighted = auc(jnp.asarray(predicted), jnp.asarray(rates))
    assert abs(float(unweighted) - want) > 1e-3
    every = np.repeat(predicted, trials)
    won = np.concatenate([[1] * w + [0] * m for w, m in zip(wins, losses, strict=True)])
    single = auc(jnp.asarray(every), jnp.asarray(won, jnp.float32))
    assert float(single) == pytest.approx(want, abs=1e-6)


def test_auc_by_hand():
    up, solved = jnp.float32([1, 2, 3, 4]), jnp.float32([0, 0, 1, 1])
    assert auc(up, solved) == 1
    assert auc(-up, solved) == 0
    assert auc(jnp.ones(4), solved) == 0.5  # a constant: all pairs tie
    assert auc(jnp.float32([0, -0.0]), jnp.float32([0, 1])) == 0.5
    assert auc(jnp.float32([-np.inf, np.inf]), jnp.float32([0, 1])) == 1
    for outcomes in (jnp.zeros(4), jnp.ones(4)):
        assert np.isnan(auc(up, outcomes))
    assert np.isnan(auc(up.at[0].set(np.nan), solved))


@pytest.mark.nightly
def test_large_inputs_equal_float64():
    """2 million items, half of them tied, by ranks in float64; a tenth for the rest."""
    n = 2_000_000
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=n).astype(np.float32)
    predicted[: n // 2] = np.round(predicted[: n // 2], 1)
    solved = rng.random(n) < 1 / (1 + np.exp(-predicted)) * 0.4
    ranks = stats.rankdata(predicted)
    wins = solved.sum()
    won = ranks[solved].sum() - wins * (wins + 1) / 2
    got = jax.jit(auc)(jnp.asarray(predicted), jnp.asarray(solved, jnp.float32))
    assert float(got) == pytest.approx(won / (wins * (n - wins)), abs=2e-6)
    predicted, ranks = predicted[::10], stats.rankdata(predicted[::10])
    other = (predicted + 3 * rng.normal(size=n // 10)).astype(np.float32)
    want = np.corrcoef(ranks, stats.rankdata(other))[0, 1]
    got = jax.jit(spearman)(jnp.asarray(predicted), jnp.asarray(other))
    assert float(got) == pytest.approx(want, abs=2e-6)
    got = jax.jit(pearson)(jnp.asarray(predicted), jnp.asarray(other))
    want = np.corrcoef(predicted.astype(float), other.astype(float))[0, 1]
    assert float(got) == pytest.approx(want, abs=2e-6)
    # ranks in float32, by the way, would not do
    short = ranks.astype(np.float32).cumsum(dtype=np.float32)[-1]
    assert abs(short / ranks.sum() - 1) > 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_correlations_equal_scipy(seed):
    predicted, wins, _ = items(seed)
    x, y = jnp.asarray(predicted), jnp.asarray(wins, jnp.float32)
    ranks = [stats.rankdata(z) for z in (predicted, wins)]
    assert float(spearman(x, y)) == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(
        stats.spearmanr(predicted, wins)[0]
    )
    want = np.corrcoef(predicted.astype(float), wins)[0, 1]
    assert float(pearson(x, y)) == pytest.approx(want, abs=1e-6)
    assert float(pearson(1e4 + x, y)) == pytest.approx(want, abs=2e-3)
    ordinal = stats.rankdata(predicted, "ordinal"), stats.rankdata(wins, "ordinal")
    assert abs(np.corrcoef(*ordinal)[0, 1] - float(spearman(x, y))) > 1e-4  # no ties


def test_correlations_of_constants_are_nan():
    constant, other = jnp.full(7, 0.1), jnp.arange(7, dtype=jnp.float32)
    for correlation in map(jax.jit, (pearson, spearman)):
        assert np.isnan(correlation(constant, other))
        assert np.isnan(correlation(other, constant))
        assert float(correlation(other, other)) == 1
        assert float(correlation(other, -other)) == -1
        assert np.isnan(correlation(other.at[2].set(np.nan), other))
        assert np.isnan(correlation(other[:0], other[:0]))
        assert np.isnan(correlation(other[:1], other[:1]))


def test_midranks_are_exact():
    values = np.random.default_rng(0).integers(0, 50, 3000).astype(np.float32)
    got = centred_midranks(jnp.asarray(values), jnp.ones(3000, jnp.bool_))
    want = 2 * stats.rankdata(values) - 3001
    np.testing.assert_array_equal(got, want)
    assert got.dtype == jnp.int32 and int(got.sum()) == 0


@pytest.mark.parametrize("metric", [auc, pearson, spearman])
def test_left_out_items_may_hold_anything(metric):
    predicted, wins, losses = items(5)
    rates = (wins / np.maximum(wins + losses, 1)).astype(np.float32)
    where = np.random.default_rng(1).random(predicted.size) < 0.6
    want = metric(jnp.asarray(predicted[where]), jnp.asarray(rates[where]))
    predicted[~where], rates[~where] = np.nan, np.inf
    got = jax.jit(metric)(
        jnp.asarray(predicted), jnp.asarray(rates), where=jnp.asarray(where)
    )
    assert float(got) == pytest.approx(float(want), abs=1e-6)
    none = metric(jnp.ones(3), jnp.ones(3), where=jnp.zeros(3, jnp.bool_))
    assert np.isnan(none)
    with jax.enable_x64(True):
        assert metric(jnp.float32([1, 2]), jnp.float32([0, 1])).dtype == jnp.float32
    batch = jax.vmap(metric)(jnp.float32([[1, 2, 3]] * 2), jnp.float32([[0, 1, 1]] * 2))
    assert batch.shape == (2,)


@pytest.mark.parametrize("metric", [auc, pearson, spearman])
def test_shapes_that_differ_are_refused(metric):
    with pytest.raises(Exception, match="items|shape"):
        metric(jnp.ones(3), jnp.ones(4))
