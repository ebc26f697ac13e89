"""Uniform selection without replacement: the baseline that believes nothing."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Int32

from bots_jax import checks, counter_bits
from bots_jax.evidence.counts import collect_rows
from bots_jax.selection.gumbel import gumbel_noise
from bots_jax.selection.sweep import sweep
from bots_jax.selection.top_k import count_eligible
from bots_jax.selectors.common import evidence_info, fit
from bots_jax.shard import Shard
from bots_jax.types import Evidence, MaskSetting, SelectInfo, TaskSelector, UpdateInfo


class UniformState(NamedTuple):
    """All that the next step of uniform selection needs.

    Attributes:
      eligible: bool [] or [N], True = may be chosen.
      num_eligible: int32, how many may be.
      num_updates: int32, the selector's clock.
    """

    eligible: MaskSetting
    num_eligible: Int32[Array, ""]
    num_updates: Int32[Array, ""]


def uniform(*, num_tasks: int, batch_size: int, eligible: Any = True) -> TaskSelector:
    """Makes the selector that draws B distinct tasks with equal chances.

    It keeps no beliefs: `update` only counts the evidence, `posterior` is Beta(1, 1)
    for every task, and the `references` given to `init` are checked and let go, so
    that it can stand in for any other selector.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, in [1, N].
      eligible: bool or bool [N]; False tasks are never chosen.

    Returns:
      A selector whose state is a `UniformState`.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> import jax
      >>> selector = uniform(num_tasks=3, batch_size=3)
      >>> ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> sorted(int(i) for i in ids)
      [0, 1, 2]
    """
    num_tasks = checks.check_count("num_tasks", num_tasks)
    batch_size = checks.check_count("batch_size", batch_size)
    checks.check_batch_fits(num_tasks, batch_size)
    checks.check_eligible(eligible, num_tasks, batch_size)
    return _make_uniform(batch_size, eligible, Shard(num_tasks))


def _make_uniform(batch_size: int, eligible: Any, shard: Shard) -> TaskSelector:
    num_tasks = shard.num_tasks

    def init(references: Any = None) -> UniformState:
        if references is not None:
            checks.check_references(references, num_tasks)
        mask = jnp.array(eligible, bool, copy=True)
        count = count_eligible(mask, num_tasks)
        return UniformState(mask, count, jnp.zeros((), jnp.int32))

    def select(key: Array, state: UniformState) -> tuple[Array, SelectInfo]:
        noise_key = counter_bits.shared(key)

        def score(start: Array, size: int) -> tuple[Array, Array, Array]:
            ids, mask = shard.task_ids(start, size), state.eligible
            if mask.ndim:
                mask = lax.dynamic_slice_in_dim(mask, start, size)
            noise = gumbel_noise(noise_key(), ids)
            return noise, noise, mask

        task_ids, _ = sweep(shard, batch_size, score)
        nothing = jnp.float32(jnp.nan)
        return task_ids, SelectInfo(
            draw_mean=nothing,
            posterior_mean=nothing,
            target_distance=nothing,
            num_eligible=jnp.copy(state.num_eligible),
            num_unfilled=jnp.sum(task_ids < 0, dtype=jnp.int32),
            num_points=jnp.int32(0),
            fell_back=jnp.int32(0),
        )

    def update(
        state: UniformState, evidence: Evidence
    ) -> tuple[UniformState, UpdateInfo]:
        rows = collect_rows(evidence, num_tasks)
        new = state._replace(num_updates=state.num_updates + 1)
        nothing = jnp.float32(jnp.nan)
        return new, evidence_info(rows, plugin_error=nothing, capability=nothing)

    def posterior(state: UniformState) -> tuple[Array, Array]:
        del state
        one = lambda: jnp.ones((shard.size,), jnp.float32)  # noqa: E731
        return one(), one()

    def remake(shard: Shard) -> TaskSelector:
        checks.check_batch_fits(shard.num_tasks, batch_size)
        return _make_uniform(batch_size, fit(eligible, shard.num_tasks), shard)

    return TaskSelector(
        init=init,
        select=select,
        update=update,
        posterior=posterior,
        name="uniform",
        num_tasks=num_tasks,
        batch_size=batch_size,
        remake=remake,
    )
