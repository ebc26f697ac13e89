"""The step as one would first write it in JAX: `jax.random.beta` and `lax.top_k`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from . import pool as settings
from .ours import compile_stages, tile
from .pool import Pool, TiledPool

NAME = "plain JAX"


class PlainState(NamedTuple):
    """What the step carries: float32 [N] four times, and two scalars."""

    alpha: Array
    beta: Array
    weak: Array
    strong: Array
    capability: Array
    target: Array


def plain_step(
    key: Array, index: Array, state: PlainState, task_ids: Array, rates: Array
) -> tuple[PlainState, Array]:
    """Updates with B distinct tasks, then takes the B draws nearest the target.

    Args:
      key: the run's key.
      index: uint32, the step; folded into the key.
      state: N tasks.
      task_ids: int32 [B], distinct.
      rates: float32 [B], success rates of groups of 16.

    Returns:
      The new state and int32 [B].
    """
    group = settings.GROUP_SIZE
    keep, forget = 1 - settings.FORGETTING, settings.FORGETTING
    weak, strong = state.weak[task_ids].mean(), state.strong[task_ids].mean()
    estimate = (rates.mean() - weak) / (strong - weak + 1e-6)
    momentum = settings.CAPABILITY_MOMENTUM
    capability = momentum * state.capability + (1 - momentum) * estimate
    gap = state.strong - state.weak
    predicted = jnp.clip(state.weak + capability * gap, 0, 1)
    implied = settings.IMPLICIT_WEIGHT * group
    alpha = keep * state.alpha + forget + implied * predicted
    beta = keep * state.beta + forget + implied * (1 - predicted)
    alpha = alpha.at[task_ids].set(
        keep * state.alpha[task_ids] + forget + group * rates
    )
    beta = beta.at[task_ids].set(
        keep * state.beta[task_ids] + forget + group * (1 - rates)
    )
    draws = jax.random.beta(jax.random.fold_in(key, index), alpha, beta)
    _, chosen = lax.top_k(-jnp.abs(draws - state.target), task_ids.shape[0])
    return state._replace(alpha=alpha, beta=beta, capability=capability), chosen


class PlainStep:
    """Plain JAX, jitted as a whole, its state donated."""

    name = NAME

    def __init__(self, num_tasks: int, batch_size: int, seed: int):
        self._key = jax.random.key(seed)
        self._index = 0
        self.state: Any = None
        per_task = jax.ShapeDtypeStruct((num_tasks,), jnp.float32)
        scalar = jax.ShapeDtypeStruct((), jnp.float32)
        self._compiled, self.compile_seconds = compile_stages(
            jax.jit(plain_step, donate_argnames="state"),
            self._key,
            np.uint32(0),
            PlainState(per_task, per_task, per_task, per_task, scalar, scalar),  # type: ignore[arg-type]  # shapes stand for arrays
            np.zeros(batch_size, np.int32),
            np.zeros(batch_size, np.float32),
        )

    def reset(self, pool: Pool | TiledPool, target_success_prob: float) -> None:
        """Sets posterior, references and capability."""
        block = pool.block
        own = lambda x: jnp.array(x, jnp.float32, copy=True)  # noqa: E731
        per_task = lambda x: tile(own(x), pool.num_tasks)  # noqa: E731
        self.state = PlainState(
            per_task(block.alpha),
            per_task(block.beta),
            per_task(block.references[:, 0]),
            per_task(block.references[:, 1]),
            own(block.capability),
            own(target_success_prob),
        )
        jax.block_until_ready(self.state)

    def encode(self, task_ids: np.ndarray, success_rates: np.ndarray) -> Any:
        """Narrows to 32 bits."""
        return task_ids.astype(np.int32), success_rates.astype(np.float32)

    def step(self, evidence: Any) -> np.ndarray:
        """Updates and chooses."""
        self._index += 1
        self.state, task_ids = self._compiled(
            self._key, np.uint32(self._index), self.state, *evidence
        )
        return np.asarray(task_ids)

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies alpha and beta to the host."""
        return np.asarray(self.state.alpha), np.asarray(self.state.beta)

    def state_bytes(self) -> int:
        """Counts the bytes of the state's arrays."""
        return sum(x.nbytes for x in self.state)
