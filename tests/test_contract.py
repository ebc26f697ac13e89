"""The contract of DESIGN.md, section 2: what every selector does alike."""

import functools
import itertools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl.testing import parameterized

import bots_jax
from tests.selector_cases import (
    BATCH_SIZE,
    CASES,
    CORE,
    GROUP_SIZE,
    NUM_TASKS,
    Case,
    all_cases,
    core_cases,
    make_evidence,
    make_references,
    ready,
    stacked_evidence,
)


def key(seed: int = 0) -> jax.Array:
    return jax.random.key(seed)


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def assert_same_bits(left, right) -> None:
    chex.assert_trees_all_equal_structs(left, right)
    for a, b in zip(leaves(left), leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def assert_close(left, right, rtol: float = 1e-5) -> None:
    chex.assert_trees_all_equal_structs(left, right)
    for a, b in zip(leaves(left), leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


CORE_CASES = [(case.name, case) for case in CASES if case.name in CORE]

# Any: chex leaves its decorators untyped
with_and_without_jit: Any = chex.variants(with_jit=True, without_jit=True)


class TestJitAndEager(chex.TestCase):
    """The same functions, compiled and not."""

    @with_and_without_jit
    @parameterized.named_parameters(CORE_CASES)
    def test_step(self, case: Case):
        selector, state, compiled = ready(case)
        variant: Any = self.variant
        step = variant(bots_jax.make_step(selector))
        before = jax.tree.map(lambda x: np.array(x, copy=True), state)
        got = step(key(), state, make_evidence(9))
        assert_same_bits(state, before)  # update and select are pure
        want = compiled(key(), state, make_evidence(9))
        assert got[1].tolist() == want[1].tolist()
        assert_close(got, want)

    @with_and_without_jit
    @parameterized.named_parameters(CORE_CASES)
    def test_posterior(self, case: Case):
        selector, state, _ = ready(case)
        variant: Any = self.variant
        alpha, beta = variant(selector.posterior)(state)
        chex.assert_shape((alpha, beta), (NUM_TASKS,))
        chex.assert_type((alpha, beta), jnp.float32)
        chex.assert_tree_all_finite((alpha, beta))


@all_cases
def test_selector_states_its_facts(case):
    selector = case.make()
    assert (selector.num_tasks, selector.batch_size) == (NUM_TASKS, BATCH_SIZE)
    assert selector.name == case.factory.__name__


@core_cases
def test_vmap_over_keys_and_states(case):
    """Each lane equals the step alone; each batch is distinct and eligible."""
    selector, state, step = ready(case)
    fresh = selector.init(case.references())
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *[fresh, state] * 8)
    keys, evidence = jax.random.split(key(3), 16), make_evidence(5)
    together = jax.jit(jax.vmap(step, (0, 0, None)))(keys, stacked, evidence)
    for lane in (0, 1, 15):
        mine = jax.tree.map(lambda x, lane=lane: x[lane], together)
        want = step(keys[lane], state if lane % 2 else fresh, evidence)
        assert mine[1].tolist() == want[1].tolist()
        assert_close(mine, want)
    ids, info = np.asarray(together[1]), together[2].select
    assert ids.dtype == np.int32 and ids.shape == (16, BATCH_SIZE)
    assert all(len(set(row.tolist())) == BATCH_SIZE for row in ids)
    allowed = np.broadcast_to(np.asarray(state.eligible), (NUM_TASKS,))
    assert ids.min() >= 0 and allowed[ids].all()
    assert (info.num_eligible == allowed.sum()).all()
    assert (info.num_unfilled == 0).all()


@pytest.mark.parametrize(
    "name", ["bots_per_task", "bots_lazy_per_task", "uniform_eligible"]
)
def test_short_of_tasks_slots_hold_minus_one(name):
    selector, state, _ = ready({case.name: case for case in CASES}[name])
    select = jax.jit(selector.select)
    mask = jnp.arange(NUM_TASKS) < 3
    few = state._replace(eligible=mask, num_eligible=jnp.int32(3))
    ids, info = select(key(), few)
    assert sorted(ids.tolist()) == [-1, -1, 0, 1, 2]
    assert ids.tolist()[3:] == [-1, -1]
    assert int(info.num_unfilled) == 2 and int(info.num_eligible) == 3
    ids, info = select(key(), state._replace(eligible=mask & False))
    assert ids.tolist() == [-1] * 5 and int(info.num_unfilled) == 5


def test_vmap_over_the_factorys_numbers():
    """A sweep is a vmap over the factory: one compile, the loop's results."""
    case = next(case for case in CASES if case.name == "bots_per_task")
    sweep = {
        "forgetting": [0.0, 0.1],
        "implicit_weight": [1.0, 0.3],
        "capability_momentum": [0.0, 0.9],
        "target_success_prob": [0.5, 0.4],
        "temperature": [0.0, 0.1],
        "prior_alpha": [0.5, 3.0],
        "prior_beta": [1.0, 2.0],
        "group_size": [1.0, 8.0],
    }

    def run(knobs, key, evidence):
        selector = case.make(**knobs)
        state = selector.init(case.references())
        return bots_jax.make_step(selector)(key, state, evidence)

    def traced(knobs, key, evidence):
        return jax.vmap(run, (0, None, None))(knobs, key, evidence)

    evidence = make_evidence(2)
    sweeper = jax.jit(chex.assert_max_traces(traced, n=1))
    arrays = {name: jnp.asarray(value, jnp.float32) for name, value in sweep.items()}
    together = sweeper(arrays, key(), evidence)
    sweeper(jax.tree.map(lambda x: x * 0.9, arrays), key(), evidence)
    for i in range(2):
        numbers = {name: values[i] for name, values in sweep.items()}
        alone = jax.jit(functools.partial(run, numbers))(key(), evidence)
        assert_close(jax.tree.map(lambda x, i=i: x[i], together[0]), alone[0])
        assert together[1][i].tolist() == alone[1].tolist()


@core_cases
def test_scan_equals_a_loop(case):
    selector, state, step = ready(case)
    keys, evidence = jax.random.split(key(5), 50), stacked_evidence(50)

    def body(state, inputs):
        state, ids, info = bots_jax.make_step(selector)(inputs[0], state, inputs[1])
        return state, (ids, info)

    last, (ids, _) = jax.jit(lambda s, xs: jax.lax.scan(body, s, xs))(
        state, (keys, evidence)
    )
    loop_ids = []
    for i in range(50):
        state, chosen, _ = step(keys[i], state, make_evidence(i))
        loop_ids.append(chosen.tolist())
    assert ids.tolist() == loop_ids
    assert_close(last, state)
    assert int(last.num_updates) == 53


@core_cases
def test_key_is_used_once(case):
    selector, state, _ = ready(case)
    with jax.debug_key_reuse(True):
        jax.jit(bots_jax.make_step(selector))(key(6), state, make_evidence(0))


def test_key_reuse_check_catches_planted_bug():
    def twice(k):
        return jax.random.normal(k) + jax.random.uniform(k)

    with jax.debug_key_reuse(True), pytest.raises(Exception, match="consumed"):
        jax.jit(twice)(key())


@core_cases
def test_x64_changes_nothing(case):
    def run():
        selector, state = case.start()
        step = jax.jit(bots_jax.make_step(selector))
        ids, info = [], None
        for i in range(3):
            state, chosen, info = step(key(i), state, make_evidence(i))
            ids.append(chosen.tolist())
        return ids, state, info

    ids, state, info = run()
    with jax.enable_x64(True):
        wide_ids, wide_state, wide_info = run()
    chex.assert_trees_all_equal_shapes_and_dtypes(
        (state, info), (wide_state, wide_info)
    )
    assert wide_ids == ids
    assert_close(wide_state, state)
    assert_close(wide_info, info)


@core_cases
def test_checkpoint_restores_every_bit(case, tmp_path):
    _, state, step = ready(case)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        fresh = case.start()[1]
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, fresh)
        restored = checkpointer.restore(tmp_path / "state", template)
    assert_same_bits(restored, state)
    evidence = make_evidence(11)
    assert_same_bits(step(key(), restored, evidence), step(key(), state, evidence))


@core_cases
def test_info_has_one_fixed_set_of_scalars(case):
    _, state, step = ready(case)
    info = step(key(), state, make_evidence(0))[2]
    chex.assert_rank(jax.tree.leaves(info), 0)
    names = set(bots_jax.flatten_info(info))
    want = [("update", bots_jax.UpdateInfo), ("select", bots_jax.SelectInfo)]
    assert names == {f"{half}/{name}" for half, cls in want for name in cls._fields}
    dtypes = {x.dtype.name for x in jax.tree.leaves(info)}
    assert dtypes == {"float32", "int32"}


@core_cases
def test_posterior_gives_arrays_of_its_own(case):
    selector, state = case.start()
    pointers = [
        x.unsafe_buffer_pointer()
        for x in jax.tree.leaves((state, selector.posterior(state)))
    ]
    assert len(set(pointers)) == len(pointers)


def test_every_selector_is_covered():
    """A new factory must join the cases above."""
    factories = {case.factory for case in CASES}
    public = {getattr(bots_jax, name) for name in bots_jax.__all__}
    made = {
        f
        for f in public
        if getattr(f, "__annotations__", {}).get("return") is bots_jax.TaskSelector
    }
    assert made - {bots_jax.shard_selector} == factories  # tests/mesh runs that one


@pytest.mark.parametrize("batch_size", [1, NUM_TASKS])
def test_smallest_and_largest_batch(batch_size):
    for factory in (bots_jax.bots, bots_jax.uniform):
        selector = factory(num_tasks=NUM_TASKS, batch_size=batch_size)
        ids, _ = jax.jit(selector.select)(key(), selector.init())
        assert len(set(ids.tolist())) == batch_size


@pytest.mark.parametrize("num_tasks", [1, 33])
def test_small_pools(num_tasks):
    """Pools of one task, and of one more than the sampler's column of 32."""
    for factory in (bots_jax.bots, bots_jax.uniform):
        selector = factory(num_tasks=num_tasks, batch_size=num_tasks)
        state = selector.init(make_references(num_tasks))
        evidence = bots_jax.evidence_from_counts([0], [1], GROUP_SIZE)
        state, _ = selector.update(state, evidence)
        ids, _ = jax.jit(selector.select)(key(), state)
        assert sorted(ids.tolist()) == list(range(num_tasks))


def test_empty_evidence_of_no_rows():
    for case in itertools.islice(CASES, 2):
        selector, state = case.start()
        state, _ = selector.update(state, bots_jax.empty_evidence(0))
        assert int(state.num_updates) == 1
