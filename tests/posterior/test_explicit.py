"""Fading counts: each clock against a loop over all tasks in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.evidence.counts import collect_rows
from bots_jax.posterior.explicit import (
    CLOCKS,
    add_explicit,
    ages,
    init_explicit,
    read_explicit,
)
from bots_jax.posterior.recurrence import init_posterior, update_posterior
from bots_jax.shard import Shard
from tests.selector_cases import make_evidence

NUM_TASKS, FORGETTINGS = 67, (0.0, 0.1, 0.5, 1.0)


def everyone(x):
    return x


_collect = jax.jit(lambda evidence: collect_rows(evidence, NUM_TASKS))


@functools.cache
def rows_of(step: int):
    return _collect(make_evidence(step))


def run(clock: str, num_steps: int = 60, changes: np.ndarray | None = None):
    counts = init_explicit(NUM_TASKS, FORGETTINGS, clock)
    add = jax.jit(lambda c, rows: add_explicit(c, rows, clock, Shard(NUM_TASKS)))
    for step in range(num_steps):
        if changes is not None:
            counts = counts._replace(policy_change=jnp.float32(changes[step]))
        counts = add(counts, rows_of(step))
    return counts


def slow(clock: str, num_steps: int = 60, changes: np.ndarray | None = None):
    """Every task in every step, as the papers write it."""
    successes = np.zeros((NUM_TASKS, len(FORGETTINGS)))
    failures = np.zeros_like(successes)
    keep = 1 - np.array(FORGETTINGS)
    for step in range(num_steps):
        rows = rows_of(step)
        ids = np.asarray(rows.task_ids)[np.asarray(rows.valid)]
        good = np.asarray(rows.successes)[np.asarray(rows.valid)]
        bad = np.asarray(rows.failures)[np.asarray(rows.valid)]
        if clock == "touch":
            successes[ids] *= keep
            failures[ids] *= keep
        else:
            elapsed = 1.0 if changes is None else changes[step]
            successes *= keep**elapsed
            failures *= keep**elapsed
        successes[ids] += good[:, None]
        failures[ids] += bad[:, None]
    return successes, failures


CHANGES = np.random.default_rng(0).uniform(0.1, 3, 60).astype(np.float32)


@pytest.mark.parametrize("clock", CLOCKS)
def test_every_clock_equals_the_slow_loop(clock):
    changes = CHANGES if clock == "policy" else None
    counts = run(clock, changes=changes)
    got = read_explicit(counts, everyone, clock)
    for ours, theirs in zip(got, slow(clock, changes=changes), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=3e-5, atol=1e-5)
    most = np.sum(got, axis=0).max()
    assert float(counts.most_trials) >= most * (1 - 1e-6)


def test_planted_bug_of_fading_twice_is_caught():
    counts = run("step")
    successes = np.asarray(read_explicit(counts, everyone, "step")[0])
    wrong = successes * (1 - np.array(FORGETTINGS))[None, :]
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(wrong, slow("step")[0], rtol=3e-5, atol=1e-5)


def test_policy_clock_without_reports_is_the_step_clock():
    step, policy = run("step"), run("policy")
    for a, b in zip(
        read_explicit(step, everyone, "step"),
        read_explicit(policy, everyone, "policy"),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_step_clock_is_the_recurrence_of_the_paper():
    posterior = init_posterior(NUM_TASKS, 1.0, 1.0)
    update = jax.jit(lambda p, rows: update_posterior(p, rows, None, 0.1, 0.0))
    for step in range(30):
        rows = rows_of(step)
        posterior = update(posterior, rows)
    successes, failures = read_explicit(run("step", 30), everyone, "step")
    np.testing.assert_allclose(1 + successes[:, 1], posterior.alpha, rtol=2e-5)
    np.testing.assert_allclose(1 + failures[:, 1], posterior.beta, rtol=2e-5)


def test_ages_count_updates_since_the_last_evidence():
    counts = init_explicit(3, (0.1,), "step")
    add = lambda c, i: add_explicit(  # noqa: E731
        c, collect_rows(_one(i), 3), "step", Shard(3)
    )
    for task in (0, 1, 1):
        counts = add(counts, task)
    assert ages(counts, everyone).tolist() == [2, 0, 3]


def _one(task: int):
    from bots_jax.evidence.counts import evidence_from_counts

    return evidence_from_counts([task], [1], 2)


def test_forgetting_of_one_keeps_only_the_last_step():
    counts = run("step")
    successes = np.asarray(read_explicit(counts, everyone, "step")[0])[:, 3]
    rows = rows_of(59)
    ids = np.asarray(rows.task_ids)[np.asarray(rows.valid)]
    want = np.zeros(NUM_TASKS)
    want[ids] = np.asarray(rows.successes)[np.asarray(rows.valid)]
    np.testing.assert_array_equal(successes, want)


def test_a_huge_age_fades_to_nothing_not_nan():
    counts = run("step")._replace(num_updates=jnp.int32(2**30))
    successes, failures = read_explicit(counts, everyone, "step")
    assert np.isfinite(successes).all() and np.isfinite(failures).all()
    assert (np.asarray(successes)[:, 1:] == 0).all()
