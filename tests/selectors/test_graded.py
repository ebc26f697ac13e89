"""Graded rewards: the choice, what is learnt, both kinds of evidence, the sampler."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selection.coverage import Coverage
from bots_jax.selection.values import expected_variance
from tests.selectors.rivals import (
    as_evidence,
    choices,
    learn,
    pairs_pvalue,
    random_rows,
)
from tests.statistical import CAUGHT, HONEST

LEVELS = (-1.0, 0.0, 0.5, 3.0)
COUNTS = np.array(
    [[9, 0, 0, 9], [0, 30, 2, 0], [3, 3, 3, 3], [0, 0, 1, 30], [1, 9, 9, 0], [0] * 4]
)
FREE = Coverage()


def level_evidence(ids, counts) -> Any:
    return bots_jax.LevelEvidence(jnp.int32(ids), jnp.float32(counts))


def update(selector, state, evidence: Any) -> Any:
    return selector.update(state, evidence)


def reward_variance(counts, levels) -> np.ndarray:
    """E[Var of a reward] of a Dirichlet, by its second moments, in float64."""
    counts, levels = np.asarray(counts, float), np.asarray(levels, float)
    total = counts.sum(1)
    product = counts[:, :, None] * counts[:, None, :]
    second = np.einsum("nij,ij->n", product, np.subtract.outer(levels, levels) ** 2)
    return second / 2 / total / (total + 1)  # E[pi_i pi_j] (v_i - v_j)^2 / 2


def test_choice_is_proportional_to_a_power_of_the_expected_variance():
    selector = bots_jax.graded(
        num_tasks=6, batch_size=2, levels=LEVELS, temperature=0.5, coverage=FREE
    )
    evidence = level_evidence(range(6), COUNTS)
    ids = choices(selector, update(selector, selector.init(), evidence)[0])
    score = reward_variance(1 + COUNTS, LEVELS)
    assert pairs_pvalue(ids, score**2) > HONEST
    # planted: the temperature left out, the levels in reverse, prior forgotten
    assert pairs_pvalue(ids, score) < CAUGHT
    assert pairs_pvalue(ids, reward_variance(1 + COUNTS, LEVELS[::-1]) ** 2) < CAUGHT
    assert pairs_pvalue(ids, reward_variance(COUNTS + 1e-9, LEVELS) ** 2) < CAUGHT


@pytest.mark.parametrize("clock", ["step", "touch"])
def test_long_runs_follow_the_recurrence(clock):
    rng = np.random.default_rng(3)
    prior = rng.uniform(0.2, 3, (9, 4))
    selector = bots_jax.graded(
        num_tasks=9,
        batch_size=1,
        levels=LEVELS,
        forgetting=0.2,
        clock=clock,
        prior_level_counts=prior,
    )
    step = jax.jit(lambda state, evidence: update(selector, state, evidence)[0])
    state, want = selector.init(), prior.copy()
    last = np.zeros(9)
    for number in range(1, 41):
        ids, counts = rng.choice(9, 3, replace=False), rng.integers(0, 5, (3, 4))
        counts[:, 0] += 1
        state = step(state, level_evidence(ids, counts))
        fades = np.isin(np.arange(9), ids) if clock == "touch" else np.full(9, True)
        want[fades] = 0.8 * want[fades] + 0.2 * prior[fades]
        want[ids] += counts
        last[ids] = number
    belief = state.belief
    np.testing.assert_allclose(belief.posterior.level_counts, want, rtol=2e-5)
    assert belief.last_update.tolist() == last.tolist()
    share = want / want.sum(1, keepdims=True)
    unit = (np.array(LEVELS) + 1) / 4
    alpha, beta = map(np.float64, selector.posterior(state))
    total = alpha + beta
    np.testing.assert_allclose(alpha / total, share @ unit, rtol=1e-4)
    variance = share @ unit**2 - (share @ unit) ** 2
    variance /= want.sum(1) + 1
    np.testing.assert_allclose(
        alpha * beta / total**2 / (total + 1), variance, rtol=1e-3
    )
    assert float(selector.forgetting) == (0.2 if clock == "step" else 0.0)


@pytest.mark.nightly
def test_two_levels_rank_as_expected_variance_does():
    selector = bots_jax.graded(
        num_tasks=40, batch_size=40, levels=(0, 1), temperature=0.0, coverage=FREE
    )
    rng = np.random.default_rng(0)
    step = jax.jit(lambda state, evidence: selector.update(state, evidence)[0])
    state = selector.init()
    for _ in range(10):
        state = step(state, as_evidence(random_rows(rng, 40, size=20)))
    counts = state.belief.posterior.level_counts
    alpha, beta = selector.posterior(state)
    np.testing.assert_allclose(alpha, counts[:, 1], rtol=1e-3)
    np.testing.assert_allclose(beta, counts[:, 0], rtol=1e-3)
    ids = np.asarray(selector.select(jax.random.key(0), state)[0])
    half = jnp.float32(0.5)
    score = np.asarray(expected_variance(counts[:, 1], counts[:, 0], half))
    assert (np.diff(score[ids]) <= 1e-6).all()
    # planted: successes of half the tasks taken for failures
    wrong = jnp.where(jnp.arange(40) % 2 == 0, counts[:, 0], counts[:, 1])
    score = np.asarray(expected_variance(wrong, wrong, half))
    assert not (np.diff(score[ids]) <= 1e-6).all()


N, B, G = 60, 6, 8
LAWS = np.repeat(
    [[0.0, 0.5, 0.5, 0.0], [0.98, 0.02, 0, 0], [0, 0, 0.02, 0.98], [0.5, 0, 0, 0.5]],
    [32, 8, 8, 12],
    axis=0,
)
"""Near the middle, near the ends, and the twelve whose rewards vary most."""
STEPS = (0.0, 1 / 3, 2 / 3, 1.0)


def share_of_wanted(plain: bool) -> float:
    selector = bots_jax.graded(num_tasks=N, batch_size=B, levels=STEPS)
    laws, steps = jnp.float32(LAWS), jnp.float32(STEPS)

    def step(state, key):
        select_key, reward_key = jax.random.split(key)
        ids, _ = selector.select(select_key, state)
        logits = jnp.log(laws[ids])[:, None, :]
        drawn = jax.random.categorical(reward_key, logits, shape=(B, G))
        evidence: Any = bots_jax.level_evidence_from_rewards(ids, steps[drawn], steps)
        if plain:
            evidence = bots_jax.evidence_from_rewards(ids, steps[drawn])
        return selector.update(state, evidence)[0], ids

    keys = jax.random.split(jax.random.key(1), 120)
    _, ids = jax.jit(lambda keys: jax.lax.scan(step, selector.init(), keys))(keys)
    return float(np.mean(np.asarray(ids)[40:] >= 48))


def test_tasks_whose_rewards_vary_are_found():
    """A fifth of the pool; the default rest lets them be two thirds of the choices."""
    assert share_of_wanted(plain=False) > 0.6
    # planted: middle rewards read as fractions of a success look as undecided
    assert share_of_wanted(plain=True) < 0.5


def test_plain_evidence_is_read_as_the_outer_levels():
    selector = bots_jax.graded(num_tasks=6, batch_size=2, levels=LEVELS)
    plain = learn(selector, [4, 1], [3, 0], [5, 8])
    own = level_evidence([4, 1], [[5, 0, 0, 3], [8, 0, 0, 0]])
    state, info = update(selector, selector.init(), own)
    jax.tree.map(np.testing.assert_array_equal, plain, state)
    assert float(info.effective_task_ratio) == 0.5
    rows: Any = np.array([4, 1]), np.array([3, 0]), np.array([5, 8])
    integers = bots_jax.Evidence(*rows)
    state, _ = selector.update(selector.init(), integers)
    jax.tree.map(np.testing.assert_array_equal, plain, state)


def test_info_tells_means_and_differing_groups_and_counts_what_is_dropped():
    selector = bots_jax.graded(num_tasks=6, batch_size=2, levels=LEVELS)
    counts = np.array(
        [[0, 4, 0, 0], [2, 0, 0, 2], [0, 0, 0, 4], [4] * 4, [0] * 4, [np.nan] * 4]
    )
    evidence = level_evidence([0, 1, 1, 6, 2, 3], counts)
    state, info = update(selector, selector.init(), evidence)
    # task 0 always got 0: 1 / 4 of the way; task 1 got -1 twice and 3 six times
    assert float(info.success_rate) == pytest.approx((0.25 + 0.75) / 2)
    assert float(info.effective_task_ratio) == 0.5  # a success rate of 1 / 4 is not
    numbers = info.num_tasks_applied, info.num_repeated, info.num_out_of_range
    assert [int(x) for x in numbers] == [2, 1, 1]
    assert (int(info.num_masked), int(info.num_invalid)) == (1, 1)
    assert state.belief.last_update.tolist() == [1, 1, 0, 0, 0, 0]


def test_a_task_rests_after_a_visit_by_default():
    selector = bots_jax.graded(num_tasks=40, batch_size=2, levels=LEVELS)
    evidence = level_evidence([3, 8], [[9, 0, 0, 9]] * 2)
    state = update(selector, selector.init(), evidence)[0]
    assert not np.isin(choices(selector, state, 50), [3, 8]).any()
    for _ in range(5):
        state = selector.update(state, bots_jax.empty_evidence(2))[0]
    assert np.isin(choices(selector, state, 50), [3, 8]).mean() > 0.9


@pytest.mark.nightly
def test_levels_and_numbers_may_be_traced():
    evidence = level_evidence([0, 2], COUNTS[:2])

    def believe(knobs):
        selector = bots_jax.graded(num_tasks=6, batch_size=2, **knobs)
        state, info = update(selector, selector.init(), evidence)
        return (
            selector.posterior(state),
            selector.select(jax.random.key(0), state),
            info,
        )

    steps = jnp.float32([LEVELS, (0.0, 1.0, 2.0, 3.0)])
    knobs = {"levels": steps, "forgetting": jnp.float32([0.1, 0.7])}
    together = jax.jit(jax.vmap(believe))(knobs)
    for i in range(2):
        alone = believe(jax.tree.map(lambda x, i=i: np.asarray(x)[i], knobs))
        mine = jax.tree.map(lambda x, i=i: x[i], together)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5)  # noqa: E731
        jax.tree.map(close, mine, alone)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"levels": (1.0,)}, "levels must have shape"),
        ({"levels": (0.0, 2.0, 1.0)}, "levels must increase, got 1 after 2"),
        ({"levels": "ab"}, "levels must have shape"),
        ({"clock": "policy"}, "clock must be one of 'step', 'touch', got 'policy'"),
        ({"forgetting": 1.5}, r"forgetting must be in \[0, 1\], got 1.5"),
        ({"temperature": -1.0}, r"temperature must be in \[0, 1e\+06\], got -1"),
        ({"prior_level_counts": 0.0}, "prior_level_counts must be in"),
        ({"prior_level_counts": np.ones(3)}, r"prior_level_counts must have shape"),
        ({"batch_size": 9}, "batch_size must be at most num_tasks = 6, got 9"),
        ({"coverage": 3}, "coverage must be a Coverage, got 3"),
        ({"eligible": np.zeros(6, bool)}, "eligible must leave at least"),
        ({"num_tasks": 0}, "num_tasks must be an integer"),
        ({"group_ids": [1.5] * 6}, "group_ids must be integers"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(wrong, message):
    good = {"num_tasks": 6, "batch_size": 2, "levels": LEVELS}
    with pytest.raises(ValueError, match=message):
        bots_jax.graded(**good | wrong)


def test_bad_evidence_is_refused_in_one_sentence():
    selector = bots_jax.graded(num_tasks=6, batch_size=2, levels=LEVELS)
    state, one = selector.init(), jnp.ones(1, jnp.float32)
    moments = bots_jax.MomentEvidence(jnp.int32([0]), one, one, one)
    for evidence, message in [
        (moments, "evidence must be Evidence or LevelEvidence, got MomentEvidence"),
        (level_evidence([0], np.ones((1, 3))), "counts must have 4 levels, got 3"),
        (bots_jax.Evidence(jnp.int32([0, 1]), one, one), "successes must have shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            update(selector, state, evidence)


@pytest.mark.nightly
def test_a_sampler_trains_saves_restores_and_grows(tmp_path):
    priors = np.random.default_rng(0).uniform(0.5, 2, (12, 4))

    def make():
        selector = bots_jax.graded(
            num_tasks=12, batch_size=3, levels=STEPS, prior_level_counts=priors
        )
        return bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())

    def train(sampler, steps):
        found = []
        for _ in range(steps):
            ids = sampler.select(3)
            found.append(ids.tolist())
            sampler.observe(ids, (ids[:, None] + np.arange(4)) % 2)
            sampler.advance()
        return found

    sampler, other = make(), make()
    train(sampler, 4)
    assert sampler.metrics()["update/num_tasks_applied"] == 3
    assert sampler.metrics()["update/effective_task_ratio"] == 1
    sampler.save(tmp_path / "sampler")
    other.restore(tmp_path / "sampler")
    assert train(other, 4) == train(sampler, 4)
    for name in ("level_counts", "prior_level_counts"):
        counts = [getattr(x.state.belief.posterior, name) for x in (sampler, other)]
        np.testing.assert_array_equal(*counts)
    before = np.asarray(sampler.state.belief.posterior.level_counts)
    sampler.add_tasks(num_tasks=30)
    after = np.asarray(sampler.state.belief.posterior.level_counts)
    np.testing.assert_array_equal(after[:12], before)
    np.testing.assert_allclose(after[12:42], np.tile(priors[:1], (30, 1)), rtol=1e-6)
    train(sampler, 2)
