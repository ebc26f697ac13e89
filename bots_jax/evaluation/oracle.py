"""The selector that knows every success chance: the best that choosing can do."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int32

from bots_jax import checks
from bots_jax.evidence.counts import collect_rows
from bots_jax.selection.top_k import select_top_k
from bots_jax.selectors.common import evidence_info
from bots_jax.types import (
    Evidence,
    PerTask,
    SelectInfo,
    State,
    TaskSelector,
    UpdateInfo,
)

_SURENESS = 1e4
_TINY = np.float32(1e-30)

InformFn = Callable[[State, Array], State]
"""inform(state, success_prob [N]) -> state that knows the student as it is."""


class OracleState(NamedTuple):
    """All that the next step of the oracle needs.

    Attributes:
      success_prob: float32 [N], what it was told last.
      num_updates: int32, the selector's clock.
    """

    success_prob: PerTask
    num_updates: Int32[Array, ""]


def inform_oracle(state: OracleState, success_prob: PerTask) -> OracleState:
    """Tells the oracle the success chances of the student as it is."""
    return state._replace(success_prob=success_prob)


def oracle(
    *, num_tasks: int, batch_size: int, proportional: bool = False
) -> TaskSelector:
    """Makes the selector that takes the B tasks of largest p(1-p), knowing p.

    Greedily it comes back to the same tasks for as long as they stay near 1/2; in
    proportion to p(1-p) it spreads over all that are worth something. It must be told
    p by `inform_oracle` before each selection; evidence is counted and let go. Its
    posterior is sharp at p.

    Args:
      num_tasks: N.
      batch_size: B, in [1, N].
      proportional: whether tasks are drawn in proportion to p(1-p), without
        replacement, in place of the largest.

    Returns:
      A selector whose state is an `OracleState`.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> import jax
      >>> selector = oracle(num_tasks=3, batch_size=1)
      >>> state = inform_oracle(selector.init(), jnp.float32([0.1, 0.6, 1.0]))
      >>> selector.select(jax.random.key(0), state)[0]
      Array([1], dtype=int32)
    """
    num_tasks = checks.check_count("num_tasks", num_tasks)
    batch_size = checks.check_count("batch_size", batch_size)
    checks.check_batch_fits(num_tasks, batch_size)

    def init(references: Any = None) -> OracleState:
        del references
        half = jnp.full((num_tasks,), 0.5, jnp.float32)
        return OracleState(half, jnp.zeros((), jnp.int32))

    def select(key: Array, state: OracleState) -> tuple[Array, SelectInfo]:
        p = state.success_prob
        scores = p * (1 - p)
        if proportional:
            noise = jax.random.gumbel(key, (num_tasks,), jnp.float32)
            scores = jnp.log(jnp.maximum(scores, _TINY)) + noise
        task_ids = select_top_k(scores, jnp.bool_(True), batch_size)
        chosen = p[task_ids]
        return task_ids, SelectInfo(
            draw_mean=jnp.mean(chosen),
            posterior_mean=jnp.mean(chosen),
            target_distance=jnp.max(jnp.abs(chosen - jnp.float32(0.5))),
            num_eligible=jnp.int32(num_tasks),
            num_unfilled=jnp.int32(0),
            num_points=jnp.int32(0),
            fell_back=jnp.int32(0),
        )

    def update(
        state: OracleState, evidence: Evidence
    ) -> tuple[OracleState, UpdateInfo]:
        rows = collect_rows(evidence, num_tasks)
        nothing = jnp.float32(jnp.nan)
        new = state._replace(num_updates=state.num_updates + 1)
        return new, evidence_info(rows, plugin_error=nothing, capability=nothing)

    def posterior(state: OracleState) -> tuple[Array, Array]:
        p = jnp.clip(state.success_prob, jnp.float32(1e-6), jnp.float32(1 - 1e-6))
        return jnp.float32(_SURENESS) * p, jnp.float32(_SURENESS) * (1 - p)

    return TaskSelector(
        init=init,
        select=select,
        update=update,
        posterior=posterior,
        name="oracle",
        num_tasks=num_tasks,
        batch_size=batch_size,
    )
