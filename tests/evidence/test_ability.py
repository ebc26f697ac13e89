"""The filter against float64 NumPy and the exact mode, and on simulated policies."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from bots_jax.evidence.ability import ability, predict_ability, start_loadings
from bots_jax.shard import Shard
from tests.evidence.plugin_laws import WORTH, assert_laws, everyone, taught
from tests.nights import nightly_but

N = 24


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Slow:
    """The Rasch filter in float64, one task at a time, for groups of tasks."""

    def __init__(self, groups, drift=0.05, spread=2.0, difficulty=2.0, flip=1.0):
        num = max(groups) + 1
        self.groups, self.drift, self.spread, self.flip = groups, drift, spread, flip
        self.prior, self.theta = difficulty**2, np.zeros(num)
        self.var = np.full(num, spread**2)
        self.b, self.vb, self.mean = {}, {}, np.zeros(num)

    def learn(self, ids, good, trials):
        self.var = np.minimum(self.var + self.drift**2, self.spread**2)
        rows = [
            (int(k), float(s), float(n))
            for k, s, n in zip(
                ids, good, np.broadcast_to(trials, len(ids)), strict=True
            )
            if k >= 0
        ]
        g = {k: self.groups[k] for k, _, _ in rows}
        b0 = {k: self.b.get(k, self.mean[g[k]]) for k in g}
        v0 = {k: self.vb.get(k, self.prior) for k in g}
        theta, b, h = self.theta.copy(), dict(b0), {}

        def share(k, n, h):
            return min(1 / (1 + (n - 1) / (1 + WORTH)), 1 / (1 + h * v0[k]))

        for _ in range(4):
            for k, _, n in rows:
                x = theta[g[k]] - b[k]
                h[k] = n * (0.25 if abs(x) < 1e-3 else np.tanh(x / 2) / (2 * x))
            precision, score = 1 / self.var, np.zeros(len(theta))
            for k, s, n in rows:
                expected = self.theta[g[k]] - b0[k]
                precision[g[k]] += share(k, n, h[k]) * h[k]
                score[g[k]] += share(k, n, h[k]) * (s - n / 2 - h[k] * expected)
            theta = self.theta + score / precision
            for k, s, n in rows:
                error = s - n / 2 - h[k] * (theta[g[k]] - b0[k])
                b[k] = b0[k] - self.flip * v0[k] * error / (1 + h[k] * v0[k])
        precision = 1 / self.var
        for k, _, n in rows:
            p = sigmoid(theta[g[k]] - b[k])
            h[k] = n * p * (1 - p)
            precision[g[k]] += share(k, n, h[k]) * h[k]
        self.theta, self.var = theta, 1 / precision
        for k, _, _ in rows:
            gain = h[k] / (1 + h[k] * v0[k])
            lost = gain - gain**2 * self.var[g[k]]
            self.vb[k] = min(max(v0[k] - v0[k] ** 2 * lost, 1e-3), v0[k])
            self.b[k] = b[k]
        for group in range(len(theta)):
            mine = [v for k, v in self.b.items() if self.groups[k] == group]
            self.mean[group] = np.mean(mine) if mine else 0.0


def make_steps(seed, num_steps=12, size=7):
    rng = np.random.default_rng(seed)
    steps = []
    for _ in range(num_steps):
        ids = rng.choice(N, size, replace=False)
        n = rng.integers(1, 17, size)
        good = rng.binomial(n, rng.uniform(0, 1, size))
        ids[-1] = -1
        steps.append((ids, good, n))
    return steps


@pytest.mark.parametrize("num_groups", nightly_but([1, 3], 3))
def test_rasch_is_the_slow_reference(num_groups):
    groups, steps = [k % num_groups for k in range(N)], make_steps(num_groups)
    given = None if num_groups == 1 else np.array(groups)
    state = taught(ability(num_tasks=N, groups=given), steps, N)
    right, wrong = Slow(groups), Slow(groups, flip=-1.0)
    for step in steps:
        right.learn(*step)
        wrong.learn(*step)
    got = np.asarray(state.ability[:, 0])
    np.testing.assert_allclose(got, right.theta, atol=2e-4)
    np.testing.assert_allclose(state.ability_covariance[:, 0, 0], right.var, rtol=1e-3)
    np.testing.assert_allclose(state.mean_difficulty, right.mean, atol=2e-4)
    for k, b in right.b.items():
        assert float(state.difficulty[k]) == pytest.approx(b, abs=5e-4)
        assert float(state.difficulty_variance[k]) == pytest.approx(
            right.vb[k], rel=1e-3
        )
    assert int(state.num_seen.sum()) == len(right.b)
    assert np.abs(got - wrong.theta).max() > 0.05  # planted bug: difficulty's sign


@pytest.mark.nightly
def test_a_batch_of_1000_rows_does_not_overshoot():
    """All right, from a start that expects half: near the exact mode, not beyond."""
    n = 1000
    plugin = ability(num_tasks=n)
    state = taught(plugin, [(np.arange(n), np.full(n, 15), 16)], n)

    # ability and the common difficulty shift, free to move along each other
    def loss(z):
        theta, b = z
        x = theta - b
        return n * (b * b / 8 + 16 * np.log1p(np.exp(x)) - 15 * x) + theta**2 / 8

    best = optimize.minimize(loss, [0.0, 0.0]).x
    said = plugin.predict(state, everyone, Shard(n))
    assert abs(float(state.ability[0, 0]) - float(state.difficulty[0])) < (
        best[0] - best[1] + 0.3
    )
    assert 0.85 < float(said.success_prob[0]) < 0.97


@pytest.mark.nightly
@pytest.mark.parametrize("good", [0, 16])
def test_stays_bounded_for_ever(good):
    plugin = ability(num_tasks=N, dimensions=3, ability_drift=10.0, ability_spread=4.0)
    state = taught(plugin, [(np.arange(N), np.full(N, good), 16)] * 60, N)
    said = plugin.predict(state, everyone, Shard(N))
    for x in (state.ability, state.difficulty, state.ability_covariance, *said):
        assert np.isfinite(np.asarray(x)).all()
    assert np.abs(state.ability).max() <= 12 and np.abs(state.difficulty).max() <= 12


def simulate(rng, n, num_steps, batch, dims, learnt):
    b = rng.normal(0, 1.5, n)
    a = np.ones((n, dims))
    if dims > 1:
        a[:, 1:] = rng.choice([-1.0, 1.0], (n, dims - 1))
    path = np.linspace(-1, 1.5, num_steps)
    steps, p = [], np.zeros(n)
    for t in range(num_steps):
        theta = np.r_[path[t], np.full(dims - 1, learnt)]
        p = sigmoid(a @ theta - b)
        ids = rng.choice(n, batch, replace=False)
        steps.append((ids, rng.binomial(16, p[ids]), 16))
    return steps, p


def test_recovers_a_policy_that_learns():
    n = 300
    steps, p = simulate(np.random.default_rng(0), n, 40, 20, 1, 0.0)
    plugin = ability(num_tasks=n, difficulty_spread=1.5)
    state = taught(plugin, steps, n)
    said = np.asarray(plugin.predict(state, everyone, Shard(n)).success_prob)
    seen = np.asarray(state.difficulty_variance) > 0
    assert 200 < seen.sum() < n
    ranks = stats.rankdata(said[seen]), stats.rankdata(p[seen])
    assert np.corrcoef(*ranks)[0, 1] > 0.93
    assert np.abs(said - p)[seen].mean() < 0.08
    assert abs(said[~seen].mean() - p[~seen].mean()) < 0.12  # 4 sd of 20 tasks
    late = np.asarray(plugin.init(None).ability)
    frozen = state._replace(ability=jnp.asarray(late))  # planted bug: no ability
    lost = np.asarray(plugin.predict(frozen, everyone, Shard(n)).success_prob)
    assert np.abs(lost - p)[seen].mean() > 0.1


def test_concentration_is_that_of_the_logit():
    """By integration: mean to .015, concentration within a factor of 1.7."""
    x, w = np.polynomial.hermite_e.hermegauss(120)
    w = w / w.sum()
    base = ability(num_tasks=1).init(None)
    base = base._replace(num_seen=jnp.int32([1]))
    for variance in (0.02, 0.5, 2.0, 8.0):
        for mean in (-5.0, -2.0, 0.0, 1.0, 4.0):
            state = base._replace(
                ability=jnp.float32([[mean]]),
                ability_covariance=jnp.float32([[[variance / 2]]]),
                difficulty_variance=jnp.float32([variance / 2]),
            )
            said = predict_ability(state, everyone, 2.0)
            p = sigmoid(mean + np.sqrt(variance) * x)
            want = np.sum(w * p)
            amount = want * (1 - want) / np.sum(w * (p - want) ** 2) - 1
            assert abs(float(said.success_prob[0]) - want) < 0.015
            assert 1 / 1.7 < float(said.concentration[0]) / amount < 1.7


def test_groups_not_seen_are_worth_nothing():
    plugin = ability(num_tasks=4, groups=[0, 0, 1, 1])
    state = taught(plugin, [([0], [16], 16)], 4)
    said = plugin.predict(state, everyone, Shard(4))
    assert (np.asarray(said.concentration) > 0).tolist() == [True, True, False, False]
    assert float(said.success_prob[1]) > 0.55 and float(said.success_prob[2]) == 0.5
    assert np.isnan(float(plugin.capability(plugin.init(None))))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param(
            {"dimensions": 2, "groups": np.arange(N) % 2}, marks=pytest.mark.nightly
        ),
    ],
)
def test_laws(settings):
    assert_laws(ability(num_tasks=N, **settings), None, N)


def test_loadings_do_not_depend_on_the_size_of_the_pool():
    small, large = start_loadings(5, 4), start_loadings(500, 4)
    np.testing.assert_array_equal(small, large[:5])
    rest = np.asarray(large[:, 1:])
    assert np.abs(rest).max() <= 0.3 and abs(rest.mean()) < 0.02
    assert np.abs(np.corrcoef(rest.T) - np.eye(3)).max() < 0.2


def test_fit_cuts_and_continues():
    plugin = ability(num_tasks=3, groups=[1, 0, 1], dimensions=2)
    assert plugin.fit(5).init(None).group_ids.tolist() == [1, 0, 1, 1, 1]
    assert plugin.fit(2).init(None).loadings.shape == (2, 2)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"groups": [0, 1]}, r"groups must have shape \(3,\)"),
        ({"groups": [0, 1, 2], "num_groups": 2}, "got 2 at index 2"),
        ({"num_groups": 2}, "num_groups must be 1 without groups"),
        ({"dimensions": 0}, "dimensions must be an integer"),
        ({"ability_drift": 0}, "ability_drift must be in"),
        ({"difficulty_spread": np.nan}, "difficulty_spread must be in"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ability(num_tasks=3, **settings)
