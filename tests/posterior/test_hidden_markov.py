"""DPS's filter: against a loop in float64, and against what exact filters must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.evidence.counts import collect_rows
from bots_jax.posterior.hidden_markov import (
    as_beta,
    init_hidden_markov,
    observe_states,
    predict_states,
)
from bots_jax.types import Evidence

N, B, G, STEPS = 9, 3, 4, 120
UNIFORM = np.full(3, 1 / 3)
PROGRESS = np.array([[1.0, 0.5, 0.5], [1.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
LOCAL = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
SETTINGS = {
    "number": (0.5, UNIFORM),
    "progress": (PROGRESS, np.array([0.6, 0.3, 0.1])),
    "local": (LOCAL, np.array([1.0, 0.0, 0.0])),
    "per_task": (
        np.random.default_rng(0).uniform(0.1, 3, (N, 3, 3)),
        np.random.default_rng(0).dirichlet([1, 2, 3], N),
    ),
}


def make_evidence(rng: np.random.Generator, kind: np.ndarray) -> Evidence:
    """Rows of tasks whose states mostly stay as they are."""
    moves = rng.random(N) < 0.2
    kind[moves] = rng.integers(0, 3, moves.sum())
    ids = rng.choice(N, B, replace=False)
    ids[0] = rng.choice([-1, N, ids[0], ids[1]])
    successes = np.choose(kind[np.clip(ids, 0, N - 1)], [0, 1, G])
    return Evidence(*map(jnp.asarray, (np.int32(ids), *_counts(successes))))


def _counts(successes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return successes.astype(np.float32), (G - successes).astype(np.float32)


@jax.jit
def step(belief, evidence, forgetting):
    return observe_states(belief, collect_rows(evidence, N), forgetting)


class Reference:
    """One task of the published filter, in its own order: update, then predict."""

    def __init__(self, prior: np.ndarray, start: np.ndarray):
        self.prior, self.counts = prior, prior.copy()
        self.before, self.ahead = start, start

    def learn(self, kept: float, state: int | None) -> None:
        now, pairs = self.ahead, np.zeros((3, 3))
        chances = self.counts / self.counts.sum(0)
        if state is not None:
            now = np.eye(3)[state]
            for i in range(3):
                for j in range(3):
                    pairs[i, j] = now[i] * chances[i, j] * self.before[j]
            if pairs.sum() > 0:
                pairs /= pairs.sum()
        self.counts = kept * self.counts + (1 - kept) * self.prior + pairs
        self.before = now
        self.ahead = self.counts / self.counts.sum(0) @ now


def observed(evidence: Evidence) -> dict[int, int]:
    """State of each task that was rolled out."""
    totals: dict[int, list[float]] = {}
    for task, right, wrong in zip(*(np.asarray(x) for x in evidence), strict=True):
        if 0 <= task < N:
            sums = totals.setdefault(int(task), [0.0, 0.0])
            sums[0] += right
            sums[1] += wrong
    return {t: 0 if not s[0] else 2 if not s[1] else 1 for t, s in totals.items()}


def run(name: str, forgetting: float):
    """Belief and reference after a long run, with every prediction on the way."""
    prior, start = SETTINGS[name]
    belief = init_hidden_markov(N, prior, start)
    priors = np.broadcast_to(np.asarray(prior, np.float64), (N, 3, 3))
    starts = np.broadcast_to(start, (N, 3))
    tasks = [Reference(p.copy(), s) for p, s in zip(priors, starts, strict=True)]
    rng, kind = np.random.default_rng(1), np.zeros(N, int)
    predicted = []
    for _ in range(STEPS):
        predicted.append((predict_states(belief), [t.ahead for t in tasks]))
        evidence = make_evidence(rng, kind)
        belief = step(belief, evidence, np.float32(forgetting))
        states = observed(evidence)
        for number, task in enumerate(tasks):
            task.learn(1 - forgetting, states.get(number))
    return belief, tasks, predicted


@pytest.mark.parametrize("forgetting", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", SETTINGS)
def test_long_runs_agree_with_the_reference(name, forgetting):
    belief, tasks, predicted = run(name, forgetting)
    np.testing.assert_allclose(
        belief.transition_counts, [t.counts for t in tasks], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(belief.state_probs, [t.before for t in tasks], atol=2e-6)
    got, want = (np.array(x) for x in zip(*predicted, strict=True))
    np.testing.assert_allclose(got, want, atol=5e-6)
    # planted: the transitions read the wrong way round are told apart
    turned = belief._replace(
        transition_counts=jnp.swapaxes(belief.transition_counts, 1, 2)
    )
    if name != "number" or forgetting < 1:
        gap = np.abs(predict_states(turned) - np.array([t.ahead for t in tasks])).max()
        assert gap > 0.02


def test_one_step_by_hand():
    """From (.6, .3, .1), seen all right, with the prior that expects progress.

    The last row of the transitions is (1/3, .4, .5): columns sum to 3, 2.5 and 2.
    Pairs go as .2, .12 and .05, of .37 together.
    """
    evidence = Evidence(jnp.int32([4]), *map(jnp.float32, ([G], [0])))
    new = step(init_hidden_markov(N, *SETTINGS["progress"]), evidence, np.float32(0.2))
    want = PROGRESS.copy()
    want[2] += np.array([0.2, 0.12, 0.05]) / 0.37
    np.testing.assert_allclose(new.transition_counts[4], want, rtol=1e-6)
    assert new.state_probs[4].tolist() == [0, 0, 1]
    np.testing.assert_allclose(new.state_probs[0], [0.6, 0.3, 0.1], rtol=1e-6)
    np.testing.assert_allclose(new.transition_counts[0], PROGRESS, rtol=1e-6)


def test_impossible_observation_is_believed_and_teaches_nothing():
    """From surely all wrong, all right is impossible under the local prior."""
    evidence = Evidence(jnp.int32([4]), *map(jnp.float32, ([G], [0])))
    new = step(init_hidden_markov(N, *SETTINGS["local"]), evidence, np.float32(0.0))
    assert new.state_probs[4].tolist() == [0, 0, 1]
    assert new.transition_counts[4].tolist() == LOCAL.tolist()
    assert bool(jnp.isfinite(predict_states(new)).all())


def test_states_seen_every_step_teach_their_frequencies():
    """A task rolled out in every step counts its pairs, as any Dirichlet."""
    rng, belief = np.random.default_rng(2), init_hidden_markov(N, 1.0)
    chances, state, pairs = np.array([[8, 1, 1], [2, 6, 2], [1, 1, 8]]) / 10, 1, []
    for _ in range(300):
        before, state = state, int(rng.choice(3, p=chances[state]))
        pairs.append((state, before))
        successes = np.choose([state], [0, 1, G])
        evidence = Evidence(jnp.int32([4]), *map(jnp.asarray, _counts(successes)))
        belief = step(belief, evidence, np.float32(0.0))
    counts = np.ones((3, 3))
    for to, since in pairs[1:]:
        counts[to, since] += 1
    counts[pairs[0][0]] += 1 / 3  # the state before the first was not known
    np.testing.assert_allclose(belief.transition_counts[4], counts, rtol=1e-5)
    np.testing.assert_allclose(
        predict_states(belief)[4], counts[:, state] / counts[:, state].sum(), rtol=1e-5
    )


def test_a_cut_is_predicted_as_in_the_whole():
    belief, _, _ = run("per_task", 0.3)
    wanted = jnp.int32([7, 2])
    cut = predict_states(belief, lambda x: x[wanted])
    np.testing.assert_allclose(cut, predict_states(belief)[wanted], rtol=1e-6)


def test_probabilities_stay_probabilities():
    """Many steps of prediction alone: sums stay 1, counts return to their prior."""
    belief = run("per_task", 0.0)[0]
    nothing = Evidence(jnp.full((B,), -1, jnp.int32), *[jnp.zeros(B, jnp.float32)] * 2)

    def body(belief, _):
        return step(belief, nothing, jnp.float32(0.01)), None

    last = jax.jit(lambda b: jax.lax.scan(body, b, None, length=5000)[0])(belief)
    np.testing.assert_allclose(jnp.sum(last.state_probs, 1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        last.transition_counts, belief.prior_transition_counts, rtol=1e-4
    )


def test_beta_has_the_moments_of_the_law_of_three_states():
    probs = np.array([0.5, 0.3, 0.2])
    rng, n = np.random.default_rng(3), 400_000
    state = rng.choice(3, n, p=probs)
    chance = np.where(state == 1, rng.random(n), state / 2)
    alpha, beta = (np.float64(x[0]) for x in as_beta(jnp.float32(probs[None])))
    mean = alpha / (alpha + beta)
    np.testing.assert_allclose(mean, chance.mean(), atol=3e-3)
    variance = mean * (1 - mean) / (alpha + beta + 1)
    np.testing.assert_allclose(variance, chance.var(), rtol=0.01)
    assert abs(chance.mean() - (1 - mean)) > 0.1  # states turned round are told apart


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior_transition_counts": -1.0}, "^prior_transition_counts must be in"),
        ({"prior_transition_counts": np.ones(3)}, "^prior_transition_counts must have"),
        ({"prior_transition_counts": 0.0}, "must sum to at least 0.01 in every column"),
        ({"prior_transition_counts": np.diag([1.0, 0.0, 1.0])}, "in every column"),
        ({"initial_state_probs": [0.5, 0.5, 0.5]}, "^initial_state_probs must sum to"),
        ({"initial_state_probs": [0.5, 0.5]}, "^initial_state_probs must have shape"),
        ({"initial_state_probs": [2.0, -1.0, 0.0]}, "^initial_state_probs must be in"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        init_hidden_markov(N, **settings)


def test_state_keeps_its_form_and_can_be_donated():
    form = lambda state: jax.tree.map(  # noqa: E731
        lambda x: (x.shape, x.dtype, x.weak_type), state
    )
    evidence = make_evidence(np.random.default_rng(0), np.zeros(N, int))
    rows = collect_rows(evidence, N)
    donating = jax.jit(lambda b: observe_states(b, rows, 0.1), donate_argnums=0)
    for name in SETTINGS:
        start = init_hidden_markov(N, *SETTINGS[name])
        want = form(start)
        assert form(donating(start)) == want
    with jax.enable_x64(True):
        start = init_hidden_markov(N)
        assert form(donating(start)) == form(init_hidden_markov(N))
