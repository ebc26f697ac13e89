"""The arc-length filter: against a loop in float64, quadrature, and simulation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from bots_jax.evidence.counts import collect_rows
from bots_jax.posterior.arc_length import (
    as_beta,
    init_arc_length,
    observe_arcs,
    observed_arcs,
    predict_arcs,
)
from bots_jax.selection.arc_yield import (
    arc_yield_scores,
    expected_yield,
    pace_target,
    target_kernel,
)
from bots_jax.types import Evidence

N, B, G, STEPS = 9, 4, 8, 150
RIGHT = np.pi / 2


@functools.partial(jax.jit, static_argnames="num_tasks")
def step(belief, evidence, num_tasks=N):
    return observe_arcs(belief, collect_rows(evidence, num_tasks))


def make_batch(rng: np.random.Generator, chance: np.ndarray):
    """Ids with repeats, padding and strays, and successes of tasks that get easier."""
    chance += 0.2 * chance * (1 - chance) * rng.random(N) * 0.2
    ids = rng.choice(N, B, replace=False)
    ids[0] = rng.choice([-1, N, ids[0], ids[1]])
    return np.int32(ids), rng.binomial(G, chance[np.clip(ids, 0, N - 1)])


def as_evidence(batch) -> Evidence:
    ids, right = batch
    return Evidence(jnp.asarray(ids), jnp.float32(right), jnp.float32(G - right))


class Reference:
    """The published filter, task by task, for tasks that are looked at lazily."""

    def __init__(self, mean, variance, drift: float, noise: float):
        self.mean = np.array(np.broadcast_to(mean, N), np.float64)
        self.variance = np.array(np.broadcast_to(variance, N), np.float64)
        self.last, self.step = np.zeros(N, int), 0
        self.drift, self.noise = drift, noise

    def predict(self, task: int) -> tuple[float, float, int]:
        age = self.step + 1 - self.last[task]
        mean = self.mean[task]
        mean += age * self.drift * np.sin(2 * mean)
        return np.clip(mean, 0, RIGHT), self.variance[task] + age * self.noise, age

    def learn(self, totals: dict[int, list[float]], rate: float = 0.1) -> None:
        surprises, excesses, ages, slopes, new = [], [], [], [], {}
        for task, (right, wrong) in totals.items():
            mean, variance, age = self.predict(task)
            number = right + wrong
            if right == 0:
                z, r = 0.0, 1 / (2 * number)
            elif wrong == 0:
                z, r = RIGHT, 1 / (2 * number)
            else:
                z = np.arcsin(np.sqrt((right + 3 / 8) / (number + 3 / 4)))
                r = 1 / (4 * number + 2)
            if self.last[task]:
                surprises.append(z - mean)
                excesses.append((z - mean) ** 2 - variance - r)
                ages.append(age)
                slopes.append(max(np.sin(2 * self.mean[task]), 0.05))
            precision = 1 / variance + 1 / r
            middle = (mean / variance + z / r) / precision
            new[task] = np.clip(middle, 0, RIGHT), 1 / precision
        self.step += 1
        for task, (mean, variance) in new.items():
            self.mean[task], self.variance[task] = mean, variance
            self.last[task] = self.step
        if surprises:
            self.drift += rate * np.sum(surprises) / np.dot(ages, slopes)
            raised = max(0.0, self.noise + np.mean(excesses) / np.mean(ages))
            self.noise = max(1e-5, (1 - rate) * self.noise + rate * raised)


def totals_of(batch) -> dict[int, list[float]]:
    totals: dict[int, list[float]] = {}
    for task, right in zip(*batch, strict=True):
        if 0 <= task < N:
            sums = totals.setdefault(int(task), [0.0, 0.0])
            sums[0] += right
            sums[1] += G - right
    return totals


SETTINGS = {
    "default": ((np.pi / 4, np.pi**2 / 48), (0.0, 1e-3)),
    "per_task": (
        (np.linspace(0.2, 1.3, N), np.linspace(0.02, 0.4, N)),
        (0.02, 0.01),
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_long_runs_agree_with_the_reference(name):
    prior, (drift, noise) = SETTINGS[name]
    belief = init_arc_length(N, prior[0], prior[1], drift=drift, noise=noise)
    reference = Reference(prior[0], prior[1], drift, noise)
    rng, chance = np.random.default_rng(1), np.linspace(0.02, 0.9, N)
    batch, seen_drift = make_batch(rng, chance), []
    for _ in range(STEPS):
        got = predict_arcs(belief)
        want = np.array([reference.predict(task)[:2] for task in range(N)]).T
        np.testing.assert_allclose(got[0], want[0], atol=2e-4)
        np.testing.assert_allclose(got[1], want[1], rtol=2e-3)
        belief = step(belief, as_evidence(batch))
        reference.learn(totals_of(batch))
        seen_drift.append(reference.drift)
        batch = make_batch(rng, chance)
    np.testing.assert_allclose(belief.arc_mean, reference.mean, atol=1e-4)
    np.testing.assert_allclose(belief.arc_variance, reference.variance, rtol=1e-3)
    np.testing.assert_allclose(belief.drift, reference.drift, atol=1e-4)
    np.testing.assert_allclose(belief.noise, reference.noise, rtol=1e-3)
    assert belief.last_step.tolist() == reference.last.tolist()
    assert np.ptp(seen_drift) > 0.01  # it was learnt, and not left as it was
    # planted: a reference that mistakes right for wrong is told apart
    wrong = Reference(prior[0], prior[1], drift, noise)
    wrong.learn({task: sums[::-1] for task, sums in totals_of(batch).items()})
    alike = init_arc_length(N, prior[0], prior[1], drift=drift, noise=noise)
    after = step(alike, as_evidence(batch))
    assert np.abs(np.asarray(after.arc_mean) - wrong.mean).max() > 0.1


def test_one_step_by_hand():
    """All 4 right: z = pi/2, r = 1/8; variance pi^2/48 + 1e-3 = 0.20662.

    The gain is 0.20662 / 0.33162 = 0.62306, the mean pi/4 + 0.62306 pi/4 = 1.27475.
    """
    evidence = Evidence(jnp.int32([3]), *map(jnp.float32, ([4], [0])))
    new = step(init_arc_length(N), evidence)
    np.testing.assert_allclose(new.arc_mean[3], 1.27475, rtol=1e-5)
    np.testing.assert_allclose(new.arc_variance[3], 0.20662 * 0.37694, rtol=1e-4)
    assert float(new.drift) == 0 and float(new.noise) == np.float32(1e-3)
    assert new.last_step.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("chance", [0.2, 0.5, 0.75])
def test_observed_arcs_have_the_stated_mean_and_variance(chance):
    """Exactly, over the binomial law of 16 rollouts."""
    right = np.arange(17)
    arc, noise = observed_arcs(jnp.float32(right), jnp.float32(16 - right))
    weights = stats.binom.pmf(right, 16, chance)
    mean = np.sum(weights * np.asarray(arc))
    assert abs(mean - np.arcsin(np.sqrt(chance))) < 0.02
    variance = np.sum(weights * (np.asarray(arc) - mean) ** 2)
    np.testing.assert_allclose(variance, 1 / 66, rtol=0.25)
    assert noise[8] == np.float32(1 / 66) and noise[0] == noise[16] == np.float32(
        1 / 32
    )
    # planted: the success chance itself, without the arc, is far off at 0.2 and 0.75
    assert chance == 0.5 or abs(mean - chance) > 0.2


def test_rows_without_rollouts_have_no_weight():
    nothing = Evidence(jnp.int32([-1, 3]), *[jnp.zeros(2, jnp.float32)] * 2)
    start = init_arc_length(N)
    new = step(start, nothing)
    assert int(new.step) == 1
    for name in ("arc_mean", "arc_variance", "last_step", "drift", "noise"):
        np.testing.assert_array_equal(getattr(new, name), getattr(start, name))
    grown = predict_arcs(new)[1] - predict_arcs(start)[1]
    np.testing.assert_allclose(grown, 1e-3, rtol=1e-3)


def simulate(moves: float, spread: float) -> tuple[float, float]:
    """Drift and noise learnt from 2,000 tasks that move as the filter says."""
    size, rng = 2000, np.random.default_rng(2)
    arcs = rng.uniform(0.4, 1.1, size)
    belief = init_arc_length(size)
    for _ in range(120):
        arcs += moves * np.sin(2 * arcs) + rng.normal(0, spread, size)
        arcs = np.clip(arcs, 0.3, 1.25)  # where observations are nearly without bias
        ids = np.int32(rng.choice(size, 400, replace=False))
        right = rng.binomial(32, np.sin(arcs[ids]) ** 2)
        evidence = Evidence(
            jnp.asarray(ids), jnp.float32(right), jnp.float32(32 - right)
        )
        belief = step(belief, evidence, size)
    return float(belief.drift), float(belief.noise)


def test_drift_and_noise_are_learnt():
    still, calm = simulate(0.0, 0.0)
    assert abs(still) < 1e-3 and calm < 4e-4
    _, rough = simulate(0.0, 0.03)  # a variance of 9e-4 per step
    assert 4e-4 < rough < 1.4e-3
    moving, _ = simulate(0.004, 0.0)
    assert 0.002 < moving < 0.006


def test_steady_variance_is_that_of_the_paper():
    """P = (sqrt(Q^2 D^2 + 4 Q D R) - Q D) / 2 of a task seen every D steps."""
    every, noise = 5, 1e-3
    mixed = Evidence(jnp.int32([3]), *map(jnp.float32, ([4], [4])))
    nothing = Evidence(jnp.int32([-1]), *map(jnp.float32, ([0], [0])))
    belief = init_arc_length(N, noise=noise)
    for number in range(40 * every + 1):
        belief = step(belief, nothing if number % every else mixed)
        belief = belief._replace(noise=jnp.float32(noise), drift=jnp.float32(0))
    gained, r = noise * every, 1 / 34
    want = (np.sqrt(gained**2 + 4 * gained * r) - gained) / 2
    np.testing.assert_allclose(belief.arc_variance[3], want, rtol=1e-4)


def test_noise_and_variance_stay_bounded():
    """Ten thousand steps of rollouts that contradict each other, and of no others."""
    right = jnp.float32(np.arange(2) * G)

    def body(belief, number):
        counts = jnp.roll(right, number)
        evidence = Evidence(jnp.int32([3, 4]), counts, G - counts)
        new = step(belief, evidence)
        return new, (new.drift, new.noise, new.arc_variance[3])

    run = jax.jit(lambda b: jax.lax.scan(body, b, jnp.arange(10_000, dtype=jnp.int32)))
    last, (drift, noise, variance) = run(init_arc_length(N))
    assert bool(jnp.all(jnp.abs(drift) < 3)) and bool(jnp.all(noise < 2.5))
    assert bool(jnp.all((variance > 0) & (variance <= 1 / 16 + 1e-6)))
    for array in jax.tree.leaves((last, predict_arcs(last))):
        assert bool(jnp.all(jnp.isfinite(array)))


# --- scores


def test_yield_is_the_integral():
    for mean, variance, size in ((0.5, 0.03, 8), (0.1, 0.2, 16), (1.4, 0.001, 4)):
        sd = np.sqrt(variance)

        def integrand(x, mean=mean, sd=sd, size=size):
            lost = np.exp(-size * x**2) + np.exp(-size * (RIGHT - x) ** 2)
            return (1 - lost) * stats.norm.pdf(x, mean, sd)

        want = integrate.quad(
            integrand, mean - 12 * sd, mean + 12 * sd, points=[mean], limit=200
        )[0]
        column = lambda x: jnp.float32([x])  # noqa: E731
        got = float(expected_yield(column(mean), column(variance), size)[0])
        assert abs(got - want) < 2e-6
        # planted: the variance left out, and a mean taken for its mirror image
        assert (
            abs(float(expected_yield(column(mean), column(0), size)[0]) - want) > 1e-4
        )
        near = target_kernel(column(mean), column(variance), jnp.float32(0.7), 0.2)

        def nearness(x, mean=mean, sd=sd):
            return np.exp(-((x - 0.7) ** 2) / 0.08) * stats.norm.pdf(x, mean, sd)

        want_near = integrate.quad(
            nearness, mean - 12 * sd, mean + 12 * sd, points=[mean], limit=200
        )[0]
        np.testing.assert_allclose(near[0], want_near, rtol=1e-5, atol=1e-7)
        score = arc_yield_scores(
            column(mean), column(variance), jnp.float32(0.7), size, 0.2
        )
        np.testing.assert_allclose(score[0], want * want_near, rtol=1e-4, atol=1e-7)


def test_yield_is_near_the_chance_of_a_mixed_group():
    arcs = jnp.linspace(0, RIGHT, 101, dtype=jnp.float32)
    chance = np.sin(np.asarray(arcs, np.float64)) ** 2
    for size in (8, 16):
        exact = 1 - chance**size - (1 - chance) ** size
        got = expected_yield(arcs, jnp.zeros_like(arcs), size)
        np.testing.assert_allclose(got, exact, atol=0.03)


PACE = {"group_size": 8, "width": 0.1, "min_tasks": 5.0}


def pace(start, mean, variance, steps, **settings):
    move = jax.jit(functools.partial(pace_target, **PACE | settings))
    for _ in range(steps):
        start = move(jnp.float32(start), mean, variance)
    return float(start)


def reference_frontier(mean, variance, tolerance=0.03):
    """The least of 41 targets whose weighted yield is near the best, in float64."""
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    spread = 1 + 16 * variance
    lost = np.exp(-8 * mean**2 / spread) + np.exp(-8 * (RIGHT - mean) ** 2 / spread)
    yields, found = 1 - lost / np.sqrt(spread), []
    for place in np.linspace(0, RIGHT, 41):
        total = 0.01 + variance
        near = np.sqrt(0.01 / total) * np.exp(-((mean - place) ** 2) / (2 * total))
        if near.sum() >= 5:
            found.append((np.sum(near * yields) / near.sum(), place))
    best = max(y for y, _ in found)
    return min(place for y, place in found if y >= best - tolerance)


@pytest.mark.parametrize("low", [0.0, 1.1])
def test_the_target_moves_to_the_frontier_and_stays(low):
    mean = jnp.linspace(low, 1.5, 200, dtype=jnp.float32)
    variance = jnp.full_like(mean, 0.01)
    want = reference_frontier(mean, variance)
    assert pace(1.2, mean, variance, 1) == pytest.approx(1.195, abs=1e-6)
    assert pace(1.2, mean, variance, 300) == pytest.approx(want, abs=1e-6)
    assert pace(0.01, mean, variance, 300) == pytest.approx(want, abs=1e-6)
    assert (want < 0.75) == (low == 0.0), want


def test_the_target_stays_without_enough_tasks():
    mean = jnp.full(4, jnp.float32(0.5))
    assert pace(0.7, mean, 0 * mean, 3) == np.float32(0.7)


# --- as a Beta


def beta_gap(mean: float, variance: float, given: dict[str, float]) -> float:
    """Largest relative gap to the moments of sin^2 of a Normal, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    chance = np.sin(mean + np.sqrt(variance) * nodes) ** 2
    weights = weights / weights.sum()
    first = np.sum(weights * chance)
    second = np.sum(weights * (chance - first) ** 2)
    column = lambda x: jnp.float32([x])  # noqa: E731
    given = {"mean": mean, "variance": variance} | given
    alpha, beta = (
        np.float64(x[0])
        for x in as_beta(column(given["mean"]), column(given["variance"]))
    )
    share = alpha / (alpha + beta)
    spread = share * (1 - share) / (alpha + beta + 1)
    return max(abs(share / first - 1), abs(spread / second - 1))


@pytest.mark.parametrize("mean", [0.05, 0.4, 0.785, 1.2, 1.5])
@pytest.mark.parametrize("variance", [1e-3, 0.02, 0.2])
def test_beta_has_the_moments_of_the_arc(mean, variance):
    assert beta_gap(mean, variance, {}) < 2e-3
    # planted: a variance twice too large, and easy taken for hard
    assert beta_gap(mean, variance, {"variance": 2 * variance}) > 0.1
    assert mean == 0.785 or beta_gap(mean, variance, {"mean": RIGHT - mean}) > 0.04


def test_beta_of_the_uniform_arc_is_nearly_that_of_the_arcsine_law():
    alpha, beta = as_beta(*init_arc_length(1)[:2])
    np.testing.assert_allclose(alpha, beta, rtol=1e-5)
    assert 0.5 < float(alpha[0]) < 1.1


@pytest.mark.parametrize("variance", [0.0, 1e-8, 10.0, 1e6])
def test_beta_is_finite_at_the_edges(variance):
    mean = jnp.linspace(0, RIGHT, 33, dtype=jnp.float32)
    for side in as_beta(mean, jnp.full_like(mean, variance)):
        assert bool(jnp.all((side >= np.float32(0.01)) & (side <= 1e5)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_tasks": 0}, "^num_tasks must be an integer"),
        ({"prior_mean": 2.0}, "^prior_mean must be in"),
        ({"prior_variance": 0.0}, "^prior_variance must be in"),
        ({"prior_variance": np.ones(3)}, r"^prior_variance must have shape \(\) or"),
        ({"drift": np.nan}, "^drift must be in"),
        ({"noise": 0.0}, "^noise must be in"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        init_arc_length(**{"num_tasks": N} | settings)


def test_state_keeps_its_form_and_can_be_donated():
    form = lambda state: jax.tree.map(  # noqa: E731
        lambda x: (x.shape, x.dtype, x.weak_type), state
    )
    evidence = as_evidence(make_batch(np.random.default_rng(0), np.full(N, 0.5)))
    rows = collect_rows(evidence, N)
    donating = jax.jit(lambda b: observe_arcs(b, rows), donate_argnums=0)
    start = init_arc_length(N)
    want = form(start)
    assert form(donating(start)) == want
    with jax.enable_x64(True):
        assert form(donating(init_arc_length(N))) == want
