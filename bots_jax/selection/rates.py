"""Tasks that arrive at rates of their own: the first B win, or the first of each group.

The order in which tasks arrive at rates exp(s) is the order of s plus Gumbel noise. So
the B first are a tempered choice without replacement, and the first of a group are the
best of that group: quotas are met by waiting for the groups that are not there yet.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import counter_bits
from bots_jax.selection.completion import Found, Selection, completed
from bots_jax.selection.group_sweep import GroupedFn, place_among, sweep_groups
from bots_jax.selection.gumbel import gumbel_noise
from bots_jax.selection.pool import Candidates, Pool
from bots_jax.selection.race import TIME_LIMIT
from bots_jax.selection.sweep import BlockFn, Chosen, sweep
from bots_jax.selection.walk import Kept, Words, walk

GROUP_TIME_LIMIT = np.float32(1 / 32)
"""With groups: a cold one may never arrive, and so long a walk costs little more."""

_FIRST = np.float32(1e30)  # a score that no other reaches


def race_rates(
    key: Array,
    pool: Pool,
    batch_size: int,
    judge: Callable[[Candidates, Array], tuple[Array, Array]],
    log_bound: Array,
    slots: tuple[int, ...] = (),
) -> Selection:
    """Lets tasks arrive at rate exp(log_rate - log_bound); the first B win.

    Arrivals at constant rates have no memory: where the walk ends, the tasks that are
    still to come race anew, which is Gumbel noise on their log rates.

    Args:
      key: consumed.
      pool: the tasks.
      batch_size: B.
      judge: (candidates, task_ids) -> log rates [P], and the success chances [P] that
        they are judged by.
      log_bound: float32 scalar, at least every log rate; where it is too small, every
        task is swept.
      slots: of each group, >= 0, summing to at most B: the first of a group win them,
        and the first of all others what is left. Wants facts of the pool.

    Returns:
      The batch; its law is that of Gumbel noise added to the log rates, and with slots
      that of `sweep_groups` on these.

    Example:
      >>> ones = jnp.ones(4096)
      >>> pool = Pool(4096, lambda cut: (cut(ones), cut(ones)), jnp.float32(2),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> judge = lambda task, ids: (jnp.zeros(ids.shape), task.alpha)
      >>> int(race_rates(jax.random.key(0), pool, 4, judge, jnp.float32(0)).path)
      1
    """
    walk_key, noise_key = jax.random.split(key)
    noise_key = counter_bits.shared(noise_key)
    words: Words = counter_bits.key_words(walk_key)
    usable = jnp.isfinite(log_bound)
    groups = _Groups(pool, batch_size, slots) if any(slots) else None

    def chance(task_ids: Array, times: Array, bits: Array) -> Array:
        del times, bits
        task = pool.at(task_ids)
        log_rate, _ = judge(task, task_ids)
        return jnp.where(task.eligible, jnp.exp(log_rate - log_bound), 0)

    limit = jnp.where(usable, TIME_LIMIT if groups is None else GROUP_TIME_LIMIT, 0)
    keep_needed = None if groups is None else groups.keep_needed
    arrived = walk(
        words, pool.num_tasks, batch_size, limit, chance, keep_needed=keep_needed
    )
    ids = jnp.maximum(arrived.task_ids, 0)
    num_found = jnp.where(arrived.exceeded, 0, arrived.num_found)
    found = Found(arrived.task_ids, judge(pool.at(ids), ids)[1], num_found)
    order = lax.iota(jnp.float32, ids.shape[0]) / np.float32(ids.shape[0])

    def score(start: Array, size: int) -> tuple[Array, Array, Array]:
        task = pool.block(start, size)
        block_ids = pool.here.task_ids(start, size)
        log_rate, draws = judge(task, block_ids)
        scores = log_rate + gumbel_noise(noise_key(), block_ids)
        first = scores.at[found.place(block_ids)]
        return first.set(_FIRST * (2 - order), mode="drop"), draws, task.eligible

    def complete() -> Chosen:
        if groups is None:
            return sweep(pool.here, batch_size, score)
        return sweep_groups(
            pool.here, batch_size, slots, with_groups(pool, score), words[0]
        )

    raced = Chosen(found.task_ids[:batch_size], found.draws[:batch_size])
    if groups is not None:
        raced = groups.in_order(found)
    enough = arrived.complete & ~arrived.exceeded
    return completed(raced, enough, arrived.num_points, complete)


def with_groups(pool: Pool, score: BlockFn) -> GroupedFn:
    """Scores a block, and says which groups its tasks are of, for `sweep_groups`."""

    def grouped(start: Array, size: int) -> tuple[Array, Array, Array, Array]:
        facts = pool.block(start, size).facts
        assert facts is not None
        return *score(start, size), facts.group_ids

    return grouped


def group_ranks(groups: Array, arrived: Array) -> Array:
    """Counts, for each that arrived, those of its group that arrived before.

    Args:
      groups: int32 [C], in the order of arrival.
      arrived: bool [C].

    Returns:
      int32 [C]; meaningless for those that did not arrive.

    Example:
      >>> group_ranks(jnp.int32([3, 1, 3, 3]), jnp.array([True, True, False, True]))
      Array([0, 0, 0, 1], dtype=int32)
    """
    rows = lax.iota(jnp.int32, groups.shape[0])
    own = jnp.where(arrived, groups, np.iinfo(np.int32).max)
    order = jnp.argsort(own, stable=True)
    ordered = own[order]
    is_first = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
    starts = lax.cummax(jnp.where(is_first, rows, 0))
    return jnp.zeros_like(rows).at[order].set(rows - starts)


class _Groups:
    """Which arrivals quotas need: the first of each group, and the first of all others.

    What a group has not claimed yet is kept for the others, which give way to it.
    """

    def __init__(self, pool: Pool, batch_size: int, slots: tuple[int, ...]) -> None:
        self._pool, self._batch_size = pool, batch_size
        self._claimants = np.flatnonzero(slots)
        self._slots = np.asarray(slots, np.int32)[self._claimants]

    def _claims(self, task_ids: Array, arrived: Array) -> tuple[Array, Array]:
        """Which arrivals fill slots of their group, and which claimant that is."""
        facts = self._pool.at(task_ids).facts
        assert facts is not None
        groups = place_among(self._claimants, facts.group_ids)
        own = jnp.asarray(self._slots).at[groups].get(mode="fill", fill_value=0)
        return arrived & (group_ranks(groups, arrived) < own), groups

    def keep_needed(self, task_ids: Array, arrived: Array) -> Kept:
        """A `KeepFn` of `walk`."""
        claims, groups = self._claims(task_ids, arrived)
        filled = jnp.sum(claims, dtype=jnp.int32)
        others = arrived & ~claims
        place = jnp.cumsum(others, dtype=jnp.int32) - 1
        keep = claims | (others & (place < self._batch_size - filled))
        have = jnp.zeros(self._slots.shape, jnp.float32)
        have = have.at[groups].add(claims.astype(jnp.float32), mode="drop")
        slots = jnp.asarray(self._slots, jnp.float32)
        # One more is counted: a group of one slot has nothing until it has it all.
        share = jnp.where(have < slots, (have + 1) / slots, np.inf)
        is_all = filled == np.int32(self._slots.sum())
        enough = jnp.sum(keep, dtype=jnp.int32) >= self._batch_size
        return Kept(keep, is_all & enough, jnp.min(share).astype(jnp.float32))

    def in_order(self, found: Found) -> Chosen:
        """The batch: groups in their order, then the others, as they arrived."""
        arrived = lax.iota(jnp.int32, found.task_ids.shape[0]) < found.num_found
        claims, groups = self._claims(jnp.maximum(found.task_ids, 0), arrived)
        last = np.int32(len(self._slots))
        place = jnp.where(claims, groups, jnp.where(arrived, last, last + 1))
        order = jnp.argsort(place, stable=True)[: self._batch_size]
        return Chosen(found.task_ids[order], found.draws[order])
