"""The raced selections against brute force in float64."""

import functools
import importlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bots_jax.selection import Pool, choose, completion
from tests.nights import nightly_but
from tests.statistical import CAUGHT, HONEST, chi_square_pvalue

race_module = importlib.import_module("bots_jax.selection.race")
walk_module = importlib.import_module("bots_jax.selection.walk")


class Law(NamedTuple):
    """One case of the law of a selection.

    Attributes:
      num_tasks: N.
      batch_size: B.
      target: p*, a number or one per task.
      spread: how far concentrations differ, 0 for those of a running BOTS.
      least: the smallest alpha and beta.
      above_one: what the engine is promised.
      raced: the range that the share of batches decided by the race alone must lie in.
      ineligible: the share of tasks that may not be chosen.
    """

    num_tasks: int
    batch_size: int
    target: Any = 0.5
    spread: float = 0.0
    least: float = 1.0
    above_one: bool = True
    raced: tuple[float, float] = (0.999, 1.0)
    ineligible: float = 0.0

    def shapes(self) -> tuple[np.ndarray, np.ndarray]:
        """Alpha and beta like those of a run, lopsided."""
        rng = np.random.default_rng(self.num_tasks)
        chance = rng.beta(0.7, 1.3, self.num_tasks)
        total = 16 * np.exp(rng.uniform(0, max(self.spread, 0.01), self.num_tasks))
        counts = self.least + np.stack([total * chance, total * (1 - chance)])
        return tuple(counts.astype(np.float32))

    def eligible(self) -> np.ndarray:
        rng = np.random.default_rng(1)
        return rng.random(self.num_tasks) >= self.ineligible

    def targets(self) -> np.ndarray:
        if np.ndim(self.target):
            low, high = self.target
            return np.linspace(low, high, self.num_tasks, dtype=np.float32)
        return np.asarray(self.target, np.float32)


PLAIN = Law(2000, 24)
CASES = {
    "plain": PLAIN,
    "any shapes": Law(2000, 24, above_one=False, least=0.3),
    "per task": Law(2000, 16, target=(0.3, 0.7)),
    "masked": Law(2000, 12, ineligible=0.5),
    "late": Law(120, 4, target=0.6, raced=(0.2, 0.999)),
    "high target": Law(2000, 8, target=0.95, raced=(0, 1)),
    "target 1": Law(2000, 8, target=1.0, raced=(0, 1)),
    "target 0": Law(500, 6, target=0.0, raced=(0, 1)),
    "concentrated": Law(300, 20, target=0.7, spread=3.0, raced=(0, 0.5)),
    "many": Law(200, 60, raced=(0, 0)),
    "target 1, any shapes": Law(
        300, 6, target=1.0, least=0.3, above_one=False, raced=(0, 0)
    ),
}
NIGHTLY_KEYS, KEYS = 20_000, 3_000


def pool_of(law: Law) -> Pool:
    alpha, beta = (jnp.asarray(x) for x in law.shapes())
    return Pool(
        num_tasks=law.num_tasks,
        counts=lambda cut: (cut(alpha), cut(beta)),
        max_concentration=jnp.max(alpha + beta),
        target=jnp.asarray(law.targets()),
        eligible=jnp.asarray(law.eligible()),
    )


def run(select, law: Law, num_keys: int = KEYS, seed: int = 0):
    """Batches [keys, B], their draws, and the share that the race decided alone."""
    pool = pool_of(law)

    @jax.jit
    def batch(number):
        key = jax.random.fold_in(jax.random.key(seed), number)
        return select(key, pool, law.batch_size)

    numbers = jnp.arange(num_keys)
    found = jax.jit(lambda numbers: jax.lax.map(batch, numbers))(numbers)
    ids, draws, path = (np.asarray(x) for x in found[:3])
    assert all(len(set(row)) == law.batch_size for row in ids.tolist())
    assert law.eligible()[ids].all()
    return ids, draws, float(np.mean(path == completion.RACED))


@functools.cache
def brute_force(law: Law, temperature: float, num_keys: int):
    """Draw for everyone in float64, take the best; batches in order, and draws."""
    rng = np.random.default_rng(5)
    alpha, beta = (x.astype(np.float64) for x in law.shapes())
    ids, draws = [], []
    for start in range(0, num_keys, 1000):
        size = (min(1000, num_keys - start), law.num_tasks)
        drawn = rng.beta(alpha, beta, size)
        cost = np.abs(drawn - law.targets())
        if temperature:
            cost = cost - temperature * rng.gumbel(size=size)
        cost[:, ~law.eligible()] = np.inf
        best = np.argsort(cost, axis=1)[:, : law.batch_size]
        ids.append(best)
        draws.append(np.take_along_axis(drawn, best, axis=1))
    return np.concatenate(ids), np.concatenate(draws)


def inclusion_pvalue(law: Law, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of how often each task was chosen, by Monte Carlo of the statistic's law.

    Tasks of one batch exclude each other, so that the chi-square's law is not known;
    shuffling whole batches between the two samples gives it.
    """
    rng = np.random.default_rng(9)
    together = np.concatenate([ours, theirs])
    count = lambda ids: np.bincount(ids.ravel(), minlength=law.num_tasks)  # noqa: E731
    total = count(together)
    rate = total / len(together)
    weight = np.where(rate * len(ours) >= 5, 1 / np.maximum(rate * (1 - rate), 1e-9), 0)

    def statistic(is_ours):
        left = count(together[is_ours])
        share = left / len(ours) - (total - left) / len(theirs)
        return np.sum(weight * share**2)

    is_ours = np.arange(len(together)) < len(ours)
    observed = statistic(is_ours)
    shuffled = [statistic(rng.permutation(is_ours)) for _ in range(200)]
    # the statistic is a sum of many terms: a scaled chi-square fits its law
    mean, variance = np.mean(shuffled), np.var(shuffled)
    scale, freedom = variance / (2 * mean), 2 * mean**2 / variance
    return float(stats.chi2.sf(observed / scale, freedom))


def pvalues(law: Law, select, temperature=0.0, num_keys=KEYS, seed=0) -> list[float]:
    """Of inclusion, of the first and last distance, and of who comes first."""
    ids, draws, raced = run(select, law, num_keys, seed)
    assert law.raced[0] <= raced <= law.raced[1], raced
    their_ids, their_draws = brute_force(law, temperature, 2 * num_keys)
    targets = np.broadcast_to(law.targets(), (law.num_tasks,))
    ours = np.abs(draws - targets[ids])
    theirs = np.abs(their_draws - targets[their_ids])
    ks = lambda a, b: float(np.asarray(stats.ks_2samp(a, b))[1])  # noqa: E731
    tests = [
        inclusion_pvalue(law, ids, their_ids),
        ks(ours[:, 0], theirs[:, 0]),
        ks(ours[:, -1], theirs[:, -1]),
        ks(draws.mean(1), their_draws.mean(1)),
    ]
    if not temperature:
        assert (np.diff(ours, axis=1) >= -1e-6).all()
    return tests


def race(law: Law):
    return functools.partial(_race, above_one=law.above_one)


def _race(key, pool, batch_size, above_one):
    return choose.race_draws(key, pool, batch_size, above_one=above_one)


@pytest.mark.parametrize("name", nightly_but(CASES, "late", "many"))
def test_race_has_the_law_of_brute_force(name):
    law = CASES[name]
    assert min(pvalues(law, race(law))) > HONEST


@pytest.mark.parametrize(
    "name", nightly_but(["plain", "any shapes", "target 1"], "any shapes")
)
def test_sweep_has_the_law_of_brute_force(name):
    law = CASES[name]._replace(raced=(0, 0))
    sweep = functools.partial(choose.sweep_draws, above_one=law.above_one)
    assert min(pvalues(law, sweep)) > HONEST


@pytest.mark.nightly
@pytest.mark.parametrize("name", CASES)
def test_race_has_the_law_of_brute_force_with_many_keys(name):
    law = CASES[name]
    assert min(pvalues(law, race(law), num_keys=NIGHTLY_KEYS, seed=1)) > HONEST


TEMPERED = {
    "plain": (Law(1000, 12), 0.1),
    "cold": (Law(2000, 6, raced=(0, 1)), 0.02),
    "late": (Law(100, 12, target=0.7, raced=(0, 0.9)), 0.1),
    "masked": (Law(1000, 8, ineligible=0.6, above_one=False, least=0.4), 0.3),
}


@pytest.mark.parametrize("name", nightly_but(TEMPERED, "late"))
def test_tempered_race_has_the_law_of_brute_force(name):
    law, temperature = TEMPERED[name]
    select = functools.partial(
        choose.race_tempered_draws, temperature=temperature, above_one=law.above_one
    )
    assert min(pvalues(law, select, temperature)) > HONEST


def test_tempered_race_catches_planted_bugs():
    law, temperature = TEMPERED["plain"]
    hotter = functools.partial(
        choose.race_tempered_draws, temperature=1.4 * temperature, above_one=True
    )
    assert min(pvalues(law, hotter, temperature)) < CAUGHT


def density_pvalue(law: Law, select) -> float:
    """First picks against the densities at the target, exactly."""
    ids, _, raced = run(select, law, 4 * KEYS)
    assert law.raced[0] <= raced <= law.raced[1], raced
    alpha, beta = (x.astype(np.float64) for x in law.shapes())
    weight = stats.beta.pdf(law.targets(), alpha, beta) * law.eligible()
    counts = np.bincount(ids[:, 0], minlength=law.num_tasks)
    expected = counts.sum() * weight / weight.sum()
    return chi_square_pvalue(counts, expected / expected.sum())


DENSITY = {
    "raced": Law(600, 4, target=0.4),
    "late": Law(60, 20, target=0.4, raced=(0, 0.5)),
    "any shapes": Law(600, 4, least=0.3, above_one=False),
}


@pytest.mark.parametrize("name", nightly_but(DENSITY, "late"))
def test_density_race_picks_in_proportion_to_the_density(name):
    law = DENSITY[name]
    select = functools.partial(choose.race_target_density, above_one=law.above_one)
    assert density_pvalue(law, select) > HONEST


def test_density_race_and_sweep_agree_on_whole_batches():
    for name in ("raced", "late"):
        law = DENSITY[name]
        raced, _, _ = run(choose.race_target_density, law)
        score = functools.partial(
            choose.sweep_scores, score=choose.target_log_density, temperature=1.0
        )
        swept, _, _ = run(score, law._replace(raced=(0, 0)), seed=3)
        assert inclusion_pvalue(law, raced, swept) > HONEST


def test_density_race_catches_planted_bug(monkeypatch):
    honest = choose.target_log_density
    wrong = lambda a, b, t: honest(b, a, t)  # noqa: E731
    monkeypatch.setattr(choose, "target_log_density", wrong)
    assert density_pvalue(DENSITY["raced"], choose.race_target_density) < CAUGHT


# Planted bugs: each must be seen by the case that is said to show it.


def swapped_shapes(monkeypatch):
    honest = race_module.log_beta_density
    wrong = lambda a, b, x, y, **more: honest(b, a, x, y, **more)  # noqa: E731
    monkeypatch.setattr(race_module, "log_beta_density", wrong)


def missing_jacobian(monkeypatch):
    """Density per log-odds taken for the density."""
    honest = race_module.log_beta_density

    def wrong(a, b, x, y, **more):
        return honest(a, b, x, y, **more) + jnp.log(jnp.clip(4 * x * y, 1e-9, 1))

    monkeypatch.setattr(race_module, "log_beta_density", wrong)


def biased_index(monkeypatch):
    """The first half of the tasks is met a tenth less often."""
    honest = walk_module.uniform_task

    def wrong(word, num_tasks):
        task = honest(word, num_tasks)
        unlucky = (task < num_tasks // 2) & (word % np.uint32(10) == 0)
        return jnp.where(unlucky, num_tasks - 1 - task, task)

    monkeypatch.setattr(walk_module, "uniform_task", wrong)


def one_side_only(monkeypatch):
    honest = race_module._position

    def wrong(target, radius, bits):
        return honest(target, radius, jnp.zeros_like(bits))

    monkeypatch.setattr(race_module, "_position", wrong)


def bound_too_low(monkeypatch):
    """Densities above it are met, so that nothing of the race counts: still exact."""
    honest = race_module.density_bound
    wrong = lambda *args, **more: honest(*args, **more) / 3  # noqa: E731
    monkeypatch.setattr(race_module, "density_bound", wrong)


@pytest.mark.parametrize(
    "bug", [swapped_shapes, missing_jacobian, biased_index, one_side_only]
)
def test_race_catches_planted_bug(bug, monkeypatch):
    bug(monkeypatch)
    law = PLAIN._replace(target=0.35, raced=(0, 1))
    assert min(pvalues(law, race(law))) < CAUGHT


def test_race_catches_planted_bug_of_the_second_factor(monkeypatch):
    """Where time runs far, a first arrival that came earlier must be ruled out."""
    kept = lambda key, points, times, *rest: jnp.ones_like(times, bool)  # noqa: E731
    law = CASES["late"]._replace(batch_size=6, num_tasks=160, raced=(0, 1))
    assert min(pvalues(law, race(law), num_keys=4 * KEYS)) > HONEST
    monkeypatch.setattr(race_module, "_comes_first", kept)
    assert min(pvalues(law, race(law), num_keys=4 * KEYS)) < 1e-4


def test_race_catches_planted_bug_of_a_dropped_duplicate_check(monkeypatch):
    rows = lambda ids: jnp.arange(ids.shape[0])  # noqa: E731
    monkeypatch.setattr(walk_module, "first_occurrence", rows)
    with pytest.raises(AssertionError):
        run(race(CASES["late"]), CASES["late"])


def test_fallback_catches_planted_bug_of_a_fresh_sweep(monkeypatch):
    """A sweep that forgets what the race has ruled out is biased."""
    honest = choose.sample_beta

    def wrong(*args, outside=None, **more):
        return honest(*args, **more)

    law = CASES["late"]._replace(num_tasks=60, batch_size=3, raced=(0, 1))
    assert min(pvalues(law, race(law), num_keys=4 * KEYS)) > HONEST
    monkeypatch.setattr(choose, "sample_beta", wrong)
    assert min(pvalues(law, race(law), num_keys=4 * KEYS)) < CAUGHT


def test_a_bound_that_is_exceeded_is_seen_and_costs_only_time(monkeypatch):
    bound_too_low(monkeypatch)
    law = PLAIN._replace(raced=(0, 0))
    assert min(pvalues(law, race(law))) > HONEST


def test_a_stale_concentration_is_seen():
    law = PLAIN
    pool = pool_of(law)._replace(max_concentration=jnp.float32(2.5))
    found = choose.race_draws(jax.random.key(0), pool, 8, above_one=False)
    assert int(found.path) == completion.RACED_THEN_SWEPT


def test_too_few_eligible_tasks_leave_slots_empty():
    law = Law(3000, 8)
    mask = jnp.arange(3000) < 5
    for select in (choose.race_draws, choose.race_target_density):
        found = select(jax.random.key(0), pool_of(law)._replace(eligible=mask), 8)
        assert sorted(found.task_ids.tolist()) == [-1, -1, -1, 0, 1, 2, 3, 4]
        assert found.task_ids.tolist()[5:] == [-1] * 3


@pytest.mark.nightly
def test_batches_do_not_depend_on_the_chunk(monkeypatch):
    pool = pool_of(PLAIN)
    found = []
    for size in (512, 4096):
        monkeypatch.setattr(walk_module, "chunk_size", lambda b, n, size=size: size)
        select = lambda key: choose.race_draws(key, pool, 40, above_one=True)  # noqa: E731
        found.append(jax.jit(jax.vmap(select))(jax.random.split(jax.random.key(2), 50)))
    np.testing.assert_array_equal(found[0].task_ids, found[1].task_ids)
    np.testing.assert_allclose(found[0].draws, found[1].draws, atol=1e-6)
