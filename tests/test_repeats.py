"""Repeated rows, found by hashing, against a dictionary."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots_jax.fences import after, computed_apart
from bots_jax.repeats import first_occurrence, has_repeats

find = jax.jit(first_occurrence)


def in_python(ids) -> list[int]:
    seen: dict[int, int] = {}
    return [seen.setdefault(int(task), row) for row, task in enumerate(ids)]


@given(st.lists(st.integers(-3, 12), min_size=9, max_size=9))
def test_first_occurrence(ids):
    assert find(jnp.int32(ids)).tolist() == in_python(ids)


@pytest.mark.parametrize("size", [0, 1, 2, 63, 1024])
def test_first_occurrence_at_every_size_and_share_of_repeats(size):
    rng = np.random.default_rng(size)
    for highest in (1, 3, size + 1, 2**31 - 1):
        ids = rng.integers(-(2**31), 2**31 - 1, size) % highest
        assert find(jnp.int32(ids)).tolist() == in_python(ids)


def test_ids_that_share_their_low_or_high_bits():
    for ids in (np.arange(500) << 20, np.arange(500) * 65536 + 7, -np.arange(500)):
        ids = np.concatenate([ids, ids[::-3]]).astype(np.int32)
        assert find(jnp.asarray(ids)).tolist() == in_python(ids)


def test_has_repeats():
    assert not has_repeats(jnp.arange(50)) and has_repeats(jnp.int32([1, 2, 1]))


def test_fences_change_nothing():
    for x in (jnp.arange(5), jnp.float32([jnp.nan, -jnp.inf]), jnp.uint32([0, 2**31])):
        for wrap in (jax.jit, lambda f: f):
            kept = wrap(lambda x: computed_apart(x, lambda: (x, x[::-1])))(x)
            np.testing.assert_array_equal(kept[0], x)
            np.testing.assert_array_equal(kept[1], x[::-1])
            assert wrap(lambda x: after(jnp.int32(7), x))(x) == 7
