"""The records that pass between rooms, and one documented Protocol per function."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax import Array
from jaxtyping import Bool, Float32, Int32

from bots_jax import checks
from bots_jax.placement import Placement
from bots_jax.shard import Shard

PerTask = Float32[Array, "num_tasks"]
"""One number per task: float32 [N]."""

PerTaskMask = Bool[Array, "num_tasks"]
"""One flag per task: bool [N], True = use it."""

PerRow = Float32[Array, "rows"]
"""One number per row of evidence: float32 [B]."""

RowMask = Bool[Array, "rows"]
"""One flag per row of evidence: bool [B]."""

TaskIds = Int32[Array, "rows"]
"""Which tasks: int32 [B], in [0, N)."""

IdPerTask = Int32[Array, "num_tasks"]
"""Whose numbers stand beside: int32 [N]."""

PerPastStep = Float32[Array, "past_steps"]
"""One number per remembered step: float32 [L]."""

PerForgetting = Float32[Array, "forgettings"]
"""One number per forgetting that is tried: float32 [L]."""

PerTrust = Float32[Array, "trusts"]
"""One number per trust that is tried: float32 [J]."""

Setting = Float32[Array, ""] | PerTask
"""A setting that is one number for all tasks, or one per task."""

MaskSetting = Bool[Array, ""] | PerTaskMask
"""A flag for all tasks, or one per task."""

Scalar = Float32[Array, ""] | float
"""A number that may be traced."""

State = Any
"""A pytree of arrays that holds all that the next step of a selector needs."""


class Evidence(NamedTuple):
    """What the rollouts of one step showed.

    Rows may repeat a task (they add up), come in any order, and be padding (no trials,
    or the id -1). Rows that are not valid are dropped and counted, never applied.

    Attributes:
      task_ids: int32 [B], in [0, N).
      successes: float32 [B], >= 0; fractions are allowed.
      failures: float32 [B], >= 0; the task's rollouts minus its successes.
    """

    task_ids: TaskIds
    successes: PerRow
    failures: PerRow


AnyEvidence = Any
"""`Evidence`, or the record of a selector whose rewards are not binary."""


class SelectInfo(NamedTuple):
    """What a person wants to see of one selection; all scalars.

    Attributes:
      draw_mean: float32, mean of the success chances that the batch was chosen by
        (Thompson draws, or posterior means); NaN where a selector has none.
      posterior_mean: float32, mean posterior mean of the batch; NaN likewise.
      target_distance: float32, largest |draw - target| in the batch; NaN likewise.
      num_eligible: int32, tasks that could have been chosen.
      num_unfilled: int32, slots of the batch that hold -1, because fewer tasks were
        eligible than the batch has slots.
      num_points: int32, random points that a race looked at; 0 where every task was
        scored.
      fell_back: int32, 1 where a race did not find enough, so that every task was
        scored after all; else 0.
    """

    draw_mean: Array
    posterior_mean: Array
    target_distance: Array
    num_eligible: Array
    num_unfilled: Array
    num_points: Array
    fell_back: Array


class UpdateInfo(NamedTuple):
    """What a person wants to see of one update; all scalars.

    Attributes:
      success_rate: float32, mean over the applied tasks of their success rate; NaN
        where nothing was applied.
      effective_task_ratio: float32, share of the applied tasks with at least one
        success and one failure; NaN where nothing was applied.
      plugin_error: float32, mean |predicted - observed| success rate over the applied
        tasks, before the plug-in learnt from them; NaN without a plug-in.
      capability: float32, the plug-in's coefficient after the step (mu in the
        paper); NaN before its first estimate and without a plug-in.
      trust: float32, concentration that the plug-in's predictions count for after the
        step, where the selector keeps one; else NaN.
      num_tasks_applied: int32, distinct tasks whose evidence was applied.
      num_repeated: int32, applied rows beyond the first of their task.
      num_masked: int32, rows dropped as padding: no trials, or the id -1.
      num_out_of_range: int32, rows dropped for an id outside [-1, N).
      num_invalid: int32, rows dropped for counts that are NaN, negative or too large.
    """

    success_rate: Array
    effective_task_ratio: Array
    plugin_error: Array
    capability: Array
    trust: Array
    num_tasks_applied: Array
    num_repeated: Array
    num_masked: Array
    num_out_of_range: Array
    num_invalid: Array


class StepInfo(NamedTuple):
    """Both halves of one step: the update, then the selection that followed it."""

    update: UpdateInfo
    select: SelectInfo


def flatten_info(info: SelectInfo | UpdateInfo | StepInfo) -> dict[str, float]:
    """Copies an info record to the host as a flat dict, for a logger.

    Args:
      info: any info record, its leaves scalars.

    Returns:
      Names to floats, the names of a `StepInfo` prefixed by `update/` or `select/`.

    Raises:
      ValueError: for a leaf that is not a scalar, as in the info of a vmapped step.

    Example:
      >>> info = SelectInfo(*(np.float32(i) for i in range(7)))
      >>> flatten_info(info)["num_unfilled"]
      4.0
    """
    host = jax.device_get(info)
    flat = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(host):
        name = "/".join(str(getattr(k, "name", k)) for k in path)
        checks.check_shape(name, leaf, ((),))
        flat[name] = float(np.asarray(leaf))
    return flat


class InitFn(Protocol):
    """Builds the state of a selector."""

    def __call__(self, references: Any = None) -> State:
        """Returns fresh state.

        Args:
          references: floating [N, 2] in [0, 1], success chance of a weak and of a
            strong model on every task; None without. Copied as float32.
        """
        ...


class SelectFn(Protocol):
    """Chooses a batch; pure, leaves the state as it is."""

    def __call__(self, key: Array, state: State) -> tuple[Array, SelectInfo]:
        """Returns int32 [B] distinct ids and what a person wants to see.

        The key is consumed. Slots that no eligible task is left for hold -1.
        """
        ...


class UpdateFn(Protocol):
    """Absorbs the evidence of one training step; pure."""

    def __call__(self, state: State, evidence: AnyEvidence) -> tuple[State, UpdateInfo]:
        """Returns new state of the same structure, shapes and dtypes, and info."""
        ...


class PosteriorFn(Protocol):
    """Reads what a selector believes."""

    def __call__(self, state: State) -> tuple[Array, Array]:
        """Returns alpha and beta, float32 [N] each, as arrays of their own."""
        ...


@runtime_checkable
class EstimateFn(Protocol):
    """Turns beliefs into the success chances that tasks are chosen by."""

    def __call__(self, key: Array, alpha: PerTask, beta: PerTask) -> PerTask:
        """Returns float32 [N] in [0, 1]; the key is consumed or left alone."""
        ...


@runtime_checkable
class ScoreFn(Protocol):
    """Says how wanted tasks are, from what is believed of them."""

    def __call__(self, alpha: PerTask, beta: PerTask, target: Setting) -> PerTask:
        """Returns float32 [P], higher is better; element by element."""
        ...


class RemakeFn(Protocol):
    """Makes the same rule for another pool, or for one device's part of it."""

    def __call__(self, shard: Shard) -> "TaskSelector":
        """Returns a selector for the shard's tasks.

        Settings given per task are cut, or continued with their first value; the state
        is what counts, and the rule for a larger pool takes a state that was grown.
        With an axis its functions run under `jax.shard_map`, on a block of the state.
        """
        ...


class TaskSelector(NamedTuple):
    """A rule for choosing tasks: four pure functions, and facts about it.

    Attributes:
      init: builds state.
      select: chooses a batch.
      update: absorbs evidence.
      posterior: reads alpha and beta.
      name: the factory's name, such as "bots".
      num_tasks: N.
      batch_size: B.
      forgetting: share of its weight that evidence loses in a step, in [0, 1].
      remake: makes the same rule for other tasks; None if it cannot be.
      placement: where the state's per-task arrays lie.
      num_references: columns of references that `init` needs; 0 if it can do without.
    """

    init: InitFn
    select: SelectFn
    update: UpdateFn
    posterior: PosteriorFn
    name: str
    num_tasks: int
    batch_size: int
    forgetting: Any = 0.0
    remake: RemakeFn | None = None
    placement: Placement = Placement()
    num_references: int = 0


Step = Callable[[Array, State, AnyEvidence], tuple[State, Array, StepInfo]]
"""step(key, state, evidence) -> state, task_ids, info."""
