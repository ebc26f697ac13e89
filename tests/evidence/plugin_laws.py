"""What every plug-in is held to, and evidence to hold it with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bots_jax.evidence.counts import Rows, collect_rows
from bots_jax.evidence.plugin import Plugin
from bots_jax.shard import Shard
from bots_jax.types import Evidence

WORTH = 8.0


def make_rows(task_ids: Any, successes: Any, trials: Any, num_tasks: int) -> Rows:
    ids = jnp.asarray(np.array(task_ids, np.int32))
    good = np.array(successes, np.float32)
    bad = np.broadcast_to(np.array(trials, np.float32), good.shape) - good
    return collect_rows(Evidence(ids, jnp.asarray(good), jnp.asarray(bad)), num_tasks)


def random_steps(seed: int, num_tasks: int, num_steps: int, batch_size: int = 6):
    """Lists of (ids, successes, trials) with a padding row in each."""
    rng = np.random.default_rng(seed)
    steps = []
    for _ in range(num_steps):
        ids = rng.choice(num_tasks, batch_size, replace=False)
        trials = rng.integers(1, 17, batch_size)
        good = rng.binomial(trials, rng.uniform(0, 1, batch_size))
        ids[-1] = -1
        steps.append((ids, good, trials))
    return steps


def taught(plugin: Plugin, steps: Any, num_tasks: int, references: Any = None) -> Any:
    """The state after some steps, each of (ids, successes, trials)."""
    shard = Shard(num_tasks)
    learn = jax.jit(lambda state, rows: plugin.learn(state, rows, WORTH, shard))
    state = plugin.init(references)
    for ids, successes, trials in steps:
        state = learn(state, make_rows(ids, successes, trials, num_tasks))
    return state


def everyone(x):
    return x


def describe(tree: Any) -> list[tuple]:
    return [
        (jax.tree_util.keystr(path), x.shape, x.dtype, x.aval.weak_type)
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    ]


def assert_same_numbers(left: Any, right: Any, tolerance: float = 2e-5) -> None:
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def assert_laws(plugin: Plugin, references: Any, num_tasks: int) -> None:
    """Stable state, jit = eager = scan = vmap, padding, x64, order, empty batches."""
    shard, fresh = Shard(num_tasks), plugin.init(references)
    steps = [
        make_rows(ids, good, trials, num_tasks)
        for ids, good, trials in random_steps(0, num_tasks, 3)
    ]
    learn = jax.jit(lambda state, rows: plugin.learn(state, rows, WORTH, shard))
    predict = jax.jit(lambda state: plugin.predict(state, everyone, shard))
    eager = plugin.learn(fresh, steps[0], WORTH, shard)
    state = learn(fresh, steps[0])
    assert describe(state) == describe(eager) == describe(fresh)
    assert not any(leaf[-1] for leaf in describe(fresh))
    assert {leaf[2].name for leaf in describe(fresh)} <= {"float32", "int32"}
    assert_same_numbers(state, eager)
    for rows in steps[1:]:
        state = learn(state, rows)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *steps)
    scan = lambda s, rows: (learn(s, rows), None)  # noqa: E731
    scanned = jax.jit(lambda s, rows: jax.lax.scan(scan, s, rows)[0])(fresh, stacked)
    assert_same_numbers(scanned, state)
    several = jax.vmap(learn, in_axes=(None, 0))(fresh, stacked)
    assert_same_numbers(jax.tree.map(lambda x: x[0], several), eager)
    _assert_predictions(plugin, state, num_tasks, predict)
    ids, good, trials = random_steps(0, num_tasks, 1)[0]
    turned = make_rows(ids[::-1], good[::-1], trials[::-1], num_tasks)
    assert_same_numbers(learn(fresh, turned), eager)
    few = make_rows([], [], 1, num_tasks)
    assert describe(plugin.learn(state, few, WORTH, shard)) == describe(state)
    capability = plugin.capability(state)
    assert capability.shape == () and capability.dtype == jnp.float32
    with jax.enable_x64(True):
        wide = plugin.init(references)
        assert describe(wide) == describe(fresh)
        wide = jax.jit(lambda s, r: plugin.learn(s, r, WORTH, shard))(wide, steps[0])
        assert describe(wide) == describe(fresh)
        said = plugin.predict(wide, everyone, shard)
        assert {x.dtype.name for x in said} == {"float32"}


def _assert_predictions(plugin, state, num_tasks, predict) -> None:
    shard, said = Shard(num_tasks), predict(state)
    p, claim = (np.asarray(x) for x in said)
    assert p.shape == claim.shape == (num_tasks,)
    assert ((p >= 0) & (p <= 1)).all() and ((claim >= 0) & (claim <= 1e6)).all()
    ids = jnp.array([num_tasks - 1, 0, 0], jnp.int32)
    some = plugin.predict(state, shard.at(ids), shard)
    assert_same_numbers(some, jax.tree.map(lambda x: x[ids], said))
    block = plugin.predict(state, lambda x: x[2:5], shard)
    assert_same_numbers(block, jax.tree.map(lambda x: x[2:5], said))
