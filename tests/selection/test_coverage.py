"""Coverage control: who fills which slots, and that nobody is taken twice."""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.selection.candidates import choose_among
from bots_jax.selection.coverage import (
    Coverage,
    check_coverage,
    choose_covered,
    rested,
    sweep_judged,
)
from bots_jax.selection.pool import Pool, TaskFacts
from tests.statistical import CAUGHT, HONEST, inclusion_pvalue

coverage_module = importlib.import_module("bots_jax.selection.coverage")
NUM_TASKS, BATCH = 60, 12
GROUPS = np.arange(NUM_TASKS) % 3
ALPHA = np.float32(np.where(np.arange(NUM_TASKS) < 20, 19, 5))
BETA = np.float32(np.where(np.arange(NUM_TASKS) < 20, 1, 5))


def make_pool(eligible: Any = True, last=None, now=100) -> Pool:
    last = np.zeros(NUM_TASKS, np.int32) if last is None else last

    def facts(cut):
        age = jnp.int32(now) - cut(jnp.asarray(last))
        none = jnp.zeros(age.shape)
        return TaskFacts(
            age=age,
            never=cut(jnp.asarray(last)) == 0,
            token_cost=none + 1,
            progress=none,
            group_ids=cut(jnp.asarray(GROUPS, jnp.int32)),
            belief=None,
            cut=cut,
        )

    counts = lambda cut: (cut(jnp.asarray(ALPHA)), cut(jnp.asarray(BETA)))  # noqa: E731
    return Pool(
        NUM_TASKS,
        counts,
        jnp.float32(20),
        jnp.float32(0.5),
        jnp.asarray(eligible),
        facts=facts,
    )


def by_id(task, ids):
    return -ids.astype(jnp.float32), task.alpha


def covered(coverage, pool=None, key=0):
    pool = make_pool() if pool is None else pool
    key = jax.random.key(key) if isinstance(key, int) else key
    return choose_covered(key, pool, BATCH, coverage, by_id).task_ids


def test_review_and_quotas_fill_their_slots_first():
    ids = np.asarray(covered(Coverage(review_share=0.25, quotas=(0.0, 0.25, 0.25))))
    assert len(set(ids.tolist())) == BATCH
    assert (ids[:3] < 20).all()  # 3 of 12: those believed at 0.95
    assert (GROUPS[ids[3:6]] == 1).all() and (GROUPS[ids[6:9]] == 2).all()
    rest = sorted(set(range(NUM_TASKS)) - set(ids[:9].tolist()))[:3]
    assert ids[9:].tolist() == rest


def test_slots_that_a_stage_cannot_fill_go_to_the_last_one():
    few = np.arange(NUM_TASKS) >= 30  # nobody settled among them
    ids = covered(Coverage(review_share=0.5), make_pool(few))
    assert ids.tolist() == list(range(30, 42))


def test_short_of_tasks_the_last_slots_hold_minus_one():
    few = np.arange(NUM_TASKS) < 5
    ids = np.asarray(covered(Coverage(review_share=0.2), make_pool(few)))
    assert sorted(ids[:5].tolist()) == list(range(5)) and (ids[5:] == -1).all()


def test_what_the_review_took_is_not_taken_again_by_quotas_or_the_rest(monkeypatch):
    """The settled tasks are those that the rule wants most; and so a planted bug."""
    coverage = Coverage(review_share=0.5, quotas=(0.2, 0.2, 0.0))
    ids = np.asarray(covered(coverage))
    assert (ids[:6] < 20).all() and len(set(ids.tolist())) == BATCH
    honest = coverage_module._scores_of
    forget = lambda pool, judge, taken: honest(pool, judge, taken[:0])  # noqa: E731
    monkeypatch.setattr(coverage_module, "_scores_of", forget)
    ids = np.asarray(covered(coverage))
    assert len(set(ids.tolist())) < BATCH


def test_a_review_rounded_up_leaves_the_last_group_a_slot_less():
    coverage = Coverage(review_share=0.1, quotas=(0.3, 0.3, 0.3))  # 2 and 3, 3, 3
    ids = np.asarray(covered(coverage))
    assert (ids[:2] < 20).all() and len(set(ids.tolist())) == BATCH
    assert np.bincount(GROUPS[ids[2:]]).tolist() >= [3, 3, 3]


def test_the_review_is_uniform_among_settled_tasks():
    coverage = Coverage(review_share=0.3)  # 4 of 12

    @jax.jit
    @jax.vmap
    def review(key):
        return covered(coverage, key=key)[:4]

    ids = np.asarray(review(jax.random.split(jax.random.key(1), 4000)))
    assert (ids < 20).all() and inclusion_pvalue(ids, 20) > HONEST
    assert inclusion_pvalue(np.minimum(ids, 18), 20) < CAUGHT  # planted


def test_cooldown_lets_tasks_rest():
    last = np.zeros(NUM_TASKS, np.int32)
    last[:10] = 100  # in the last update
    last[10:20] = 97
    pool = make_pool(last=last)._replace(rested=rested(Coverage(cooldown=3)))
    ids = sweep_judged(jax.random.key(0), pool, BATCH, by_id, 0.0).task_ids
    assert ids.tolist() == list(range(10, 22))
    never = make_pool(now=1)._replace(rested=rested(Coverage(cooldown=50)))
    ids = sweep_judged(jax.random.key(0), never, BATCH, by_id, 0.0).task_ids
    assert ids.tolist() == list(range(BATCH))  # never rolled out, so never waiting


@pytest.mark.parametrize("num_candidates", [BATCH, 30, NUM_TASKS])
def test_candidates_are_uniform_and_the_best_of_them_win(num_candidates):
    pool = make_pool()

    @jax.jit
    @jax.vmap
    def choose(key):
        return choose_among(key, pool, BATCH, num_candidates, by_id).task_ids

    ids = np.asarray(choose(jax.random.split(jax.random.key(2), 2000)))
    assert all(len(set(row.tolist())) == BATCH for row in ids)
    if num_candidates == BATCH:
        assert inclusion_pvalue(ids, NUM_TASKS) > HONEST
    elif num_candidates == NUM_TASKS:
        assert (ids == np.arange(BATCH)).all()
    else:  # the lowest id is in whenever it is a candidate
        assert abs((ids == 0).any(axis=1).mean() - 0.5) < 0.05
        assert (np.diff(ids, axis=1) > 0).all()


def test_candidates_of_a_large_pool_are_raced_with_the_same_law():
    ones = jnp.ones(4800)
    pool = Pool(
        4800,
        lambda cut: (cut(ones), cut(ones)),
        jnp.float32(2),
        jnp.float32(0.5),
        jnp.asarray(np.arange(4800) % 2 == 0),
    )
    choose = jax.jit(
        jax.vmap(lambda key: choose_among(key, pool, 8, 100, by_id).task_ids)
    )
    ids = np.asarray(choose(jax.random.split(jax.random.key(3), 300)))
    assert (ids % 2 == 0).all() and (np.diff(ids, axis=1) > 0).all()
    lowest = ids[:, 0] / 2  # least of 100 of 2400: mean 2301/101
    assert abs(lowest.mean() - 2300 / 101) < 5


@pytest.mark.parametrize(
    ("coverage", "groups", "sentence"),
    [
        ("much", 0, "coverage must be a Coverage, got 'much'"),
        (Coverage(cooldown=-1), 0, "cooldown must be an integer"),
        (Coverage(cooldown=5), 0, "5 steps of 12 tasks need 72 tasks, got num_tasks"),
        (Coverage(review_share=1.0), 0, r"review_share must be in \[0, 0.99\], got 1"),
        (Coverage(quotas=(0.5,)), 0, "quotas need groups, got none"),
        (Coverage(quotas=(0.5,)), 2, r"quotas must have shape \(2,\), got \(1,\)"),
        (Coverage(quotas=(0.5, -0.1)), 2, "quotas must be in .* at index 1"),
        (
            Coverage(quotas=(0.6, 0.3), review_share=0.2),
            2,
            "must sum to at most 1, got 1.1",
        ),
    ],
)
def test_bad_coverage_gets_one_sentence(coverage, groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_coverage(coverage, NUM_TASKS, BATCH, groups)
