"""What "auto" chooses, and that the engines do the same work."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selection import completion
from bots_jax.selectors.engine import Rule, make_plan
from tests.nights import nightly_but
from tests.selector_cases import make_references

NUM_TASKS, BATCH_SIZE, STEPS = 12_000, 24, 12
PLAIN = Rule(None, None, 0.0)
SETTINGS = {
    "num_tasks": 10**6,
    "batch_size": 64,
    "forgetting": 0.1,
    "target_success_prob": 0.5,
    "above_one": True,
}
density = bots_jax.target_log_density


def planned(engine="auto", selection="auto", rule=PLAIN, **settings) -> str:
    plan = make_plan(engine, selection, rule, **SETTINGS | settings)
    assert isinstance(plan.choose, functools.partial)
    return ("lazy " if plan.is_lazy else "dense ") + plan.choose.func.__name__


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, "lazy race_draws"),
        ({"num_tasks": 50_000}, "dense race_draws"),
        ({"num_tasks": 5_000}, "dense sweep_draws"),
        ({"batch_size": 50_000}, "dense sweep_draws"),
        ({"forgetting": 0.01}, "dense race_draws"),
        ({"forgetting": 0.95}, "dense race_draws"),
        ({"target_success_prob": 1.0}, "dense sweep_draws"),
        ({"target_success_prob": 0.9, "above_one": False}, "lazy race_draws"),
        ({"rule": Rule(None, None, 0.1)}, "lazy race_tempered_draws"),
        ({"rule": Rule(None, None, 0.001)}, "dense sweep_draws"),
        ({"rule": Rule(None, density, 1.0)}, "lazy race_target_density"),
        ({"rule": Rule(None, density, 0.0)}, "dense sweep_scores"),
        ({"rule": Rule(bots_jax.posterior_means, None, 0.0)}, "dense sweep_estimates"),
        ({"rule": Rule(bots_jax.thompson_draws, None, 0.0)}, "lazy race_draws"),
        ({"engine": "dense"}, "dense race_draws"),
        ({"selection": "sweep"}, "dense sweep_draws"),
        ({"engine": "lazy", "selection": "sweep"}, "lazy sweep_draws"),
        ({"engine": "lazy", "num_tasks": 100}, "lazy sweep_draws"),
        ({"selection": "race", "num_tasks": 100}, "dense race_draws"),
    ],
)
def test_auto_follows_its_documented_rules(settings, expected):
    assert planned(**settings) == expected


def test_traced_settings_are_swept():
    """A sweep over settings is a vmap, where a race is no gain."""
    found = []

    def trace(forgetting, temperature, target):
        rule = Rule(None, None, temperature)
        found.append(planned(rule=rule))
        found.append(planned(forgetting=forgetting))
        found.append(planned(target_success_prob=target))

    jax.eval_shape(trace, *(jax.ShapeDtypeStruct((), jnp.float32),) * 3)
    assert found == ["dense sweep_draws", "dense race_draws", "dense sweep_draws"]


@functools.cache
def history(engine: str, selection: str):
    """Batches and beliefs of a closed loop, from the same keys and evidence."""
    selector = bots_jax.bots(
        num_tasks=NUM_TASKS, batch_size=BATCH_SIZE, engine=engine, selection=selection
    )
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    state = selector.init(make_references(NUM_TASKS))
    rng = np.random.default_rng(0)
    batches, infos = [], []
    evidence = bots_jax.empty_evidence(BATCH_SIZE)
    for number in range(STEPS):
        state, ids, info = step(jax.random.key(number), state, evidence)
        batches.append(np.asarray(ids))
        infos.append(jax.device_get(info))
        asked = rng.choice(NUM_TASKS, BATCH_SIZE, replace=False)
        evidence = bots_jax.evidence_from_counts(asked, rng.integers(0, 17, 24), 16)
    return np.array(batches), selector.posterior(state), infos


@pytest.mark.nightly
def test_lazy_and_dense_choose_the_same_batches():
    """Given the same random points; float32 rounding may tip a point, seldom."""
    for selection in ("race", "sweep"):
        dense, dense_beliefs, _ = history("dense", selection)
        lazy, lazy_beliefs, _ = history("lazy", selection)
        for a, b in zip(dense_beliefs, lazy_beliefs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
        assert np.mean(dense == lazy) > 0.98


def test_info_tells_which_path_ran():
    for engine in ("dense", "lazy"):
        for info in history(engine, "race")[2]:
            assert info.select.num_points > 0 and info.select.fell_back == 0
        for info in history(engine, "sweep")[2]:
            assert info.select.num_points == 0 and info.select.fell_back == 0


def test_info_tells_of_a_fallback():
    """Nine in ten tasks are asked for: no race finds them all."""
    selector = bots_jax.bots(num_tasks=100, batch_size=90, selection="race")
    ids, info = jax.jit(selector.select)(jax.random.key(0), selector.init())
    assert len(set(ids.tolist())) == 90
    assert int(info.fell_back) == 1 and int(info.num_points) > 0


def test_race_and_sweep_spread_alike_over_a_run():
    """Means of what was drawn and of what was chosen agree over a closed loop."""
    draws = {
        selection: np.array(
            [i.select.draw_mean for i in history("dense", selection)[2]]
        )
        for selection in ("race", "sweep")
    }
    np.testing.assert_allclose(draws["race"].mean(), draws["sweep"].mean(), atol=2e-3)
    assert max(np.abs(x - 0.5).max() for x in draws.values()) < 5e-3


@pytest.mark.nightly
def test_vmap_over_states_of_a_race():
    """Lanes of a vmapped race equal the single ones, fallback or not."""
    selector = bots_jax.bots(num_tasks=400, batch_size=6, selection="race")
    state = selector.init()
    masks = jnp.stack([jnp.ones(400, bool), jnp.arange(400) < 10])
    states = [
        state._replace(eligible=mask, num_eligible=jnp.sum(mask, dtype=jnp.int32))
        for mask in masks
    ]
    together = jax.tree.map(lambda *x: jnp.stack(x), *states)
    keys = jax.random.split(jax.random.key(0), 2)
    ids, info = jax.jit(jax.vmap(selector.select))(keys, together)
    assert info.fell_back.tolist() == [0, 1]
    for lane, state in enumerate(states):
        want, _ = jax.jit(selector.select)(keys[lane], state)
        assert ids[lane].tolist() == want.tolist()


def test_paths_have_distinct_codes():
    assert len({completion.SWEPT, completion.RACED, completion.RACED_THEN_SWEPT}) == 3


def test_set_posterior_in_both_engines():
    rng = np.random.default_rng(0)
    alpha, beta = rng.uniform(1, 50, (2, 40)).astype(np.float32)
    for engine in ("dense", "lazy"):
        selector = bots_jax.bots(num_tasks=40, batch_size=2, engine=engine)
        state = selector.init(make_references(40))
        state = bots_jax.set_posterior(selector, state, alpha, beta)
        got = selector.posterior(state)
        np.testing.assert_allclose(got, (alpha, beta), rtol=1e-6)
        largest = float(np.max(alpha + beta))
        assert float(state.posterior.max_concentration) == pytest.approx(largest)
        state, _ = selector.update(state, bots_jax.empty_evidence(2))
        want = 1 + 0.9 * (alpha - 1)
        np.testing.assert_allclose(selector.posterior(state)[0], want, rtol=1e-6)


def test_references_as_a_pair_are_those_of_an_array():
    references = make_references(50)
    for engine in ("dense", "lazy"):
        selector = bots_jax.bots(num_tasks=50, batch_size=2, engine=engine)
        one = selector.init(references)
        two = selector.init((references[:, 0], references[:, 1]))
        jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.parametrize("num_tasks", nightly_but([10**4, 10**9], 10**9))
def test_a_lazy_step_compiles_at_any_size_and_needs_no_room_beside_its_state(num_tasks):
    """By abstract shapes: nothing of length N is allocated, here or by the step."""
    selector = bots_jax.bots(num_tasks=num_tasks, batch_size=64, engine="lazy")
    column = jax.ShapeDtypeStruct((num_tasks,), jnp.float32)
    state = jax.eval_shape(selector.init, (column, column))
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    evidence = bots_jax.empty_evidence(64)
    compiled = step.lower(jax.random.key(0), state, evidence).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.alias_size_in_bytes >= 16 * num_tasks
    assert memory.temp_size_in_bytes < 100e6


def test_a_dense_update_works_in_place():
    num_tasks = 10**7
    selector = bots_jax.bots(num_tasks=num_tasks, batch_size=64, engine="dense")
    column = jax.ShapeDtypeStruct((num_tasks,), jnp.float32)
    state = jax.eval_shape(selector.init, (column, column))
    update = jax.jit(selector.update, donate_argnums=0)
    memory = (
        update.lower(state, bots_jax.empty_evidence(64)).compile().memory_analysis()
    )
    assert memory is not None and memory.temp_size_in_bytes < 1e6
