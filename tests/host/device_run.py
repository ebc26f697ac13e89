"""Runs samplers on 1, 2, 3 and 8 devices: device_run.py OUT [all], a JSON file."""

import functools
import json
import sys
from typing import Any

import jax
import numpy as np

import bots_jax
from tests.host.common import make_references, names, work

NUM_TASKS = 21  # divides by 3 only


@functools.cache
def selector_on(
    kind: str, num_devices: int, axis_types: Any = None
) -> bots_jax.TaskSelector:
    settings: dict[str, Any] = {"num_tasks": NUM_TASKS, "batch_size": 8}
    if kind == "uniform":
        selector = bots_jax.uniform(**settings)
    else:
        selector = bots_jax.bots(**settings, engine=kind, selection="sweep")
    if num_devices:
        devices = jax.devices()[:num_devices]
        mesh = jax.make_mesh(
            (num_devices,), ("tasks",), axis_types=axis_types, devices=devices
        )
        selector = bots_jax.shard_selector(selector, mesh)
    return selector


def make(kind: str, num_devices: int, axis_types: Any = None) -> bots_jax.TaskSampler:
    selector = selector_on(kind, num_devices, axis_types)
    state = selector.init(make_references(NUM_TASKS))
    keys = names(NUM_TASKS)
    return bots_jax.TaskSampler(selector, jax.random.key(3), state, task_keys=keys)


def summary(sampler: bots_jax.TaskSampler) -> dict[str, Any]:
    saved = sampler.state_dict()
    arrays = {name: x.tobytes().hex() for name, x in saved["arrays"].items()}
    return {"arrays": arrays, "extra": saved["extra"]}


def compare(kind: str, num_devices: int, axis_types: Any = None) -> dict[str, Any]:
    """One device without a mesh, then the same saved and gone on with on a mesh."""
    plain, other = make(kind, 0), make(kind, num_devices, axis_types)
    first = work(plain, 5) == work(other, 5) and summary(plain) == summary(other)
    onward = make(kind, num_devices, axis_types)
    onward.load_state_dict(plain.state_dict())
    loaded = summary(plain) == summary(onward)
    back = make(kind, 0)
    back.load_state_dict(other.state_dict())
    runs = [work(sampler, 4, seed=1) for sampler in (plain, onward, back)]
    ends = [summary(sampler) for sampler in (plain, onward, back)]
    for sampler in (plain, onward) if kind == "dense" else ():
        sampler.add_tasks(["x", "y"], references=np.full((2, 2), 0.5))
        sampler.remove_tasks(names()[:1])
    return {
        "from the start": first,
        "loaded": loaded,
        "same ids": runs[0] == runs[1] == runs[2],
        "same state": ends[0] == ends[1] == ends[2],
        "grown": summary(plain) == summary(onward),
    }


def main() -> None:
    auto = (jax.sharding.AxisType.Auto,)
    explicit = (jax.sharding.AxisType.Explicit,)
    found = {
        "devices": jax.device_count(),
        "dense on 8": compare("dense", 8, auto),
        "uniform on 3": compare("uniform", 3, explicit),
    }
    if "all" in sys.argv:  # the lazy engine compiles slowly
        found["lazy on 2"] = compare("lazy", 2, explicit)
        found["lazy on 8"] = compare("lazy", 8, auto)
    with open(sys.argv[1], "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
