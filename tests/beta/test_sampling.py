"""A draw depends on key, task and shapes alone; no shape makes the sampler hang."""

import functools
import inspect
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from bots_jax.beta import sample_beta, sampling
from tests.nights import nightly_but
from tests.statistical import SMALLEST_NORMAL

KEY = jax.random.key(11)
sampler = jax.jit(sample_beta, static_argnames="shapes_above_one")


def shapes(n: int, low: float = 0.3) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(n)
    alpha, beta = low + rng.gamma(1.0, 5.0, (2, n))
    return jnp.float32(alpha), jnp.float32(beta)


@pytest.mark.parametrize("above_one", [False, True])
@pytest.mark.parametrize("n", nightly_but([1, 33, 992], 33))
def test_draws_do_not_depend_on_chunks(n, above_one):
    alpha, beta = shapes(1000, low=1.0 if above_one else 0.3)
    ids = jnp.arange(1000)
    whole = sampler(KEY, alpha, beta, shapes_above_one=above_one)
    for start in (0, (1000 - n) // 2, 1000 - n):
        part = slice(start, start + n)
        got = sampler(
            KEY, alpha[part], beta[part], ids[part], shapes_above_one=above_one
        )
        np.testing.assert_array_equal(got, whole[part])


@pytest.mark.parametrize("above_one", nightly_but([False, True], True))
def test_draws_do_not_depend_on_the_number_of_tasks(above_one):
    """Odd lengths, half-filled words and groups: heads and tails of 100,003 tasks."""
    total = 100_003
    alpha, beta = shapes(total, low=1.0 if above_one else 0.3)
    ids = jnp.arange(total)
    whole = np.asarray(sampler(KEY, alpha, beta, shapes_above_one=above_one))
    for n in (1, 2, 63, 127, 4099, 65_536):
        for part in (slice(0, n), slice(total - n, total)):
            got = sampler(
                KEY, alpha[part], beta[part], ids[part], shapes_above_one=above_one
            )
            np.testing.assert_array_equal(got, whole[part])


def test_draws_do_not_depend_on_the_order_of_the_tasks():
    alpha, beta = shapes(1000)
    order = np.random.default_rng(0).permutation(1000)
    shuffled = sampler(KEY, alpha[order], beta[order], jnp.asarray(order))
    np.testing.assert_array_equal(shuffled, sampler(KEY, alpha, beta)[order])


def test_draws_do_not_depend_on_the_neighbours_shapes():
    alpha, beta = shapes(1000)
    even = jnp.arange(1000) % 2 == 0
    other = sampler(KEY, jnp.where(even, alpha, 0.01), jnp.where(even, beta, jnp.nan))
    whole = sampler(KEY, alpha, beta)
    np.testing.assert_array_equal(other[even], whole[even])


def test_layout_check_catches_planted_bug():
    """Drawing a part without its ids gives other numbers."""
    alpha, beta = shapes(1000)
    part = sampler(KEY, alpha[500:], beta[500:])
    assert (part != sampler(KEY, alpha, beta)[500:]).mean() > 0.9


def test_equal_keys_give_equal_draws_and_others_do_not():
    alpha, beta = shapes(1000)
    first = sampler(KEY, alpha, beta)
    np.testing.assert_array_equal(first, sampler(jax.random.key(11), alpha, beta))
    assert (first != sampler(jax.random.key(12), alpha, beta)).mean() > 0.9


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_of_every_implementation(impl):
    alpha, beta = shapes(100)
    draws = sampler(jax.random.key(0, impl=impl), alpha, beta)
    assert bool(((draws > 0) & (draws < 1)).all())


def test_no_tasks():
    assert sampler(KEY, *shapes(0)).shape == (0,)


def test_vmap_over_keys_equals_a_loop():
    alpha, beta = shapes(100)
    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(sample_beta, (0, None, None)))(keys, alpha, beta)
    for key, row in zip(keys, together, strict=True):
        np.testing.assert_allclose(row, sampler(key, alpha, beta), rtol=1e-6)


HARD = [1e-45, 1e-38, 1e-37, 1e-30, 1e-10, 1e-3, 1.0, 1e5, 1e7, 1e9, 1e12, 1e14, 1e30]
HARD += [3.4e38]
BAD = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, -1e-30]
SCRIPT = """
import json, sys
import jax, jax.numpy as jnp
from bots_jax import sample_beta
shapes = json.loads(sys.argv[1])
alpha, beta = (jnp.repeat(jnp.float32(column), 64) for column in zip(*shapes))
draws = jax.jit(sample_beta)(jax.random.key(0), alpha, beta)
print(json.dumps([float(x) for x in draws]))
"""


def test_no_shape_makes_the_sampler_hang():
    """In a process of its own, which can be stopped."""
    pairs = [(a, b) for a in HARD + BAD for b in HARD + BAD]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(pairs)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    draws = np.array(json.loads(done.stdout)).reshape(len(pairs), 64)
    for (alpha, beta), row in zip(pairs, draws, strict=True):
        if any(0 < shape < SMALLEST_NORMAL for shape in (alpha, beta)):
            continue  # float32 may or may not flush it to 0: it ended, and that is all
        if all(0 < shape < np.inf for shape in (alpha, beta)):
            assert ((row >= 0) & (row <= 1)).all(), (alpha, beta)
        else:
            assert np.isnan(row).all(), (alpha, beta)


@pytest.mark.parametrize("bad", BAD)
def test_bad_shape_gives_nan_for_its_own_task(bad):
    alpha, beta = shapes(40)
    for pair in ((alpha.at[7].set(bad), beta), (alpha, beta.at[7].set(bad))):
        draws = sampler(KEY, *pair)
        assert np.isnan(np.asarray(draws)).nonzero()[0].tolist() == [7]


def test_unit_circle_is_accurate_to_an_ulp():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    bits[:16] = np.arange(16)
    bits[16:32] = np.uint32(2**32 - 1) - np.arange(16, dtype=np.uint32)
    got = [np.asarray(x, np.float64) for x in jax.jit(sampling._unit_circle)(bits)]
    angle = ((bits >> 12) + 0.5) * 2.0**-20 * np.pi / 4
    sine, cosine = np.sin(angle), np.cos(angle)
    swap = bits & 1 == 1
    signs = [1 - 2.0 * ((bits >> place) & 1) for place in (1, 2)]
    wants = np.where(swap, sine, cosine), np.where(swap, cosine, sine)
    for value, want, sign in zip(got, wants, signs, strict=True):
        np.testing.assert_allclose(value, sign * want, rtol=3e-7, atol=1e-9)
    np.testing.assert_allclose(got[0] ** 2 + got[1] ** 2, 1, atol=3e-7)
    octants = {tuple(row) for row in np.stack([swap, *signs], 1)}
    assert len(octants) == 8


def test_unit_circle_leaves_the_coarse_bits_of_the_uniform_alone():
    bits = np.random.default_rng(0).integers(0, 2**32, 1000, dtype=np.uint32)
    circle = jax.jit(sampling._unit_circle)
    coarse = np.uint32((2**sampling._COARSE_BITS - 1) << 3)
    np.testing.assert_array_equal(circle(bits), circle(bits ^ coarse))
    for place in set(range(32)) - set(range(3, 3 + sampling._COARSE_BITS)):
        moved = np.asarray(circle(bits)) != np.asarray(circle(bits ^ (1 << place)))
        assert moved.any(0).mean() > 0.9, place


def proposals(num_shapes: int = 60) -> sampling._Gamma:
    """Shapes from 1 to 1e5, each with normals from -6 to 6."""
    shape = np.geomspace(1, 1e5, num_shapes)[:, None]
    normal = np.linspace(-6, 6, 2001)[None, :]
    shape, normal = (jnp.float32(x) for x in np.broadcast_arrays(shape, normal))
    return jax.jit(sampling._gamma_proposal)(shape, normal)


def log_chance(proposal: sampling._Gamma) -> np.ndarray:
    """Marsaglia and Tsang's 0.5 normal**2 + d (1 - v + log v), in long double."""
    d, normal = (np.asarray(x, np.longdouble) for x in (proposal.d, proposal.normal))
    v = (1 + normal / np.sqrt(9 * d)) ** 3
    with np.errstate(invalid="ignore", divide="ignore"):
        return 0.5 * normal**2 + d * (1 - v + np.log(v))


def test_chance_to_keep_a_proposal_is_that_of_the_source():
    got = np.asarray(jax.jit(sampling._log_acceptance)(proposals()), np.float64)
    want = log_chance(proposals())
    never = ~(np.asarray(proposals().z) > -1)
    assert (np.isnan(got) | np.isneginf(got))[never].all()
    np.testing.assert_allclose(np.exp(got)[~never], np.exp(want)[~never], atol=3e-4)
    assert (want[~never] <= 1e-12).all()  # a chance


def squeeze_exceeds_chance(squeeze) -> np.ndarray:
    """Where the squeeze keeps more than it may; a rounding is let pass."""
    got = proposals()
    sure = 1 - np.asarray(jax.jit(squeeze)(got), np.float64)
    used = np.asarray(got.z) > sampling._LOWEST_SQUEEZED
    return used & (sure > np.exp(log_chance(got)) + 1e-7)


def test_squeeze_never_keeps_what_the_exact_test_rejects():
    assert not squeeze_exceeds_chance(sampling._squeeze).any()


def test_squeeze_check_catches_planted_bug():
    """A squeeze that is one part in fifty too generous."""
    assert squeeze_exceeds_chance(lambda p: 0.98 * sampling._squeeze(p)).mean() > 1e-3


def moved_by_squeeze(monkeypatch, squeeze) -> float:
    """The share of 5,000 tasks that another squeeze gives another draw."""
    honest = sampler(KEY, *shapes(5000))
    monkeypatch.setattr(sampling, "_squeeze", squeeze)
    traced_anew = functools.partial(inspect.unwrap(sample_beta))
    other = jax.jit(traced_anew)(KEY, *shapes(5000))
    return float(np.mean(~np.isclose(other, honest, rtol=1e-6, atol=0)))


def test_draws_do_not_depend_on_the_squeeze(monkeypatch):
    """The exact test settles all tasks, in 32 and more rounds, as the squeeze does."""
    useless = lambda p: jnp.full_like(p.z, jnp.inf)  # noqa: E731
    assert moved_by_squeeze(monkeypatch, useless) == 0


def test_squeeze_comparison_catches_planted_bug(monkeypatch):
    """A squeeze that keeps everything moves the draws."""
    assert moved_by_squeeze(monkeypatch, lambda p: jnp.zeros_like(p.z)) > 0.01


def test_shapes_of_the_wrong_dtype_are_refused_by_the_type_checker():
    """The annotations are enforced in tests; see `addopts` in pyproject.toml."""
    with pytest.raises(TypeCheckError):
        sample_beta(KEY, jnp.ones(3, jnp.int32), jnp.ones(3, jnp.int32))
    with pytest.raises(TypeCheckError):
        sample_beta(KEY, jnp.ones(3), jnp.ones(4))
