"""Scores against float64 references written from the formulas, lopsided and large."""

import functools
import itertools
import math
import pickle
from decimal import Decimal

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from bots_jax.beta.predictive import information
from bots_jax.selection import values
from bots_jax.types import ScoreFn

SHAPES = (0.01, 0.05, 0.3, 0.7, 1.0, 1.9, 3.99, 4.0, 17.0, 250.0, 5e3, 1e5)
GRID = np.array(list(itertools.product(SHAPES, SHAPES)), np.float32)
HALF = np.float32(0.5)


def floats(values) -> np.ndarray:
    return np.array(values, np.float32)


def score(function, pairs=GRID, target=HALF) -> np.ndarray:
    """Scores as float64, from a compiled call in float32."""
    alpha, beta = jnp.asarray(pairs[:, 0]), jnp.asarray(pairs[:, 1])
    got = jax.jit(function)(alpha, beta, jnp.asarray(target))
    assert got.dtype == jnp.float32 and got.shape == alpha.shape
    return np.asarray(got, np.float64)


def wide(pairs=GRID) -> tuple[np.ndarray, np.ndarray]:
    return tuple(pairs.astype(np.float64).T)  # type: ignore[return-value]


def worst(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.max(np.abs(got / want - 1)))


def same_chance(a, b, group_size):
    """Log of the chance that G rollouts are all successes, term by term."""
    i = np.arange(group_size)[:, None]
    return np.sum(np.log1p(-b / (a + b + i)), axis=0)


def mixed_reference(a, b, group_size):
    return -np.expm1(same_chance(a, b, group_size)) - np.exp(
        same_chance(b, a, group_size)
    )


# B_2k / (2k (2k - 1)) of log Gamma's series; times 2k - 1 that of digamma
BERNOULLI = [(1, 12), (-1, 360), (1, 1260), (-1, 1680), (1, 1188), (-691, 360360)]


@functools.cache
def log_gamma_and_digamma(z: Decimal) -> tuple[Decimal, Decimal]:
    """To 20 digits and more: at these shapes the entropies cancel beyond float64."""
    product, inverses = Decimal(1), Decimal(0)
    while z < 60:
        product, inverses, z = product * z, inverses + 1 / z, z + 1
    log = z.ln()
    gamma = (z - Decimal("0.5")) * log - z + TWO_PI.ln() / 2 - product.ln()
    digamma = log - 1 / (2 * z) - inverses
    for k, (above, below) in enumerate(BERNOULLI, 1):
        term = Decimal(above) / below / z ** (2 * k - 1)
        gamma, digamma = gamma + term, digamma - (2 * k - 1) * term / z
    return gamma, digamma


TWO_PI = Decimal("6.283185307179586476925286766559005768394")


def entropy_and_log_beta(a: Decimal, b: Decimal) -> tuple[Decimal, Decimal]:
    (ga, da), (gb, db) = log_gamma_and_digamma(a), log_gamma_and_digamma(b)
    gn, dn = log_gamma_and_digamma(a + b)
    log_beta = ga + gb - gn
    return log_beta - (a - 1) * da - (b - 1) * db + (a + b - 2) * dn, log_beta


def information_reference(pairs: np.ndarray, group_size: int) -> np.ndarray:
    """The paper's definition: prior entropy minus expected posterior entropy."""
    gains = []
    for pair in pairs:
        a, b = (Decimal(float(z)) for z in pair)
        gain, before = entropy_and_log_beta(a, b)
        for s in range(group_size + 1):
            entropy, after = entropy_and_log_beta(a + s, b + group_size - s)
            gain -= math.comb(group_size, s) * (after - before).exp() * entropy
        gains.append(float(gain))
    return np.array(gains)


def test_expected_variance():
    a, b = wide()
    assert worst(score(values.expected_variance), a * b / (a + b) / (a + b + 1)) < 1e-6


def root_error(function) -> float:
    a, b = wide()
    half = special.poch(a, 0.5) * special.poch(b, 0.5) / (a + b)
    return worst(score(function), half)


def test_expected_abs_advantage():
    assert root_error(values.expected_abs_advantage) < 2e-6
    assert root_error(lambda a, b, t: values.expected_abs_advantage(a, b + 1, t)) > 1e-3


def test_expected_abs_advantage_by_integration():
    for a, b in ((0.7, 3.0), (20.0, 2.5)):
        want, _ = integrate.quad(
            lambda p, a=a, b=b: np.sqrt(p * (1 - p)) * stats.beta.pdf(p, a, b), 0, 1
        )
        got = score(values.expected_abs_advantage, floats([[a, b]]))[0]
        assert got == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("group_size", [2, 3, 8, 16, 17, 64, 4096])
def test_mixed_group_prob(group_size):
    a, b = wide()
    want = mixed_reference(a, b, group_size)
    got = score(values.mixed_group_prob(group_size))
    assert worst(got, want) < 5e-6
    assert (got <= 1).all() and got.min() < 3e-7 * group_size  # some are tiny


def test_mixed_group_prob_catches_planted_bugs():
    a, b = wide()
    want = mixed_reference(a, b, 8)
    assert worst(score(values.mixed_group_prob(7)), want) > 1e-2

    def textbook(alpha, beta, target):
        i = jnp.arange(8, dtype=jnp.float32)[:, None]
        n = (alpha + beta)[None]
        right = jnp.prod((alpha[None] + i) / (n + i), axis=0)
        return 1 - right - jnp.prod((beta[None] + i) / (n + i), axis=0)

    assert worst(score(textbook), want) > 1e-2  # cancels


def test_mixed_group_prob_of_simulated_groups():
    rng = np.random.default_rng(0)
    pair = floats([[0.6, 2.3]])
    wins = rng.binomial(8, rng.beta(0.6, 2.3, 200_000))
    share = np.mean((wins > 0) & (wins < 8))
    chance = score(values.mixed_group_prob(8), pair)[0]
    assert abs(share - chance) < 4 * np.sqrt(0.25 / 200_000)
    swapped = np.mean(wins < 8)  # counts groups that are all wrong as mixed
    assert abs(swapped - chance) > 0.1


def test_log_of():
    log_mixed = values.log_of(values.mixed_group_prob(4))
    plain = score(values.mixed_group_prob(4))
    np.testing.assert_allclose(score(log_mixed), np.log(plain), rtol=1e-6, atol=1e-6)
    nothing = values.log_of(lambda alpha, beta, target: 0 * alpha)
    assert score(nothing) == pytest.approx(np.log(np.finfo(np.float32).tiny))
    broken = values.log_of(lambda alpha, beta, target: alpha * np.float32(np.nan))
    assert np.isnan(score(broken)).all()


SOME = GRID[(GRID[:, 0] >= GRID[:, 1]) & ~np.isin(GRID, (0.05, 0.7, 3.99, 5e3)).any(1)]


def information_error(function, group_size: int, pairs=SOME) -> float:
    """The largest error relative to the truth, with the shapes in both orders."""
    want = information_reference(pairs, group_size)
    rule = lambda a, b, t: function(a, b, group_size)  # noqa: E731
    return max(worst(score(rule, p), want) for p in (pairs, pairs[:, ::-1]))


@pytest.mark.parametrize("group_size, allowed", [(1, 1e-5), (2, 1e-5), (16, 1e-5)])
def test_information(group_size, allowed):
    assert information_error(information, group_size) < allowed


@pytest.mark.parametrize("group_size, allowed", [(64, 2e-5), (1024, 1e-4)])
def test_information_of_many_rollouts(group_size, allowed):
    pairs = floats([[0.01, 0.01], [1, 0.3], [1e5, 0.01], [300, 40], [1e5, 1e5]])
    assert information_error(information, group_size, pairs) < allowed


def test_information_catches_planted_bugs():
    assert information_error(lambda a, b, g: information(a, b, g + 1), 4) > 1e-2
    leading_order = lambda a, b, g: jnp.log1p(g / (a + b)) / 2  # noqa: E731
    assert information_error(leading_order, 4) > 1e-2


def test_information_equals_a_reference_by_integration():
    """Mutual information as the mean of log-likelihood ratios, all by quadrature."""
    a, b, group_size = 1.7, 0.6, 5
    s = np.arange(group_size + 1)
    predictive = stats.betabinom.pmf(s, group_size, a, b)

    def gain(p):
        given = stats.binom.pmf(s, group_size, p)
        ratio = np.where(given > 0, given / predictive, 1)
        return stats.beta.pdf(p, a, b) * np.sum(given * np.log(ratio))

    want, _ = integrate.quad(gain, 0, 1, limit=200)
    got = information(jnp.float32([a]), jnp.float32([b]), group_size)[0]
    assert float(got) == pytest.approx(want, rel=1e-5)


@jax.jit
def gain_scores(pairs, center, sharpness):
    rule = values.information_gain(4, center, sharpness)
    return rule(pairs[:, 0], pairs[:, 1], jnp.float32(0.5))


def test_information_gain_is_weighted():
    a, b = wide(SOME)
    mean, gain = a / (a + b), information_reference(SOME, 4)
    for center, sharpness in ((0.3, 1.0), (0.6, 25.0)):
        weight = mean * b / (a + b) * np.exp(-sharpness * (mean - center) ** 2)
        want = weight * gain
        given = tuple(map(np.float32, (center, sharpness)))
        assert worst(gain_scores(SOME, *given), want) < 3e-5
        other = gain_scores(SOME, np.float32(0.5), given[1])
        assert worst(other, want) > 1e-2
    given = score(values.information_gain(4, 0.6, 25.0), SOME)
    np.testing.assert_allclose(given, want, rtol=3e-5)


def test_variance_drop_equals_the_expected_drop():
    a, b = wide(GRID[(GRID.sum(axis=1) < 600) & (GRID.min(axis=1) >= 0.3)])
    group_size = 6
    s = np.arange(group_size + 1)[:, None]
    chance = stats.betabinom.pmf(s, group_size, a, b)
    after = np.sum(chance * stats.beta.var(a + s, b + group_size - s), axis=0)
    got = score(values.variance_drop(group_size), np.stack([a, b], 1).astype("f4"))
    np.testing.assert_allclose(got, stats.beta.var(a, b) - after, rtol=1e-5)
    a, b = wide()
    want = stats.beta.var(a, b) * 6 / (a + b + 6)
    assert worst(score(values.variance_drop(6)), want) < 1e-6


@pytest.mark.parametrize("deviations", [0.0, 0.5, 2.0, 1e3])
def test_optimistic_variance_equals_a_search(deviations):
    a, b = wide()
    mean, spread = a / (a + b), stats.beta.std(a, b)
    got = score(values.optimistic_variance(deviations))
    if deviations:
        low = np.clip(mean - deviations * spread, 0, 1)
        high = np.clip(mean + deviations * spread, 0, 1)
        p = np.linspace(low, high, 4001)
        want = np.max(p * (1 - p), axis=0)
        np.testing.assert_allclose(got, want, rtol=1e-3)
    else:
        np.testing.assert_allclose(got, mean * (b / (a + b)), rtol=1e-6)
    if deviations == 1e3:
        assert (got[stats.beta.std(a, b) > 1e-3] == 0.25).all()


@jax.jit
def interval_scores(pairs, target, half_width):
    rule = values.target_interval_log_prob(half_width)
    return rule(pairs[:, 0], pairs[:, 1], target)


def interval_reference(a, b, low, high):
    """Log of the interval's chance by the tail that does not cancel, in float64."""
    low, high = np.maximum(low, 0), np.minimum(high, 1)
    left = special.betainc(a, b, high) - special.betainc(a, b, low)
    right = special.betaincc(a, b, low) - special.betaincc(a, b, high)
    with np.errstate(divide="ignore"):
        return np.log(np.where(a / (a + b) > (low + high) / 2, left, right))


@pytest.mark.parametrize("half_width", [1e-3, 0.02, 0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("target", [0.0, 0.1, 0.5, 0.97])
def test_target_interval_log_prob(half_width, target):
    a, b = wide()
    centre, width = np.float32(target), np.float32(half_width)
    got = np.asarray(interval_scores(GRID, centre, width), np.float64)
    low, high = centre - width, centre + width
    want = interval_reference(a, b, np.float64(low), np.float64(high))
    assert np.isfinite(got).all() and (got <= 0).all()
    seen = want > -200  # float64 itself runs out of numbers at -708
    assert seen.sum() > 30
    got, want = got[seen], want[seen]
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=5e-4)
    if half_width < 0.5:  # a planted shift is seen
        moved = np.asarray(interval_scores(GRID, centre + np.float32(0.02), width))
        assert np.max(np.abs(moved[seen] - want)) > 0.05


def test_target_interval_log_prob_ranks_far_tails():
    """Beyond float32, where log(F - F) would be -inf, nearer means still score more."""
    alpha = np.linspace(100, 45_000, 50)
    pairs = np.stack([alpha, 1e5 - alpha], 1).astype(np.float32)
    assert np.isfinite(interval_scores(GRID, HALF, np.float32(0.01))).all()
    got = score(values.target_interval_log_prob(0.01), pairs)
    assert (np.diff(got) > 0).all() and got[0] < -10_000
    end = np.float32(0.49)
    tail = stats.beta.logpdf(end, *pairs[0].astype(np.float64))
    assert got[0] == pytest.approx(tail, rel=1e-3)


@pytest.mark.parametrize("k", [1, 2, 3, 8, 64])
def test_pass_at_k_target_is_the_maximiser(k):
    found = optimize.minimize_scalar(
        lambda p: -k * (1 - p) ** (k - 1) * np.sqrt(p * (1 - p)),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert values.pass_at_k_target(k) == pytest.approx(found.x, abs=1e-5)


MADE = {
    "mixed_group_prob": lambda: values.mixed_group_prob(8),
    "log_of": lambda: values.log_of(values.mixed_group_prob(8)),
    "information_gain": lambda: values.information_gain(8, 0.3),
    "variance_drop": lambda: values.variance_drop(8),
    "optimistic_variance": lambda: values.optimistic_variance(1.5),
    "target_interval_log_prob": lambda: values.target_interval_log_prob(0.1),
}


def test_functions_of_equal_settings_are_equal():
    made = [make() for make in MADE.values()]
    assert len(set(made)) == len(made)
    for function, make in zip(made, MADE.values(), strict=True):
        assert function == make() and hash(function) == hash(make())
        assert isinstance(function, ScoreFn)
        assert pickle.loads(pickle.dumps(function)) == function
    assert values.variance_drop(8) != values.variance_drop(9)
    assert values.variance_drop(8) != values.mixed_group_prob(8)
    num_traces = 0

    def apply(function, alpha, beta, target):
        nonlocal num_traces
        num_traces += 1
        return function(alpha, beta, target)

    apply = jax.jit(apply, static_argnums=0)
    for _ in range(2):
        apply(values.variance_drop(8), jnp.ones(2), jnp.ones(2), jnp.float32(0.5))
    assert num_traces == 1


@pytest.mark.parametrize("name", [*MADE, "expected_variance", "expected_abs_advantage"])
def test_element_by_element_in_every_transformation(name):
    function = MADE[name]() if name in MADE else getattr(values, name)
    alpha, beta = map(jnp.asarray, GRID[::7].T)
    plain = score(function, GRID[::7])
    targets = jnp.full(alpha.shape, 0.5, jnp.float32)
    alone = jax.jit(jax.vmap(function, in_axes=(0, 0, 0)))(
        alpha[:, None], beta[:, None], targets
    )
    np.testing.assert_allclose(alone[:, 0], plain, rtol=1e-5, atol=1e-6)
    with jax.enable_x64(True):
        assert jax.eval_shape(function, alpha, beta, HALF).dtype == jnp.float32
    broken = GRID[::7].copy()
    broken[3, 0] = np.nan
    got = score(function, broken)
    assert np.isnan(got[3])
    np.testing.assert_array_equal(np.delete(got, 3), np.delete(plain, 3))


def test_a_sweep_over_a_setting_is_a_vmap():
    one, nine = jnp.float32([1]), jnp.float32([9])

    def at(deviations):
        return values.optimistic_variance(deviations)(one, nine, jnp.float32(0.5))

    got = jax.vmap(at)(jnp.float32([0, 1]))
    np.testing.assert_allclose(got[:, 0], [0.09, 0.1542], atol=1e-4)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: values.mixed_group_prob(1), "group_size must be an integer in [2,"),
        (lambda: values.mixed_group_prob(2.0), "got 2.0"),  # pyright: ignore
        (lambda: values.variance_drop(True), "got True"),
        (lambda: values.information_gain(4097), "4096], got 4097"),
        (lambda: values.information_gain(8, 1.5), "center must be in [0, 1], got 1.5"),
        (lambda: values.information_gain(8, sharpness=-1), "sharpness must be in"),
        (lambda: values.optimistic_variance(np.nan), "num_deviations must be in"),
        (lambda: values.target_interval_log_prob(0), "half_width must be in"),
        (lambda: values.pass_at_k_target(0), "k must be an integer in"),
        (lambda: values.log_of("mixed"), "score must be a function"),  # pyright: ignore
    ],
)
def test_bad_settings_are_refused(make, message, monkeypatch):
    """As users see it, who run without the annotations being enforced."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)
