"""Continuous rewards: the choice, what is learnt, what is dropped, the sampler."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selection.coverage import Coverage
from tests.selectors.rivals import choices, learn, pairs_pvalue
from tests.statistical import CAUGHT, HONEST

LOW, HIGH = -1.0, 3.0
REWARDS = [
    [-1, 3, -1, 3, 3, -1, 0, 3],
    [3, 3, 3, 3, 3, 3, 3, 2.9],
    [0, 1, 2, 1, 0, 1, 2, 1],
    [-1, -1, -1, -1, -1, -1, -1, -1],
    [-1, 1, 1, 1, 1, 1, 1, 3],
]
PRIOR = (1.0, 1.0, 2.0, 0.08 * 16)  # mean, count, shape, rate by default


def moments(ids, rewards, low=LOW, high=HIGH) -> Any:
    return bots_jax.moment_evidence_from_rewards(
        np.int32(ids), np.float32(rewards), low=low, high=high
    )


def update(selector, state, evidence: Any) -> Any:
    return selector.update(state, evidence)


def textbook(prior, rewards) -> tuple[float, float, float, float]:
    """The conjugate update of a Normal-gamma, reward by reward, in float64."""
    mean, count, shape, rate = map(float, prior)
    for reward in np.asarray(rewards, float):
        rate += count * (reward - mean) ** 2 / (2 * (count + 1))
        mean = (count * mean + reward) / (count + 1)
        count, shape = count + 1, shape + 0.5
    return mean, count, shape, rate


def test_choice_is_proportional_to_a_power_of_the_expected_variance():
    selector = bots_jax.continuous(
        num_tasks=6,
        batch_size=2,
        low=LOW,
        high=HIGH,
        temperature=0.5,
        coverage=Coverage(),
    )
    state = update(selector, selector.init(), moments(range(5), REWARDS))[0]
    ids = choices(selector, state)
    beliefs = np.array([textbook(PRIOR, x) for x in [*REWARDS, []]])
    _, count, shape, rate = beliefs.T
    score = rate / (shape - 1)
    assert pairs_pvalue(ids, score**2) > HONEST
    # planted: the temperature left out, the variance of the mean, the mode's shape
    assert pairs_pvalue(ids, score) < CAUGHT
    assert pairs_pvalue(ids, (score / count) ** 2) < CAUGHT
    assert pairs_pvalue(ids, (rate / (shape + 1)) ** 2) < CAUGHT
    alpha, beta = map(np.float64, selector.posterior(state))
    total = alpha + beta
    np.testing.assert_allclose(alpha / total, (beliefs[:, 0] - LOW) / 4, rtol=1e-3)
    variance = alpha * beta / total**2 / (total + 1)
    np.testing.assert_allclose(variance, score / count / 16, rtol=1e-3)


@pytest.mark.parametrize("clock", ["step", "touch"])
def test_long_runs_follow_the_recurrence(clock):
    """As mixtures of three groups of rewards: the old ones, the prior's, the new."""
    rng, keep = np.random.default_rng(3), 0.8
    selector = bots_jax.continuous(
        num_tasks=7, batch_size=1, low=0, high=1, forgetting=0.2, clock=clock
    )
    prior = np.array([0.5, 1.0, 2.0, 0.08])
    step = jax.jit(lambda state, evidence: update(selector, state, evidence)[0])
    state, want, last = selector.init(), np.tile(prior, (7, 1)), np.zeros(7)
    for number in range(1, 31):
        ids, rewards = rng.choice(7, 3, replace=False), rng.beta(0.7, 2, (3, 6))
        state = step(state, moments(ids, rewards, 0, 1))
        for task in range(7):
            seen = task in ids
            if seen or clock == "step":
                group = rewards[ids.tolist().index(task)] if seen else []
                want[task] = mixed(want[task], prior, keep, group)
        last[ids] = number
    found = np.stack(state.belief.posterior[:4], axis=1)
    np.testing.assert_allclose(found, want, rtol=1e-4)
    assert state.belief.last_update.tolist() == last.tolist()
    assert float(selector.forgetting) == (0.2 if clock == "step" else 0.0)


def mixed(old, prior, keep, rewards) -> np.ndarray:
    """Densities to powers, then the rewards one by one."""
    (m0, k0, a0, b0), (m1, k1, a1, b1) = old, prior
    k0, k1, lost = keep * k0, (1 - keep) * k1, 1 - keep
    mean = (k0 * m0 + k1 * m1) / (k0 + k1)
    between = k0 * k1 / (k0 + k1) * (m0 - m1) ** 2
    rate = keep * b0 + lost * b1 + between / 2
    start = mean, k0 + k1, keep * a0 + lost * a1, rate
    return np.array(textbook(start, rewards))


N, B, G = 60, 6, 8
SHAPES = np.repeat(
    [[40.0, 40.0], [1.0, 60.0], [60.0, 1.0], [0.3, 0.3]], [32, 8, 8, 12], axis=0
)
"""Near the middle, near the ends, and the twelve whose rewards vary most."""


def share_of_wanted(plain: bool) -> float:
    selector = bots_jax.continuous(num_tasks=N, batch_size=B, low=LOW, high=HIGH)
    shapes = jnp.float32(SHAPES)

    def step(state, key):
        select_key, reward_key = jax.random.split(key)
        ids, _ = selector.select(select_key, state)
        alpha, beta = (shapes[ids, i, None] for i in (0, 1))
        score = jnp.clip(jax.random.beta(reward_key, alpha, beta, (B, G)), 0, 1)
        evidence: Any = bots_jax.moment_evidence_from_rewards(
            ids, LOW + (HIGH - LOW) * score, low=LOW, high=HIGH
        )
        if plain:
            evidence = bots_jax.evidence_from_rewards(ids, score)
        return selector.update(state, evidence)[0], ids

    keys = jax.random.split(jax.random.key(1), 120)
    _, ids = jax.jit(lambda keys: jax.lax.scan(step, selector.init(), keys))(keys)
    return float(np.mean(np.asarray(ids)[40:] >= 48))


def test_tasks_whose_rewards_vary_are_found():
    assert share_of_wanted(plain=False) > 0.6
    # planted: middle rewards read as fractions of a success look as undecided
    assert share_of_wanted(plain=True) < 0.5


def test_plain_evidence_is_read_as_the_bounds():
    selector = bots_jax.continuous(num_tasks=6, batch_size=2, low=LOW, high=HIGH)
    plain = learn(selector, [4, 1], [3, 0], [5, 8])
    evidence = moments([4, 1], [[3] * 3 + [-1] * 5, [-1] * 8])
    state, info = update(selector, selector.init(), evidence)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6)  # noqa: E731
    jax.tree.map(close, plain, state)
    assert float(info.effective_task_ratio) == 0.5
    assert float(info.success_rate) == pytest.approx(3 / 16)


def test_rows_that_rewards_in_bounds_cannot_give_are_dropped_and_counted():
    selector = bots_jax.continuous(num_tasks=6, batch_size=2, low=LOW, high=HIGH)
    mean = np.array([3.1, -1.1, 1, 3, np.nan, 9, 9, 9])
    spread = np.array([0, 0, 4 * 4.1, 0, 0, 0, 0, 0])  # at most 4 * 4^2 / 4
    number = np.array([4, 4, 4, 4, 4, 0, 4, 4])
    ids = jnp.int32([0, 1, 2, 3, 4, 5, 6, -1])
    evidence = bots_jax.MomentEvidence(ids, *map(jnp.float32, (number, mean, spread)))
    for act in (update, jax.jit(update, static_argnums=0)):
        state, info = act(selector, selector.init(), evidence)
        assert state.belief.last_update.tolist() == [0, 0, 0, 1, 0, 0]
        assert int(info.num_invalid) == 4
        assert (int(info.num_masked), int(info.num_out_of_range)) == (2, 1)
        assert float(info.success_rate) == 1.0
        assert float(info.effective_task_ratio) == 0.0


@pytest.mark.parametrize("bounds", [(0.1, 0.7), (1000.0, 1001.0), (-1e9, 1e9)])
def test_rewards_at_the_bounds_are_never_dropped(bounds):
    """Float32 rounds their mean to either side."""
    low, high = bounds
    selector = bots_jax.continuous(num_tasks=64, batch_size=2, low=low, high=high)
    rng = np.random.default_rng(0)
    binary = rng.random((64, 7)) < rng.choice([0, 0.5, 1], (64, 1))
    rewards = moments(range(64), np.where(binary, high, low), low, high)
    successes = jnp.float32(binary.sum(1))
    plain = bots_jax.Evidence(jnp.arange(64), successes, 7 - successes)
    for evidence in (rewards, plain):
        state, info = update(selector, selector.init(), evidence)
        assert int(info.num_tasks_applied) == 64
        is_mixed = binary.any(1) & ~binary.all(1)
        assert float(info.effective_task_ratio) == pytest.approx(is_mixed.mean())
        assert float(info.success_rate) == pytest.approx(binary.mean(), rel=1e-4)
        assert np.isfinite(np.stack(selector.posterior(state))).all()


def test_the_unit_of_the_rewards_does_not_matter():
    batches = []
    for scale, shift in ((1.0, 0.0), (1024.0, 0.0), (2.0**-14, 0.0), (4.0, 8.0)):
        low, high = scale * LOW + shift, scale * HIGH + shift
        selector = bots_jax.continuous(num_tasks=6, batch_size=2, low=low, high=high)
        rewards = scale * np.asarray(REWARDS) + shift
        evidence = moments(range(5), rewards, low, high)
        state = update(selector, selector.init(), evidence)[0]
        batches.append(choices(selector, state, 200).tolist())
    assert all(batch == batches[0] for batch in batches)


@pytest.mark.nightly
def test_bounds_and_numbers_may_be_traced():
    evidence = moments(range(5), REWARDS)

    def believe(knobs):
        selector = bots_jax.continuous(num_tasks=6, batch_size=2, **knobs)
        state, info = update(selector, selector.init(), evidence)
        return (
            selector.posterior(state),
            selector.select(jax.random.key(0), state),
            info,
        )

    knobs = {"low": [-1.0, -2.0], "high": [3.0, 5.0], "prior_precision_shape": [2.0, 9]}
    arrays = {name: jnp.float32(values) for name, values in knobs.items()}
    together = jax.jit(jax.vmap(believe))(arrays)
    for i in range(2):
        alone = believe({name: values[i] for name, values in knobs.items()})
        mine = jax.tree.map(lambda x, i=i: x[i], together)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5)  # noqa: E731
        jax.tree.map(close, mine, alone)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"low": 3.0}, "high must be above low = 3, got 3"),
        ({"high": [1.0]}, "high must be a scalar"),
        ({"low": np.nan}, "low must be in"),
        ({"low": 0.0, "high": 1e-6}, "high - low must be in"),
        ({"clock": "policy"}, "clock must be one of 'step', 'touch', got 'policy'"),
        ({"forgetting": -0.1}, r"forgetting must be in \[0, 1\], got -0.1"),
        ({"prior_reward_mean": 4.0}, r"prior_reward_mean must be in \[-1, 3\], got 4"),
        ({"prior_precision_count": 0.0}, "prior_precision_count must be in"),
        ({"prior_precision_shape": 1.0}, "prior_precision_shape must be in"),
        ({"prior_precision_rate": -1.0}, "prior_precision_rate must be in"),
        ({"prior_precision_rate": np.ones(5)}, "prior_precision_rate must have shape"),
        ({"batch_size": 9}, "batch_size must be at most num_tasks = 6, got 9"),
        ({"temperature": -1.0}, "temperature must be in"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(wrong, message):
    good: dict[str, Any] = {"num_tasks": 6, "batch_size": 2, "low": LOW, "high": HIGH}
    with pytest.raises(ValueError, match=message):
        bots_jax.continuous(**good | wrong)


def test_bad_evidence_is_refused_in_one_sentence():
    selector = bots_jax.continuous(num_tasks=6, batch_size=2, low=LOW, high=HIGH)
    one = jnp.ones(1, jnp.float32)
    levels = bots_jax.LevelEvidence(jnp.int32([0]), one[:, None])
    short = bots_jax.MomentEvidence(jnp.int32([0, 1]), one, one, one)
    for evidence, message in [
        (levels, "evidence must be Evidence or MomentEvidence, got LevelEvidence"),
        (short, "task_ids must have shape"),
        (bots_jax.Evidence(jnp.int32([0, 1]), one, one), "successes must have shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            update(selector, selector.init(), evidence)


def test_a_sampler_trains_saves_restores_and_grows(tmp_path):
    means = np.random.default_rng(0).uniform(-1, 3, 12)

    def make():
        selector = bots_jax.continuous(
            num_tasks=12, batch_size=3, low=LOW, high=HIGH, prior_reward_mean=means
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
    assert sampler.metrics()["update/success_rate"] == 0.5
    sampler.save(tmp_path / "sampler")
    other.restore(tmp_path / "sampler")
    assert train(other, 4) == train(sampler, 4)
    for name, found in sampler.state.belief.posterior._asdict().items():
        restored = getattr(other.state.belief.posterior, name)
        np.testing.assert_array_equal(found, restored)
    before = np.asarray(sampler.state.belief.posterior.precision_count)
    sampler.add_tasks(num_tasks=30)
    posterior = sampler.state.belief.posterior
    np.testing.assert_array_equal(posterior.precision_count[:12], before)
    np.testing.assert_allclose(posterior.reward_mean[12:42], means[0], rtol=1e-6)
    train(sampler, 2)
