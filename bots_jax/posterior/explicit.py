"""What rollouts themselves have shown of every task, fading by a clock, in O(B).

    successes' = keep^elapsed * successes + s       keep = 1 - forgetting

for the tasks that were rolled out; the others keep their numbers, which fade when they
are read. What has elapsed is up to the clock:

    "step"    one per update, for every task (BOTS, arXiv 2510.26374)
    "touch"   one per update in which the task itself was rolled out (MoPPS,
              arXiv 2507.04632), so that what is not revisited stays as it was
    "policy"  what the trainer reports as change of its policy, in any unit that adds
              up; 1 per update unless told otherwise

Several forgettings may be kept side by side, for `adaptation` to choose among.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int32

from bots_jax.evidence.counts import Rows
from bots_jax.fences import after
from bots_jax.shard import Cut, Shard
from bots_jax.types import IdPerTask, PerForgetting, PerTask

CLOCKS = ("step", "touch", "policy")


def lost_per_step(forgetting: Any, clock: str) -> Any:
    """Share of its weight that evidence loses while it waits for a step.

    On "touch" nothing is lost before the task is rolled out again; on "policy" a step
    counts as a policy change of 1.

    Args:
      forgetting: in [0, 1].
      clock: one of `CLOCKS`.

    Returns:
      The forgetting, or 0.0.

    Example:
      >>> lost_per_step(0.1, "step"), lost_per_step(0.1, "touch")
      (0.1, 0.0)
    """
    return 0.0 if clock == "touch" else forgetting


class ExplicitCounts(NamedTuple):
    """Fading counts of N tasks, under L forgettings.

    Attributes:
      explicit_successes: float32 [N, L], as they were at the last update of the task.
      explicit_failures: float32 [N, L], likewise.
      last_update: int32 [N], number of that update, from 1; 0 = never.
      touch_time: float32 [N], policy time of that update; None for other clocks.
      keep: float32 [L], 1 - forgetting.
      num_updates: int32, updates so far.
      policy_time: float32, sum of all policy changes.
      policy_change: float32, what the next update adds to it.
      most_trials: float32, at least successes + failures of every task.
    """

    explicit_successes: Float32[Array, "num_tasks forgettings"]
    explicit_failures: Float32[Array, "num_tasks forgettings"]
    last_update: IdPerTask
    touch_time: PerTask | None
    keep: PerForgetting
    num_updates: Int32[Array, ""]
    policy_time: Float32[Array, ""]
    policy_change: Float32[Array, ""]
    most_trials: Float32[Array, ""]


def init_explicit(num_tasks: int, forgettings: Any, clock: str) -> ExplicitCounts:
    """Builds counts of tasks that were never rolled out.

    Args:
      num_tasks: N.
      forgettings: numbers or traced scalars in [0, 1], a tuple of L.
      clock: one of `CLOCKS`.

    Returns:
      Counts in buffers of their own.

    Example:
      >>> init_explicit(3, (0.1, 0.5), "step").explicit_successes.shape
      (3, 2)
    """
    keep = 1 - jnp.stack([jnp.asarray(x, jnp.float32) for x in forgettings])
    zeros = lambda: jnp.zeros((num_tasks, keep.shape[0]), jnp.float32)  # noqa: E731
    policy = clock == "policy"
    return ExplicitCounts(
        explicit_successes=zeros(),
        explicit_failures=zeros(),
        last_update=jnp.zeros((num_tasks,), jnp.int32),
        touch_time=jnp.zeros((num_tasks,), jnp.float32) if policy else None,
        keep=keep,
        num_updates=jnp.zeros((), jnp.int32),
        policy_time=jnp.zeros((), jnp.float32),
        policy_change=jnp.ones((), jnp.float32),
        most_trials=jnp.zeros((), jnp.float32),
    )


def ages(counts: ExplicitCounts, cut: Cut) -> Array:
    """Counts the updates since tasks were last rolled out; since the start if never.

    Returns:
      int32 [P], >= 0; 0 for a task of the last update.

    Example:
      >>> ages(init_explicit(2, (0.1,), "step"), lambda x: x)
      Array([0, 0], dtype=int32)
    """
    return counts.num_updates - cut(counts.last_update)


def read_explicit(counts: ExplicitCounts, cut: Cut, clock: str) -> tuple[Array, Array]:
    """Reads what is left of the counts of some tasks.

    Args:
      counts: of N tasks.
      cut: takes P of them.
      clock: that the counts were made with.

    Returns:
      Successes and failures, float32 [P, L].

    Example:
      >>> successes, _ = read_explicit(
      ...     init_explicit(2, (0.1,), "step"), lambda x: x, "step")
      >>> successes.shape
      (2, 1)
    """
    successes = cut(counts.explicit_successes)
    failures = cut(counts.explicit_failures)
    if clock == "touch":
        return successes, failures
    left = _left(counts.keep[None, :], _elapsed(counts, cut, clock)[:, None])
    return successes * left, failures * left


def mixed_explicit(
    counts: ExplicitCounts, cut: Cut, clock: str, weights: PerForgetting
) -> tuple[Array, Array]:
    """Reads what is left of the counts, averaged over the forgettings.

    Args:
      counts: of N tasks.
      cut: takes P of them.
      clock: that the counts were made with.
      weights: float32 [L], of the forgettings.

    Returns:
      Successes and failures, float32 [P].

    Example:
      >>> counts = init_explicit(2, (0.0, 1.0), "step")
      >>> mixed_explicit(counts, lambda x: x, "step", jnp.float32([0.5, 0.5]))[0]
      Array([0., 0.], dtype=float32)
    """
    successes = cut(counts.explicit_successes)
    failures = cut(counts.explicit_failures)
    elapsed = None if clock == "touch" else _elapsed(counts, cut, clock)
    total = [jnp.zeros(successes.shape[:1], jnp.float32)] * 2
    for place in range(weights.shape[0]):  # a sum over a short last axis is slow
        left = weights[place]
        if elapsed is not None:
            left = left * _left(counts.keep[place], elapsed)
        for number, column in enumerate((successes, failures)):
            total[number] = total[number] + column[:, place] * left
    return total[0], total[1]


def _elapsed(counts: ExplicitCounts, cut: Cut, clock: str) -> Array:
    if clock == "step":
        return ages(counts, cut).astype(jnp.float32)
    assert counts.touch_time is not None
    return counts.policy_time - cut(counts.touch_time)


def _left(keep: Array, elapsed: Array) -> Array:
    """keep^elapsed; 1 where nothing has elapsed, also for keep = 0."""
    faded = jnp.exp(elapsed * jnp.log(keep))  # far cheaper than a power
    return jnp.where(elapsed == 0, np.float32(1), faded)


def add_explicit(
    counts: ExplicitCounts, rows: Rows, clock: str, shard: Shard
) -> ExplicitCounts:
    """Lets one update's time pass, and adds its evidence.

    Args:
      counts: before the update.
      rows: one row per task.
      clock: that the counts were made with.
      shard: which of the tasks are here.

    Returns:
      Counts after it.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> counts = init_explicit(2, (0.5,), "step")
      >>> rows = collect_rows(evidence_from_counts([1], [3], 4), 2)
      >>> for _ in range(2):
      ...     counts = add_explicit(counts, rows, "step", Shard(2))
      >>> counts.explicit_successes[1, 0], counts.most_trials  # 3 + 3 / 2
      (Array(4.5, dtype=float32), Array(6., dtype=float32))
    """
    counts = counts._replace(
        num_updates=counts.num_updates + 1,
        policy_time=counts.policy_time + counts.policy_change,
    )
    most = counts.most_trials
    if clock == "step":
        most = most * jnp.max(counts.keep)
    if not rows.task_ids.size:
        return counts._replace(most_trials=most)

    at_rows = shard.at(rows.task_ids, "clip")
    successes, failures = read_explicit(counts, at_rows, clock)
    if clock == "touch":
        keep = counts.keep[None, :]
        successes, failures = successes * keep, failures * keep
    successes = successes + rows.successes[:, None]
    failures = failures + rows.failures[:, None]
    largest = jnp.max(successes + failures, where=rows.valid[:, None], initial=0)
    place = shard.rows_of(rows.task_ids)
    write = lambda x, row: x.at[place].set(row, mode="drop")  # noqa: E731
    # XLA writes in place only what it sees to depend on having been read before.
    seen = lambda x, value: after(value, at_rows(x))  # noqa: E731
    now, then, time = counts.num_updates, counts.policy_time, counts.touch_time
    return counts._replace(
        explicit_successes=write(counts.explicit_successes, successes),
        explicit_failures=write(counts.explicit_failures, failures),
        last_update=write(counts.last_update, seen(counts.last_update, now)),
        touch_time=None if time is None else write(time, seen(time, then)),
        most_trials=jnp.maximum(most, largest),
    )
