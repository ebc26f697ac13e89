"""What every selector does alike: info about evidence, and changing eligibility."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from bots_jax import checks
from bots_jax.evidence.counts import Rows
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
    return state._replace(
        eligible=mask, num_eligible=count_eligible(mask, selector.num_tasks)
    )
