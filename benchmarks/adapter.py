"""What the adapter for Tunix costs per training step, beside a shuffled list.

One step is what the adapter adds to Tunix's own: the next batch of columns, and B
groups of rewards. The list of shuffled indices packs the same columns and looks at no
reward. Tunix itself is not needed: its own calls are not timed.

    python -m benchmarks.adapter
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

import bots_jax
from bots_jax.adapters.tunix import TunixTasks

from . import harness, machine, ours
from . import pool as settings
from .cases import check_sizes
from .harness import CONSOLE, Candidate
from .pool import make_big_pool

QUESTION = "What does the adapter cost per training step, beside shuffled indices?"
SHUFFLED, ADAPTER = "shuffled indices", "adapter"
METRICS, MICRO = "adapter, with metrics", "adapter, a group at a time"
GROUP_SIZE = 16


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """What the adapter for Tunix costs per training step, beside a shuffled list.

    Attributes:
      num_tasks: N.
      batch_sizes: B.
    """

    num_tasks: tuple[int, ...] = (1_000_000,)
    batch_sizes: tuple[int, ...] = (32, 256)
    repetitions: int = 201
    budget_s: float = 30.0
    smallest: ClassVar[dict[str, Any]] = {"num_tasks": (2_000,), "batch_sizes": (32,)}


def make_rows() -> Callable[[np.ndarray], dict[str, Any]]:
    """Makes prompts and answers of a number, some 200 characters, when asked for."""
    text = "Let x be the number of ways in which this sentence can be read. " * 3

    def rows(task_ids: np.ndarray) -> dict[str, Any]:
        numbers = task_ids.tolist()
        prompts = [f"{text}{number}" for number in numbers]
        return {"prompts": prompts, "answer": [str(number) for number in numbers]}

    return rows


def shuffled_batches(
    num_tasks: int, batch_size: int, seed: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches as people make them without a sampler."""
    rows, rng = make_rows(), np.random.default_rng(seed)
    while True:
        order = rng.permutation(num_tasks)
        for at in range(0, num_tasks - batch_size + 1, batch_size):
            ids = order[at : at + batch_size].astype(np.int32)
            columns = {name: np.asarray(x) for name, x in rows(ids).items()}
            yield columns | {"task_id": ids}


def make_shuffled(num_tasks: int, batch_size: int, seed: int) -> Callable[[], Any]:
    """Makes one step with a list of shuffled indices."""
    batches = shuffled_batches(num_tasks, batch_size, seed)
    return lambda: next(batches)["task_id"]


def make_adapter(sampler: Any, rewards: np.ndarray, kind: str) -> Callable[[], Any]:
    """Makes one step through the adapter's own functions."""
    tasks = TunixTasks(sampler, make_rows(), success=0.5)
    batches = iter(tasks)
    size = rewards.shape[1]

    def step() -> None:
        ids = np.repeat(next(batches)["task_id"], GROUP_SIZE)
        given = rewards[sampler.step % len(rewards)]
        if kind == MICRO:
            for at in range(0, size, GROUP_SIZE):
                group = slice(at, at + GROUP_SIZE)
                tasks.observe(ids[group], given[group])
        else:
            tasks.observe(ids, given)
        if kind == METRICS:
            tasks.metrics(task_id=ids, advantages=given)

    return step


def run_case(config: Config, num_tasks: int, batch_size: int) -> list[dict[str, Any]]:
    """Times the candidates at one N and B; returns rows of the JSON file."""
    where = {"num_tasks": num_tasks, "batch_size": batch_size}
    pool = make_big_pool(num_tasks, config.seed)
    rng = np.random.default_rng(config.seed)
    rewards = rng.integers(0, 2, (16, batch_size * GROUP_SIZE)).astype(np.float64)
    target = settings.TARGET_SUCCESS_PROB

    def adapter(kind: str) -> Callable[[], Any]:
        selector = ours.make_selector(ours.AUTO, num_tasks, batch_size)
        state = ours.make_state(ours.AUTO, batch_size, pool, target)
        sampler = bots_jax.TaskSampler(selector, jax.random.key(0), state)
        return make_adapter(sampler, rewards, kind)

    calls = {SHUFFLED: make_shuffled(num_tasks, batch_size, config.seed)}
    calls |= {kind: adapter(kind) for kind in (ADAPTER, METRICS, MICRO)}
    candidates = [Candidate(name, call, warmups=5) for name, call in calls.items()]
    label = f"N={num_tasks:,} B={batch_size}"
    timings = harness.time_candidates(label, candidates, config)
    rows = [where | timing.as_row() for timing in timings]
    for row in rows:
        seconds = row.get("median_s")
        CONSOLE.print(f"  {row['candidate']}: {1e3 * (seconds or np.nan):.3f} ms")
        if seconds is not None and rows[0].get("median_s") is not None:
            row["added_ms"] = round(1e3 * (seconds - rows[0]["median_s"]), 4)
            row["one_percent_of_a_step_of_s"] = round(row["added_ms"] / 10, 4)
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
            "group_size": GROUP_SIZE,
            "repetitions": config.repetitions,
            "budget_s_per_case": config.budget_s,
        },
        "rows": [],
    }
    for num_tasks in config.num_tasks:
        for batch_size in config.batch_sizes:
            record["rows"] += run_case(config, num_tasks, batch_size)
    path = harness.results_path(config.results, "adapter", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)
