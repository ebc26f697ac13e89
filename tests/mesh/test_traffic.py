"""What crosses between devices, read off the compiled program."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selection.walk import chunk_size
from tests.mesh.meshes import FEW

COLLECTIVE = re.compile(
    r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)"
    r"(?:-start)?\("
)
BATCH = 32


def elements(compiled: str | None) -> list[int]:
    """How many numbers each collective of a program gives to every device."""
    sizes = []
    for shapes, _ in COLLECTIVE.findall(compiled or ""):
        dims = re.findall(r"\[([\d,]*)\]", shapes)
        sizes += [int(np.prod([int(d) for d in x.split(",") if d])) for x in dims]
    return sizes


def traffic(num_tasks: int, **settings) -> list[int]:
    selector = bots_jax.shard_selector(
        bots_jax.bots(num_tasks=num_tasks, batch_size=BATCH, **settings),
        FEW[1].mesh(),
    )
    state = selector.init(np.random.default_rng(0).random((num_tasks, 2)))
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    evidence = bots_jax.empty_evidence(BATCH)
    return elements(step.lower(jax.random.key(0), state, evidence).compile().as_text())


@pytest.mark.parametrize("engine", ["lazy"])
def test_a_sweep_gathers_the_best_of_each_device(engine):
    """O(devices x B), whatever N; the update and info look up rows of B."""
    small = traffic(4_096, engine=engine, selection="sweep")
    assert small == traffic(65_536, engine=engine, selection="sweep")
    assert 0 < max(small) <= 8 * BATCH
    assert sum(small) <= 16 * 8 * BATCH


@pytest.mark.parametrize("engine", ["dense"])
def test_a_race_asks_for_its_points(engine):
    small = traffic(4_096, engine=engine, selection="race")
    assert small == traffic(65_536, engine=engine, selection="race")
    assert 0 < max(small) <= 4 * chunk_size(BATCH, 65_536)


def test_catches_planted_bug_of_a_plain_top_k():
    """What XLA makes of `lax.top_k` on a divided array: all N numbers cross."""
    mesh = FEW[1].mesh()
    tasks = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("tasks"))
    scores = jax.device_put(jnp.zeros(4_096), tasks)
    plain = jax.jit(lambda x: jax.lax.top_k(x, BATCH)).lower(scores).compile()
    assert max(elements(plain.as_text())) >= 4_096
