"""The engine against tests/reference.py, over random and edge inputs."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import assume, example, given
from hypothesis import strategies as st

import bots_jax
from bots_jax.evidence.counts import collect_rows
from bots_jax.selection import select_top_k, target_distance_scores
from tests import reference

NUM_TASKS, ROWS, STEPS = 7, 6, 4
RTOL = 1e-5

ids_strategy = st.lists(
    st.one_of(
        st.integers(-1, NUM_TASKS - 1), st.sampled_from([-5, NUM_TASKS, 2**31 - 1])
    ),
    min_size=ROWS,
    max_size=ROWS,
)
count = st.one_of(
    st.integers(0, 16).map(float),
    st.floats(0, 64, width=32, allow_subnormal=False),
    st.sampled_from([0.0, 2.0**23, 2.0**25, -1.0, np.nan, np.inf, -np.inf]),
)
counts_strategy = st.lists(count, min_size=ROWS, max_size=ROWS)
evidence_strategy = st.tuples(ids_strategy, counts_strategy, counts_strategy)
unit = st.one_of(
    st.floats(0, 1, width=32, allow_subnormal=False), st.sampled_from([0.0, 0.5, 1.0])
)


def per_task(element):
    return st.lists(element, min_size=NUM_TASKS, max_size=NUM_TASKS)


prior = per_task(st.floats(1 / 64, 64, width=32))


def as_evidence(rows: Any) -> Any:
    ids, successes, failures = rows
    columns: Any = np.array(ids, np.int32), *np.array([successes, failures], np.float32)
    return bots_jax.Evidence(*columns)


@functools.partial(jax.jit, static_argnames="with_references")
def run_engine(knobs, priors, references, steps, with_references):
    """States after each of the stacked steps, the factory's knobs traced."""
    selector = bots_jax.bots(
        num_tasks=NUM_TASKS,
        batch_size=1,
        group_size=8,
        prior_alpha=priors[0],
        prior_beta=priors[1],
        **knobs,
    )
    state = selector.init(references if with_references else None)

    def step(state, evidence):
        state, info = selector.update(state, evidence)
        return state, (*selector.posterior(state), info)

    return jax.lax.scan(step, state, steps)[1]


@given(
    steps=st.lists(evidence_strategy, min_size=STEPS, max_size=STEPS),
    forgetting=unit,
    implicit_weight=unit,
    momentum=unit,
    prior_alpha=prior,
    prior_beta=prior,
    weak=per_task(unit),
    strong=per_task(unit),
    with_references=st.booleans(),
)
@example(  # every row bad, then a repeat, then one task alone, then padding
    steps=[
        ([-5, 7, 0, 1, 2, -1], [1.0, 1.0, np.nan, -1.0, 2.0**24 + 2, 3.0], [1.0] * 6),
        ([3, 3, 3, 3, 0, 0], [1.0] * 6, [0.0, 0.0, 2.0, 0.0, 1.0, 1.0]),
        ([6] * 6, [0.0] * 6, [1.0] * 6),
        ([-1] * 6, [0.0] * 6, [0.0] * 6),
    ],
    forgetting=0.5,
    implicit_weight=0.25,
    momentum=0.75,
    prior_alpha=[1.0] * 7,
    prior_beta=[0.5] * 7,
    weak=[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    strong=[0.9] * 7,
    with_references=True,
)
def test_update_agrees_with_the_oracle(
    steps,
    forgetting,
    implicit_weight,
    momentum,
    prior_alpha,
    prior_beta,
    weak,
    strong,
    with_references,
):
    references = np.array([weak, strong], np.float32).T
    assume(not (with_references and ill_conditioned(steps, references)))
    model = reference.Model(
        np.array(prior_alpha),
        np.array(prior_beta),
        references if with_references else None,
        forgetting,
        implicit_weight,
        group_size=8,
        momentum=momentum,
    )
    knobs = {
        "forgetting": np.float32(forgetting),
        "implicit_weight": np.float32(implicit_weight),
        "capability_momentum": np.float32(momentum),
    }
    stacked = jax.tree.map(lambda *x: np.stack(x), *map(as_evidence, steps))
    priors = np.float32(prior_alpha), np.float32(prior_beta)
    got = run_engine(knobs, priors, references, stacked, with_references)
    alpha, beta, info = jax.device_get(got)
    for i, rows in enumerate(steps):
        counts = model.update(*rows_as_float32(rows))
        np.testing.assert_allclose(alpha[i], model.alpha, rtol=RTOL)
        np.testing.assert_allclose(beta[i], model.beta, rtol=RTOL)
        check_info(jax.tree.map(lambda x, i=i: x[i], info), counts, model)


def rows_as_float32(rows):
    ids, successes, failures = rows
    return ids, np.float32(successes), np.float32(failures)


def ill_conditioned(steps, references) -> bool:
    """A gap so small that one float32 ulp of it moves the capability by over 1e-6.

    It includes gaps beside the threshold, on either side of which both are right.
    """
    for rows in steps:
        counts = reference.collect(*rows_as_float32(rows), NUM_TASKS)
        tasks = list(counts.successes)
        gap = (
            float(np.mean(references[tasks, 1] - references[tasks, 0])) if tasks else 1
        )
        if abs(gap) < 0.1 and gap != 0:
            return True
    return False


def check_info(info, counts, model) -> None:
    assert info.num_masked == counts.num_masked
    assert info.num_out_of_range == counts.num_out_of_range
    assert info.num_invalid == counts.num_invalid
    assert info.num_repeated == counts.num_repeated
    assert info.num_tasks_applied == len(counts.successes)
    rates = [
        good / (good + counts.failures[task]) for task, good in counts.successes.items()
    ]
    mean = float(np.mean(rates)) if rates else np.nan
    assert reference.is_close(float(info.success_rate), mean)
    capability = np.nan if model.capability is None else model.capability
    assert reference.is_close(float(info.capability), capability)


@given(rows=evidence_strategy)
def test_rows_agree_with_the_oracle(rows):
    got = jax.device_get(jitted_rows(as_evidence(rows)))
    want = reference.collect(*rows_as_float32(rows), NUM_TASKS)
    held = {
        int(task): (float(good), float(bad))
        for task, good, bad, valid in zip(
            got.task_ids, got.successes, got.failures, got.valid, strict=True
        )
        if valid
    }
    assert sorted(held) == sorted(want.successes)
    for task, (good, bad) in held.items():
        assert reference.is_close(good, want.successes[task])
        assert reference.is_close(bad, want.failures[task])
    assert (got.task_ids[~got.valid] == NUM_TASKS).all()
    dropped = got.num_masked + got.num_out_of_range + got.num_invalid
    assert dropped + got.num_repeated + got.valid.sum() == ROWS


jitted_rows = jax.jit(functools.partial(collect_rows, num_tasks=NUM_TASKS))


@given(
    rewards=st.lists(
        st.lists(unit, min_size=5, max_size=5), min_size=ROWS, max_size=ROWS
    ),
    mask=st.lists(
        st.lists(st.booleans(), min_size=5, max_size=5), min_size=ROWS, max_size=ROWS
    ),
)
def test_counts_of_rewards_agree_with_the_oracle(rewards, mask):
    ids = np.arange(ROWS)
    evidence = bots_jax.evidence_from_rewards(
        ids, np.float32(rewards), np.array(mask, bool)
    )
    successes, failures = reference.count_rewards(np.float32(rewards), mask)
    np.testing.assert_allclose(evidence.successes, successes, rtol=RTOL)
    np.testing.assert_allclose(evidence.failures, failures, rtol=RTOL, atol=1e-6)
    assert float(jnp.min(evidence.failures)) >= 0


@given(
    draws=per_task(unit),
    targets=per_task(st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    eligible=per_task(st.booleans()),
)
def test_selection_agrees_with_the_oracle(draws, targets, eligible):
    got = jitted_select(np.float32(draws), np.float32(targets), np.array(eligible))
    # float32 distances, so that both see the same ties
    distances = np.abs(np.float32(draws) - np.float32(targets))
    want = reference.select(distances, np.zeros(NUM_TASKS), eligible, 4)
    assert got.tolist() == want


@jax.jit
def jitted_select(draws, targets, eligible):
    return select_top_k(target_distance_scores(draws, targets), eligible, 4)
