"""What the host object costs beside the jitted step that it wraps.

One turn of `TaskSampler` is `select`, `observe` of B groups of rewards, `advance`; it
marks tasks in flight and counts rewards, which a bare step leaves to its caller. The
bare step is given the counts and returns the ids to the host.

    python -m benchmarks.host
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

import bots_jax

from . import harness, machine, ours
from . import pool as settings
from .cases import check_sizes
from .cells import ratio
from .harness import CONSOLE, Candidate
from .pool import make_big_pool

QUESTION = "What does TaskSampler cost beside the jitted step that it wraps?"
BARE, HOST, NAMED = "bare step", "TaskSampler", "TaskSampler, tasks named by strings"
MOST_NAMED = 1_000_000


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """What TaskSampler costs beside the jitted step that it wraps.

    Attributes:
      num_tasks: N.
      batch_sizes: B.
    """

    num_tasks: tuple[int, ...] = (10_000, 1_000_000, 10_000_000)
    batch_sizes: tuple[int, ...] = (32, 256, 1024)
    repetitions: int = 201
    budget_s: float = 30.0
    smallest: ClassVar[dict[str, Any]] = {"num_tasks": (2_000,), "batch_sizes": (32,)}


def make_bare(
    selector: bots_jax.TaskSelector, state: Any, rewards: np.ndarray
) -> Callable[[], Any]:
    """Makes one turn of a loop with a jitted step of its own."""
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    held = [state]
    keys = [jax.random.key(number) for number in range(64)]
    task_ids = [np.arange(selector.batch_size, dtype=np.int32)]
    counts = [group.sum(axis=1, dtype=np.float32) for group in rewards]
    number = [0]

    def turn() -> Any:
        successes = counts[number[0] % len(counts)]
        failures = np.float32(rewards.shape[2]) - successes
        evidence: Any = bots_jax.Evidence(task_ids[0], successes, failures)  # pyright: ignore[reportArgumentType]
        held[0], ids, _ = step(keys[number[0] % 64], held[0], evidence)
        task_ids[0] = np.asarray(ids)
        number[0] += 1

    return turn


def make_host(
    selector: bots_jax.TaskSelector, state: Any, rewards: np.ndarray, names: Any
) -> Callable[[], Any]:
    """Makes one turn of a loop around the host object."""
    sampler = bots_jax.TaskSampler(selector, jax.random.key(0), state, task_keys=names)

    def turn() -> Any:
        batch = sampler.select()
        sampler.observe(batch, rewards[sampler.step % len(rewards)])
        sampler.advance()

    return turn


def run_case(config: Config, num_tasks: int, batch_size: int) -> list[dict[str, Any]]:
    """Times the candidates at one N and B; returns rows of the JSON file."""
    where = {"num_tasks": num_tasks, "batch_size": batch_size}
    pool = make_big_pool(num_tasks, config.seed)
    rng = np.random.default_rng(config.seed)
    shape = (16, batch_size, settings.GROUP_SIZE)
    rewards = rng.integers(0, 2, shape).astype(np.float32)
    selector = ours.make_selector(ours.AUTO, num_tasks, batch_size)
    target = settings.TARGET_SUCCESS_PROB
    fresh = lambda: ours.make_state(ours.AUTO, batch_size, pool, target)  # noqa: E731
    calls = {
        BARE: make_bare(selector, fresh(), rewards),
        HOST: make_host(selector, fresh(), rewards, None),
    }
    if num_tasks <= MOST_NAMED:
        names = [f"task-{number}" for number in range(num_tasks)]
        calls[NAMED] = make_host(selector, fresh(), rewards, names)
    candidates = [Candidate(name, call, warmups=5) for name, call in calls.items()]
    label = f"N={num_tasks:,} B={batch_size}"
    timings = harness.time_candidates(label, candidates, config)
    rows = [where | timing.as_row() for timing in timings]
    for row, name in zip(rows[1:], list(calls)[1:], strict=True):
        times = ratio(rows, name, BARE, num_tasks=num_tasks, batch_size=batch_size)
        row["times_bare"] = None if times is None else round(times, 3)
        CONSOLE.print(f"  {name}: {times or float('nan'):.2f} times a bare step")
    return rows


def main(config: Config) -> Path:
    """Times, writes; returns the file."""
    config = config.resized()
    check_sizes(config.num_tasks, config.batch_sizes)
    machine.share_device()
    record: dict[str, Any] = {
        "question": QUESTION,
        "machine": machine.machine_stamp(config.seed),
        "settings": {
            "group_size": settings.GROUP_SIZE,
            "repetitions": config.repetitions,
            "budget_s_per_case": config.budget_s,
        },
        "rows": [],
    }
    for num_tasks in config.num_tasks:
        for batch_size in config.batch_sizes:
            record["rows"] += run_case(config, num_tasks, batch_size)
    path = harness.results_path(config.results, "host", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)
