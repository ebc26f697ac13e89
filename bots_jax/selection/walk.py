"""Random points over the tasks in order of time, and the first B distinct accepted.

Points fall at rate 1 per task and unit of time, each on a task that is uniform over N.
A point is accepted with a chance that its task and time decide; the first acceptance of
a task is its arrival. So the first B arrivals of N are found in O(B) steps: `race` and
`choose` set the chance so that arrivals come in the order that is wanted.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import counter_bits
from bots_jax.fences import computed_apart
from bots_jax.repeats import first_occurrence

_ROW = 64  # of a prefix sum by a triangular matrix
_HOPE = np.float32(0.8)  # of the arrivals that are missing at the pace so far
_PATIENCE = np.float32(1 / 8)  # of an arrival, so that bad luck at first ends nothing

Words = tuple[Array, Array]


class Arrivals(NamedTuple):
    """The first tasks to arrive.

    Attributes:
      task_ids: int32 [C], C >= B; the first `num_found` are distinct, earliest first.
      times: float32 [C], when they arrived.
      bits: uint32 [C], a random word of each, as `chance` saw it.
      num_found: int32; below B if the walk was given up.
      complete: bool, False if the walk was given up.
      end: float32, every arrival before this time was found.
      num_points: int32, points that were looked at.
      exceeded: bool, a chance above 1 was met, so that the law is not the one wanted.
    """

    task_ids: Array
    times: Array
    bits: Array
    num_found: Array
    complete: Array
    end: Array
    num_points: Array
    exceeded: Array


class Kept(NamedTuple):
    """Which arrivals a batch may need, if not simply the first B.

    Attributes:
      keep: bool [C], at most B of them.
      complete: bool, whether no later arrival is needed.
      share: float32, how much of what is wanted has arrived, by which the walk judges
        its pace; of several things that are wanted, the least.
    """

    keep: Array
    complete: Array
    share: Array


class _State(NamedTuple):
    """Where the walk stands; the accepted points by number and time, in order."""

    next_point: Array
    end: Array
    num_found: Array
    complete: Array
    share: Array
    points: Array
    times: Array
    exceeded: Array


def prefix_sum(x: Array) -> Array:
    """Cumulative sum of [n], n a multiple of 64, by matrix products.

    XLA's own takes three times as long on CPU, since it makes many small passes.

    Example:
      >>> prefix_sum(jnp.ones(128))[-1]
      Array(128., dtype=float32)
    """
    row, column = (lax.broadcasted_iota(jnp.int32, (_ROW, _ROW), d) for d in (0, 1))
    upper = (row <= column).astype(jnp.float32)
    exact = lax.Precision.HIGHEST
    rows = jnp.matmul(x.reshape(-1, _ROW), upper, precision=exact)
    before = jnp.cumsum(rows[:, -1]) - rows[:, -1]
    return (rows + jnp.broadcast_to(before[:, None], rows.shape)).reshape(-1)


def multiply_high(word: Array, factor: int) -> tuple[Array, Array]:
    """High and low word of word * factor, without 64-bit integers.

    Example:
      >>> [int(w) for w in multiply_high(jnp.uint32(2**31), 10)]
      [5, 0]
    """
    low, high = np.uint32(factor & 0xFFFF), np.uint32(factor >> 16)
    word_low, word_high = word & np.uint32(0xFFFF), word >> np.uint32(16)
    cross, other = word_low * high, word_high * low
    middle = ((word_low * low) >> np.uint32(16)) + (cross & np.uint32(0xFFFF))
    middle += other & np.uint32(0xFFFF)
    carried = (cross >> np.uint32(16)) + (other >> np.uint32(16))
    top = word_high * high + carried + (middle >> np.uint32(16))
    return top, word * np.uint32(factor)


def uniform_task(word: Array, num_tasks: int) -> Array:
    """Maps a random word to a task, each equally often, or to -1.

    Each task has floor(2^32 / N) words, the words left over give -1 (Lemire, 2019).

    Example:
      >>> [int(uniform_task(jnp.uint32(w), 3)) for w in (0, 2**31, 2**32 - 1)]
      [-1, 1, 2]
    """
    task, low = multiply_high(word, num_tasks)
    left_over = np.uint32(2**32 % num_tasks)
    return jnp.where(low >= left_over, task.astype(jnp.int32), -1)


def upper_uniform(bits: Array) -> Array:
    """A uniform number in (0, 1) from all bits but the lowest.

    Example:
      >>> float(upper_uniform(jnp.uint32(2**31)))
      0.5
    """
    upper = (bits >> np.uint32(1)).astype(jnp.float32)
    return (upper + np.float32(0.5)) * np.float32(2.0**-31)


class Points(NamedTuple):
    """What random words say of points, whichever chunk they are looked at in.

    Attributes:
      gaps: float32, time since the point before, times the number of tasks.
      task_ids: int32, or -1 on no task.
      bits: uint32, of which `chance` may use the lowest bit.
      uniform: float32 in (0, 1), against which the chance is held.
      spare: uint32, one more word.
    """

    gaps: Array
    task_ids: Array
    bits: Array
    uniform: Array
    spare: Array


def look_at(key: Words, numbers: Array, num_tasks: int) -> Points:
    """Reads the random words of points.

    Args:
      key: two words.
      numbers: int32 [P], numbers of points.
      num_tasks: N.

    Returns:
      One entry per point.

    Example:
      >>> look_at((jnp.uint32(1), jnp.uint32(2)), jnp.arange(3), 10).task_ids.shape
      (3,)
    """
    counter = numbers.astype(jnp.uint32)
    gap, task = counter_bits.threefry2x32(*key, counter, jnp.uint32(0))
    bits, spare = counter_bits.threefry2x32(*key, counter, jnp.uint32(1))
    return Points(
        gaps=-jnp.log(counter_bits.unit_interval(gap)),
        task_ids=uniform_task(task, num_tasks),
        bits=bits,
        uniform=upper_uniform(bits),
        spare=spare,
    )


def chunk_size(batch_size: int, num_tasks: int) -> int:
    """Points per turn: most walks end in one or two turns.

    Example:
      >>> chunk_size(1024, 10**7), chunk_size(32, 10**7), chunk_size(4, 100)
      (4096, 512, 512)
    """
    wanted = min(4 * batch_size, num_tasks)
    return int(min(max(2 ** int(np.ceil(np.log2(wanted))), 512), 2**15))


SettleFn = Callable[[Points, Array, Array], Array]
KeepFn = Callable[[Array, Array], Kept]


def _settled(
    state: _State,
    key: Words,
    num_tasks: int,
    batch_size: int,
    settle: SettleFn | None,
    keep_needed: KeepFn | None,
) -> _State:
    """Drops what a second look rejects, tasks that arrived before, and the needless."""
    capacity = state.points.shape[0]
    rows = lax.iota(jnp.int32, capacity)
    seen = look_at(key, state.points, num_tasks)
    keep = rows < state.num_found
    if settle is not None:
        keep &= settle(seen, state.times, state.points)
    ids = jnp.where(keep, seen.task_ids, -2 - rows)
    keep &= first_occurrence(ids) == rows
    complete, share = jnp.sum(keep, dtype=jnp.int32) >= batch_size, state.share
    if keep_needed is not None:
        keep, complete, share = keep_needed(jnp.maximum(ids, 0), keep)
    count = jnp.sum(keep, dtype=jnp.int32)

    def compact(points: Array, times: Array) -> tuple[Array, Array]:
        place = jnp.where(keep, jnp.cumsum(keep, dtype=jnp.int32) - 1, capacity)
        move = lambda x: x.at[place].set(x, mode="drop")  # noqa: E731
        return move(points), move(times)

    points, times = lax.cond(
        count < state.num_found, compact, lambda *x: x, state.points, state.times
    )
    return state._replace(
        points=points, times=times, num_found=count, complete=complete, share=share
    )


def walk(
    key: Words,
    num_tasks: int,
    batch_size: int,
    time_limit: Array | float,
    chance: Callable[[Array, Array, Array], Array],
    settle: SettleFn | None = None,
    keep_needed: KeepFn | None = None,
) -> Arrivals:
    """Walks until B tasks arrived, or until it is plain that the limit comes first.

    Giving up depends on the points so far only, so what is not found yet has, given
    them, the law it had for being later than `end`.

    Args:
      key: two words; consumed.
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B.
      time_limit: in [0, 1/4]; 0 walks nowhere. A point per four tasks is where
        looking at everyone is cheaper.
      chance: (task_ids, times, bits) -> chance of acceptance, float32 [P].
      settle: (points, times, numbers) -> bool [C], a second look at what was accepted;
        it must say the same whenever it is asked about a point.
      keep_needed: (task_ids, arrived) -> what is kept of the tasks that arrived, int32
        [C] and bool [C], in their order, and whether that is all; None for the first B.

    Returns:
      The arrivals.

    Example:
      >>> always = lambda task_ids, times, bits: jnp.ones_like(times)
      >>> key = jnp.uint32(1), jnp.uint32(2)
      >>> bool(walk(key, 1000, 4, 0.25, always).num_found >= 4)
      True
    """
    size = chunk_size(batch_size, num_tasks)
    capacity = batch_size + max(64, batch_size // 8)
    rate = np.float32(2**32 / (2**32 // num_tasks))  # of points, -1 among them
    settled = functools.partial(
        _settled,
        key=key,
        num_tasks=num_tasks,
        batch_size=batch_size,
        settle=settle,
        keep_needed=keep_needed,
    )
    time_limit = jnp.asarray(time_limit, jnp.float32)

    def body(state: _State) -> _State:
        numbers = state.next_point + lax.iota(jnp.int32, size)
        look = lambda: look_at(key, numbers, num_tasks)  # noqa: E731
        here = computed_apart(state.end, look)  # read by several loops
        times = state.end + prefix_sum(here.gaps) / rate
        likely = chance(jnp.maximum(here.task_ids, 0), times, here.bits)
        within = (times <= time_limit) & (here.task_ids >= 0)
        accepted = within & (here.uniform < likely)
        place = prefix_sum(accepted.astype(jnp.float32)).astype(jnp.int32)
        total = state.num_found + place[-1]
        place = jnp.where(accepted, state.num_found + place - 1, capacity)
        source = jnp.full((capacity,), -1, jnp.int32)
        source = source.at[place].set(lax.iota(jnp.int32, size), mode="drop")
        is_new, at = source >= 0, jnp.maximum(source, 0)
        overflows = total > capacity  # then the next turn starts after the last kept
        last = jnp.where(overflows, at[-1], size - 1)
        end = jnp.minimum(times[last], time_limit)
        state = state._replace(
            next_point=numbers[last] + 1,
            end=jnp.where(overflows, times[last], end),
            num_found=jnp.minimum(total, capacity),
            points=jnp.where(is_new, numbers[at], state.points),
            times=jnp.where(is_new, times[at], state.times),
            exceeded=state.exceeded | jnp.any(within & (likely > 1)),
        )
        return lax.cond(state.num_found >= batch_size, settled, lambda s: s, state)

    def unfinished(state: _State) -> Array:
        # At the pace so far, would the limit see what is wanted? (At the start: yes.)
        found = state.num_found.astype(jnp.float32) + _PATIENCE
        share = jnp.minimum(found / batch_size, state.share)
        hopeful = share * time_limit >= _HOPE * state.end
        return ~state.complete & (state.end < time_limit) & hopeful & ~state.exceeded

    start = _State(
        next_point=jnp.int32(0),
        end=jnp.float32(0),
        num_found=jnp.int32(0),
        complete=jnp.bool_(False),
        share=jnp.float32(np.inf),
        points=jnp.zeros((capacity,), jnp.int32),
        times=jnp.zeros((capacity,), jnp.float32),
        exceeded=jnp.bool_(False),
    )
    state = lax.while_loop(unfinished, body, start)
    state = lax.cond(state.complete, lambda s: s, settled, state)
    seen = look_at(key, state.points, num_tasks)
    return Arrivals(
        task_ids=seen.task_ids,
        times=state.times,
        bits=seen.bits,
        num_found=state.num_found,
        complete=state.complete,
        end=state.end,
        num_points=state.next_point,
        exceeded=state.exceeded,
    )
