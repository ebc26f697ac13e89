"""Threefry's known answers, and the uniforms and exponentials made of its words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bots_jax import counter_bits
from tests import reference
from tests.statistical import CAUGHT, HONEST, independence_pvalue, ks_pvalue

# Random123 1.14, tests/kat_vectors: "threefry2x32 20", counter, key, answer
KNOWN_ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]
threefry = jax.jit(counter_bits.threefry2x32)
exponentials = jax.jit(counter_bits.exponentials)
NUM_DRAWS = 200_000
IDS = jnp.arange(NUM_DRAWS, dtype=jnp.uint32)


def encrypt(key, counter) -> tuple[int, int]:
    words = threefry(*(np.uint32(w) for w in (*key, *counter)))
    return int(words[0]), int(words[1])


@pytest.mark.parametrize("counter, key, answer", KNOWN_ANSWERS)
def test_known_answers_of_random123(counter, key, answer):
    assert encrypt(key, counter) == answer
    assert reference.threefry2x32(key, counter) == answer


words = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@given(key=words, counter=words)
def test_words_agree_with_the_oracle(key, counter):
    assert encrypt(key, counter) == reference.threefry2x32(key, counter)


def test_known_answers_catch_planted_bug(monkeypatch):
    swapped = counter_bits._ROTATIONS[::-1]
    monkeypatch.setattr(counter_bits, "_ROTATIONS", swapped)
    zero = jnp.uint32(0)
    word = counter_bits.threefry2x32(zero, zero, zero, zero)[0]
    assert int(word) != KNOWN_ANSWERS[0][2][0]


def test_unit_interval_at_its_ends():
    ends = jnp.uint32([0, 1, 2**31, 2**32 - 1])
    got = np.asarray(counter_bits.unit_interval(ends))
    assert got.tolist() == [0.5 * 2**-32, 1.5 * 2**-32, 0.5, 1.0]


def test_uniforms_are_uniform_and_independent():
    first, second = threefry(np.uint32(3), np.uint32(4), IDS, jnp.zeros_like(IDS))
    uniforms = [np.asarray(counter_bits.unit_interval(w)) for w in (first, second)]
    for sample in uniforms:
        assert ks_pvalue(sample, stats.uniform.cdf) > HONEST
        assert independence_pvalue(sample[1:], sample[:-1]) > HONEST
    assert independence_pvalue(uniforms[0], uniforms[1]) > HONEST


def test_uniforms_catch_planted_bug():
    first, _ = threefry(np.uint32(3), np.uint32(4), IDS, jnp.zeros_like(IDS))
    biased = np.asarray(counter_bits.unit_interval(first)) ** np.float32(1.02)
    assert ks_pvalue(biased, stats.uniform.cdf) < CAUGHT


def test_exponentials_have_their_law():
    draws = np.asarray(exponentials(jax.random.key(0), IDS))
    assert ks_pvalue(draws, stats.expon.cdf) > HONEST
    assert independence_pvalue(draws[1:], draws[:-1]) > HONEST
    other = np.asarray(exponentials(jax.random.key(1), IDS))
    assert independence_pvalue(draws, other) > HONEST


def test_exponentials_catch_planted_bug():
    """-log(1 - v / 1.05) in place of -log(1 - v)."""
    draws = np.asarray(exponentials(jax.random.key(0), IDS), np.float64)
    wrong = -np.log1p(np.expm1(-draws) / 1.02).astype(np.float32)
    assert ks_pvalue(wrong, stats.expon.cdf) < CAUGHT


def test_exponentials_depend_on_key_and_id_alone():
    whole = exponentials(jax.random.key(5), IDS[:1000])
    part = exponentials(jax.random.key(5), IDS[700:733])
    np.testing.assert_array_equal(part, whole[700:733])


def test_exponentials_are_positive_and_bounded(monkeypatch):
    """At every word, the largest and the smallest among them."""
    ends = jnp.uint32([0, 0, 1, 2**24, 2**31, 2**32 - 256, 2**32 - 1, 2**32 - 1])
    lows = jnp.uint32([0, 2**32 - 1, 0, 7, 7, 7, 0, 2**32 - 1])
    monkeypatch.setattr(counter_bits, "threefry2x32", lambda *_: (ends, lows))
    draws = np.asarray(counter_bits.exponentials(jax.random.key(0), ends))
    assert (np.diff(draws) >= 0).all()
    assert draws[0] == np.float32(0.5 * 2.0**-64) and draws[-1] < 16.7
    np.testing.assert_allclose(draws[2], 2.0**-32, rtol=1e-6)


LARGE = 2**25


def test_smallest_of_many_exponentials_are_distinct():
    """A race among 2**25 tasks is decided without ties; 128 MB."""
    make = jax.jit(
        lambda key: counter_bits.exponentials(key, jax.lax.iota(jnp.uint32, LARGE))
    )
    draws = np.asarray(make(jax.random.key(0)))
    smallest = np.partition(draws, 4096)[:4096]
    assert len(np.unique(smallest)) >= 4095
    # the 4096th of 2**25 is near 4096 / 2**25
    assert stats.gamma(4096).cdf(smallest.max() * LARGE) > HONEST
    assert stats.gamma(4096).sf(smallest.max() * LARGE) > HONEST
    # the planted bug, uniforms of 24 bits as jax.random makes them, ties by half
    coarse = np.floor(smallest * 2.0**24)
    assert len(np.unique(coarse)) < 2100
