"""The M-reference plug-in: against SciPy's mode, by recovery, and its bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from bots_jax.evidence.logistic import init_weights, learn_weights, predict_chances
from bots_jax.evidence.plugin import independent_trials
from bots_jax.evidence.references import PSEUDO_ROLLOUTS, references
from bots_jax.shard import Shard
from tests.evidence.plugin_laws import assert_laws, everyone, make_rows

NUM_TASKS, MODELS = 60, 3


def rates(num_tasks: int = NUM_TASKS, models: int = MODELS) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 17, (num_tasks, models)) / 16


@pytest.mark.parametrize(
    "models", [2, *(pytest.param(m, marks=pytest.mark.nightly) for m in (1, 5))]
)
def test_laws_of_a_plugin(models):
    assert_laws(references(num_references=models), rates(models=models), NUM_TASKS)


@pytest.mark.nightly
def test_laws_with_features_alone():
    features = np.random.default_rng(1).normal(size=(NUM_TASKS, 4))
    assert_laws(references(num_references=0, features=features), None, NUM_TASKS)


def test_before_any_evidence_it_trusts_the_references_mean():
    plugin = references(num_references=MODELS)
    said = plugin.predict(plugin.init(rates()), everyone, Shard(NUM_TASKS))
    given = rates() * 16
    logits = np.log(given + PSEUDO_ROLLOUTS) - np.log(16 - given + PSEUDO_ROLLOUTS)
    order = np.argsort(logits.mean(axis=1))
    # the same order, but for the shrinking by doubt
    chance = np.asarray(said.success_prob)
    middle = np.abs(logits.mean(axis=1)) < 1
    assert np.corrcoef(chance[middle], logits.mean(axis=1)[middle])[0, 1] > 0.98
    assert chance[order[-1]] > 0.6 and chance[order[0]] < 0.4


def slow_mode(inputs, successes, failures, mean, precision):
    """The mode of the posterior by SciPy, and its curvature."""
    x = np.column_stack([np.ones(len(inputs)), inputs]).astype(np.float64)

    def loss(w):
        z = x @ w
        fit = successes * np.logaddexp(0, -z) + failures * np.logaddexp(0, z)
        return fit.sum() + 0.5 * (w - mean) @ precision @ (w - mean)

    best = optimize.minimize(loss, mean, method="BFGS", options={"gtol": 1e-9}).x
    p = 1 / (1 + np.exp(-(x @ best)))
    weight = (successes + failures) * p * (1 - p)
    return best, precision + (x * weight[:, None]).T @ x


def batches(num_steps: int):
    rng = np.random.default_rng(3)
    for _ in range(num_steps):
        inputs = rng.normal(0, 1.5, (40, 3))
        chance = 1 / (1 + np.exp(-(0.4 + inputs @ [1.2, -0.5, 0.0])))
        successes = rng.binomial(16, chance)
        yield inputs, successes.astype(float), 16.0 - successes


def test_weights_equal_scipys_mode_step_by_step():
    belief = init_weights([0, 1, 0, 0], [4, 1, 0.5, 0.5])
    mean, precision = np.array([0.0, 1, 0, 0]), np.diag([0.25, 1, 2, 2])
    prior_mean, prior = mean.copy(), precision.copy()
    forgetting, drift = 0.1, 0.3
    for inputs, successes, failures in batches(6):
        belief = learn_weights(
            belief,
            jnp.float32(inputs),
            jnp.float32(successes),
            jnp.float32(failures),
            jnp.ones(40, bool),
            forgetting,
            drift,
        )
        anchor = prior_mean.copy()
        anchor[0] = mean[0]
        relaxed = 0.9 * precision + 0.1 * prior
        start = np.linalg.solve(relaxed, 0.9 * precision @ mean + 0.1 * prior @ anchor)
        wider = np.linalg.inv(relaxed)
        wider[0, 0] += drift**2
        mean, precision = slow_mode(
            inputs, successes, failures, start, np.linalg.inv(wider)
        )
        np.testing.assert_allclose(belief.weights, mean, atol=2e-3)
        np.testing.assert_allclose(belief.precision, precision, rtol=2e-2, atol=0.5)
    identity = belief.precision @ belief.covariance
    np.testing.assert_allclose(identity, np.eye(4), atol=2e-3)


def test_mode_catches_planted_bug_of_swapped_counts():
    inputs, successes, failures = next(batches(1))
    belief = init_weights([0, 1, 0, 0], [4, 1, 0.5, 0.5])
    wrong = learn_weights(
        belief,
        jnp.float32(inputs),
        jnp.float32(failures),
        jnp.float32(successes),
        jnp.ones(40, bool),
        0.0,
        0.0,
    )
    precision = np.diag([0.25, 1, 2, 2])
    mean = np.array([0.0, 1, 0, 0])
    best, _ = slow_mode(inputs, successes, failures, mean, precision)
    assert np.abs(np.asarray(wrong.weights) - best).max() > 0.5


def test_one_overwhelming_batch_does_not_overshoot():
    belief = init_weights([0.0, 1.0], [4.0, 1.0])
    inputs = jnp.float32(np.linspace(-6, 6, 1000)[:, None])
    many = jnp.full(1000, 1000.0)
    new = learn_weights(belief, inputs, many, 0 * many, many > 0, 0.02, 0.1)
    assert np.isfinite(new.weights).all() and float(new.weights[0]) > 3
    said = predict_chances(new, inputs)
    assert float(said.success_prob.min()) > 0.9


def test_it_learns_which_reference_is_like_the_policy():
    """Five references, one of which answers as the policy does."""
    rng, shard = np.random.default_rng(5), Shard(3000)
    skills = rng.normal(0, 2, (3000, 5))
    given = rng.binomial(16, 1 / (1 + np.exp(-skills))) / 16
    truth = 1 / (1 + np.exp(-skills[:, 2] - 0.5))
    plugin = references(num_references=5)
    state = plugin.init(given)
    learn = jax.jit(lambda s, rows: plugin.learn(s, rows, 64.0, shard))
    error = []
    for _step in range(31):
        said = np.asarray(plugin.predict(state, everyone, shard).success_prob)
        error.append(np.abs(said - truth).mean())
        ids = rng.choice(3000, 64, replace=False)
        rows = make_rows(ids, rng.binomial(16, truth[ids]), 16, 3000)
        state = learn(state, rows)
    assert error[-1] < 0.08 < 0.2 < error[0]
    weights = np.asarray(state.weights.weights)
    assert np.argmax(weights[2:]) == 2


@pytest.mark.nightly
def test_it_extrapolates_beyond_the_strongest_reference():
    rng, shard = np.random.default_rng(6), Shard(2000)
    difficulty = rng.normal(0, 2, 2000)
    chance = lambda ability: 1 / (1 + np.exp(difficulty - ability))  # noqa: E731
    given = np.stack([rng.binomial(16, chance(a)) / 16 for a in (-2, 0)], axis=1)
    plugin, truth = references(num_references=2), chance(2)
    state = plugin.init(given)
    for _ in range(20):
        ids = rng.choice(2000, 64, replace=False)
        rows = make_rows(ids, rng.binomial(16, truth[ids]), 16, 2000)
        state = plugin.learn(state, rows, 64.0, shard)
    said = plugin.predict(state, everyone, shard).success_prob
    assert abs(float(said.mean()) - truth.mean()) < 0.03


def test_independent_trials_shrink_by_the_design_effect():
    rows = make_rows([0, 1], [8, 16], 16, 3)
    successes, failures = independent_trials(rows, 7.0)
    weight = 1 / (1 + 15 / 8)
    np.testing.assert_allclose(successes, [8 * weight, 16 * weight], rtol=1e-6)
    np.testing.assert_allclose(failures, [8 * weight, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "given", "sentence"),
    [
        ({"num_references": 0}, None, "num_references must be at least 1 without"),
        ({"num_references": 2}, None, r"references must be given, \[num_tasks, 2\]"),
        ({"num_references": 2}, np.ones((5, 3)), r"shape \(num_tasks, 2\), got \(5, 3"),
        ({"num_references": 3}, np.ones((2, 3)), "no more columns than rows, got 3"),
        ({"num_references": 2}, np.full((5, 2), 1.5), r"in \[0, 1\], got 1.5 at index"),
        ({"num_references": 2}, np.ones((5, 2), int), "must be floating point"),
        (
            {"num_references": 0, "features": np.full((4, 2), np.nan)},
            None,
            r"features must be in .*, got nan at index \(0, 0\)",
        ),
        (
            {"num_references": 0, "features": np.ones((4, 1))},
            None,
            "no constant column, got one at 0",
        ),
        (
            {"num_references": 0, "features": np.ones(4)},
            None,
            r"features must have shape \(num_tasks, columns\), got \(4,\)",
        ),
        (
            {"num_references": 1, "features": np.eye(4)},
            np.ones((5, 1)),
            "references must have a row per task, 4, got 5",
        ),
        ({"num_references": 1, "reference_rollouts": 0}, None, "reference_rollouts"),
        ({"num_references": 1, "forgetting": 2}, None, r"forgetting must be in \[0, 1"),
    ],
)
def test_bad_input_gets_one_sentence(settings, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        references(**settings).init(given)
