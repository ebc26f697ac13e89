"""Composed selectors in a `TaskSampler`: growth, files, tasks in another order."""

import functools
import re
from typing import Any

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax import plugins
from bots_jax.host import carry as carry_module
from bots_jax.host.growing import num_references
from bots_jax.placement import is_per_task
from tests.host.common import assert_same_state, names, rewards_of

N, B = 12, 4
NAMES = names(N)
LISTS = np.stack([(np.arange(N) + 1) % N, (np.arange(N) + 5) % N], axis=1)
COSTS = np.linspace(1, 3, N)


def adaptive(order: np.ndarray, plugin: Any = None, **settings: Any):
    more = {"selection": "sweep", "token_costs": COSTS[order]} | settings
    return bots_jax.adaptive(num_tasks=N, batch_size=B, plugin=plugin, **more)


def ring(order: np.ndarray) -> np.ndarray:
    """Neighbours of the same names, whichever row those are in."""
    place = np.empty(N, np.int32)
    place[order] = np.arange(N)
    return place[LISTS[order]]


MAKERS = {
    "plain": lambda order: adaptive(order, progress_weight=0.1, forgetting=0.2),
    "references": lambda order: adaptive(order, plugins.references(num_references=3)),
    "ability": lambda order: adaptive(order, plugins.ability(num_tasks=N)),
    "neighbours": lambda order: adaptive(
        order, plugins.neighbours(ring(order), np.ones((N, 2)))
    ),
    "group_prior": lambda order: adaptive(order, plugins.group_prior(order % 3)),
    "mopps": lambda order: bots_jax.mopps(
        num_tasks=N,
        batch_size=B,
        retention=0.5,
        prior_alpha=1 + order.astype(np.float32) / N,
    ),
    "dps": lambda order: bots_jax.dps(num_tasks=N, batch_size=B, retention=0.7),
    "graded": lambda order: bots_jax.graded(
        num_tasks=N,
        batch_size=B,
        levels=(0.0, 0.5, 1.0),
        prior_level_counts=1 + order[:, None] * np.array([[0, 0.1, 0.2]]),
    ),
}
kinds = pytest.mark.parametrize("kind", MAKERS)


def some_kinds(*every_run: str) -> pytest.MarkDecorator:
    """The others every night: each such test compiles a few programs anew."""
    cases = [
        pytest.param(kind, marks=() if kind in every_run else pytest.mark.nightly)
        for kind in MAKERS
    ]
    return pytest.mark.parametrize("kind", cases)


@functools.cache
def selector_of(kind: str, backwards: bool = False) -> bots_jax.TaskSelector:
    order = np.arange(N)[::-1] if backwards else np.arange(N)
    return MAKERS[kind](order)


def references_of(kind: str, number: int = N, seed: int = 1) -> Any:
    if kind != "references":
        return None
    return np.random.default_rng(seed).random((number, 3)).astype(np.float32)


def make(kind: str, backwards: bool = False, **settings: Any) -> bots_jax.TaskSampler:
    selector, given = selector_of(kind, backwards), references_of(kind)
    keys = NAMES
    if backwards:
        keys, given = keys[::-1], None if given is None else given[::-1]
    settings = {"task_keys": keys} | settings
    key = jax.random.key(0)
    return bots_jax.TaskSampler(selector, key, selector.init(given), **settings)


def teach(sampler: bots_jax.TaskSampler, steps: int = 3, seed: int = 0) -> None:
    """Evidence for four of the named tasks a step."""
    rng = np.random.default_rng(seed)
    for step in range(steps):
        batch = [NAMES[i] for i in rng.choice(N, B, replace=False)]
        sampler.observe(batch, rewards_of(B, 10 * seed + step))
        sampler.advance()


def beliefs(sampler: bots_jax.TaskSampler, keys: Any = None) -> np.ndarray:
    return np.stack(sampler.posterior(keys))


def by_key(sampler: bots_jax.TaskSampler, keys: Any) -> dict[str, np.ndarray]:
    """All per-task arrays, in order of keys; those of rows as places in `keys`."""
    rows, found = sampler.rows_of(keys), {}
    state = sampler.selector.placement.fetch_state(
        sampler.state, sampler.selector.num_tasks
    )
    place = np.full(sampler.selector.num_tasks + 1, -1)
    place[rows] = np.arange(len(rows))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if is_per_task(path, leaf):
            here = leaf[rows]
            is_list = path[-1].name == "neighbour_ids"
            found[jax.tree_util.keystr(path)] = place[here] if is_list else here
    return found


def assert_same_arrays(one: dict[str, np.ndarray], other: dict[str, np.ndarray]):
    assert one.keys() == other.keys() and len(one) > 2
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name


@some_kinds("references", "neighbours", "graded")
def test_growth_keeps_what_was_learnt_and_new_tasks_start_afresh(kind):
    sampler = make(kind)
    first = beliefs(sampler, NAMES[:1])
    teach(sampler)
    before, old = beliefs(sampler), by_key(sampler, NAMES)
    new = ["x", "y"]
    given = references_of(kind, 2, seed=9)
    sampler.add_tasks(new, references=given)
    assert sampler.metrics()["sampler/capacity"] == 2 * N
    assert beliefs(sampler, NAMES).tobytes() == before.tobytes()
    assert_same_arrays(old, by_key(sampler, NAMES))
    if kind not in ("references", "group_prior", "ability"):  # which predict them
        priors = beliefs(sampler, new)
        np.testing.assert_allclose(priors, np.repeat(first, 2, axis=1), rtol=1e-6)
    taught = beliefs(sampler, new)
    sampler.observe(new, [[1, 1, 1, 1], [0, 0, 0, 0]])
    sampler.advance()
    mean = beliefs(sampler, new) / beliefs(sampler, new).sum(0)
    assert mean[0, 0] > (taught / taught.sum(0))[0, 0]
    assert mean[0, 1] < (taught / taught.sum(0))[0, 1]
    sampler.retire_tasks(NAMES)
    assert set(sampler.select(B).tolist()) == set(new)


def test_settings_of_new_tasks_are_those_of_the_first():
    """In rows of their own, and in rows that tasks have left."""
    order = np.arange(N)
    selector = adaptive(
        order,
        plugins.references(num_references=3, features=np.linspace(5, 7, N)[:, None]),
        prior_alpha=1 + order / N,
        group_ids=np.arange(N) % 4 + 1,
    )
    given = references_of("references")
    sampler = bots_jax.TaskSampler(
        selector, jax.random.key(0), selector.init(given), task_keys=NAMES
    )
    sampler.remove_tasks(NAMES[1:3])
    own = references_of("references", 3, seed=4)
    sampler.add_tasks(["x", "y", "z"], references=own)
    assert sampler.rows_of(["x", "y", "z"]).tolist() == [1, 2, 12]
    have = by_key(sampler, [NAMES[0], "x", "y", "z"])
    for name in (".token_costs", ".group_ids", ".belief.prior_alpha"):
        assert (have[name] == have[name][0]).all(), name
    inputs = have[".belief.plugin.inputs"]
    assert (inputs[:, -1] == inputs[0, -1]).all()  # the feature, not the references
    every = np.full((N, 3), 0.5)
    every[:3] = own
    want = plugins.references(num_references=3).init(every).inputs[:3]
    np.testing.assert_array_equal(inputs[1:, :3], np.asarray(want)[:, :3])


def test_rows_used_again_have_no_neighbours():
    sampler = make("neighbours")
    teach(sampler)
    sampler.remove_tasks(NAMES[3:5])
    sampler.add_tasks(["x"])
    have = by_key(sampler, [*NAMES[:3], "x", *NAMES[5:]])
    lists = have[".belief.plugin.neighbour_ids"]
    assert (lists[3] == -1).all()
    want = np.where(np.isin(LISTS, [3, 4]), -1, np.where(LISTS > 4, LISTS - 1, LISTS))
    np.testing.assert_array_equal(
        lists, np.insert(np.delete(want, [3, 4], 0), 3, -1, 0)
    )
    prior = beliefs(sampler, ["x"])
    sampler.observe(NAMES[2], [1, 1, 1, 1])  # once a neighbour of row 3
    sampler.advance()
    np.testing.assert_array_equal(beliefs(sampler, ["x"]), prior)


def refuses(sentence: str):
    return pytest.raises(ValueError, match=f"^{re.escape(sentence)}$")


def test_wrong_references_are_refused_and_nothing_is_changed():
    sampler, plain = make("references"), make("plain")
    before = sampler.state_dict()
    with refuses("references must be given, as the pool's tasks have references."):
        sampler.add_tasks(["x"])
    for shape in ((1, 2), (1, 4), (1,)):
        with refuses(f"references must have shape (1, 3), got {shape}."):
            sampler.add_tasks(["x"], references=np.full(shape, 0.5))
    with refuses("references must be in [0, 1], got 1.5 at index (0, 2)."):
        sampler.add_tasks(["x"], references=np.array([[0.1, 0.2, 1.5]]))
    with refuses("references must be floating point, got dtype int64."):
        sampler.add_tasks(["x"], references=[[0, 1, 1]])
    with refuses("references must not be given, the pool's tasks have no references."):
        plain.add_tasks(["x"], references=np.full((1, 2), 0.5))
    assert_same_state(before, sampler.state_dict())


@pytest.mark.parametrize("kind", ["plain", "mopps"])
def test_from_group_is_refused_without_alpha_and_beta_in_the_state(kind):
    sampler = make(kind, groups=["a"] * N)
    name = selector_of(kind).name
    with refuses(
        "from_group needs a selector whose state holds alpha and beta, as that of "
        f"bots, got {name!r}."
    ):
        sampler.add_tasks(["x"], groups=["a"], from_group=True)
    assert sampler.add_tasks(["x"], groups=["a"]).tolist() == ["x"]


def test_it_is_known_how_many_references_new_tasks_need():
    selector = bots_jax.bots(num_tasks=N, batch_size=B)
    assert num_references(selector, selector.init()) == 0
    assert num_references(selector, selector.init(np.full((N, 2), 0.5))) == 2
    for kind in MAKERS:
        want = 3 if kind == "references" else 0
        sampler = make(kind)
        assert num_references(sampler.selector, sampler.state) == want
    two = adaptive(np.arange(N), plugins.interpolation())
    assert num_references(two, two.init(np.full((N, 2), 0.5))) == 2


@some_kinds("plain", "dps")
def test_saved_and_restored_into_another_order_goes_on_alike(kind, tmp_path):
    sampler, other = make(kind), make(kind, backwards=True)
    teach(sampler)
    teach(other, seed=5)
    with sampler:
        sampler.save(tmp_path)
    assert other.restore(tmp_path) == (N, 0, 0)
    assert_same_arrays(by_key(sampler, NAMES), by_key(other, NAMES))
    for each in (sampler, other):
        teach(each, 2, seed=1)
    assert sampler.select(B).tolist() == other.select(B).tolist()
    assert beliefs(sampler, NAMES).tobytes() == beliefs(other, NAMES).tobytes()


@kinds
def test_remap_moves_arrays_with_their_keys(kind):
    """Tasks 2 and 3 go, p and q come, all others change their rows."""
    sampler = make(kind)
    teach(sampler, 6)
    keys = [*NAMES[:2], "p", "q", *NAMES[4:]]
    selector, given = selector_of(kind, backwards=True), references_of(kind)
    if given is not None:
        given = given[::-1]
    other = bots_jax.TaskSampler(
        selector, jax.random.key(1), selector.init(given), task_keys=keys[::-1]
    )
    fresh = by_key(other, ["p", "q"])
    other.observe(["p", "q"], np.ones((2, 4)))
    for _ in range(9):  # its clock is ahead of the one saved
        other.advance()
    assert other.load_state_dict(sampler.state_dict(), remap=True) == (N - 2, 2, 2)
    kept = [*NAMES[:2], *NAMES[4:]]
    one, two = by_key(sampler, kept), by_key(other, kept)
    have = by_key(other, ["p", "q"])
    for name, array in one.items():
        assert array.tobytes() == two[name].tobytes() or "neighbour" in name, name
        if "neighbour" not in name:
            if name != ".belief.plugin.difficulty":  # not read where variance is 0
                assert have[name].tobytes() == fresh[name].tobytes(), name
    if kind == "neighbours":  # whom each task teaches is said by the pool it is in
        lists = by_key(other, keys)[".belief.plugin.neighbour_ids"]
        np.testing.assert_array_equal(lists, LISTS)
    else:
        assert beliefs(sampler, kept).tobytes() == beliefs(other, kept).tobytes()
    explicit = getattr(sampler.state.belief, "explicit", None)
    if explicit is not None:
        row = int(sampler.rows_of(NAMES[7:8])[0])
        there = int(other.rows_of(NAMES[7:8])[0])
        assert row == 7 and there == 4
        mine = np.asarray(explicit.explicit_successes)[row]
        theirs = np.asarray(other.state.belief.explicit.explicit_successes)[there]
        assert (mine == theirs).all()
    assert np.isfinite(beliefs(other)).all() and beliefs(other).max() < 100


def test_remap_check_catches_new_tasks_that_keep_what_they_had(monkeypatch):
    from bots_jax.host import task_sampler

    monkeypatch.setattr(task_sampler, "unlearnt", lambda state, fresh: state)
    with pytest.raises(AssertionError):
        test_remap_moves_arrays_with_their_keys("plain")


def test_order_check_catches_arrays_that_stay_behind(monkeypatch):
    from bots_jax.host import task_sampler

    real = carry_module.carry
    stuck = frozenset({"explicit_successes"})
    wrong = lambda *args, stays: real(*args, stays=stays | stuck)  # noqa: E731
    monkeypatch.setattr(task_sampler, "carry", wrong)
    with pytest.raises(AssertionError, match="explicit_successes"):
        test_remap_moves_arrays_with_their_keys("plain")


def test_grown_pools_are_restored_and_grow_on(tmp_path):
    sampler = make("references")
    teach(sampler)
    sampler.add_tasks(["x"], references=references_of("references", 1, seed=3))
    with sampler:
        sampler.save(tmp_path)
    every = np.concatenate([references_of("references"), np.full((1, 3), 0.5)])
    plugin = plugins.references(num_references=3)
    selector = bots_jax.adaptive(
        num_tasks=N + 1,
        batch_size=B,
        plugin=plugin,
        selection="sweep",
        token_costs=np.append(COSTS, 1.0),
    )
    other = bots_jax.TaskSampler(
        selector, jax.random.key(0), selector.init(every), task_keys=[*NAMES, "x"]
    )
    assert other.restore(tmp_path) == (N + 1, 0, 0)
    assert_same_state(sampler.state_dict(), other.state_dict())
    for each in (sampler, other):
        each.add_tasks(["y"], references=references_of("references", 1, seed=8))
    assert_same_arrays(*(by_key(each, ["x", "y"]) for each in (sampler, other)))


def test_other_numbers_of_references_are_refused():
    saved = make("references").state_dict()
    selector = adaptive(np.arange(N), plugins.references(num_references=2))
    state = selector.init(np.full((N, 2), 0.5))
    other = bots_jax.TaskSampler(selector, jax.random.key(0), state, task_keys=NAMES)
    with pytest.raises(ValueError, match="is of a selector with other settings"):
        other.load_state_dict(saved)


@pytest.mark.nightly
def test_a_mesh_gives_the_same():
    """One device, divided: the programs of a mesh; more devices run in device_run."""
    mesh = jax.make_mesh((1,), ("tasks",))
    plain = make("references")
    selector = bots_jax.shard_selector(selector_of("references"), mesh)
    state = selector.init(references_of("references"))
    other = bots_jax.TaskSampler(selector, jax.random.key(0), state, task_keys=NAMES)
    for sampler in (plain, other):
        teach(sampler)
        given = references_of("references", 1, seed=3)
        sampler.add_tasks(["x"], references=given)
        teach(sampler, 1)
    assert plain.select(B).tolist() == other.select(B).tolist()
    np.testing.assert_allclose(beliefs(plain), beliefs(other), rtol=1e-6)
