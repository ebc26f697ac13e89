"""A draw depends on key, task and shapes alone; no shape makes the sampler hang."""

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
from tests.statistical import SMALLEST_NORMAL

KEY = jax.random.key(11)
sampler = jax.jit(sample_beta, static_argnames="shapes_above_one")


def shapes(n: int, low: float = 0.3) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(n)
    alpha, beta = low + rng.gamma(1.0, 5.0, (2, n))
    return jnp.float32(alpha), jnp.float32(beta)


@pytest.mark.parametrize("above_one", [False, True])
@pytest.mark.parametrize("n", [1, 33, 992])
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


def test_draws_do_not_depend_on_the_number_of_dense_rounds():
    """Above 2**17 tasks one dense round is made, below two."""
    n = sampling._TWO_DENSE_ROUNDS_BELOW + 5
    alpha, beta = shapes(n)
    whole = np.asarray(sampler(KEY, alpha, beta))
    part = sampler(KEY, alpha[:1000], beta[:1000])
    np.testing.assert_array_equal(part, whole[:1000])


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
    angle = ((bits >> 3).astype(np.float64) * 2.0**-29 + 2.0**-30) * np.pi / 4
    sine, cosine = np.sin(angle), np.cos(angle)
    swap = bits & 1 == 1
    signs = [1 - 2.0 * ((bits >> place) & 1) for place in (1, 2)]
    wants = np.where(swap, sine, cosine), np.where(swap, cosine, sine)
    for value, want, sign in zip(got, wants, signs, strict=True):
        np.testing.assert_allclose(value, sign * want, rtol=3e-7, atol=1e-9)
    np.testing.assert_allclose(got[0] ** 2 + got[1] ** 2, 1, atol=3e-7)
    octants = {tuple(row) for row in np.stack([swap, *signs], 1)}
    assert len(octants) == 8


def test_shapes_of_the_wrong_dtype_are_refused_by_the_type_checker():
    """The annotations are enforced in tests; see `addopts` in pyproject.toml."""
    with pytest.raises(TypeCheckError):
        sample_beta(KEY, jnp.ones(3, jnp.int32), jnp.ones(3, jnp.int32))
    with pytest.raises(TypeCheckError):
        sample_beta(KEY, jnp.ones(3), jnp.ones(4))


@pytest.mark.parametrize("num_draws", [63, 64, 65, 128, 200, 1001])
def test_blocks_do_not_move_draws(num_draws, monkeypatch):
    """Many blocks, the last one overlapping, give the draws of one block."""
    alpha = jnp.linspace(0.3, 9.0, num_draws)
    beta = jnp.linspace(5.0, 0.2, num_draws)
    ids = jnp.arange(num_draws)[::-1]
    whole = sample_beta(jax.random.key(3), alpha, beta, ids)
    monkeypatch.setattr(sampling, "_BLOCK", 64)
    in_blocks = jax.jit(inspect.unwrap(sample_beta))
    np.testing.assert_array_equal(in_blocks(jax.random.key(3), alpha, beta, ids), whole)
    np.testing.assert_array_equal(
        in_blocks(jax.random.key(3), alpha, beta),
        sample_beta(jax.random.key(3), alpha, beta),
    )
