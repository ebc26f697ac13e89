"""What a step costs with each implicit plug-in, beside the interpolation of the paper.

All candidates but the first are `adaptive` with its belief of prior, plug-in and fading
counts, under the same rule (Thompson draws, raced, nothing else), so that only the
plug-in differs. The first is `bots` as it is.

    python -m benchmarks.plugins
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import bots_jax
from bots_jax import plugins

from . import harness
from . import pool as settings
from .cases import run_cases
from .cells import Row, Table, cases, find, power, ratio, spread, times
from .harness import CONSOLE, Candidate

QUESTION = "What does a step cost with each implicit plug-in?"
BOTS = "bots"
BASE = "interpolation"
CHOSEN = ("race", "sweep")
NUM_GROUPS, NUM_NEIGHBOURS = 16, 16


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """What a step costs with each implicit plug-in.

    Attributes:
      num_tasks: N.
      batch_sizes: B.
    """

    num_tasks: tuple[int, ...] = (1_000_000,)
    batch_sizes: tuple[int, ...] = (64, 1024)
    repetitions: int = 51
    budget_s: float = 60.0
    smallest: ClassVar[dict[str, Any]] = {"num_tasks": (2_000,), "batch_sizes": (32,)}


def make_plugins(num_tasks: int, seed: int) -> dict[str, tuple[Any, int]]:
    """Makes the plug-ins by name, each with its number of references."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, NUM_GROUPS, num_tasks)
    graph = rng.integers(1, num_tasks, (num_tasks, NUM_NEIGHBOURS), np.int32)
    graph = np.sort(graph, axis=1)
    graph[:, 1:][graph[:, 1:] == graph[:, :-1]] = -1
    return {
        BASE: (plugins.interpolation(), 2),
        "references, M = 2": (plugins.references(num_references=2), 2),
        "references, M = 8": (plugins.references(num_references=8), 8),
        "references, M = 32": (plugins.references(num_references=32), 32),
        "ability": (plugins.ability(num_tasks=num_tasks), 0),
        "group prior, 16 groups": (plugins.group_prior(groups, NUM_GROUPS), 0),
        "neighbours, k = 16": (plugins.neighbours(graph), 0),
        "none": (None, 0),
    }


def make_turn(
    selector: bots_jax.TaskSelector, state: Any, seed: int
) -> Callable[[], Any]:
    """Makes one step of a loop, its evidence drawn beforehand."""
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    rng = np.random.default_rng(seed)
    size, group = selector.batch_size, settings.GROUP_SIZE
    given = []
    for _ in range(16):
        ids = rng.choice(selector.num_tasks, size, replace=False).astype(np.int32)
        successes = rng.integers(0, group + 1, size).astype(np.float32)
        counts = (jnp.asarray(x) for x in (ids, successes, group - successes))
        given.append(bots_jax.Evidence(*counts))
    keys = [jax.random.key(number) for number in range(16)]
    held, number = [state], [0]

    def turn() -> Any:
        place = number[0] % 16
        held[0], task_ids, _ = step(keys[place], held[0], given[place])
        number[0] += 1
        return jax.block_until_ready(task_ids)

    return turn


def make_candidates(
    config: Config, num_tasks: int, batch_size: int, selection: str
) -> list[Candidate]:
    """Makes the loops of one case."""
    rng = np.random.default_rng(config.seed)
    rates = rng.random((num_tasks, 32), np.float32)
    sizes: dict[str, Any] = {"num_tasks": num_tasks, "batch_size": batch_size}
    bots = bots_jax.bots(**sizes, selection=selection)
    turns = {BOTS: make_turn(bots, bots.init(rates[:, :2]), config.seed)}
    for name, (plugin, models) in make_plugins(num_tasks, config.seed).items():
        selector = bots_jax.adaptive(
            **sizes,
            plugin=plugin,
            score=bots_jax.thompson_draws,
            temperature=0.0,
            coverage=bots_jax.Coverage(),
            selection=selection,
        )
        state = selector.init(rates[:, :models] if models else None)
        turns[name] = make_turn(selector, state, config.seed)
    return [Candidate(name, turn, warmups=20) for name, turn in turns.items()]


def run_case(
    config: Config, num_tasks: int, batch_size: int, selection: str
) -> list[dict[str, Any]]:
    """Times the candidates at one N and B; returns rows of the JSON file."""
    where = {"num_tasks": num_tasks, "batch_size": batch_size, "selection": selection}
    candidates = make_candidates(config, num_tasks, batch_size, selection)
    label = f"N={num_tasks:,} B={batch_size} {selection}"
    timings = harness.time_candidates(label, candidates, config)
    rows = [where | timing.as_row() for timing in timings]
    for row in rows:
        times = ratio(rows, row["candidate"], BASE, **where)
        row["times_interpolation"] = None if times is None else round(times, 3)
        CONSOLE.print(f"  {row['candidate']}: {times or float('nan'):.2f} times {BASE}")
    return rows


def plugin_table(rows: Sequence[Row]) -> Table:
    """One row per plug-in: ms of a step, and how many interpolation steps that is."""
    sizes = cases(rows, "num_tasks", "batch_size", "selection")
    body = []
    for name in dict.fromkeys(row["candidate"] for row in rows):
        row = [name]
        for num_tasks, batch_size, selection in sizes:
            where = {"num_tasks": num_tasks, "batch_size": batch_size}
            found = find(rows, candidate=name, selection=selection, **where)
            share = times((found or {}).get("times_interpolation"))
            row.append(f"{spread(found, 1e3)}, {share}")
        body.append(row)
    heads = [f"N={power(n)}, B={b}, {how}, ms" for n, b, how in sizes]
    return Table(["plug-in", *heads], body)


def main(config: Config) -> Path:
    """Times, writes; returns the file."""
    return run_cases(config, "plugins", QUESTION, run_case, CHOSEN)


if __name__ == "__main__":
    harness.run_script(main, Config)
