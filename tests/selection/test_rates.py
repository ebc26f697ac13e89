"""Races with quotas, against Gumbel noise for everyone in float64, stage by stage."""

import functools
import importlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bots_jax.selection import Pool, completion
from bots_jax.selection.pool import TaskFacts
from bots_jax.selection.rates import group_ranks, race_rates
from tests.statistical import CAUGHT, HONEST

rates = importlib.import_module("bots_jax.selection.rates")
KEYS = 3_000


class Law(NamedTuple):
    """One case.

    Attributes:
      num_tasks: N.
      batch_size: B.
      slots: of each group; group g has the tasks with id % 4 == g.
      cold: a group that hardly arrives; None for none.
      ineligible: a group of which only two tasks may be chosen; None for none.
      raced: range of the share of batches decided by the race alone.
    """

    num_tasks: int = 1600
    batch_size: int = 10
    slots: tuple[int, ...] = (3, 1, 0, 2)
    cold: int | None = None
    ineligible: int | None = None
    raced: tuple[float, float] = (0.99, 1.0)

    @property
    def groups(self) -> np.ndarray:
        return np.arange(self.num_tasks) % 4

    def log_rates(self) -> np.ndarray:
        found = np.log(np.random.default_rng(0).uniform(0.01, 1, self.num_tasks))
        return np.where(self.groups == self.cold, found - 6, found).astype(np.float32)

    def eligible(self) -> np.ndarray:
        ids = np.arange(self.num_tasks)
        return (self.groups != self.ineligible) | (ids < 8)

    def pool(self) -> Pool:
        groups = jnp.asarray(self.groups, jnp.int32)
        own: Any = (jnp.asarray(self.log_rates()), jnp.ones(self.num_tasks))

        def facts(cut):
            none = jnp.zeros(cut(groups).shape)
            never = none == 0
            return TaskFacts(cut(groups), never, none, none, cut(groups), None, cut)

        return Pool(
            self.num_tasks,
            lambda cut: (cut(own[0]), cut(own[1])),
            jnp.float32(2),
            jnp.float32(0.5),
            jnp.asarray(self.eligible()),
            facts=facts,
        )


CASES = {
    "raced": Law(),
    "all slots are of groups": Law(batch_size=8, slots=(2, 2, 2, 2)),
    "cold": Law(cold=3, raced=(0, 0.7)),
    "late": Law(num_tasks=100, raced=(0, 0.9)),
    "too few in a group": Law(slots=(3, 1, 4, 0), ineligible=2, raced=(0, 0)),
}


def judge(task, ids):
    del ids
    return task.alpha, task.alpha + 1


def run(law: Law, seed: int = 0) -> np.ndarray:
    pool = law.pool()

    def batch(number):
        key = jax.random.fold_in(jax.random.key(seed), number)
        return race_rates(key, pool, law.batch_size, judge, jnp.float32(0), law.slots)

    found = jax.jit(lambda n: jax.lax.map(batch, n))(jnp.arange(KEYS))
    ids = np.asarray(found.task_ids)
    assert all(len(set(row)) == law.batch_size for row in ids.tolist())
    assert law.eligible()[ids].all()
    np.testing.assert_allclose(found.draws, law.log_rates()[ids] + 1, rtol=1e-5)
    raced = float(np.mean(np.asarray(found.path) == completion.RACED))
    assert law.raced[0] <= raced <= law.raced[1], raced
    return ids


@functools.cache
def brute_force(law: Law) -> np.ndarray:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(2 * KEYS):
        noisy = law.log_rates() + rng.gumbel(size=law.num_tasks)
        noisy[~law.eligible()] = -np.inf
        order = np.argsort(-noisy)[: law.eligible().sum()]
        groups, chosen = law.groups[order], []
        for group, size in enumerate(law.slots):
            chosen += order[groups == group][:size].tolist()
        rest = order[~np.isin(order, chosen)]
        found.append(chosen + rest[: law.batch_size - len(chosen)].tolist())
    return np.array(found)


def pvalues(law: Law, ours: np.ndarray) -> list[float]:
    """Of the rates of every place's task, and of how many each group has."""
    theirs, rates_of = brute_force(law), law.log_rates()
    ks = lambda a, b: float(np.asarray(stats.ks_2samp(a, b))[1])  # noqa: E731
    places = range(law.batch_size)
    found = [ks(rates_of[ours[:, p]], rates_of[theirs[:, p]]) for p in places]
    found.append(ks(rates_of[ours].sum(1), rates_of[theirs].sum(1)))
    for group in range(4):
        mine, other = ((law.groups[x] == group).sum(1) for x in (ours, theirs))
        if np.ptp(mine) or np.ptp(other):
            found.append(ks(mine, other))
        else:
            assert mine[0] == other[0]
    return found


@pytest.fixture(autouse=True)
def long_walks(monkeypatch):
    """Pools of a size that brute force can do are small for a race."""
    monkeypatch.setattr(rates, "GROUP_TIME_LIMIT", np.float32(0.25))


@pytest.mark.parametrize("name", CASES)
def test_race_with_quotas_has_the_law_of_brute_force(name):
    law = CASES[name]
    ids = run(law)
    stage = np.repeat(np.arange(4), law.slots)
    if law.ineligible is None:
        assert (law.groups[ids[:, : len(stage)]] == stage).all()
    assert min(pvalues(law, ids)) > HONEST / law.batch_size


def misplaced(monkeypatch):
    """The sweep takes the neighbours of those that arrived."""
    honest = rates.Found.place
    beside = lambda self, ids: honest(self, ids) + 4  # noqa: E731
    monkeypatch.setattr(rates.Found, "place", beside)


def hasty(monkeypatch):
    """Others are given what a group has not claimed, and keep it."""
    honest = rates._Groups.keep_needed

    def wrong(self, task_ids, arrived):
        kept = honest(self, task_ids, arrived)
        enough = jnp.sum(arrived, dtype=jnp.int32) >= self._batch_size
        return kept._replace(complete=enough)

    monkeypatch.setattr(rates._Groups, "keep_needed", wrong)


def latest(monkeypatch):
    """The last of a group to arrive have its slots."""
    honest = rates.group_ranks
    wrong = lambda g, a: honest(g[::-1], a[::-1])[::-1]  # noqa: E731
    monkeypatch.setattr(rates, "group_ranks", wrong)


@pytest.mark.parametrize(
    ("bug", "name"), [(misplaced, "late"), (hasty, "cold"), (latest, "raced")]
)
def test_catches_planted_bugs(bug, name, monkeypatch):
    bug(monkeypatch)
    law = CASES[name]._replace(raced=(0, 1))
    assert min(pvalues(law, run(law))) < CAUGHT


def test_ranks_within_groups():
    rng = np.random.default_rng(0)
    for size in (1, 2, 200):
        groups, arrived = rng.integers(0, 5, size), rng.random(size) < 0.7
        want = [np.sum(arrived[:i] & (groups[:i] == groups[i])) for i in range(size)]
        got = np.asarray(
            group_ranks(jnp.asarray(groups, jnp.int32), jnp.asarray(arrived))
        )
        np.testing.assert_array_equal(got[arrived], np.array(want)[arrived])
