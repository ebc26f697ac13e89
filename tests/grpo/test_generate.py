"""Sampling: its law, its end, and what it does not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bots_jax.grpo.config import ModelConfig
from bots_jax.grpo.generate import _sample, generate
from bots_jax.grpo.model import make_model
from tests.statistical import CAUGHT, HONEST, chi_square_pvalue

VOCAB, PAD, EOS = 8, 0, 1
CONFIG = ModelConfig(num_layers=1, width=8, num_heads=2, num_kv_heads=1, mlp_width=8)
LOGITS = np.array([0, 1, -1, 2, 0.5, -3, 1.5, 0.2], np.float32)


def make(loud: float = 20.0) -> tuple[nnx.GraphDef, nnx.State]:
    model, params = make_model(CONFIG, VOCAB, seed=0)
    return model, jax.tree.map(lambda x: loud * x, params)


def sample(batch: int, num_tokens: int, seed: int = 0, **settings) -> list[np.ndarray]:
    model, params = make(settings.pop("loud", 20.0))
    prompts = jnp.tile(jnp.int32([[PAD, 3, 4]]), (batch, 1))
    key = jax.random.key(seed)
    out = generate(
        model,
        params,
        prompts,
        key,
        num_tokens=num_tokens,
        pad_id=PAD,
        eos_id=EOS,
        **settings,
    )
    return [np.asarray(leaf) for leaf in out]


def test_nothing_follows_the_end_token():
    ids, mask, logprobs = sample(batch=400, num_tokens=6, loud=1.0)
    ends = ids == EOS
    assert ends.any(axis=1).mean() > 0.3 and not ends.any(axis=1).all()
    for row in range(len(ids)):
        length = int(np.argmax(ends[row])) + 1 if ends[row].any() else 6
        # The end itself is learnt from; what follows is padding, and is not.
        assert mask[row].tolist() == [True] * length + [False] * (6 - length)
        assert (ids[row, length:] == PAD).all()
        assert (logprobs[row, :length] < 0).all() and (
            logprobs[row, length:] == 0
        ).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_in_proportion_to_their_chances(temperature):
    """Chi-square of 20,000 draws; the chances at another temperature must fail."""
    logits = jnp.tile(jnp.asarray(LOGITS)[None], (20_000, 1))
    tokens, logprobs = _sample(jax.random.key(11), logits, temperature)
    counts = np.bincount(tokens, minlength=VOCAB)
    chances = softmax(LOGITS / temperature)
    assert chi_square_pvalue(counts, chances) > HONEST
    assert chi_square_pvalue(counts, softmax(LOGITS / (1.3 * temperature))) < CAUGHT
    expected = np.log(chances)[np.asarray(tokens)]
    np.testing.assert_allclose(logprobs, expected, atol=1e-5)


def softmax(logits: np.ndarray) -> np.ndarray:
    chances = np.exp(logits.astype(np.float64) - logits.max())
    return chances / chances.sum()


def test_the_first_token_follows_the_model():
    """End to end: the law of `generate` is the model's own, not only `_sample`'s."""
    model, params = make(loud=3.0)
    ids, _, _ = sample(batch=8_000, num_tokens=1, loud=3.0, temperature=0.6)
    row, positions = jnp.int32([[3, 4]]), jnp.int32([[0, 1]])
    logits, _ = nnx.merge(model, params)(
        row, positions, jnp.tril(jnp.ones((1, 2, 2), bool))
    )
    logits = np.asarray(logits)[0, -1]
    counts = np.bincount(ids[:, 0], minlength=VOCAB)
    assert chi_square_pvalue(counts, softmax(logits / 0.6)) > HONEST
    assert chi_square_pvalue(counts, softmax(logits)) < CAUGHT


def test_rows_and_steps_are_independent():
    """A key used twice would repeat rows, or a row's first token for ever."""
    ids, _, _ = sample(batch=200, num_tokens=4, loud=0.0)  # uniform over 8 tokens
    assert len({tuple(row) for row in ids.tolist()}) > 100
    alive = (ids[:, 0] != EOS) & (ids[:, 1] != EOS)
    same = (ids[alive, 0] == ids[alive, 1]).mean()
    assert same < 0.25  # 1 / 7 if independent, 1 if a key were used twice


def test_temperature_zero_takes_the_likeliest_whatever_the_key():
    tokens, _ = _sample(jax.random.key(0), jnp.asarray(LOGITS)[None], 0.0)
    assert tokens.tolist() == [3]
    first, other = (sample(4, 5, seed=seed, temperature=0.0)[0] for seed in (0, 1))
    np.testing.assert_array_equal(first, other)
    assert (first == first[0]).all()


def test_the_key_alone_decides_the_tokens():
    first, again, other = (sample(16, 4, seed=seed, loud=1.0)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_row_does_not_depend_on_the_size_of_the_batch():
    small, large = (sample(size, 4, loud=1.0)[0] for size in (8, 24))
    np.testing.assert_array_equal(small, large[:8])
