"""Moments of groups against a history kept whole, and against the host's fit."""

import numpy as np
import pytest

from bots_jax.evidence.group_prior import group_prior
from bots_jax.host.groups import fit_beta
from bots_jax.shard import Shard
from tests.evidence.plugin_laws import (
    assert_laws,
    everyone,
    random_steps,
    taught,
)

N = 30
GROUPS = np.arange(N) % 3


def run(plugin, steps, num_tasks=N):
    state = taught(plugin, steps, num_tasks)
    return state, plugin.predict(state, everyone, Shard(num_tasks))


def kleinman(f, s, n):
    """(2.5) and (2.6) with weights f n, from the rows themselves, in float64."""
    w = f * n
    total = w.sum()
    p = (np.sum(f * s) + 0.5) / (total + 1)
    spread = np.sum(w * (s / n - p) ** 2)
    apart = np.sum(w / n * (1 - w / total))
    whole = np.sum(w * (1 - w / total))
    return p, spread / (p * (1 - p)) - apart, whole - apart


def drawn(f, s, n, mean_towards, r_towards, m, mean_n):
    """Mean and correlation of some rows and m tasks of what they are drawn to."""
    p, excess, scale = kleinman(f, s, n)
    more = m * (mean_n - 1)
    r = np.clip((excess + more * r_towards) / (scale + more), 1 / 65, 1 / 1.5)
    worth = np.sum(f * n) ** 2 / np.sum((r * n + 1 - r) * f * f * n)
    prior = m * mean_n / (r * mean_n + 1 - r)
    return (worth * p + prior * mean_towards) / (worth + prior), r


def slow(steps, forgetting, m, parents=None):
    """Success chance and concentration per group, all rows of the past kept."""
    f, s, n, g = [], [], [], []
    for age, (ids, good, trials) in zip(
        range(len(steps) - 1, -1, -1), steps, strict=True
    ):
        for k, successes, rollouts in zip(ids, good, trials, strict=True):
            if k >= 0:
                f.append((1 - forgetting) ** age)
                s.append(float(successes))
                n.append(float(rollouts))
                g.append(GROUPS[k])
    f, s, n, g = (np.array(x) for x in (f, s, n, g))
    p_all, excess, scale = kleinman(f, s, n)
    common = np.clip(excess / scale, 1 / 65, 1 / 1.5)
    mean_n = np.sum(f * n) / np.sum(f)
    out = []
    for group in range(3):
        towards = p_all, common
        if parents is not None:
            family = np.array(parents)[g] == parents[group]
            towards = drawn(f[family], s[family], n[family], *towards, m, mean_n)
        mine = g == group
        mean, r = drawn(f[mine], s[mine], n[mine], *towards, m, mean_n)
        out.append((mean, 1 / r - 1))
    return np.array(out).T


@pytest.mark.parametrize("forgetting, m", [(0.0, 4.0), (0.15, 4.0), (0.15, 0.0)])
def test_is_the_slow_reference(forgetting, m):
    steps = random_steps(3, N, 14)
    plugin = group_prior(GROUPS, forgetting=forgetting, prior_tasks=m)
    _, said = run(plugin, steps)
    mean, concentration = slow(steps, forgetting, m)
    np.testing.assert_allclose(said.success_prob, mean[GROUPS], rtol=1e-4)
    np.testing.assert_allclose(said.concentration, concentration[GROUPS], rtol=2e-3)
    wrong = slow(steps, forgetting + 0.05, m)  # planted bug: another decay
    assert np.abs(np.asarray(said.success_prob) - wrong[0][GROUPS]).max() > 1e-3
    assert np.abs(np.asarray(said.concentration) / wrong[1][GROUPS] - 1).max() > 1e-2


def test_parents_are_the_slow_reference():
    steps, parents = random_steps(5, N, 9), [1, 0, 1]
    plugin = group_prior(GROUPS, parents=parents, forgetting=0.1)
    _, said = run(plugin, steps)
    mean, concentration = slow(steps, 0.1, 4.0, parents)
    np.testing.assert_allclose(said.success_prob, mean[GROUPS], rtol=1e-4)
    np.testing.assert_allclose(said.concentration, concentration[GROUPS], rtol=2e-3)
    for wrong in (None, [0, 0, 1]):  # planted bugs: no parents, those of others
        mean, concentration = slow(steps, 0.1, 4.0, wrong)
        gap = np.abs(np.asarray(said.concentration) / concentration[GROUPS] - 1)
        assert gap.max() > 1e-2


def test_one_parent_for_all_is_the_pool_at_large():
    steps = random_steps(6, N, 9)
    _, alone = run(group_prior(GROUPS), steps)
    _, said = run(group_prior(GROUPS, parents=[0, 0, 0]), steps)
    for one, two in zip(alone, said, strict=True):
        np.testing.assert_array_equal(one, two)


def test_group_that_has_shown_nothing_is_as_its_parent_is():
    """Group 2 has shown nothing; its sister 0 is hard, group 1 of another kind easy."""
    steps = [(np.arange(0, N, 3), np.full(10, 1), 16), ([1, 4], [14, 15], 16)]
    _, said = run(group_prior(GROUPS, parents=[2, 0, 2], forgetting=0.0), steps)
    p = np.asarray(said.success_prob)
    assert p[0] < p[2] < 0.15 and p[1] > 0.5
    _, said = run(group_prior(GROUPS, forgetting=0.0), steps)
    assert float(said.success_prob[2]) > 0.15


def test_a_mean_of_one_half_is_not_a_chance_of_one_half():
    """Always or never, and half of the time: means alike, worth of a rollout not."""
    good = np.where(GROUPS == 0, 16 * (np.arange(N) // 3 % 2), 8)
    _, said = run(group_prior(GROUPS, forgetting=0.0), [(np.arange(N), good, 16)])
    never_or_always, half = said.concentration[0], said.concentration[1]
    np.testing.assert_allclose(said.success_prob, 0.5, atol=1e-6)
    assert never_or_always < 1.0 and half > 16.0


@pytest.mark.parametrize(
    "parents, sentence",
    [
        ([0, 1], "parents must have shape (3,), got (2,)."),
        ([[0, 1, 0]], "parents must have shape (3,), got (1, 3)."),
        ([0.0, 1.0, 1.0], "parents must be integers, got dtype float64."),
        ([0, 3, 0], "parents must be in [0, 2], got 3 at index 1."),
    ],
)
def test_parents_that_are_refused(parents, sentence):
    with pytest.raises(ValueError) as caught:
        group_prior(GROUPS, parents=parents)
    assert str(caught.value) == sentence


def test_without_fading_it_is_the_fit_of_the_host():
    rng = np.random.default_rng(6)
    ids = np.arange(N)
    trials = rng.integers(2, 17, N)
    good = rng.binomial(trials, rng.beta(2, 3, N))
    plugin = group_prior(GROUPS, 3, forgetting=0.0, prior_tasks=0)
    _, said = run(plugin, [(ids, good, trials)])
    for group in range(3):
        mine = group == GROUPS
        alpha, beta = fit_beta(good[mine], (trials - good)[mine], 64.0)
        place = int(np.argmax(mine))
        assert float(said.success_prob[place]) == pytest.approx(
            alpha / (alpha + beta), rel=1e-5
        )
        assert float(said.concentration[place]) == pytest.approx(alpha + beta, rel=1e-3)


def test_recovers_the_law_of_each_group():
    """600 tasks a group, 16 rollouts: means to 4 sd = .04, concentration to 25 %."""
    rng = np.random.default_rng(7)
    laws = [(2.0, 6.0), (9.0, 3.0), (1.0, 1.0)]
    groups = np.repeat(np.arange(3), 600)
    p = np.concatenate([rng.beta(a, b, 600) for a, b in laws])
    order = rng.permutation(1800).reshape(30, 60)
    plugin = group_prior(groups, forgetting=0.0)
    state, said = run(plugin, [(x, rng.binomial(16, p[x]), 16) for x in order], 1800)
    swapped = [(b, a) for a, b in laws[:2]]
    for group, (a, b) in enumerate(laws):
        mean = float(said.success_prob[600 * group])
        amount = float(said.concentration[600 * group])
        assert abs(mean - a / (a + b)) < 0.04
        assert amount == pytest.approx(a + b, rel=0.25)
        if group < 2:  # planted bug: alpha and beta swapped
            a, b = swapped[group]
            assert abs(mean - a / (a + b)) > 0.3
    assert float(state.group_trials.sum()) == 1800 * 16


def test_before_any_evidence_nothing_is_known():
    _, said = run(group_prior(GROUPS), [])
    assert set(said.success_prob.tolist()) == {0.5}
    assert set(said.concentration.tolist()) == {0.0}


def test_group_that_has_shown_nothing_is_as_all_tasks_are():
    steps = [(np.arange(0, N, 3), np.full(10, 4), 16), ([1, 4], [12, 12], 16)]
    _, said = run(group_prior(GROUPS, forgetting=0.0), steps)
    p = np.asarray(said.success_prob)
    assert p[0] < p[2] < p[1] and p[2] == pytest.approx(
        (64 + 0.5) / (192 + 1), rel=1e-5
    )
    assert 0.5 <= float(said.concentration[2]) < 64


def test_one_rollout_per_task_tells_nothing_of_concentration():
    _, said = run(group_prior(GROUPS), [(np.arange(12), np.arange(12) % 2, 1)])
    np.testing.assert_allclose(said.concentration, 2.0, rtol=1e-5)


@pytest.mark.parametrize("good", [0, 16])
def test_stays_finite_where_all_agree(good):
    steps = [(np.arange(N), np.full(N, good), 16)] * 30
    state, said = run(group_prior(GROUPS, forgetting=1.0), steps)
    assert all(np.isfinite(np.asarray(x)).all() for x in (*state, *said))
    p = float(said.success_prob[0])
    assert p < 0.05 if good == 0 else p > 0.95


def test_laws():
    assert_laws(group_prior(GROUPS), None, N)


@pytest.mark.nightly
def test_laws_with_parents():
    assert_laws(group_prior(GROUPS, parents=[0, 1, 0]), None, N)
    assert_laws(group_prior(GROUPS, 5), np.ones((N, 2)), N)


def test_fit_cuts_and_continues():
    plugin = group_prior(np.array([1, 0, 1]), 2)
    assert plugin.fit(5).init(None).group_ids.tolist() == [1, 0, 1, 1, 1]
    assert plugin.fit(2).init(None).group_ids.tolist() == [1, 0]
    assert plugin.fit(2).init(None).group_rows.shape == (2,)


@pytest.mark.parametrize(
    "groups, num_groups, message",
    [
        ([0, 3], 2, r"groups must be in \[0, 1\], got 3 at index 1"),
        ([0, -1], None, "got -1 at index 1"),
        ([0.0, 1.0], None, "groups must be integers"),
        ([[0, 1]], None, "groups must have shape"),
        ([0, 1], 0, "num_groups must be an integer"),
    ],
)
def test_bad_groups(groups, num_groups, message):
    with pytest.raises(ValueError, match=message):
        group_prior(groups, num_groups)
