"""The closed loop: bookkeeping by hand, what is charged, one compilation."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.evaluation.arms import ARMS, Pool
from bots_jax.evaluation.loop import Arm, as_arm, make_run, run_student
from bots_jax.evaluation.students import (
    StudentSettings,
    make_labels,
    make_references,
    make_student,
    roll_out,
    success_probs,
)
from bots_jax.evaluation.summary import summarise_run

SETTINGS = StudentSettings(num_groups=2, learning_rate=0.3, own_rate=0.2)
STILL = StudentSettings(drift=0.0)
N, B, G, T = 48, 4, 8, 6


class ScriptState(NamedTuple):
    """Clock, the evidence of the last update, and how many rows it had."""

    clock: jax.Array
    task_ids: jax.Array
    successes: jax.Array
    failures: jax.Array


def scripted(batches: list[list[int]], num_tasks: int) -> bots_jax.TaskSelector:
    """A selector that reads its batches off a list, and remembers its evidence."""
    script = jnp.array(batches, jnp.int32)
    size = script.shape[1]
    plain = bots_jax.uniform(num_tasks=num_tasks, batch_size=size)
    info, update_info = (
        record(*[jnp.float32(0)] * len(record._fields))
        for record in (bots_jax.SelectInfo, bots_jax.UpdateInfo)
    )

    def init(references=None):
        zero = jnp.zeros(size, jnp.float32)
        return ScriptState(jnp.int32(0), jnp.zeros(size, jnp.int32), zero, zero + 0)

    def update(state, evidence):
        return ScriptState(state.clock + 1, *evidence), update_info

    def posterior(state):
        del state
        ones = jnp.ones(num_tasks, jnp.float32)
        return ones, ones + 0

    return plain._replace(
        init=init,
        select=lambda key, state: (script[state.clock], info),
        update=update,
        posterior=posterior,
    )


def student_of(probs: list[float]):
    """A student with given success chances, one group, and no change."""
    student = make_student(jax.random.key(0), len(probs), STILL)
    zero = jnp.zeros(len(probs), jnp.float32)
    p = np.asarray(probs, np.float64)
    logits = np.log(p) - np.log1p(-p)
    return student._replace(
        difficulty=zero - 1, deviation=jnp.asarray(logits, jnp.float32)
    )


def test_bookkeeping_by_hand():
    """Four tasks, two slots; -1 is dropped: not rolled out, trained, or charged."""
    probs = [0.5, 0.9, 0.2, 0.6]
    batches = [[0, 1], [2, -1], [-1, -1], [1, 0]]
    result = run_student(
        scripted(batches, 4), student_of(probs), STILL, jax.random.key(1), 4, G
    )
    steps = result.steps
    np.testing.assert_array_equal(result.visits, [2, 2, 1, 0])
    np.testing.assert_array_equal(steps.num_trained, [2, 1, 0, 2])
    np.testing.assert_array_equal(steps.num_rollouts, [2 * G, G, 0, 2 * G])
    np.testing.assert_allclose(steps.value, [0.25 + 0.09, 0.16, 0, 0.34], rtol=1e-5)
    np.testing.assert_allclose(steps.best_value, [0.49] * 4, rtol=1e-5)
    np.testing.assert_allclose(steps.regret, [0.15, 0.33, 0.49, 0.15], rtol=1e-5)
    np.testing.assert_allclose(steps.batch_success[:2], [0.7, 0.2], rtol=1e-5)
    assert np.isnan(steps.batch_success[2]) and np.isnan(steps.effective_task_ratio[2])
    np.testing.assert_allclose(steps.pool_success, [0.55] * 4, rtol=1e-5)
    np.testing.assert_allclose(steps.coverage, [1, 1, 1, 3 / 4])
    np.testing.assert_allclose(result.success_prob, probs, rtol=1e-5)

    summary = summarise_run(result)
    assert summary["num_rollouts"] == 5 * G and summary["num_trained"] == 5
    assert summary["value"] == pytest.approx(1000 * 0.84 / (5 * G), rel=1e-5)
    assert summary["value_per_task"] == pytest.approx(0.84 / 5, rel=1e-5)
    assert summary["regret"] == pytest.approx((0.15 + 0.33 + 0.49 + 0.15) / 4, rel=1e-5)
    assert summary["regret_share"] == pytest.approx(1.12 / 1.96, rel=1e-5)
    assert summary["coverage"] == 0.75 and summary["max_visits"] == 2
    assert np.isnan(summary["spearman"])
    brier = np.mean((0.5 - np.array(probs)) ** 2)
    assert summary["brier"] == pytest.approx(brier, rel=1e-5)
    # Sorted visits 0, 1, 2, 2: (-3*0 - 1*1 + 1*2 + 3*2) / (4 * 5).
    assert summary["gini"] == pytest.approx(7 / 20)


def final_state(arm, student, settings, num_steps):
    """Runs and returns what the selector was told last, through its posterior."""
    selector = as_arm(arm).selector
    told = selector._replace(posterior=lambda state: (state, state.clock))
    changed = as_arm(arm)._replace(selector=told)
    run = make_run(changed, settings, num_steps=num_steps, group_size=G)
    return jax.jit(run)(jax.random.key(1), student, selector.init())


def test_evidence_is_what_was_rolled_out():
    result = final_state(scripted([[3, -1, 0]], 4), student_of([0.3] * 4), STILL, 1)
    told = result.alpha
    np.testing.assert_array_equal(told.task_ids, [3, -1, 0])
    total = told.successes + told.failures
    np.testing.assert_array_equal(total, [G, 0, G])
    mixed = np.mean([0 < s < G for s in np.asarray(told.successes)[[0, 2]]])
    assert float(result.steps.effective_task_ratio[0]) == pytest.approx(mixed)


SURE, OPEN = 1e-9, 0.5
SURELY_MIXED = 40  # rollouts of an open task: not mixed once in 2^39


@functools.cache
def two_of_six():
    """Dynamic sampling of two tasks out of 0 to 5, in this order, compiled."""
    selector = scripted([[0, 1, 2, 3, 4, 5]], 6)
    told = selector._replace(posterior=lambda state: (state, state.clock))
    arm = Arm(told, batch_size=2, dynamic_sampling=True)
    run = make_run(arm, STILL, num_steps=1, group_size=SURELY_MIXED)
    return jax.jit(run), selector.init()


@pytest.mark.parametrize(
    "order, num_rolled_out, trained",
    [
        # Generations of two. Both of the first are mixed: the second is not begun.
        ([OPEN, OPEN, OPEN, OPEN, SURE, SURE], 2, [0, 1]),
        # One is mixed, so the second is rolled out; its first mixed group is kept.
        ([OPEN, SURE, OPEN, OPEN, OPEN, OPEN], 4, [0, 2]),
        ([SURE, SURE, SURE, OPEN, OPEN, OPEN], 6, [3, 4]),
        # They run out: the batch stays short, and all is charged.
        ([SURE, SURE, SURE, SURE, SURE, OPEN], 6, [5]),
        ([SURE] * 6, 6, []),
    ],
)
def test_dynamic_sampling_charges_what_it_rolls_out(order, num_rolled_out, trained):
    run, start = two_of_six()
    result = run(jax.random.key(0), student_of(order), start)
    assert int(result.steps.num_rollouts[0]) == SURELY_MIXED * num_rolled_out
    np.testing.assert_array_equal(np.flatnonzero(result.visits), trained)
    assert int(result.steps.num_trained[0]) == len(trained)
    np.testing.assert_allclose(result.steps.value[0], 0.25 * len(trained), atol=1e-6)
    evidence = result.alpha
    seen = np.where(np.arange(6) < num_rolled_out, np.arange(6), -1)
    np.testing.assert_array_equal(evidence.task_ids, seen)


def test_dynamic_sampling_of_a_pool_smaller_than_its_generations():
    one = jnp.zeros(5, jnp.int32)
    pool = Pool(5, 2, 8, 1, one, jnp.zeros(5, jnp.float32), 1, one)
    arm = as_arm(ARMS["dynamic_sampling"].build(pool))
    assert arm.selector.batch_size == 5
    key = jax.random.key(0)
    result = run_student(arm, student_of([SURE] * 5), STILL, key, 1, G)
    assert int(result.steps.num_rollouts[0]) == 5 * G


def prepared(name: str, seed: int = 0, num_tasks: int = N):
    keys = jax.random.split(jax.random.key(seed), 4)
    student = make_student(keys[0], num_tasks, SETTINGS)
    labels = make_labels(keys[2], student, 1.0)
    count, references = ARMS[name].num_references, None
    if count:
        abilities = np.linspace(-1, 2, count).tolist()
        references = make_references(keys[1], student, abilities)
    groups = student.group_ids
    pool = Pool(num_tasks, B, G, 2, groups, labels, 2, groups, references)
    arm = as_arm(ARMS[name].build(pool))
    return arm, (keys[3], student, arm.selector.init(references))


def constants_of(arm, inputs) -> list:
    """Arrays of length N and more that a compiled run would hold."""
    run = make_run(arm, SETTINGS, num_steps=T, group_size=G)
    return large_constants(jax.jit(run).trace(*inputs))


def large_constants(traced) -> list:
    return [const for const in traced.jaxpr.consts if np.size(const) >= N]


FEW = {"bots", "adaptive", "oracle"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FEW else pytest.mark.nightly)
        for name in ARMS
    ],
)
def test_every_arm_runs_compiled_once_for_all_seeds(name):
    """What one seed's selector holds must not differ from another's."""
    arm, inputs = prepared(name)
    traced = jax.jit(make_run(arm, SETTINGS, num_steps=T, group_size=G)).trace(*inputs)
    assert not large_constants(traced)
    compiled = traced.lower().compile()
    for seed in range(2):
        _, inputs = prepared(name, seed)
        result = compiled(*inputs)
        steps = result.steps
        assert (np.asarray(steps.regret) >= 0).all()
        assert (np.asarray(steps.num_trained) <= B).all()
        assert int(result.visits.sum()) == int(steps.num_trained.sum())
        np.testing.assert_allclose(
            steps.regret, steps.best_value - steps.value, atol=1e-5
        )
        assert result.alpha.shape == result.beta.shape == (N,)
        summary = summarise_run(result)
        assert 0 < summary["coverage"] <= 1 and summary["max_visits"] <= T
        drift = SETTINGS.drift
        assert summary["pool_success_end"] > summary["pool_success_start"] + drift / 40


def test_a_jitted_run_traces_once():
    traces = []
    selector = bots_jax.uniform(num_tasks=N, batch_size=B)
    run = make_run(selector, SETTINGS, num_steps=T, group_size=G)

    @jax.jit
    def counted(key, student, state):
        traces.append(1)
        return run(key, student, state)

    for seed in range(3):
        student = make_student(jax.random.key(seed), N, SETTINGS)
        counted(jax.random.key(seed), student, selector.init())
    assert len(traces) == 1


def test_the_oracle_has_no_regret_and_knows_all():
    arm, inputs = prepared("oracle")
    result = jax.jit(make_run(arm, SETTINGS, num_steps=T, group_size=G))(*inputs)
    assert (np.asarray(result.steps.regret) == 0).all()
    summary = summarise_run(result)
    # What it was told last is one step of learning old.
    assert summary["spearman"] > 0.99 and summary["brier"] < 0.03


def test_an_oracle_that_is_not_told_has_regret():
    """The planted bug: without `inform`, its beliefs stay what they were."""
    arm, inputs = prepared("oracle")
    arm = arm._replace(inform=None)
    result = jax.jit(make_run(arm, SETTINGS, num_steps=T, group_size=G))(*inputs)
    assert float(result.steps.regret.sum()) > 0.1


def test_runs_are_paired():
    """The same task in the same step of the same seed has the same luck in all arms."""
    first = scripted([[3, 1], [0, 2]], 4)
    second = scripted([[1, 0], [2, 3]], 4)
    student = student_of([0.3, 0.5, 0.6, 0.7])
    one, two = (final_state(s, student, STILL, 2).alpha for s in (first, second))
    assert one.task_ids[1] == two.task_ids[0] == 2
    assert one.successes[1] == two.successes[0]
    rollout_key = jax.random.fold_in(jax.random.split(jax.random.key(1))[1], 1)
    ids = jnp.array([0, 2])
    chance = success_probs(student)[ids]
    np.testing.assert_array_equal(one.successes, roll_out(rollout_key, ids, chance, G))


def test_vmap_over_seeds_equals_a_loop():
    selector = bots_jax.uniform(num_tasks=N, batch_size=B)
    run = make_run(selector, SETTINGS, num_steps=3, group_size=G)
    one_run = jax.jit(run)
    keys = jax.random.split(jax.random.key(5), 2)
    students = [make_student(jax.random.key(i), N, SETTINGS) for i in range(2)]
    stack = lambda *x: jnp.stack(x)  # noqa: E731
    many = jax.jit(jax.vmap(run))(
        keys,
        jax.tree.map(stack, *students),
        jax.tree.map(stack, selector.init(), selector.init()),
    )
    for i in range(2):
        one = one_run(keys[i], students[i], selector.init())
        np.testing.assert_array_equal(many.visits[i], one.visits)
        np.testing.assert_allclose(many.steps.value[i], one.steps.value, rtol=1e-5)


def test_learning_follows_what_was_trained_on():
    """Tasks at 1/2 teach more than tasks that are solved anyway."""
    settings = StudentSettings(drift=0.0, num_groups=1, learning_rate=1.0)
    student = student_of([0.5, 0.5, 0.999, 0.999])._replace(
        group_ids=jnp.zeros(4, jnp.int32),
        ability=jnp.float32([-1.0]),
        transfer=jnp.ones((1, 1), jnp.float32),
    )
    key, batches = jax.random.key(0), ([[0, 1]] * 5, [[2, 3]] * 5)
    open_, solved = (
        run_student(scripted(b, 4), student, settings, key, 5, G).success_prob
        for b in batches
    )
    assert float(open_[0]) > 0.7 and float(solved[0]) < 0.51


@pytest.mark.nightly
def test_strict_dtypes_and_x64():
    with jax.numpy_dtype_promotion("strict"), jax.enable_x64(True):
        for name in ("uniform", "dynamic_sampling", "oracle"):
            arm, inputs = prepared(name)
            run = make_run(arm, SETTINGS, num_steps=2, group_size=G)
            shapes = jax.eval_shape(run, *inputs)
            for leaf in jax.tree.leaves(shapes):
                assert leaf.dtype in (jnp.float32, jnp.int32)


def test_bad_input():
    selector = bots_jax.uniform(num_tasks=N, batch_size=B)
    student = make_student(jax.random.key(0), N + 1, SETTINGS)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"difficulty must have shape \(48,\), got"):
        run_student(selector, student, SETTINGS, key, T, G)
    with pytest.raises(ValueError, match="num_steps must be an integer in"):
        make_run(selector, SETTINGS, num_steps=0, group_size=G)
    with pytest.raises(ValueError, match="at least batch_size = 5 tasks, got 4"):
        make_run(Arm(selector, 5), SETTINGS, num_steps=1, group_size=G)


def test_the_check_for_constants_catches_planted_bug():
    """A selector that closes over an array of one seed's tasks."""
    arm, inputs = prepared("uniform")
    labels = inputs[1].difficulty
    selector = arm.selector

    def posterior(state):
        return labels, selector.posterior(state)[1]

    planted = arm._replace(selector=selector._replace(posterior=posterior))
    assert constants_of(planted, inputs)
    inner = jax.jit(lambda state: labels * jnp.float32(2))
    hidden = selector._replace(posterior=lambda state: (inner(state), labels))
    assert constants_of(arm._replace(selector=hidden), inputs)

    def select(key, state):
        ids, info = selector.select(key, state)
        return jnp.where(labels[ids] > 9, ids - 1, ids), info

    scanned = arm._replace(selector=selector._replace(select=select))
    assert constants_of(scanned, inputs)
