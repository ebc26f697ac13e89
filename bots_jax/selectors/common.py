"""What every selector does alike: info about a step, and changing eligibility."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from bots_jax import checks
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import Rows
from bots_jax.fences import after, computed_apart
from bots_jax.selection.completion import RACED_THEN_SWEPT, Selection
from bots_jax.selection.pool import Pool
from bots_jax.selection.top_k import count_eligible
from bots_jax.types import SelectInfo, State, TaskSelector, UpdateInfo


def count_rates(rows: Rows) -> tuple[Array, Array]:
    """Reads success rates from counts, and which groups have both outcomes.

    Args:
      rows: one row per task.

    Returns:
      float32 [B], 0 in rows that hold nothing, and bool [B].

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> count_rates(collect_rows(evidence_from_counts([0, 1], [4, 2], 4), 2))
      (Array([1. , 0.5], dtype=float32), Array([False,  True], dtype=bool))
    """
    trials = jnp.where(rows.valid, rows.successes + rows.failures, 1)
    return rows.successes / trials, (rows.successes > 0) & (rows.failures > 0)


def evidence_info(
    rows: Any,
    plugin_error: Array,
    capability: Array,
    trust: Array | None = None,
    rates: Callable[[Any], tuple[Array, Array]] = count_rates,
) -> UpdateInfo:
    """Summarises the evidence of a step.

    Args:
      rows: one row per task; `Rows`, or whatever `rates` reads.
      plugin_error: float32 scalar; NaN without a plug-in.
      capability: float32 scalar; NaN without a plug-in.
      trust: float32 scalar; NaN, the default, where it is not kept.
      rates: rows -> success rates float32 [B], 0 in rows that hold nothing, and bool
        [B], True for a group whose rewards differ.

    Returns:
      Scalars; rates are NaN where no row was valid.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> rows = collect_rows(evidence_from_counts([0, 1], [4, 2], 4), 2)
      >>> info = evidence_info(rows, jnp.float32(jnp.nan), jnp.float32(jnp.nan))
      >>> float(info.success_rate), float(info.effective_task_ratio)
      (0.75, 0.5)
    """
    applied = jnp.sum(rows.valid, dtype=jnp.int32)
    total = jnp.where(applied > 0, applied.astype(jnp.float32), jnp.nan)
    rate, mixed = rates(rows)
    return UpdateInfo(
        success_rate=jnp.sum(rate) / total,
        effective_task_ratio=jnp.sum(mixed, dtype=jnp.float32) / total,
        plugin_error=plugin_error,
        capability=capability,
        trust=jnp.float32(jnp.nan) if trust is None else trust,
        num_tasks_applied=applied,
        num_repeated=rows.num_repeated,
        num_masked=rows.num_masked,
        num_out_of_range=rows.num_out_of_range,
        num_invalid=rows.num_invalid,
    )


def select_info(pool: Pool, chosen: Selection, num_eligible: Array) -> SelectInfo:
    """Summarises a choice.

    Args:
      pool: that was chosen from.
      chosen: the batch.
      num_eligible: int32 scalar.

    Returns:
      Scalars; means are NaN where no slot was filled.

    Example:
      >>> ones = jnp.ones(4)
      >>> pool = Pool(4, lambda cut: (cut(ones), cut(3 * ones)), jnp.float32(4),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> chosen = Selection(jnp.array([2, -1]), jnp.array([0.4, 0]), jnp.int32(0),
      ...                    jnp.int32(0))
      >>> info = select_info(pool, chosen, jnp.int32(4))
      >>> float(info.posterior_mean), int(info.num_unfilled)
      (0.25, 1)
    """
    filled = chosen.task_ids >= 0
    task = pool.at(jnp.maximum(chosen.task_ids, 0))
    mean = lambda x: jnp.mean(x, where=filled)  # noqa: E731
    distance = jnp.abs(chosen.draws - task.target)
    return SelectInfo(
        draw_mean=mean(chosen.draws),
        posterior_mean=mean(beta_mean(task.alpha, task.beta)),
        target_distance=jnp.max(distance, where=filled, initial=0),
        num_eligible=jnp.copy(num_eligible),
        num_unfilled=jnp.sum(~filled, dtype=jnp.int32),
        num_points=chosen.num_points,
        fell_back=(chosen.path == RACED_THEN_SWEPT).astype(jnp.int32),
    )


def fit(setting: Any, num_tasks: int) -> Any:
    """Cuts a setting given per task, [N] or [N, ...], or continues it with its first.

    Example:
      >>> fit(0.5, 3), fit(np.array([7, 8]), 3)
      (0.5, array([7, 8, 7]))
    """
    if np.ndim(setting) == 0 or len(setting) == num_tasks:
        return setting
    rows = np.asarray(setting)
    more = np.repeat(rows[:1], max(0, num_tasks - len(rows)), axis=0)
    return np.concatenate([rows[:num_tasks], more])


def set_eligible(selector: TaskSelector, state: State, eligible: Any) -> State:
    """Changes which tasks may be chosen; beliefs about the others are kept.

    Going from a scalar to a mask changes the shape of the state, so the next step
    compiles once more; from mask to mask it does not.

    Args:
      selector: the selector that the state belongs to.
      state: left as it is.
      eligible: bool or bool [N], True = may be chosen.

    Returns:
      State with the new mask in a buffer of its own.

    Raises:
      ValueError: for another shape or dtype and, where the mask is concrete, if it
        leaves fewer tasks than a batch holds. Under jit such a mask gives batches
        that end in -1, counted in `num_unfilled`.

    Example:
      >>> import bots_jax, numpy as np
      >>> selector = bots_jax.uniform(num_tasks=3, batch_size=1)
      >>> mask = np.array([False, True, False])
      >>> set_eligible(selector, selector.init(), mask).eligible
      Array([False,  True, False], dtype=bool)
    """
    checks.check_eligible(eligible, selector.num_tasks, selector.batch_size)
    mask = jnp.array(eligible, bool, copy=True)
    changed = {
        "eligible": mask,
        "num_eligible": count_eligible(mask, selector.num_tasks),
    }
    if selector.placement.mesh is not None:
        changed = selector.placement.put_state(changed, selector.num_tasks)
    return state._replace(**changed)


def mark_eligible(
    selector: TaskSelector, state: State, task_ids: Array, eligible: Array
) -> State:
    """Changes whether a few tasks may be chosen, in O(B).

    Args:
      selector: the selector that the state belongs to.
      state: with a mask [N], as `set_eligible` makes it.
      task_ids: int32 [B], each task at most once; those outside [0, N) are left out.
      eligible: bool [] or [B], True = may be chosen.

    Returns:
      State with the mask and its count changed.

    Example:
      >>> import bots_jax
      >>> selector = bots_jax.uniform(num_tasks=3, batch_size=1)
      >>> state = set_eligible(selector, selector.init(), np.ones(3, bool))
      >>> ids = jnp.array([1, -1])
      >>> mark_eligible(selector, state, ids, jnp.bool_(False)).eligible
      Array([ True, False,  True], dtype=bool)
    """
    placement = selector.placement
    shard = placement.shard(selector.num_tasks)

    def mark(
        mask: Array, count: Array, ids: Array, flags: Array
    ) -> tuple[Array, Array]:
        is_task = (ids >= 0) & (ids < shard.num_tasks)
        ids = jnp.where(is_task, ids, shard.num_tasks)
        before = computed_apart(ids, lambda: shard.at(ids, "clip")(mask) & is_task)
        change = jnp.sum(flags & is_task, dtype=jnp.int32)
        change -= jnp.sum(before, dtype=jnp.int32)
        rows = after(shard.rows_of(ids), before.astype(jnp.int32))
        return mask.at[rows].set(flags, mode="drop"), count + change

    if placement.mesh is not None:
        whole, rows = PartitionSpec(), PartitionSpec(placement.axis)
        mark = jax.shard_map(
            mark,
            mesh=placement.mesh,
            in_specs=(rows, whole, whole, whole),
            out_specs=(rows, whole),
            check_vma=False,
        )
    flags = jnp.broadcast_to(eligible, task_ids.shape)
    mask, count = mark(state.eligible, state.num_eligible, task_ids, flags)
    return state._replace(eligible=mask, num_eligible=count)
