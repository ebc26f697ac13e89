"""Losses as (sum, weight), so that micro-batches add exactly."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float32


class LossSums(NamedTuple):
    """Sums over tokens; divide by `weight` for means.

    Attributes:
      loss: float32, what is minimised.
      kl: float32, estimated KL divergence from the reference policy.
      clipped: float32, tokens whose ratio was clipped against the gradient.
      weight: float32, number of tokens.
    """

    loss: Array
    kl: Array
    clipped: Array
    weight: Array


Tokens = Float32[Array, "batch completion"]


def grpo_loss(
    logprobs: Tokens,
    old_logprobs: Tokens,
    ref_logprobs: Tokens | None,
    advantages: Float32[Array, " batch"],
    mask: Bool[Array, "batch completion"],
    clip_eps: float,
    kl_coef: float,
) -> LossSums:
    """Clipped surrogate with an optional KL penalty, summed over tokens.

    ratio = exp(logprobs - old_logprobs)
    loss  = -min(ratio * A, clip(ratio, 1 - eps, 1 + eps) * A) + kl_coef * kl
    kl    = exp(ref - logprobs) - (ref - logprobs) - 1

    Every token of the batch weighs the same (token-level normalisation), so that long
    completions are not favoured.

    Args:
      logprobs: float32 [B, C] under the policy that learns.
      old_logprobs: float32 [B, C] under the policy that sampled.
      ref_logprobs: float32 [B, C] under the reference policy; None without KL.
      advantages: float32 [B].
      mask: bool [B, C], True = a token of the completion.
      clip_eps: > 0.
      kl_coef: >= 0.

    Returns:
      Sums over the tokens where the mask is True.

    Source: DeepSeekMath (arXiv 2402.03300), equation 3, with the token-level mean of
    DAPO (arXiv 2503.14476), equation 12; KL by Schulman's k3 estimator.

    Example:
      >>> one = jnp.ones((1, 2), jnp.float32)
      >>> sums = grpo_loss(0 * one, 0 * one, None, jnp.float32([2.0]), one > 0, 0.2, 0.)
      >>> float(sums.loss), float(sums.weight)
      (-4.0, 2.0)
    """
    ratio = jnp.exp(jnp.where(mask, logprobs - old_logprobs, 0))
    gain = ratio * advantages[:, None]
    clipped = jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps) * advantages[:, None]
    loss = -jnp.minimum(gain, clipped)
    kl = jnp.zeros_like(logprobs)
    if ref_logprobs is not None:
        gap = jnp.where(mask, ref_logprobs - logprobs, 0)
        kl = jnp.exp(gap) - gap - 1
    total = lambda x: jnp.sum(jnp.where(mask, x, 0), dtype=jnp.float32)  # noqa: E731
    return LossSums(
        loss=total(loss + kl_coef * kl),
        kl=total(kl),
        clipped=total(clipped < gain),
        weight=total(1.0),
    )


def supervised_loss(
    logprobs: Tokens, mask: Bool[Array, "batch completion"]
) -> LossSums:
    """Cross-entropy of demonstrated tokens, summed.

    Args:
      logprobs: float32 [B, C] of the demonstrated tokens.
      mask: bool [B, C], True = a token of the demonstration.

    Returns:
      Sums, with kl and clipped 0.

    Example:
      >>> float(supervised_loss(jnp.float32([[-1, -2]]), jnp.ones((1, 2), bool)).loss)
      3.0
    """
    zero = jnp.zeros((), jnp.float32)
    loss = -jnp.sum(jnp.where(mask, logprobs, 0), dtype=jnp.float32)
    return LossSums(loss, zero, zero, jnp.sum(mask, dtype=jnp.float32))
