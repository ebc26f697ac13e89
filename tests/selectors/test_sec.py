"""SEC: values of categories, and the law of a batch by enumeration."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selection.coverage import Coverage
from tests.selectors.rivals import (
    as_evidence,
    choices,
    float32,
    int32,
    run,
)
from tests.statistical import (
    CAUGHT,
    HONEST,
    chi_square_pvalue,
    order_counts,
    two_sample_pvalue,
)

GROUPS = np.array([0, 0, 0, 1, 1, 2])
VALUES = float32([0.2, 0.9, 0.6])
TEMPERATURE = 0.5


@pytest.mark.parametrize("normalized", [True, False])
def test_values_of_long_runs(normalized):
    groups = np.random.default_rng(0).integers(0, 5, 40)
    selector = bots_jax.sec(
        num_tasks=40,
        batch_size=4,
        group_ids=groups,
        num_groups=7,  # two of them empty
        learning_rate=0.3,
        normalized=normalized,
        initial_value=0.25,
    )
    want, wrong = np.full(7, 0.25), np.full(7, 0.25)
    for state, (ids, successes, failures) in run(selector, 50):
        rate = successes.astype(float) / (successes + failures)
        size = 2 * np.sqrt(rate * (1 - rate)) if normalized else 2 * rate * (1 - rate)
        for group in np.unique(groups[ids]):
            mean = size[groups[ids] == group].mean()
            want[group] += 0.3 * (mean - want[group])
        for group, one in zip(groups[ids], size, strict=True):  # planted: row by row
            wrong[group] += 0.3 * (one - wrong[group])
        got = np.asarray(state.belief.own.category_values)
        np.testing.assert_allclose(got, want, atol=2e-6)
    assert np.abs(want - wrong).max() > 0.02


def make(**more):
    selector = bots_jax.sec(
        num_tasks=6,
        batch_size=3,
        group_ids=GROUPS,
        temperature=TEMPERATURE,
        **more,
    )
    state = selector.init()
    own = state.belief.own._replace(category_values=VALUES)
    return selector, state._replace(belief=state.belief._replace(own=own))


def exact_chances(num_slots: int, allowed: Any = range(6), values=VALUES) -> np.ndarray:
    """Of ordered batches: a category that is not empty, then one of its tasks left."""
    chances = np.zeros(6**num_slots)

    def go_on(taken: tuple[int, ...], chance: float) -> None:
        if len(taken) == num_slots:
            chances[int(np.dot(taken, 6 ** np.arange(num_slots)[::-1]))] += chance
            return
        left = {
            g: [k for k in allowed if GROUPS[k] == g and k not in taken]
            for g in range(3)
        }
        left = {g: tasks for g, tasks in left.items() if tasks}
        weight = {g: np.exp(values[g] / TEMPERATURE) for g in left}
        for group, tasks in left.items():
            for task in tasks:
                share = weight[group] / sum(weight.values()) / len(tasks)
                go_on((*taken, task), chance * share)

    go_on((), 1.0)
    return chances


def test_law_of_a_batch():
    counts = order_counts(choices(*make()), 6)
    assert chi_square_pvalue(counts, exact_chances(3)) > HONEST
    # planted: other values, and all of them alike
    assert chi_square_pvalue(counts, exact_chances(3, values=VALUES[::-1])) < CAUGHT
    assert chi_square_pvalue(counts, exact_chances(3, values=0 * VALUES)) < CAUGHT


def test_law_among_the_eligible():
    mask = np.array([True, False, True, True, False, True])
    counts = order_counts(choices(*make(eligible=mask)), 6)
    chances = exact_chances(3, np.flatnonzero(mask))
    assert chi_square_pvalue(counts, chances) > HONEST


def staged_batches(weights: np.ndarray, num: int = 20_000) -> np.ndarray:
    """The first of a group's tasks, then the first two of all others, in one race."""
    times = np.random.default_rng(8).exponential(1 / weights, (num, 6))
    group = np.where(GROUPS == 0, times, np.inf)
    first = group.argmin(1)
    times[np.arange(num), first] = np.inf
    return np.column_stack([first, times.argsort(1)[:, :2]])


def test_law_in_stages_is_task_by_task():
    """One slot for the first group; two by weights exp(value / T) / size."""
    selector, state = make(coverage=Coverage(quotas=(0.34, 0.0, 0.0)))
    ours = order_counts(choices(selector, state), 6)
    weights = np.exp(VALUES / TEMPERATURE)[GROUPS]
    sizes = np.bincount(GROUPS)[GROUPS]
    theirs = order_counts(staged_batches(weights / sizes), 6)
    assert two_sample_pvalue(ours, theirs) > HONEST
    wrong = order_counts(staged_batches(weights), 6)  # planted: without the sizes
    assert two_sample_pvalue(ours, wrong) < CAUGHT


def test_short_of_tasks_slots_hold_minus_one():
    selector, state = make()
    state = state._replace(eligible=jnp.arange(6) == 4)
    assert choices(selector, state, 3).tolist() == [[4, -1, -1]] * 3


def test_empty_and_masked_evidence_keeps_values():
    selector, state = make()
    for evidence in (
        bots_jax.empty_evidence(0),
        as_evidence((int32([6]), float32([1]), float32([1]))),
    ):
        after, _ = jax.jit(selector.update)(state, evidence)
        np.testing.assert_array_equal(after.belief.own.category_values, VALUES)


def test_refusals():
    sizes: dict[str, Any] = {"num_tasks": 2, "batch_size": 1}
    with pytest.raises(ValueError, match="group_ids must be given, got None"):
        bots_jax.sec(**sizes, group_ids=None)
    with pytest.raises(ValueError, match=r"group_ids must be in \[0, 1\], got 2"):
        bots_jax.sec(**sizes, group_ids=[0, 2], num_groups=2)
    with pytest.raises(ValueError, match=r"num_groups must be an integer in \[1, 4096"):
        bots_jax.sec(**sizes, group_ids=[0, 5000])
