"""The sharing of rollouts: against every possible sharing, and against SciPy."""

import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy import special, stats

from bots_jax.selection import budget as module
from bots_jax.selection.budget import allocate_rollouts


def floats(values) -> np.ndarray:
    return np.array(values, np.float32)


def mixed(alpha, beta, n):
    """E[1 - p^n - (1 - p)^n] by the beta function, in float64."""
    a, b, n = (np.asarray(x, np.float64) for x in (alpha, beta, n))
    right = np.exp(special.betaln(a + n, b) - special.betaln(a, b))
    return 1 - right - np.exp(special.betaln(a, b + n) - special.betaln(a, b))


def value(alpha, beta, n) -> float:
    return float(np.sum(np.where(n > 0, mixed(alpha, beta, np.maximum(n, 1)), 0)))


def random_shapes(seed: int, num_tasks: int, high: float = 2.5):
    shapes = 10 ** np.random.default_rng(seed).uniform(-2, high, (2, num_tasks))
    return shapes.astype(np.float32)


def share(alpha, beta, budget, **settings) -> np.ndarray:
    got = allocate_rollouts(jnp.asarray(alpha), jnp.asarray(beta), budget, **settings)
    assert got.dtype == jnp.int32
    return np.asarray(got)


def loss(alpha, beta, given, low, high) -> float:
    """How far a sharing is from the best of all that spend as much."""
    choices = itertools.product(range(low, high + 1), repeat=len(alpha))
    every = np.array([c for c in choices if sum(c) == given.sum()])
    worth = np.sum(mixed(alpha[None], beta[None], every), axis=1)
    return float(worth.max() - value(alpha, beta, given))


@pytest.mark.parametrize("seed", range(6))
def test_no_sharing_is_better(seed):
    alpha, beta = random_shapes(seed, 4)
    for low, high, budget in (
        (1, 8, 17),
        (2, 7, 20),
        (2, 7, 8),
        (2, 7, 28),
        (3, 3, 12),
    ):
        given = share(alpha, beta, budget, min_rollouts=low, max_rollouts=high)
        assert given.sum() == budget
        assert given.min() >= low and given.max() <= high
        assert loss(alpha, beta, given, low, high) < 1e-6


def test_a_planted_bug_loses(monkeypatch):
    """Gains read one rollout late, and shapes swapped on one side only."""

    def wrong(alpha, beta, low, high):
        total = alpha + beta
        n = jnp.arange(low, high, dtype=jnp.float32)[None]
        return (alpha / total)[:, None] ** n  # forgets 1 - p, and the other side

    monkeypatch.setattr(module, "_marginal_gains", wrong)
    worst = 0.0
    for seed in range(6):
        alpha, beta = random_shapes(seed, 4)
        given = share(alpha, beta, 20, max_rollouts=7)
        worst = max(worst, loss(alpha, beta, given, 2, 7))
    assert worst > 0.05


def test_gains_equal_scipy_and_fall():
    alpha, beta = random_shapes(0, 300, high=5)
    a, b = alpha[:, None].astype(np.float64), beta[:, None].astype(np.float64)
    n = np.arange(2, 64)[None]
    left = special.betaln(a + n, b + 1) - special.betaln(a, b)
    right = special.betaln(a + 1, b + n) - special.betaln(a, b)
    want = np.exp(left) + np.exp(right)
    got = module._marginal_gains(jnp.asarray(alpha), jnp.asarray(beta), 2, 64)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-37)
    assert (np.diff(got, axis=1) <= 0).all()


def test_gains_are_those_of_simulated_groups():
    p = np.random.default_rng(0).beta(0.4, 1.7, 400_000)
    got = module._marginal_gains(jnp.float32([0.4]), jnp.float32([1.7]), 3, 6)[0]
    for n, gain in zip(range(3, 6), np.asarray(got), strict=True):
        sample = p**n * (1 - p) + (1 - p) ** n * p
        assert abs(sample.mean() - gain) < 5 * sample.std() / np.sqrt(p.size)
        swapped = p**n * p + (1 - p) ** n * (1 - p)
        assert abs(swapped.mean() - gain) > 0.1


def greedy(alpha, beta, budget, low, high) -> np.ndarray:
    """One rollout at a time to the row that gains most, the first of equal ones."""
    given = np.full(len(alpha), low)
    while given.sum() < budget:
        gain = mixed(alpha, beta, given + 1) - mixed(alpha, beta, given)
        given[np.argmax(np.where(given < high, gain, -1))] += 1
    return given


def test_large_batches_equal_the_greedy_rule():
    alpha, beta = random_shapes(3, 256)
    given = share(alpha, beta, 256 * 16)
    want = greedy(alpha, beta, 256 * 16, 2, 64)
    assert given.sum() == want.sum()
    assert value(alpha, beta, given) == pytest.approx(value(alpha, beta, want), 1e-6)
    assert np.mean(given != want) < 0.02  # equal gains but for float32's rounding


def test_equal_tasks_are_served_in_order():
    same = np.ones(5, np.float32)
    assert share(same, same, 5 * 4 + 2).tolist() == [5, 5, 4, 4, 4]
    assert share(same, same, 5 * 4).tolist() == [4] * 5
    # a third rollout gains E[p (1 - p)]: 2 * 2 / (4 * 5) = 0.2, and 9 / 110 = 0.08
    alpha, beta = floats([9, 2, 2]), floats([1, 2, 2])
    assert share(alpha, beta, 7, max_rollouts=3).tolist() == [2, 3, 2]
    assert share(alpha, beta, 8, max_rollouts=3).tolist() == [2, 3, 3]


def test_what_it_gains_over_an_equal_split():
    """A lopsided batch: half easy, some hopeless, some uncertain."""
    alpha = floats([60] * 32 + [1] * 24 + [8] * 8)
    beta = floats([4] * 32 + [60] * 24 + [8] * 8)
    given = share(alpha, beta, 64 * 16)
    equal = value(alpha, beta, np.full(64, 16))
    gained = value(alpha, beta, given) / equal
    assert 1.03 < gained < 1.2  # a few per cent: 1 - p^n - (1 - p)^n is flat
    assert given[-1] < 16 < given[0]  # the sure need few, the nearly solved many


def test_padding_gets_nothing():
    alpha, beta = random_shapes(1, 6)
    mask = np.array([True, False, True, True, False, True])
    given = share(alpha, beta, 40, mask=jnp.asarray(mask))
    assert given[~mask].tolist() == [0, 0]
    assert given[mask].tolist() == share(alpha[mask], beta[mask], 40).tolist()
    alpha[~mask] = np.nan
    again = share(alpha, beta, 40, mask=jnp.asarray(mask))
    assert again.tolist() == given.tolist()


def test_transformations_and_traced_masks():
    alpha, beta = map(jnp.asarray, random_shapes(2, 8))
    plain = share(alpha, beta, 64)
    rule = lambda a, b, m: allocate_rollouts(a, b, 64, mask=m)  # noqa: E731
    mask = jnp.ones(8, jnp.bool_)
    np.testing.assert_array_equal(jax.jit(rule)(alpha, beta, mask), plain)
    pair = jax.vmap(lambda a, b: allocate_rollouts(a, b, 64))
    both = pair(jnp.stack([alpha, beta]), jnp.stack([beta, alpha]))
    np.testing.assert_array_equal(both, np.stack([plain, plain]))
    few = jax.jit(rule)(alpha, beta, mask.at[1:].set(False))
    assert few.tolist() == [64] + [0] * 7  # at most max_rollouts each
    many = jax.jit(lambda a, b, m: allocate_rollouts(a, b, 9, mask=m))
    assert many(alpha, beta, mask).tolist() == [2] * 8  # at least min_rollouts each
    with jax.enable_x64(True):
        assert rule(alpha, beta, mask).dtype == jnp.int32


def test_rows_without_numbers_and_empty_batches():
    alpha = jnp.float32([np.nan, 3, 3])
    given = share(alpha, jnp.float32([1, 3, 3]), 20)
    assert given.tolist() == [2, 9, 9]
    assert share(np.zeros(0, np.float32), np.zeros(0, np.float32), 0).shape == (0,)


@pytest.mark.parametrize(
    "budget, settings, message",
    [
        (
            5,
            {},
            "budget must be in [6, 192], 2 to 64 rollouts for each of 3 tasks, got 5",
        ),
        (193, {}, "got 193, a budget that cannot be met."),
        (7.0, {}, "budget must be an integer in [0, 2147483646], got 7.0."),
        (20, {"min_rollouts": 0}, "min_rollouts must be an integer in [1,"),
        (20, {"min_rollouts": 9, "max_rollouts": 8}, "max_rollouts must be an integer"),
        (65, {"mask": jnp.array([True, False, False])}, "in [2, 64]"),
        (20, {"mask": jnp.array([True, False])}, "mask must have shape (3,), got (2,)"),
    ],
)
def test_bad_budgets_are_refused(budget, settings, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError) as error:
        allocate_rollouts(jnp.ones(3), jnp.ones(3), budget, **settings)
    assert message in str(error.value)


@pytest.mark.parametrize("n", [2, 5, 16])
def test_the_value_itself(n):
    """The oracle's closed form, by quadrature over quantiles."""
    p = stats.beta.ppf((np.arange(200_000) + 0.5) / 200_000, 1.5, 0.8)
    want = np.mean(1 - p**n - (1 - p) ** n)
    assert mixed(1.5, 0.8, n) == pytest.approx(want, abs=1e-5)
