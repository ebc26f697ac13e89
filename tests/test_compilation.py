"""Laws 6 and the state's half of the contract: one compile, donation, no constants."""

import re
from collections.abc import Iterator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from tests.selector_cases import CASES, all_cases, core_cases, make_evidence, ready

LONG = 1031  # a prime, so that no other size of the program is taken for it


def describe(tree) -> list[tuple]:
    return [
        (jax.tree_util.keystr(path), x.shape, x.dtype, x.aval.weak_type, x.sharding)
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    ]


@all_cases
def test_a_step_is_traced_to_a_state_of_the_same_form(case):
    """Without compiling: structure, shapes, dtypes and weak types."""
    selector, fresh = case.start()
    evidence, key = make_evidence(0), jax.random.key(0)
    step = bots_jax.make_step(selector)

    def forms(tree):
        return [
            (jax.tree_util.keystr(path), x.shape, x.dtype, x.weak_type)
            for path, x in jax.tree_util.tree_leaves_with_path(jax.eval_shape(tree))
        ]

    before = forms(lambda: fresh)
    assert forms(lambda: selector.update(fresh, evidence)[0]) == before
    assert forms(lambda: step(key, fresh, evidence)[0]) == before
    assert not any(weak for *_, weak in before)
    assert {x[2].name for x in before} <= {"float32", "int32", "bool"}


@core_cases
def test_state_keeps_structure_shape_dtype_weak_type_and_sharding(case):
    selector, state, step = ready(case)
    fresh = selector.init(case.references())
    evidence = make_evidence(0)
    for before in (fresh, state):
        for after in (step(jax.random.key(0), before, evidence)[0],):
            chex.assert_trees_all_equal_structs(before, after)
            assert describe(after) == describe(before)
    updated = selector.update(fresh, evidence)[0]
    assert describe(updated) == describe(fresh)
    assert not any(entry[3] for entry in describe(fresh))
    kinds = {x.dtype.name for x in jax.tree.leaves(fresh)}
    assert kinds <= {"float32", "int32", "bool"}


def test_state_check_catches_planted_bug():
    """A weakly typed constant in the state makes the next step compile again."""
    selector, state, _ = ready(CASES[0])

    def step(state, evidence):
        state, _ = selector.update(state, evidence)
        return state._replace(target_success_prob=jnp.where(state.eligible, 0.5, 1.0))

    after = jax.jit(step)(state, make_evidence(0))
    assert describe(after) != describe(state)


@core_cases
def test_step_is_traced_once(case):
    selector, state, _ = ready(case)

    def step(key, state, evidence):
        return bots_jax.make_step(selector)(key, state, evidence)

    jitted = jax.jit(chex.assert_max_traces(step, n=1))
    state = selector.init(case.references())
    for i in range(4):
        state, ids, _ = jitted(jax.random.key(i), state, make_evidence(i))
        evidence = bots_jax.Evidence(
            jnp.resize(ids, (8,)), jnp.ones(8, jnp.float32), jnp.ones(8, jnp.float32)
        )
        state, _, _ = jitted(jax.random.key(i), state, evidence)


@core_cases
def test_a_rebuilt_selector_gives_the_same_program(case):
    """Nothing of one selector object lives in its program."""
    texts = []
    for _ in range(2):
        selector, state = case.start()
        step = jax.jit(bots_jax.make_step(selector))
        texts.append(step.lower(jax.random.key(0), state, make_evidence(0)).as_text())
    assert texts[0] == texts[1]


def pointers(tree) -> list[int]:
    return [x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree)]


@core_cases
def test_no_two_fields_of_a_state_share_a_buffer(case):
    selector, fresh = case.start()
    mask = np.ones(selector.num_tasks, bool)
    for state in (
        fresh,
        selector.init(case.references()),
        bots_jax.set_eligible(selector, fresh, mask),
        selector.update(fresh, make_evidence(0))[0],
        ready(case).state,
    ):
        assert len(set(pointers(state))) == len(pointers(state))


@core_cases
def test_two_states_of_one_selector_share_no_buffer(case):
    """Else donating one would take the other with it."""
    selector, first = case.start()
    second = selector.init(case.references())
    assert not set(pointers(first)) & set(pointers(second))


@core_cases
def test_donated_state_is_used_and_gone(case):
    selector, fresh = case.start()
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    state = jax.tree.map(jnp.copy, fresh)
    plain = fresh
    for i in range(3):
        given = state
        state, ids, _ = step(jax.random.key(i), state, make_evidence(i))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
        plain, want, _ = ready_step(case)(jax.random.key(i), plain, make_evidence(i))
        assert ids.tolist() == want.tolist()
    chex.assert_trees_all_close(state, plain, rtol=1e-6)
    fresh_again = selector.init(case.references())
    chex.assert_trees_all_close(
        fresh_again, fresh
    )  # donation took no closed-over array


def ready_step(case):
    return ready(case).step


def test_donation_check_catches_planted_bug():
    """Prior and posterior in one buffer cannot be donated."""
    selector, state = next(c for c in CASES if c.name == "bots_per_task").start()
    posterior = state.posterior._replace(prior_alpha=state.posterior.alpha)
    shared = state._replace(posterior=posterior)
    assert len(set(pointers(shared))) < len(pointers(shared))
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    with pytest.raises(Exception, match="donate"):
        step(jax.random.key(0), shared, make_evidence(0))


def _jaxprs(jaxpr) -> Iterator:
    yield jaxpr
    for equation in jaxpr.eqns:
        for sub in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
        ):
            if hasattr(sub, "jaxpr"):
                yield sub
                yield from _jaxprs(sub.jaxpr)
            elif hasattr(sub, "eqns"):
                yield from _jaxprs(sub)


def long_constants(function, *args) -> list[str]:
    """Constants of LONG or more numbers, in the jaxpr and in the lowered program.

    A constant that is one number repeated ("dense<0.0>") takes no room and is let go.
    """
    closed = jax.make_jaxpr(function)(*args)
    found = [
        f"const {np.shape(const)}"
        for part in (closed, *_jaxprs(closed.jaxpr))
        for const in getattr(part, "consts", ())
        if np.size(const) >= LONG
    ]
    lowered = jax.jit(function).lower(*args)
    for line in lowered.as_text().splitlines():
        if re.search(r"dense<(\[|\"0x)|dense_resource", line):
            sizes = re.findall(r"tensor<([0-9x]*)x[a-z]", line)
            if any(np.prod([int(d) for d in s.split("x")]) >= LONG for s in sizes):
                found.append(line.strip()[:100])
    given = len(jax.tree.leaves(args))
    taken = len(jax.tree.leaves(lowered.args_info))
    assert given == taken
    return found


@all_cases
def test_step_holds_no_constant_of_length_n(case):
    selector, state = case.start(LONG)
    step = bots_jax.make_step(selector)
    args = (jax.random.key(0), state, make_evidence(0, LONG))
    assert long_constants(step, *args) == []
    assert long_constants(selector.posterior, state) == []


def test_constant_check_catches_planted_array():
    planted = jnp.arange(LONG, dtype=jnp.float32)
    hosted = np.arange(LONG, dtype=np.float32)
    one = jnp.float32(1)
    assert long_constants(lambda x: x + planted, one)
    assert long_constants(lambda x: x + hosted, one)
    assert long_constants(
        jax.jit(lambda x: jax.lax.cond(x > 0, lambda: planted, lambda: -planted)), one
    )
    assert long_constants(lambda x: x + jnp.zeros(LONG, jnp.float32), one) == []
