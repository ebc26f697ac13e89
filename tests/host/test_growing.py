"""Pools that grow: what is kept, where new tasks start, and what is compiled."""

from collections.abc import Iterator

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax.host import growing as growing_module
from bots_jax.host.groups import MAX_START, Belief, fit_beta, group_belief
from tests.host.common import (
    NUM_TASKS,
    make_references,
    make_sampler,
    names,
    rewards_of,
    work,
)
from tests.nights import nightly_but

kinds = pytest.mark.parametrize("kind", ["dense", "lazy"])
TRACED = "/jax/core/compile/jaxpr_trace_duration"


@pytest.fixture
def traces() -> Iterator[list[str]]:
    """Everything that JAX traces anew while the test runs."""
    found: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == TRACED:
            found.append(str(kwargs.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def rich_sampler(kind: str, **settings) -> bots_jax.TaskSampler:
    settings = {"references": True, "task_keys": names()} | settings
    return make_sampler(kind, **settings)


def beliefs(sampler: bots_jax.TaskSampler, keys=None) -> np.ndarray:
    return np.stack(sampler.posterior(keys))


def new_references(number: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).random((number, 2)).astype(np.float32)


def step_of(sampler: bots_jax.TaskSampler) -> None:
    batch = sampler.select(4)
    sampler.observe(batch, rewards_of(len(batch), sampler.step))
    sampler.advance()


@pytest.mark.parametrize("kind", nightly_but(["dense", "lazy"], "lazy"))
def test_adding_within_the_capacity_compiles_nothing_more(kind, traces):
    sampler = rich_sampler(kind)
    sampler.add_tasks(["a"], references=new_references(1))
    assert sampler.metrics()["sampler/capacity"] == 2 * NUM_TASKS
    for key in ("b", "c"):
        step_of(sampler)
        step_of(sampler)
        beliefs(sampler)
        traces.clear()
        sampler.add_tasks([key], references=new_references(1))
    step_of(sampler)
    step_of(sampler)
    beliefs(sampler)
    assert traces == []
    assert sampler.metrics()["sampler/capacity"] == 2 * NUM_TASKS


def test_count_of_traces_sees_a_new_program(traces):
    jax.jit(lambda x: x + 1)(np.float32(1))
    assert traces


def test_capacity_doubles_or_takes_what_is_needed():
    sampler, seen = make_sampler(), []
    for number in (1, 11, 1, 30):
        sampler.add_tasks(num_tasks=number)
        seen.append(sampler.metrics()["sampler/capacity"])
    # 13 tasks in 2 * 12 rows, 24 fit, 25 in 2 * 24, 55 in 2 * 48, as 64 is less
    assert seen == [24, 24, 48, 96]
    assert sampler.num_tasks == 55
    assert sampler.task_ids().tolist() == list(range(55))
    assert sampler.selector.num_tasks == 96


@kinds
def test_growth_keeps_old_beliefs_bit_for_bit(kind):
    sampler = rich_sampler(kind)
    work(sampler, 10)
    before, flight = beliefs(sampler), sampler.metrics()
    sampler.add_tasks(names(14)[12:], references=new_references(2))
    after = beliefs(sampler, names())
    assert before.tobytes() == after.tobytes()
    for name in ("in_flight", "waiting", "step", "observed"):
        assert sampler.metrics()[f"sampler/{name}"] == flight[f"sampler/{name}"]


def test_new_tasks_start_at_the_prior_and_engines_stay_equal():
    """The lazy posterior has implied something of all tasks by then."""
    samplers = [rich_sampler(kind) for kind in ("dense", "lazy")]
    keys, references = ["x", "y"], new_references(2)

    def both_learn(steps: range) -> None:
        for step in steps:
            rng = np.random.default_rng(step)
            pool = samplers[0].task_ids()
            ids = rng.choice(pool, 4, replace=False)
            for sampler in samplers:
                sampler.observe(ids, rewards_of(4, step))
                sampler.advance()

    both_learn(range(30))
    learnt = beliefs(samplers[0])
    assert (learnt.sum(0) > 3).all()  # implied, or seen
    for sampler in samplers:
        sampler.add_tasks(keys, references=references)
    np.testing.assert_array_equal(beliefs(samplers[0], keys), np.ones((2, 2)))
    np.testing.assert_allclose(beliefs(samplers[1], keys), 1, rtol=1e-6)
    for part in range(3):
        both_learn(range(30 + part, 31 + 9 * part))
        one, other = map(beliefs, samplers)
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert (beliefs(samplers[0], keys).sum(0) > 2.1).all()  # they learn as well


def test_start_check_catches_implied_evidence_that_is_not_taken_back(monkeypatch):
    from bots_jax.host import carry

    nothing = lambda posterior, table: (0 * table[:, 0], 0 * table[:, 0])  # noqa: E731
    monkeypatch.setattr(carry, "_implied", nothing)
    sampler = rich_sampler("lazy")
    work(sampler, 5)
    sampler.add_tasks(["x"], references=new_references(1))
    assert beliefs(sampler, ["x"]).max() > 1.1


def slow_kleinman(rows: list[tuple[float, float]], most: float) -> tuple[float, float]:
    """The moment estimator, task by task."""
    total = successes = squares = 0.0
    for s, f in rows:
        total, successes, squares = total + s + f, successes + s, squares + (s + f) ** 2
    mean = (successes + 0.5) / (total + 1)
    spread = 0.0
    for s, f in rows:
        spread += (s + f) * (s / (s + f) - mean) ** 2
    expected = mean * (1 - mean) * (len(rows) - 1)
    scale = mean * (1 - mean) * (total - squares / total - (len(rows) - 1))
    correlation = (spread - expected) / scale if scale > 0 else 0.0
    correlation = min(max(correlation, 1 / (1 + most)), 0.99)
    amount = 1 / correlation - 1
    return amount * mean, amount * (1 - mean)


def test_fit_is_kleinmans():
    rng = np.random.default_rng(0)
    for number in (2, 3, 10, 50):
        for concentration in (0.3, 2.0, 50.0):
            rates = rng.beta(0.3 * concentration, 0.7 * concentration, number)
            trials = rng.uniform(0.6, 30, number)
            successes = rng.uniform(0, 1, number) * 0.1 + rates * (trials - 0.2)
            successes = np.clip(successes, 0, trials)
            failures = trials - successes
            have = fit_beta(successes, failures, MAX_START)
            rows = list(zip(successes.tolist(), failures.tolist(), strict=True))
            np.testing.assert_allclose(have, slow_kleinman(rows, MAX_START), rtol=1e-9)
            assert 0 < sum(have) <= MAX_START * (1 + 1e-9)


def test_fit_finds_the_beta_that_rates_were_drawn_from():
    rng = np.random.default_rng(1)
    rates = rng.beta(3.0, 9.0, 4000)
    successes = rng.binomial(20, rates)
    alpha, beta = fit_beta(successes, 20 - successes, MAX_START)
    assert abs(alpha / (alpha + beta) - 0.25) < 0.01
    assert abs(alpha + beta - 12) < 1


def test_group_belief_needs_two_tasks_that_have_shown_something():
    one = np.ones(3, np.float32)
    shown = np.array([4, 1, 1], np.float32)
    assert group_belief(Belief(one, one), shown, one) is None
    assert group_belief(Belief(one, one), one, one) is None
    shown[1] = 5
    assert group_belief(Belief(one, one), shown, one) is not None


@kinds
def test_new_tasks_start_from_their_group(kind):
    labels = ["hard"] * 6 + ["easy"] * 6
    sampler = make_sampler(kind, groups=labels)
    rng = np.random.default_rng(0)
    for _ in range(8):
        for half, rate in ((np.arange(6), 0.2), (np.arange(6, 12), 0.8)):
            sampler.observe(half, rng.random((6, 16)) < rate)
            sampler.advance()
    old = beliefs(sampler).astype(np.float64) - 1
    added = sampler.add_tasks(
        num_tasks=4, groups=["easy", "hard", "new", "easy"], from_group=True
    )
    have = beliefs(sampler, added)
    rate = have[0] / have.sum(0)
    assert abs(rate[1] - 0.2) < 0.05 and abs(rate[0] - 0.8) < 0.05
    assert (have[:, 0] == have[:, 3]).all() and (have[:, 2] == 1).all()
    for place, rows in ((0, range(6, 12)), (1, range(6))):
        shown = [(float(old[0, i]), float(old[1, i])) for i in rows]
        want = np.maximum(slow_kleinman(shown, MAX_START), 1.0)
        np.testing.assert_allclose(have[:, place], want, rtol=1e-3)
    assert (have.sum(0) <= MAX_START + 1).all()
    plain = sampler.add_tasks(num_tasks=1, groups=["easy"])
    assert (beliefs(sampler, plain) == 1).all()


def test_retired_tasks_are_never_chosen_and_come_back():
    sampler = make_sampler(task_keys=names())
    out = names()[::2]
    sampler.select(12)  # retired while in flight, too
    sampler.retire_tasks(out)
    for half in (names()[:6], names()[6:]):
        sampler.observe(half, np.ones((6, 1)))
        sampler.advance()
    for _ in range(10):
        batch = sampler.select(3).tolist()
        assert len(batch) == 3 and not set(batch) & set(out)
        sampler.observe(batch, np.ones(3))
        sampler.advance()
    assert beliefs(sampler, out[:1])[0] > 1  # still learnt
    sampler.readmit_tasks(out)
    assert set(sampler.select(12).tolist()) == set(names())


@kinds
def test_tasks_in_rows_used_again_inherit_nothing(kind):
    sampler = rich_sampler(kind)
    work(sampler, 6)
    sampler.select(12)  # in flight
    gone = names()[3:7]
    sampler.retire_tasks(gone[:2])
    sampler.observe(gone, np.ones((4, 8)))
    waiting = sampler.metrics()["sampler/waiting"]
    rows = sampler.rows_of(gone).tolist()
    sampler.remove_tasks(gone)
    assert sampler.metrics()["sampler/waiting"] == waiting - 4
    fresh = ["p", "q", "r", "s"]
    sampler.add_tasks(fresh, references=new_references(4))
    assert sampler.rows_of(fresh).tolist() == rows
    assert sampler.metrics()["sampler/capacity"] == NUM_TASKS
    np.testing.assert_allclose(beliefs(sampler, fresh), 1, rtol=1e-6)
    undrawn = sampler.metrics()["sampler/undrawn"]
    assert set(sampler.select(4).tolist()) == set(fresh)  # nothing else is free
    sampler.observe(fresh, np.ones((4, 1)))
    assert sampler.metrics()["sampler/undrawn"] == undrawn
    sampler.remove_tasks(fresh)
    sampler.add_tasks(["t"], references=new_references(1))
    sampler.observe("t", [1.0])  # drawn_at of the task before is gone
    assert sampler.metrics()["sampler/undrawn"] == undrawn + 1


def test_priors_and_targets_per_task_stay_with_their_tasks():
    prior = np.linspace(1, 4, NUM_TASKS)
    selector = bots_jax.bots(
        num_tasks=NUM_TASKS,
        batch_size=4,
        forgetting=1.0,
        prior_alpha=prior,
        target_success_prob=np.linspace(0.2, 0.8, NUM_TASKS),
    )
    sampler = bots_jax.TaskSampler(
        selector, jax.random.key(0), selector.init(), task_keys=names()
    )
    sampler.observe(names()[:4], np.ones((4, 9)))
    sampler.advance()
    sampler.add_tasks(["x"])
    sampler.advance()  # all forgotten: back to the priors
    np.testing.assert_allclose(beliefs(sampler, names())[0], prior, rtol=1e-6)
    targets = np.asarray(sampler.state.target_success_prob)[:NUM_TASKS]
    np.testing.assert_allclose(targets, np.linspace(0.2, 0.8, NUM_TASKS), rtol=1e-6)
    alpha, _ = sampler.posterior(["x"])
    assert alpha[0] == prior[0]  # of the first task, for want of another


def test_uniform_pools_grow_too():
    sampler = make_sampler("uniform", task_keys=names())
    sampler.add_tasks(["x", "y"])
    sampler.remove_tasks(names())
    assert set(sampler.select(9).tolist()) == {"x", "y"}


def test_failed_growth_check_catches_a_start_that_is_not_the_prior(monkeypatch):
    """The check of rows used again, shown to fail."""
    monkeypatch.setattr(growing_module, "carry", lambda old, *rest: old)
    sampler = make_sampler(task_keys=names())
    sampler.observe(names()[3], [1.0])
    sampler.advance()
    sampler.remove_tasks(names()[3:4])
    sampler.add_tasks(["x"])
    assert beliefs(sampler, ["x"]).max() > 1.5


def test_references_of_new_tasks_are_used():
    """With references (0, 1) a task learns what the capability says, (0, 0) not."""
    sampler = rich_sampler("dense")
    work(sampler, 5)
    sampler.add_tasks(["zero", "one"], references=np.array([[0.0, 0], [1, 1]]))
    sampler.advance()
    have = beliefs(sampler, ["zero", "one"])
    assert have[0, 0] == 1 < have[1, 0] and have[1, 1] == 1 < have[0, 1]
    assert make_references(NUM_TASKS).shape == (NUM_TASKS, 2)
