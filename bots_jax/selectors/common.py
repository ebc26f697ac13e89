"""What every selector does alike: info about evidence, and changing eligibility."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from bots_jax import checks
from bots_jax.evidence.counts import Rows
from bots_jax.fences import after, computed_apart
from bots_jax.selection.top_k import count_eligible
from bots_jax.types import State, TaskSelector, UpdateInfo


def evidence_info(rows: Rows, plugin_error: Array, capability: Array) -> UpdateInfo:
    """Summarises the evidence of a step.

    Args:
      rows: one row per task.
      plugin_error: float32 scalar; NaN without a plug-in.
      capability: float32 scalar; NaN without a plug-in.

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
    trials = jnp.where(rows.valid, rows.successes + rows.failures, 1)
    mixed = (rows.successes > 0) & (rows.failures > 0)
    return UpdateInfo(
        success_rate=jnp.sum(rows.successes / trials) / total,
        effective_task_ratio=jnp.sum(mixed, dtype=jnp.float32) / total,
        plugin_error=plugin_error,
        capability=capability,
        num_tasks_applied=applied,
        num_repeated=rows.num_repeated,
        num_masked=rows.num_masked,
        num_out_of_range=rows.num_out_of_range,
        num_invalid=rows.num_invalid,
    )


def fit(setting: Any, num_tasks: int) -> Any:
    """Cuts a setting given per task, or continues it with its first value.

    Example:
      >>> fit(0.5, 3), fit(np.array([7, 8]), 3)
      (0.5, array([7, 8, 7]))
    """
    if np.ndim(setting) == 0 or len(setting) == num_tasks:
        return setting
    rows = np.asarray(setting)
    more = np.broadcast_to(rows[:1], (max(0, num_tasks - len(rows)),))
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
