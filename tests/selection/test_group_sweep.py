"""One sweep for all groups, against one sweep after the other on all tasks."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.selection.group_sweep import CHUNK, alike_slots, sweep_groups
from bots_jax.shard import Shard

group_sweep = importlib.import_module("bots_jax.selection.group_sweep")

CASES = [  # tasks, batch, slots
    (10, 3, (1, 1)),
    (257, 40, (7, 0, 9, 1, 20)),
    (1000, 16, (3,) * 5),
    (1000, 64, (1,) * 50),
    (2 * CHUNK, 30, (16, 8, 4, 2)),
    (700, 700, (100, 300, 50)),
    (900, 12, (0,) * 300 + (4, 0, 2, 1)),  # most groups have no slots
]


def one_after_the_other(scores, eligible, groups, batch_size, slots):
    """Float64, a sort per stage; lower ids first among equals, NaN last."""
    keyed = np.where(np.isnan(scores), np.finfo(np.float32).min, scores)
    keyed = np.maximum(keyed.astype(np.float64), np.finfo(np.float32).min)
    order = np.argsort(-keyed, kind="stable")
    chosen: list[int] = []
    for group, size in [*enumerate(slots), (None, batch_size)]:
        free = [t for t in order.tolist() if eligible[t] and t not in set(chosen)]
        if group is not None:
            free = [t for t in free if groups[t] == group]
        chosen += free[:size]
    chosen = chosen[:batch_size]
    return np.array(chosen + [-1] * (batch_size - len(chosen)))


def pool_of(num_tasks, num_groups, seed, alike):
    """Scores, with ties or without, NaN and infinities; a mask; groups of all sizes."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=num_tasks).astype(np.float32)
    if alike:
        scores = np.round(scores) + np.float32(0)  # no -0, which top_k ranks below 0
    for value in (np.nan, np.inf, -np.inf):
        scores[rng.random(num_tasks) < 0.05] = value
    shares = rng.dirichlet(np.ones(num_groups) * 0.7)
    groups = rng.choice(num_groups, num_tasks, p=shares).astype(np.int32)
    if num_groups > 100:  # a third in those that have slots
        last = rng.integers(num_groups - 4, num_groups, num_tasks, np.int32)
        groups = np.where(rng.random(num_tasks) < 0.3, last, groups)
    return scores, rng.random(num_tasks) < 0.8, groups


def swept(scores, eligible, groups, batch_size, slots, block_size=2**20):
    arrays = [jnp.asarray(x) for x in (scores, scores + 1, eligible, groups)]

    @jax.jit
    def run(witness, arrays):
        def score(start, size):
            cut = lambda x: jax.lax.dynamic_slice(x, (start,), (size,))  # noqa: E731
            return cut(arrays[0]), cut(arrays[1]), cut(arrays[2]), cut(arrays[3])

        shard = Shard(len(scores))
        return sweep_groups(shard, batch_size, slots, score, witness, block_size)

    return run(jnp.zeros(1), arrays)


@pytest.mark.parametrize("block_size", [64, 300, 2**20])
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize(("num_tasks", "batch_size", "slots"), CASES)
def test_one_sweep_is_as_good_as_one_per_group(
    num_tasks, batch_size, slots, alike, block_size
):
    for seed in range(3):
        scores, eligible, groups = pool_of(num_tasks, len(slots), seed, alike)
        chosen = swept(scores, eligible, groups, batch_size, slots, block_size)
        want = one_after_the_other(scores, eligible, groups, batch_size, slots)
        np.testing.assert_array_equal(chosen.task_ids, want)
        filled = want >= 0
        draws = np.asarray(chosen.draws)[filled]
        np.testing.assert_array_equal(draws, scores[want[filled]] + 1)


@pytest.mark.parametrize("bug", ["ties", "members"])
def test_catches_planted_bugs(monkeypatch, bug):
    """Chunks left in the order of their scores, and group numbers one off."""
    if bug == "ties":
        monkeypatch.setattr(group_sweep.jnp, "sort", lambda x, axis: x[:, ::-1])
    else:
        honest = group_sweep.chunk_bests
        wrong = lambda v, groups, n: honest(v, (groups + 1) % n, n)  # noqa: E731
        monkeypatch.setattr(group_sweep, "chunk_bests", wrong)
    scores, eligible, groups = pool_of(3000, 4, 0, alike=True)
    slots = (8, 8, 8, 8)
    chosen = swept(scores, eligible, groups, 32, slots)
    want = one_after_the_other(scores, eligible, groups, 32, slots)
    assert not np.array_equal(chosen.task_ids, want)


def test_a_group_that_is_not_known_gets_no_slots_of_its_own():
    scores = np.arange(8, dtype=np.float32)
    groups = np.array([0, 0, 0, 1, 1, 5, 9, 9], np.int32)
    chosen = swept(scores, np.ones(8, bool), groups, 3, (1, 1))
    assert chosen.task_ids.tolist() == [2, 4, 7]


def test_little_more_is_kept_than_there_are_slots():
    rng = np.random.default_rng(0)
    for _ in range(20):
        slots = tuple(int(x) for x in rng.integers(0, 100, 40))
        classes = alike_slots(slots)
        assert sum(most * len(members) for most, members in classes) < 2 * sum(slots)
        assert sorted(g for _, members in classes for g in members.tolist()) == [
            group for group, size in enumerate(slots) if size
        ]


def test_memory_is_of_the_groups_that_have_slots():
    """A million groups, of which two have slots: no table of all of them."""
    slots = [0] * 1_000_000
    slots[3] = slots[999_999] = 1
    groups = np.where(np.arange(2048) % 2, 3, 999_999).astype(np.int32)
    ones = jnp.ones(2048)
    score = lambda start, size: (ones, ones, jnp.bool_(True), jnp.asarray(groups))  # noqa: E731

    def run(witness):
        return sweep_groups(Shard(2048), 4, slots, score, witness).task_ids

    assert run(ones).tolist() == [1, 0, 2, 3]
    compiled = jax.jit(run).lower(ones).compile()
    memory = compiled.memory_analysis()
    assert memory is None or memory.temp_size_in_bytes < 2**20
    assert max(np.size(c) for c in jax.make_jaxpr(run)(ones).consts) <= 2048


def test_it_runs_under_vmap():
    scores, eligible, groups = pool_of(500, 3, 1, alike=False)
    fixed = jnp.asarray(eligible), jnp.asarray(groups)
    many = jnp.asarray(np.random.default_rng(0).normal(size=(4, 500)), jnp.float32)

    def run(own):
        score = lambda start, size: (own, own, *fixed)  # noqa: E731
        return sweep_groups(Shard(500), 9, (3, 3, 1), score, own).task_ids

    for own, ids in zip(many, jax.vmap(run)(many), strict=True):
        want = one_after_the_other(np.asarray(own), eligible, groups, 9, (3, 3, 1))
        np.testing.assert_array_equal(ids, want)
