"""The same selector on a device mesh: same draws, same task ids, same state."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from bots_jax import checks
from bots_jax.placement import Placement
from bots_jax.shard import Shard
from bots_jax.types import (
    Evidence,
    RemakeFn,
    SelectInfo,
    State,
    TaskSelector,
    UpdateInfo,
)


def shard_selector(
    selector: TaskSelector, mesh: Mesh, axis: str = "tasks"
) -> TaskSelector:
    """Divides a selector's tasks along an axis of a mesh.

    The result is used like any selector: in `make_step`, under `jit` with the state
    donated, in `scan`. Keys, evidence, task ids and info lie on all devices; per-task
    arrays lie in equal blocks, the last one padded if N does not divide. Results do
    not depend on the number of devices. Axes may be Auto or Explicit; devices along
    other axes of the mesh do the same work.

    What crosses between devices per step: for a sweep, the best B of each device; for
    a race, 8 to 40 bytes per point that it looks at (`info.select.num_points`); for an
    update, the rows of the evidence. Only an `estimate` of one's own, a function of
    all N tasks at once, gathers all N.

    `init` builds the state on the default device, then divides it.

    Args:
      selector: made by one of our factories; its tasks are all in one place.
      mesh: the devices, of this process or of several.
      axis: of the mesh.

    Returns:
      A selector of the same name, with the same states, divided.

    Raises:
      ValueError: for a mesh that lacks the axis, a selector that cannot be divided or
        is divided already.

    Example:
      >>> import bots_jax
      >>> mesh = jax.make_mesh((1,), ("tasks",))
      >>> selector = shard_selector(bots_jax.bots(num_tasks=9, batch_size=2), mesh)
      >>> state = selector.init()
      >>> selector.select(jax.random.key(0), state)[0].shape
      (2,)
    """
    remake_local = _checked(selector, mesh, axis)
    placement = Placement(mesh, axis)
    num_tasks = selector.num_tasks
    shard = placement.shard(num_tasks)
    checks.check_count("num_tasks, padded for the mesh,", shard.num_rows)
    local = remake_local(shard)
    anywhere = PartitionSpec()

    def mapped(function: Callable, state: State, inputs: Any, outputs: Any) -> Callable:
        specs = placement.specs(state)
        return jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(specs, inputs),
            out_specs=jax.tree.map(
                lambda out: specs if out is State else out,
                outputs,
                is_leaf=lambda out: out is State,
            ),
            check_vma=False,  # it cannot see that merged results are the same
        )

    def init(references: Any = None) -> State:
        return placement.put_state(selector.init(references), num_tasks)

    def select(key: Array, state: State) -> tuple[Array, SelectInfo]:
        choose = lambda state, key: local.select(key, state)  # noqa: E731
        return mapped(choose, state, anywhere, anywhere)(state, key)

    def update(state: State, evidence: Evidence) -> tuple[State, UpdateInfo]:
        outputs = (State, anywhere)
        return mapped(local.update, state, anywhere, outputs)(state, evidence)

    def posterior(state: State) -> tuple[Array, Array]:
        spec = PartitionSpec(axis)
        read = lambda state, _: local.posterior(state)  # noqa: E731
        if shard.num_rows == num_tasks:
            return mapped(read, state, anywhere, (spec, spec))(state, None)
        return mapped(_whole(read, shard), state, anywhere, anywhere)(state, None)

    def remake(shard: Shard) -> TaskSelector:
        return shard_selector(remake_local(shard), mesh, axis)

    return selector._replace(
        init=init,
        select=select,
        update=update,
        posterior=posterior,
        remake=remake,
        placement=placement,
    )


def _whole(read: Callable, shard: Shard) -> Callable:
    """Brings what is read of a block together, without padding, on every device."""
    return lambda *args: tuple(shard.everyone(x) for x in read(*args))


def _checked(selector: TaskSelector, mesh: Mesh, axis: str) -> RemakeFn:
    if not isinstance(mesh, Mesh):
        raise ValueError(f"mesh must be a jax.sharding.Mesh, got {mesh!r:.60}.")
    if axis not in mesh.shape:
        raise ValueError(
            f"mesh must have an axis {axis!r}, got the axes {tuple(mesh.shape)}."
        )
    if selector.placement.mesh is not None:
        raise ValueError("selector must not be divided already, got one that is.")
    if selector.remake is None:
        raise ValueError(
            f"selector must be one that can be remade, got {selector.name!r} "
            "with remake=None."
        )
    return selector.remake
