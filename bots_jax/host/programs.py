"""The compiled programs of a sampler: draw a batch, learn from a step, or both."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax.host.feedback import Counts
from bots_jax.selectors.common import mark_eligible
from bots_jax.types import Evidence, SelectInfo, State, TaskSelector, UpdateInfo


class Programs(NamedTuple):
    """Compiled once per selector and number of rows; the state given is gone.

    `numbers` are the number of the draw, and how many tasks are wanted.

    Attributes:
      draw: (state, key, numbers) -> state, task ids, info.
      learn: (state, rows) -> state, info.
      learn_and_draw: (state, rows, key, numbers) -> state, info, task ids, info.
      posterior: state -> alpha, beta; the state stays.
    """

    draw: Callable[..., tuple[State, Array, SelectInfo]]
    learn: Callable[..., tuple[State, UpdateInfo]]
    learn_and_draw: Callable[..., tuple[State, UpdateInfo, Array, SelectInfo]]
    posterior: Callable[[State], tuple[Array, Array]]


class StepRows(NamedTuple):
    """What changes in a step, one row per task.

    Attributes:
      task_ids: int32 [R]; -1 in padding.
      counts: float32 [2, R], successes and failures; 0 where there is no evidence.
      eligible: bool [R], whether the task may be chosen afterwards.
    """

    task_ids: np.ndarray
    counts: np.ndarray
    eligible: np.ndarray


def step_rows(
    counts: Counts,
    released: np.ndarray,
    eligible: Callable[[np.ndarray], np.ndarray],
    at_least: int,
) -> StepRows:
    """Pads what changes in a step to one of few lengths.

    Args:
      counts: the evidence.
      released: int32, other rows whose eligibility changes.
      eligible: rows -> bool, whether they may be chosen afterwards.
      at_least: the smallest length.

    Returns:
      Rows of length `at_least`, or of a power of two above it.

    Example:
      >>> counts = Counts(np.int32([0]), np.ones(1), np.zeros(1))
      >>> free = lambda rows: np.ones(len(rows), bool)
      >>> step_rows(counts, np.int32([5]), free, 4).task_ids
      array([ 0,  5, -1, -1], dtype=int32)
    """
    given = len(counts.rows)
    used = given + len(released)
    length = max(at_least, 1 << max(0, used - 1).bit_length() if used > at_least else 0)
    rows = StepRows(
        np.full(length, -1, np.int32),
        np.zeros((2, length), np.float32),
        np.zeros(length, bool),
    )
    rows.task_ids[:given], rows.task_ids[given:used] = counts.rows, released
    rows.counts[0, :given], rows.counts[1, :given] = counts.successes, counts.failures
    rows.eligible[:used] = eligible(rows.task_ids[:used])
    return rows


def make_programs(selector: TaskSelector) -> Programs:
    """Compiles a selector's programs when they are first used, once per selector.

    Example:
      >>> import bots_jax
      >>> selector = bots_jax.uniform(num_tasks=2, batch_size=2)
      >>> mask = np.ones(2, bool)
      >>> state = bots_jax.set_eligible(selector, selector.init(), mask)
      >>> numbers = np.int32([0, 1])
      >>> draw = make_programs(selector).draw
      >>> state, ids, _ = draw(state, jax.random.key(0), numbers)
      >>> int(np.sum(ids >= 0)), int(state.num_eligible)
      (1, 1)
    """
    try:
        return _cached_programs(selector)
    except TypeError:  # a setting that is an array has no hash
        return _make_programs(selector)


def _make_programs(selector: TaskSelector) -> Programs:
    def pick(state: State, key: Array, numbers: Array) -> tuple[State, Array, Any]:
        ids, info = selector.select(jax.random.fold_in(key, numbers[0]), state)
        taken = jnp.where(lax.iota(jnp.int32, ids.shape[0]) < numbers[1], ids, -1)
        return mark_eligible(selector, state, taken, jnp.bool_(False)), taken, info

    def learn(state: State, rows: StepRows) -> tuple[State, UpdateInfo]:
        task_ids, free = jnp.asarray(rows.task_ids), jnp.asarray(rows.eligible)
        evidence = Evidence(task_ids, *map(jnp.asarray, rows.counts))
        state, info = selector.update(state, evidence)
        return mark_eligible(selector, state, task_ids, free), info

    def learn_and_pick(
        state: State, rows: StepRows, key: Array, numbers: Array
    ) -> tuple[State, UpdateInfo, Array, SelectInfo]:
        state, update_info = learn(state, rows)
        state, taken, select_info = pick(state, key, numbers)
        return state, update_info, taken, select_info

    def pick_apart(
        mask: tuple[Array, Array], rest: State, key: Array, numbers: Array
    ) -> tuple[Any, Array, SelectInfo]:
        state = rest._replace(eligible=mask[0], num_eligible=mask[1])
        state, taken, info = pick(state, key, numbers)
        return (state.eligible, state.num_eligible), taken, info

    pick_compiled = jax.jit(pick_apart, donate_argnums=0)

    def draw(
        state: State, key: Array, numbers: np.ndarray
    ) -> tuple[State, Array, SelectInfo]:
        mask = state.eligible, state.num_eligible
        rest = state._replace(eligible=None, num_eligible=None)
        mask, taken, info = pick_compiled(mask, rest, key, numbers)
        return state._replace(eligible=mask[0], num_eligible=mask[1]), taken, info

    return Programs(
        draw=draw,
        learn=jax.jit(learn, donate_argnums=0),
        learn_and_draw=jax.jit(learn_and_pick, donate_argnums=0),
        posterior=jax.jit(selector.posterior),
    )


_cached_programs = functools.lru_cache(maxsize=8)(_make_programs)
