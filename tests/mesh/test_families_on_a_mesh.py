"""Posterior families beside the Beta: a block of tasks moves as all tasks do."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.sharding import PartitionSpec

from bots_jax.evidence.collect import collect_level_rows, collect_moment_rows
from bots_jax.evidence.counts import collect_rows
from bots_jax.evidence.rewards import as_levels, as_moments
from bots_jax.placement import Placement
from bots_jax.posterior.arc_length import init_arc_length, observe_arcs
from bots_jax.posterior.graded import init_graded, update_graded
from bots_jax.posterior.hidden_markov import init_hidden_markov, observe_states
from bots_jax.posterior.normal_gamma import init_normal_gamma, update_normal_gamma
from bots_jax.shard import Shard
from bots_jax.types import Evidence
from tests.mesh.meshes import FEW, Layout, assert_same_bits
from tests.nights import nightly_but

N = 19
PER_TASK = {
    "level_counts",
    "prior_level_counts",
    "reward_mean",
    "precision_count",
    "precision_shape",
    "precision_rate",
    "prior_reward_mean",
    "prior_precision_count",
    "prior_precision_shape",
    "prior_precision_rate",
    "state_probs",
    "transition_counts",
    "prior_transition_counts",
    "arc_mean",
    "arc_variance",
    "last_step",
}


class Family(NamedTuple):
    """A belief and how it moves."""

    start: Callable[[], Any]
    move: Callable[[Any, Evidence, Shard], Any]


def _graded(on_touch: bool) -> Callable[[Any, Evidence, Shard], Any]:
    def move(belief: Any, evidence: Evidence, shard: Shard) -> Any:
        rows = collect_level_rows(as_levels(evidence, 3), N)
        return update_graded(belief, rows, 0.2, shard, on_touch=on_touch)

    return move


def _normal(belief: Any, evidence: Evidence, shard: Shard) -> Any:
    rows = collect_moment_rows(as_moments(evidence), N)
    return update_normal_gamma(belief, rows, 0.2, shard)


def _markov(belief: Any, evidence: Evidence, shard: Shard) -> Any:
    return observe_states(belief, collect_rows(evidence, N), 0.2, shard)


def _arcs(belief: Any, evidence: Evidence, shard: Shard) -> Any:
    return observe_arcs(belief, collect_rows(evidence, N), shard)


def _table(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 3, (N, *shape))


FAMILIES = {
    "graded": Family(lambda: init_graded(N, 3, _table(3)), _graded(False)),
    "graded_on_touch": Family(lambda: init_graded(N, 3), _graded(True)),
    "normal_gamma": Family(
        lambda: init_normal_gamma(N, _table(), 2.0, 1 + _table(), 3.0), _normal
    ),
    "hidden_markov": Family(lambda: init_hidden_markov(N, _table(3, 3)), _markov),
    "arc_length": Family(lambda: init_arc_length(N, _table() / 4), _arcs),
}


def make_evidence(seed: int) -> Evidence:
    """Rows with a repeat, padding and an id out of range among them."""
    rng = np.random.default_rng(seed)
    ids = rng.choice(N, 7, replace=False).astype(np.int32)
    ids[1], ids[5], ids[6] = ids[0], -1, N
    right = rng.integers(0, 9, 7)
    columns = ids, np.float32(right), np.float32(8 - right)
    return Evidence(*(jnp.asarray(x) for x in columns))


def run(family: Family, layout: Layout | None) -> Any:
    """The belief after some steps, without padding, on the host."""
    state = family.start()
    if layout is None:
        move = jax.jit(lambda s, e: family.move(s, e, Shard(N)))
        for seed in range(6):
            state = move(state, make_evidence(seed))
        return jax.device_get(state)
    mesh = layout.mesh()
    place = Placement(mesh, "tasks")
    is_per_task = lambda path, x: path[-1].name in PER_TASK and np.ndim(x) > 0  # noqa: E731

    def put(path: Any, leaf: Array) -> Array:
        return (
            place.put(leaf, N)
            if is_per_task(path, leaf)
            else place.put_everywhere(leaf)
        )

    specs = jax.tree_util.tree_map_with_path(
        lambda path, x: PartitionSpec(*(("tasks",) if is_per_task(path, x) else ())),
        state,
    )
    state = jax.tree_util.tree_map_with_path(put, state)
    move = jax.jit(
        jax.shard_map(
            lambda s, e: family.move(s, e, place.shard(N)),
            mesh=mesh,
            in_specs=(specs, PartitionSpec()),
            out_specs=specs,
            check_vma=False,
        )
    )
    for seed in range(6):
        state = move(state, jax.tree.map(place.put_everywhere, make_evidence(seed)))
    return jax.tree_util.tree_map_with_path(
        lambda path, x: np.asarray(x)[:N] if is_per_task(path, x) else np.asarray(x),
        state,
    )


@pytest.mark.parametrize("layout", nightly_but(FEW, FEW[1]), ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_mesh_gives_the_same_belief(name, layout):
    assert_same_bits(run(FAMILIES[name], layout), run(FAMILIES[name], None))
