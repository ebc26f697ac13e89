"""The meshes that tests run on, and runs to compare."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

import bots_jax
from tests.selector_cases import make_evidence


class Layout(NamedTuple):
    """How many devices, and what kind of axis."""

    num_devices: int
    kind: AxisType

    def __str__(self) -> str:
        return f"{self.num_devices}-{self.kind.name}"

    def mesh(self) -> Mesh:
        devices = jax.devices()[: self.num_devices]
        return jax.make_mesh(
            (self.num_devices,), ("tasks",), axis_types=(self.kind,), devices=devices
        )


RACED = Layout(4, AxisType.Explicit)
FEW = [Layout(2, AxisType.Explicit), Layout(8, AxisType.Auto)]
ALL = [
    Layout(n, kind) for n in (1, 2, 4, 8) for kind in (AxisType.Auto, AxisType.Explicit)
]


def run(selector: bots_jax.TaskSelector, state: Any, num_steps: int = 6) -> list[Any]:
    """Ids and info of some steps, and the last state, all on the host."""
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    seen = []
    for number in range(num_steps):
        evidence = make_evidence(number, selector.num_tasks)
        state, task_ids, info = step(jax.random.key(number), state, evidence)
        seen.append(jax.device_get((task_ids, info)))
    place = selector.placement
    posterior = [np.asarray(x) for x in selector.posterior(state)]
    return [*seen, posterior, place.fetch_state(state, selector.num_tasks)]


def assert_same_bits(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
