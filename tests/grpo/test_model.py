"""The model against a slow reference, and against itself with a cache and padding."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from bots_jax.grpo.config import ModelConfig
from bots_jax.grpo.generate import generate
from bots_jax.grpo.model import completion_logprobs, make_model, rotate
from tests.grpo.block_reference import logits_of

VOCAB, PAD, EOS = 12, 0, 1
GROUPED = ModelConfig(num_layers=2, width=16, num_heads=4, num_kv_heads=2, mlp_width=24)
UNGROUPED = dataclasses.replace(GROUPED, num_kv_heads=4)


def make(config: ModelConfig, seed: int = 0) -> tuple[nnx.GraphDef, nnx.State]:
    """A model whose norms have scales that are not 1, and which is far from flat."""
    model, params = make_model(config, VOCAB, seed)
    keys = iter(jax.random.split(jax.random.key(seed), 64))
    louder = lambda x: 1.5 * x + 0.3 * jax.random.normal(next(keys), x.shape)  # noqa: E731
    return model, jax.tree.map(louder, params)


def full_logits(
    model: nnx.GraphDef, params: nnx.State, token_ids: np.ndarray
) -> np.ndarray:
    """Logits of rows without padding on the left, all tokens at once."""
    return np.asarray(_full_logits(model, params, token_ids))


@functools.partial(jax.jit, static_argnums=0)
def _full_logits(model: nnx.GraphDef, params: nnx.State, token_ids: Array) -> Array:
    batch, length = token_ids.shape
    positions = jnp.tile(jnp.arange(length, dtype=jnp.int32), (batch, 1))
    attend = jnp.tile(jnp.tril(jnp.ones((length, length), bool)), (batch, 1, 1))
    return nnx.merge(model, params)(token_ids, positions, attend)[0]


@functools.partial(jax.jit, static_argnums=0)
def logprobs_of(
    model: nnx.GraphDef,
    params: nnx.State,
    prompt_ids: Array,
    completion_ids: Array,
    temperature: float = 1.0,
) -> Array:
    return completion_logprobs(
        model, params, prompt_ids, completion_ids, PAD, temperature
    )


def some_tokens(batch: int, length: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(2, VOCAB, (batch, length)).astype(np.int32)


def pad_left(token_ids: np.ndarray, length: int) -> np.ndarray:
    return np.pad(token_ids, ((0, 0), (length, 0)), constant_values=PAD)


@pytest.mark.parametrize("config", [UNGROUPED, GROUPED], ids=["equal", "grouped"])
def test_whole_model_equals_the_float64_reference(config):
    model, params = make(config)
    weights = jax.tree.map(np.float64, nnx.to_pure_dict(params))
    token_ids = some_tokens(2, 7)
    ours = full_logits(model, params, token_ids)
    for row, logits in zip(token_ids, ours, strict=True):
        np.testing.assert_allclose(logits, logits_of(row, weights, config), atol=2e-5)


def test_query_heads_are_grouped_in_order():
    """A reference that hands keys out in turns (0, 1, 0, 1) must not agree."""
    model, params = make(GROUPED)
    weights = jax.tree.map(np.float64, nnx.to_pure_dict(params))
    size = GROUPED.width // GROUPED.num_heads
    swap = np.arange(GROUPED.width).reshape(4, size)[[0, 2, 1, 3]].ravel()
    for index in range(GROUPED.num_layers):
        attention = weights["blocks"][index]["attention"]
        attention["query"]["kernel"] = attention["query"]["kernel"][:, swap]
        attention["out"]["kernel"] = attention["out"]["kernel"][swap]
    token_ids = some_tokens(1, 7)
    wrong = logits_of(token_ids[0], weights, GROUPED)
    assert np.abs(full_logits(model, params, token_ids)[0] - wrong).max() > 1e-2


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_generation_with_a_cache_equals_the_full_forward(temperature):
    """Greedy tokens are the argmax of the full forward; log-probabilities agree."""
    model, params = make(GROUPED)
    prompts = pad_left(some_tokens(6, 5), 2)
    prompts[3:, 2] = PAD  # rows of another length
    out = generate(
        model,
        params,
        jnp.asarray(prompts),
        jax.random.key(3),
        num_tokens=6,
        pad_id=PAD,
        eos_id=EOS,
        temperature=temperature,
    )
    if temperature == 0:
        check_greedy(model, params, prompts, out)
    again = logprobs_of(model, params, prompts, out.completion_ids, temperature or 1.0)
    mask = np.asarray(out.completion_mask)
    np.testing.assert_allclose(
        np.asarray(again)[mask], np.asarray(out.logprobs)[mask], atol=1e-5
    )
    assert (np.asarray(out.logprobs)[~mask] == 0).all()


def check_greedy(model, params, prompts, out):
    ids, mask = map(np.asarray, out[:2])
    lengths = (prompts != PAD).sum(axis=1)
    rows = [
        np.roll(row, -np.argmax(row != PAD))
        for row in np.concatenate([prompts, ids], axis=1)
    ]  # padding moves behind, where causal attention does not see it
    likeliest = full_logits(model, params, np.stack(rows)).argmax(axis=-1)
    for row, length in enumerate(lengths):
        told = likeliest[row, length - 1 : length - 1 + ids.shape[1]]
        np.testing.assert_array_equal(ids[row][mask[row]], told[mask[row]])


def test_left_padding_changes_nothing():
    model, params = make(GROUPED)
    prompts, completions = some_tokens(3, 5), some_tokens(3, 4, seed=1)
    plain = logprobs_of(model, params, prompts, completions)
    padded = logprobs_of(model, params, pad_left(prompts, 3), completions)
    np.testing.assert_allclose(padded, plain, atol=1e-5)


def test_a_sampled_padding_token_is_a_token_like_others():
    """The model may sample id 0 inside a completion: it is seen and has its place."""
    model, params = make(GROUPED)
    prompts = some_tokens(1, 4)
    completions = np.array([[5, PAD, 6, 7]], np.int32)
    ours = logprobs_of(model, params, prompts, completions)
    told = np.concatenate([prompts, completions], axis=1)
    logprobs = np.asarray(jax.nn.log_softmax(full_logits(model, params, told)))
    expected = [logprobs[0, 3 + i, token] for i, token in enumerate(completions[0])]
    np.testing.assert_allclose(ours[0], expected, atol=1e-5)


def test_a_later_token_does_not_change_earlier_logits():
    model, params = make(GROUPED)
    one = some_tokens(1, 8)
    other = one.copy()
    other[0, 5] = 2 if one[0, 5] != 2 else 3
    before, after = (full_logits(model, params, ids)[0] for ids in (one, other))
    np.testing.assert_array_equal(before[:5], after[:5])
    assert np.abs(before[5:] - after[5:]).max(axis=1).min() > 1e-3


def test_rotation_keeps_norms_and_knows_distances_only():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 1, 1, 8)).astype(np.float32)

    def turned(x: np.ndarray, position: int) -> np.ndarray:
        place = jnp.full((1, 1), position, jnp.int32)
        return np.asarray(rotate(jnp.asarray(x), place, 100.0)).ravel()

    for position in (0, 1, 17, 200):
        norm = np.linalg.norm(turned(query, position))
        np.testing.assert_allclose(norm, np.linalg.norm(query), rtol=1e-6)
    products = [turned(query, p + 3) @ turned(key, p) for p in (0, 5, 40)]
    np.testing.assert_allclose(products, products[0], atol=2e-5)
    assert abs(products[0] - turned(query, 4) @ turned(key, 0)) > 1e-2


def test_rotation_by_hand():
    """Size 4, base 100: pair (0, 2) turns by p, pair (1, 3) by p / 100^(1/2) = p / 10.

    At p = 2: (1, 0) -> (cos 2, sin 2), and (0, 1) -> (-sin 0.2, cos 0.2). Neighbours
    paired as (0, 1), the other convention, would give cos 2 and sin 2 side by side.
    """
    x = jnp.float32([1, 0, 0, 1]).reshape(1, 1, 1, 4)
    turned = rotate(x, jnp.full((1, 1), 2, jnp.int32), 100.0)
    expected = [np.cos(2), -np.sin(0.2), np.sin(2), np.cos(0.2)]
    np.testing.assert_allclose(turned.ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "sizes, sentence",
    [
        ({"num_layers": 0}, "model.num_layers must be at least 1, got 0."),
        ({"width": 0}, "model.width must be at least 1, got 0."),
        ({"num_heads": 0}, "model.num_heads must be at least 1, got 0."),
        ({"num_kv_heads": -1}, "model.num_kv_heads must be at least 1, got -1."),
        ({"mlp_width": 0}, "model.mlp_width must be at least 1, got 0."),
        (
            {"width": 12, "num_heads": 4},
            "model.width must be an even multiple of num_heads = 4, got 12.",
        ),
        (
            {"num_heads": 4, "num_kv_heads": 3},
            "model.num_kv_heads must divide num_heads = 4, got 3.",
        ),
    ],
)
def test_sizes_that_do_not_fit(sizes, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make_model(dataclasses.replace(GROUPED, **sizes), VOCAB, seed=0)


def test_the_seed_decides_the_parameters():
    first, again, other = (
        jax.tree.leaves(make_model(GROUPED, VOCAB, seed)[1]) for seed in (0, 0, 1)
    )
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))
