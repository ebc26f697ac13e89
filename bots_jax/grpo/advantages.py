"""Group-relative advantages: how much better a rollout is than its siblings."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32


def group_relative_advantages(
    rewards: Float32[Array, "tasks rollouts"], eps: float = 1e-4
) -> Float32[Array, "tasks rollouts"]:
    """Standardises rewards within each task's group of rollouts.

    advantage = (reward - mean of the group) / (std of the group + eps)

    Args:
      rewards: float32 [B, G].
      eps: keeps a group of equal rewards at advantage 0.

    Returns:
      float32 [B, G]; 0 throughout a group of equal rewards.

    Source: Shao et al., "DeepSeekMath" (arXiv 2402.03300), section 4.1.2.

    Example:
      >>> group_relative_advantages(jnp.float32([[1, 0], [1, 1]])).round(2)
      Array([[ 1., -1.],
             [ 0.,  0.]], dtype=float32)
    """
    centred = rewards - jnp.mean(rewards, axis=1, keepdims=True)
    spread = jnp.sqrt(jnp.mean(centred * centred, axis=1, keepdims=True))
    return centred / (spread + eps)
