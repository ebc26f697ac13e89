"""Law 3: same draws, same task ids, same state, on any number of devices."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selectors.common import mark_eligible
from bots_jax.shard import Shard
from tests.mesh.meshes import ALL, FEW, RACED, assert_same_bits, run
from tests.nights import nightly_but
from tests.selector_cases import CASES, NUM_TASKS, Case, make_evidence

BY_NAME = {case.name: case for case in CASES}


@functools.cache
def on_one_device(case: Case) -> list[Any]:
    return run(*case.start())


def on_mesh(case: Case, layout) -> list[Any]:
    selector = bots_jax.shard_selector(case.make(), layout.mesh())
    return run(selector, selector.init(case.references()))


FASTER = ("bots_per_task", "uniform_eligible", "adaptive", "continuous")


@pytest.mark.parametrize("case", [BY_NAME[name] for name in FASTER], ids=FASTER)
def test_a_mesh_changes_nothing(case):
    """67 tasks: eight devices do not divide them, the last one holds padding."""
    assert_same_bits(on_mesh(case, FEW[1]), on_one_device(case))


@pytest.mark.parametrize("layout", nightly_but(ALL, RACED), ids=str)
def test_all_layouts_agree(layout):
    case = BY_NAME["bots_lazy" if layout == RACED else "bots_per_task"]
    assert_same_bits(on_mesh(case, layout), on_one_device(case))


@pytest.mark.nightly
@pytest.mark.parametrize("layout", ALL, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_layouts_agree_in_all_cases(case, layout):
    assert_same_bits(on_mesh(case, layout), on_one_device(case))


def large(num_tasks: int = 200_003, **settings) -> tuple[Any, np.ndarray]:
    references = np.random.default_rng(0).random((num_tasks, 2))
    selector = bots_jax.bots(num_tasks=num_tasks, batch_size=64, **settings)
    return selector, references


@pytest.mark.nightly
@pytest.mark.parametrize(
    "settings",
    [
        {"engine": "lazy", "selection": "race"},
        {"engine": "lazy", "selection": "sweep"},
        {"engine": "dense", "selection": "race", "temperature": 0.1},
    ],
    ids=lambda s: "-".join(map(str, s.values())),
)
def test_large_pools_agree(settings):
    """Loops of other lengths than on one device, and no block of a size it has."""
    selector, references = large(**settings)
    want = run(selector, selector.init(references))
    mesh = bots_jax.shard_selector(selector, FEW[1].mesh())
    assert_same_bits(run(mesh, mesh.init(references)), want)
    if settings["selection"] == "race":
        assert all(info.select.num_points > 0 for _, info in want[:-2])


@pytest.mark.nightly
def test_a_race_that_is_given_up_agrees():
    """Few are eligible, so that a sweep must complete the batch."""
    settings = {"selection": "race", "eligible": np.arange(20_003) % 200 == 0}
    selector, references = large(20_003, **settings | {"engine": "lazy"})
    selector = selector._replace()
    want = run(selector, selector.init(references), 3)
    assert any(info.select.fell_back for _, info in want[:-2])
    mesh = bots_jax.shard_selector(selector, FEW[1].mesh())
    assert_same_bits(run(mesh, mesh.init(references), 3), want)


@pytest.mark.parametrize("batch_size", [5, 30])
def test_ties_go_to_the_lowest_id(batch_size):
    """Thirty tasks are more than a device holds."""
    settings = {"estimate": bots_jax.posterior_means, "batch_size": batch_size}
    selector = bots_jax.bots(num_tasks=NUM_TASKS, **settings)
    mesh = bots_jax.shard_selector(selector, FEW[1].mesh())
    ids, _ = jax.jit(mesh.select)(jax.random.key(0), mesh.init())
    assert ids.tolist() == list(range(batch_size))


def test_an_estimate_of_ones_own_sees_all_tasks():
    def estimate(key, alpha, beta):
        return jax.random.uniform(key, alpha.shape) * alpha / jnp.max(alpha + beta)

    case = Case("own", bots_jax.bots, lambda n: {"estimate": estimate}, True)
    assert_same_bits(on_mesh(case, FEW[1]), run(*case.start()))


@pytest.mark.parametrize("layout", FEW, ids=str)
def test_eligibility_and_beliefs_can_be_set(layout):
    case = BY_NAME["bots_lazy_per_task"]
    states = []
    rng = np.random.default_rng(3)
    alpha, beta = rng.uniform(1, 9, (2, NUM_TASKS)).astype(np.float32)
    whole = case.make()
    for selector in (whole, bots_jax.shard_selector(whole, layout.mesh())):
        state = selector.init(case.references())
        state = bots_jax.set_eligible(selector, state, rng.random(NUM_TASKS) < 2)
        state = bots_jax.set_posterior(selector, state, alpha, beta)
        mark = functools.partial(mark_eligible, selector)
        ids = jnp.array([3, -1, 60, 9, NUM_TASKS])
        state = jax.jit(mark)(state, ids, jnp.arange(5) == 3)
        assert int(state.num_eligible) == NUM_TASKS - 2
        states.append(run(selector, state, 2))
    assert_same_bits(*states)
    assert not states[0][-1].eligible[[3, 60]].any() and states[0][-1].eligible[9]


def test_a_state_keeps_its_layout_and_compiles_once():
    case = BY_NAME["bots_lazy_per_task"]
    selector = bots_jax.shard_selector(case.make(), FEW[1].mesh())
    state = selector.init(case.references())
    step: Any = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    layouts = []
    for number in range(3):
        evidence = make_evidence(number)
        state, _, _ = step(jax.random.key(number), state, evidence)
        layouts.append(jax.tree.map(lambda x: x.sharding.spec, state))
    assert layouts[0] == layouts[1] == layouts[2]
    assert step._cache_size() == 1
    table = state.posterior.table
    assert {shard.data.shape for shard in table.addressable_shards} == {(9, 4)}


def test_it_runs_inside_a_scan():
    case = BY_NAME["bots_per_task"]
    whole = case.make()
    results = []
    for selector in (whole, bots_jax.shard_selector(whole, FEW[1].mesh())):
        step = bots_jax.make_step(selector)
        evidence = make_evidence(1)

        def body(state, key, step=step, evidence=evidence):
            state, ids, _ = step(key, state, evidence)
            return state, ids

        scan = jax.jit(lambda state, keys, body=body: jax.lax.scan(body, state, keys))
        keys = jax.random.split(jax.random.key(2), 5)
        results.append(np.asarray(scan(selector.init(case.references()), keys)[1]))
    np.testing.assert_array_equal(*results)


def test_devices_along_another_axis_do_the_same_work():
    case = BY_NAME["bots_tempered"]
    mesh = jax.make_mesh((2, 4), ("data", "tasks"))
    selector = bots_jax.shard_selector(case.make(), mesh)
    got = run(selector, selector.init(case.references()))
    assert_same_bits(got, on_one_device(case))


def own_stream(monkeypatch):
    """Tasks numbered anew on every device, so that they share random numbers."""
    honest = Shard.task_ids
    wrong = lambda self, start, size: honest(Shard(self.size), start, size)  # noqa: E731
    monkeypatch.setattr(Shard, "task_ids", wrong)


def padding_counts(monkeypatch):
    monkeypatch.setattr(Shard, "is_task", lambda self, ids: jnp.bool_(True))


def writes_anywhere(monkeypatch):
    """Every device takes a row of evidence for its own."""
    wrong = lambda self, ids: jnp.where(ids < self.num_tasks, ids % self.size, ids)  # noqa: E731
    monkeypatch.setattr(Shard, "rows_of", wrong)


@pytest.mark.parametrize("bug", [own_stream, writes_anywhere])
def test_catches_planted_bugs(bug, monkeypatch):
    case = BY_NAME["bots_lazy_per_task"]
    want = on_one_device(case)
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        assert_same_bits(on_mesh(case, FEW[1]), want)


def test_catches_planted_bug_of_padding(monkeypatch):
    padding_counts(monkeypatch)
    selector = bots_jax.uniform(num_tasks=NUM_TASKS, batch_size=NUM_TASKS)
    mesh = bots_jax.shard_selector(selector, FEW[1].mesh())
    ids, _ = jax.jit(mesh.select)(jax.random.key(0), mesh.init())
    assert int(ids.max()) >= NUM_TASKS
