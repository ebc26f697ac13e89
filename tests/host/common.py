"""Samplers that share their compiled programs, and whole states compared."""

import functools
from typing import Any

import jax
import numpy as np

import bots_jax
from bots_jax.shard import Shard
from tests.selector_cases import make_references

NUM_TASKS, BATCH_SIZE, GROUP_SIZE = 12, 8, 4  # up to 8 rows a step: one length
FORGETTING = 0.25


@functools.cache
def selector_of(
    kind: str = "dense",
    num_tasks: int = NUM_TASKS,
    batch_size: int = BATCH_SIZE,
    forgetting: float = FORGETTING,
) -> bots_jax.TaskSelector:
    """One selector per kind and size, for the same programs in all tests."""
    if kind == "uniform":
        made = bots_jax.uniform(num_tasks=num_tasks, batch_size=batch_size)
    else:
        made = bots_jax.bots(
            num_tasks=num_tasks,
            batch_size=batch_size,
            forgetting=forgetting,
            engine=kind,
            selection="sweep",  # compiles fast
        )

    def remake(shard: Shard) -> bots_jax.TaskSelector:
        assert shard.axis is None
        return selector_of(kind, shard.num_tasks, batch_size, forgetting)

    return made._replace(remake=remake)


def make_sampler(
    kind: str = "dense",
    *,
    num_tasks: int = NUM_TASKS,
    batch_size: int = BATCH_SIZE,
    forgetting: float = FORGETTING,
    references: Any = None,
    seed: int = 0,
    **settings: Any,
) -> bots_jax.TaskSampler:
    """A fresh sampler; references=True for those of `make_references`."""
    selector = selector_of(kind, num_tasks, batch_size, forgetting)
    if references is True:
        references = make_references(num_tasks)
    key, state = jax.random.key(seed), selector.init(references)
    return bots_jax.TaskSampler(selector, key, state, **settings)


def names(num_tasks: int = NUM_TASKS) -> list[str]:
    """Keys of tasks."""
    return [f"task-{i}" for i in range(num_tasks)]


def rewards_of(num_rows: int, seed: int = 0) -> np.ndarray:
    """Random rewards [B, G]."""
    shape = (num_rows, GROUP_SIZE)
    return np.random.default_rng(seed).integers(0, 2, shape)


def work(sampler: bots_jax.TaskSampler, steps: int, seed: int = 0) -> list[Any]:
    """Selects, observes late and in parts, advances; returns what came out."""
    rng, found, waiting = np.random.default_rng(seed), [], []
    for _ in range(steps):
        ids = sampler.select(int(rng.integers(1, 5)))
        found.append(ids.tolist())
        waiting += [(key, sampler.step) for key in ids.tolist()]
        rng.shuffle(waiting)
        for _ in range(len(waiting) // 2):
            key, step = waiting.pop()
            rewards = rng.integers(0, 2, GROUP_SIZE)
            sampler.observe(key, rewards, drawn_at=step, group_ids=f"{key}/{step}")
        sampler.advance()
    return found


def assert_same_state(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Compares two state dicts bit for bit."""
    assert one["extra"] == other["extra"]
    assert set(one["arrays"]) == set(other["arrays"])
    for name, array in one["arrays"].items():
        assert array.dtype == other["arrays"][name].dtype, name
        assert array.tobytes() == other["arrays"][name].tobytes(), name
