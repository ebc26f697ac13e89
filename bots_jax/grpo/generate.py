"""Jitted sampling with a key/value cache."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Bool, Float32, Int32


class Completions(NamedTuple):
    """Sampled continuations of B prompts.

    Attributes:
      completion_ids: int32 [B, C]; padding after the end token.
      completion_mask: bool [B, C], True up to and with the end token.
      logprobs: float32 [B, C] under the sampling policy; 0 where masked.
    """

    completion_ids: Int32[Array, "batch completion"]
    completion_mask: Bool[Array, "batch completion"]
    logprobs: Float32[Array, "batch completion"]


@functools.partial(
    jax.jit, static_argnames=("model", "num_tokens", "pad_id", "eos_id", "temperature")
)
def generate(
    model: nnx.GraphDef,
    params: nnx.State,
    prompt_ids: Int32[Array, "batch prompt"],
    key: Array,
    *,
    num_tokens: int,
    pad_id: int,
    eos_id: int,
    temperature: float = 1.0,
) -> Completions:
    """Samples a continuation of every prompt.

    A row's tokens depend on the key and on its place in the batch, not on the number
    of devices that the batch is spread over.

    Args:
      model: structure from `make_model`; static.
      params: its parameters.
      prompt_ids: int32 [B, P], padded on the left.
      key: consumed.
      num_tokens: C, at most this many tokens.
      pad_id: id of padding.
      eos_id: id that ends a completion.
      temperature: 0 takes the likeliest token.

    Returns:
      Completions of C tokens.

    Example:
      >>> from bots_jax.grpo.config import ModelConfig
      >>> from bots_jax.grpo.model import make_model
      >>> model, params = make_model(ModelConfig(), vocab_size=40, seed=0)
      >>> prompts = jnp.full((2, 5), 7, jnp.int32)
      >>> out = generate(model, params, prompts, jax.random.key(0), num_tokens=4,
      ...                pad_id=0, eos_id=1)
      >>> out.completion_ids.shape
      (2, 4)
    """
    policy = nnx.merge(model, params)
    batch, prompt_length = prompt_ids.shape
    time = prompt_length + num_tokens
    real = prompt_ids != pad_id
    keys_seen = jnp.concatenate([real, jnp.ones((batch, num_tokens), bool)], axis=1)
    count = jnp.sum(real, axis=1, dtype=jnp.int32)
    positions = jnp.maximum(jnp.cumsum(real, axis=1, dtype=jnp.int32) - 1, 0)
    slots = jnp.arange(time)
    causal = slots[None] <= jnp.arange(prompt_length)[:, None]
    attend = causal[None] & keys_seen[:, None, :]
    logits, cache = policy(
        prompt_ids, positions, attend, policy.empty_cache(batch, time), 0
    )

    def step(carry, inputs):
        logits, cache, done = carry
        index, step_key = inputs
        tokens, logprobs = _sample(step_key, logits, temperature)
        tokens = jnp.where(done, pad_id, tokens)
        attend = (slots <= prompt_length + index)[None, None, :] & keys_seen[:, None, :]
        place = (count + index)[:, None]
        next_logits, cache = policy(
            tokens[:, None], place, attend, cache, prompt_length + index
        )
        out = tokens, ~done, jnp.where(done, 0, logprobs)
        return (next_logits[:, -1], cache, done | (tokens == eos_id)), out

    start = (logits[:, -1], cache, jnp.zeros((batch,), bool))
    steps = (jnp.arange(num_tokens, dtype=jnp.int32), jax.random.split(key, num_tokens))
    _, (tokens, mask, logprobs) = jax.lax.scan(step, start, steps)
    return Completions(tokens.T, mask.T, logprobs.T)


def _sample(key: Array, logits: Array, temperature: float) -> tuple[Array, Array]:
    if temperature == 0:
        tokens = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        logprobs = jax.nn.log_softmax(logits)
    else:
        logprobs = jax.nn.log_softmax(logits / temperature)
        tokens = jax.random.categorical(key, logprobs).astype(jnp.int32)
    return tokens, jnp.take_along_axis(logprobs, tokens[:, None], axis=-1)[:, 0]
