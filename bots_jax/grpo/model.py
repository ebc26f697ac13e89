"""A decoder-only transformer in Flax NNX: the policy that is trained.

RMSNorm before each part, rotary positions, SwiGLU, grouped-query attention, tied
embeddings. Prompts are padded on the left and positions count real tokens only, so
padding does not move them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Bool, Float32, Int32

from bots_jax.grpo.config import ModelConfig

Cache = tuple[tuple[Array, Array], ...]
"""Keys and values of each layer, float32 [B, T, num_kv_heads, head size]."""

_MASKED = np.float32(-1e9)


def check_model_config(config: ModelConfig) -> None:
    """Checks that the sizes fit together.

    Raises:
      ValueError: naming the size that does not fit.

    Example:
      >>> check_model_config(ModelConfig(num_heads=3))
      Traceback (most recent call last):
      ValueError: model.width must be an even multiple of num_heads = 3, got 64.
    """
    for name in ("num_layers", "width", "num_heads", "num_kv_heads", "mlp_width"):
        if getattr(config, name) < 1:
            raise ValueError(
                f"model.{name} must be at least 1, got {getattr(config, name)}."
            )
    if config.width % (2 * config.num_heads):
        raise ValueError(
            f"model.width must be an even multiple of num_heads = {config.num_heads}, "
            f"got {config.width}."
        )
    if config.num_heads % config.num_kv_heads:
        raise ValueError(
            f"model.num_kv_heads must divide num_heads = {config.num_heads}, "
            f"got {config.num_kv_heads}."
        )


def rotate(x: Array, positions: Array, base: float) -> Array:
    """Turns pairs of features by angles that grow with the position.

    Args:
      x: float32 [B, S, heads, size], size even.
      positions: int32 [B, S].
      base: longest wavelength over 2 pi.

    Returns:
      float32, same shape as x.

    Source: Su et al., "RoFormer" (arXiv 2104.09864), equation 34.

    Example:
      >>> rotate(jnp.ones((1, 1, 1, 2)), jnp.zeros((1, 1), int), 100.0).tolist()
      [[[[1.0, 1.0]]]]
    """
    half = x.shape[-1] // 2
    rates = np.float32(base) ** (-np.arange(half, dtype=np.float32) / half)
    angles = positions[:, :, None, None].astype(jnp.float32) * rates[None, None, None]
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    first, second = x[..., :half], x[..., half:]
    turned = (first * cosine - second * sine, first * sine + second * cosine)
    return jnp.concatenate(turned, axis=-1)


class Attention(nnx.Module):
    """Causal attention in which several query heads share a key and value head."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.config = config
        size = config.width // config.num_heads
        linear = _linear(rngs)
        self.query = linear(config.width, config.num_heads * size)
        self.key_value = linear(config.width, 2 * config.num_kv_heads * size)
        self.out = linear(config.num_heads * size, config.width, 2 * config.num_layers)

    def __call__(
        self,
        x: Float32[Array, "batch seq width"],
        positions: Int32[Array, "batch seq"],
        attend: Bool[Array, "batch seq time"],
        cache: tuple[Array, Array] | None,
        start: Array | int,
    ) -> tuple[Array, tuple[Array, Array]]:
        """Returns the output and the keys and values, written into the cache if any."""
        config, (batch, seq, _) = self.config, x.shape
        groups = config.num_heads // config.num_kv_heads
        size = config.width // config.num_heads
        query = self.query(x).reshape(batch, seq, config.num_heads, size)
        pair = self.key_value(x).reshape(batch, seq, 2, config.num_kv_heads, size)
        query = rotate(query, positions, config.rotary_base)
        key, value = rotate(pair[:, :, 0], positions, config.rotary_base), pair[:, :, 1]
        if cache is not None:
            key = jax.lax.dynamic_update_slice(cache[0], key, (0, start, 0, 0))
            value = jax.lax.dynamic_update_slice(cache[1], value, (0, start, 0, 0))
        query = query.reshape(batch, seq, config.num_kv_heads, groups, size)
        logits = jnp.einsum("bskgd,btkd->bkgst", query, key) / np.float32(np.sqrt(size))
        weights = jax.nn.softmax(jnp.where(attend[:, None, None], logits, _MASKED))
        mixed = jnp.einsum("bkgst,btkd->bskgd", weights, value)
        return self.out(mixed.reshape(batch, seq, -1)), (key, value)


class Block(nnx.Module):
    """Attention, then a gated perceptron, each added to the residual stream."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        linear = _linear(rngs)
        self.attention_norm = nnx.RMSNorm(config.width, rngs=rngs)
        self.attention = Attention(config, rngs)
        self.mlp_norm = nnx.RMSNorm(config.width, rngs=rngs)
        self.gate_up = linear(config.width, 2 * config.mlp_width)
        self.down = linear(config.mlp_width, config.width, 2 * config.num_layers)

    def __call__(
        self,
        x: Array,
        positions: Array,
        attend: Array,
        cache: tuple[Array, Array] | None,
        start: Array | int,
    ) -> tuple[Array, tuple[Array, Array]]:
        """Returns the new residual stream and this layer's keys and values."""
        normed = self.attention_norm(x)
        mixed, cache = self.attention(normed, positions, attend, cache, start)
        x = x + mixed
        gate, up = jnp.split(self.gate_up(self.mlp_norm(x)), 2, axis=-1)
        return x + self.down(jax.nn.silu(gate) * up), cache


class Transformer(nnx.Module):
    """Maps token ids to the logits of the next token."""

    def __init__(self, config: ModelConfig, vocab_size: int, rngs: nnx.Rngs):
        check_model_config(config)
        self.config = config
        scaled = nnx.initializers.normal(0.05)
        self.embed = nnx.Embed(
            vocab_size, config.width, embedding_init=scaled, rngs=rngs
        )
        self.blocks = nnx.List([Block(config, rngs) for _ in range(config.num_layers)])
        self.norm = nnx.RMSNorm(config.width, rngs=rngs)

    def __call__(
        self,
        token_ids: Int32[Array, "batch seq"],
        positions: Int32[Array, "batch seq"],
        attend: Bool[Array, "batch seq time"],
        cache: Cache | None = None,
        start: Array | int = 0,
    ) -> tuple[Float32[Array, "batch seq vocab"], Cache]:
        """Returns logits and the keys and values of every layer.

        Args:
          token_ids: int32 [B, S].
          positions: int32 [B, S], counting real tokens from 0.
          attend: bool [B, S, T], True = may look there; T = S without a cache.
          cache: keys and values of T tokens, written at `start`; None to look at the
            S tokens alone.
          start: where in the cache these tokens stand.
        """
        x = self.embed(token_ids)
        layers = []
        for index, block in enumerate(self.blocks):
            layer = None if cache is None else cache[index]
            x, layer = block(x, positions, attend, layer, start)
            layers.append(layer)
        return self.embed.attend(self.norm(x)), tuple(layers)

    def empty_cache(self, batch: int, time: int) -> Cache:
        """Returns zeros for `time` tokens of `batch` rows."""
        config = self.config
        shape = (batch, time, config.num_kv_heads, config.width // config.num_heads)
        zeros = lambda: jnp.zeros(shape, jnp.float32)  # noqa: E731
        return tuple((zeros(), zeros()) for _ in range(config.num_layers))


def _linear(rngs: nnx.Rngs):
    def make(inputs: int, outputs: int, depth: int = 1) -> nnx.Linear:
        scale = 1 / np.sqrt(inputs * depth)
        return nnx.Linear(
            inputs,
            outputs,
            use_bias=False,
            kernel_init=nnx.initializers.normal(scale),
            rngs=rngs,
        )

    return make


def make_model(
    config: ModelConfig, vocab_size: int, seed: int
) -> tuple[nnx.GraphDef, nnx.State]:
    """Makes a freshly initialised model, split into its structure and parameters.

    Args:
      config: sizes.
      vocab_size: tokens of the tokenizer.
      seed: of the initial parameters.

    Returns:
      The structure, hashable and static under jit, and the parameters, a pytree.

    Example:
      >>> model, params = make_model(ModelConfig(), vocab_size=40, seed=0)
      >>> sum(leaf.size for leaf in jax.tree.leaves(params)) > 50_000
      True
    """
    return nnx.split(Transformer(config, vocab_size, nnx.Rngs(seed)))


def completion_logprobs(
    model: nnx.GraphDef,
    params: nnx.State,
    prompt_ids: Int32[Array, "batch prompt"],
    completion_ids: Int32[Array, "batch completion"],
    pad_id: int,
    temperature: float = 1.0,
) -> Float32[Array, "batch completion"]:
    """Log-probability of each completion token given all before it, in float32.

    Args:
      model: structure from `make_model`.
      params: its parameters.
      prompt_ids: int32 [B, P], padded on the left.
      completion_ids: int32 [B, C]; what follows the end is ignored by the caller.
      pad_id: the id of padding.
      temperature: the one that the tokens were sampled with, > 0.

    Returns:
      float32 [B, C], <= 0.

    Example:
      >>> model, params = make_model(ModelConfig(), vocab_size=40, seed=0)
      >>> ids = jnp.ones((2, 3), jnp.int32)
      >>> completion_logprobs(model, params, ids, ids, pad_id=0).shape
      (2, 3)
    """
    prompt_length = prompt_ids.shape[1]
    token_ids = jnp.concatenate([prompt_ids, completion_ids], axis=1)[:, :-1]
    real = jnp.arange(token_ids.shape[1]) >= prompt_length
    real = real[None] | (token_ids != pad_id)
    positions = jnp.maximum(jnp.cumsum(real, axis=1, dtype=jnp.int32) - 1, 0)
    causal = jnp.tril(jnp.ones((token_ids.shape[1],) * 2, bool))
    attend = causal[None] & real[:, None, :]
    logits, _ = nnx.merge(model, params)(token_ids, positions, attend)
    logprobs = jax.nn.log_softmax(logits[:, prompt_length - 1 :] / temperature)
    return jnp.take_along_axis(logprobs, completion_ids[..., None], axis=-1)[..., 0]
