"""What it costs to keep the mix of sources, beside a selector that does not.

All candidates are `adaptive` with two references, everything at its default, in a pool
in which references foresee a good part of what is solved. With D sources of equal size
every source is given its share of the batch. "One cold" is the same with a source of
which no task is ever solved: a race waits for it in vain, and a sweep follows. The
evidence is 16 rollouts of each task chosen before, drawn outside of the timed region.

    python -m benchmarks.kept_mix
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

import bots_jax
from bots_jax import plugins

from . import harness
from . import pool as settings
from .cases import run_cases
from .cells import Row, Table, cases, find, power, ratio, spread, times
from .harness import CONSOLE, Candidate

QUESTION = "What does it cost to keep the mix of sources?"
FREE = "mix not kept"
SOURCES = (4, 16, 64)
CHOSEN = ("auto", "sweep")
WARMUPS = 40


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """What it costs to keep the mix of sources.

    Attributes:
      num_tasks: N.
      batch_sizes: B.
    """

    num_tasks: tuple[int, ...] = (1_000_000,)
    batch_sizes: tuple[int, ...] = (64, 1024)
    repetitions: int = 51
    budget_s: float = 60.0
    smallest: ClassVar[dict[str, Any]] = {"num_tasks": (2_000,), "batch_sizes": (64,)}


def make_pool(num_tasks: int, cold: np.ndarray, seed: int) -> tuple[Any, np.ndarray]:
    """Makes pass rates of two references, and the policy's success chances [N].

    Args:
      num_tasks: N.
      cold: bool [N], tasks that nobody solves.
      seed: of both.
    """
    rng = np.random.default_rng(seed)
    ease = np.where(cold, -30, 3 * rng.standard_normal(num_tasks))
    chance = lambda skill: 1 / (1 + np.exp(-ease - skill))  # noqa: E731
    rates = [rng.binomial(8, chance(skill)) / 8 for skill in (-3, 1)]
    return np.stack(rates, axis=1).astype(np.float32), chance(-1.5)


class Loop:
    """Steps of one selector, each with rollouts of what the one before has chosen."""

    def __init__(
        self,
        selector: bots_jax.TaskSelector,
        state: Any,
        chances: np.ndarray,
        seed: int,
    ) -> None:
        self._step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
        self._chances, self._rng = chances, np.random.default_rng(seed)
        self._state, self._number = state, 0
        self._task_ids = np.full(selector.batch_size, -1, np.int32)
        self._key, self._evidence = jax.random.key(0), bots_jax.empty_evidence(1)
        self.num_points: list[int] = []
        self.fell_back: list[bool] = []

    def prepare(self) -> None:
        """Draws rollouts and a key."""
        counts = self._rng.binomial(settings.GROUP_SIZE, self._chances[self._task_ids])
        evidence = bots_jax.evidence_from_counts(
            self._task_ids, counts, settings.GROUP_SIZE
        )
        self._evidence = jax.device_put(evidence)
        self._key = jax.random.key(self._number)
        jax.block_until_ready((self._key, self._evidence))

    def step(self) -> np.ndarray:
        """Takes a step; the chosen ids end on the host."""
        self._state, chosen, info = self._step(self._key, self._state, self._evidence)
        self._task_ids = np.asarray(chosen)
        self._number += 1
        self.num_points.append(info.select.num_points)
        self.fell_back.append(info.select.fell_back)
        return self._task_ids

    def as_row(self, warmups: int) -> dict[str, float]:
        """What the races of the timed steps did."""
        points = np.asarray(self.num_points[warmups:], float)
        return {
            "points_per_task": round(float(points.mean()) / len(self._task_ids), 2),
            "fell_back_share": round(float(np.mean(self.fell_back[warmups:])), 3),
        }


def make_loops(
    config: Config, num_tasks: int, batch_size: int, selection: str
) -> dict[str, Loop]:
    """Makes the loops of one case, by name."""
    nobody = np.zeros(num_tasks, bool)
    mixes: dict[str, tuple[Any, np.ndarray]] = {FREE: (None, nobody)}
    for number in SOURCES:
        sources = np.arange(num_tasks) % number
        mixes[f"{number} sources"] = (sources, nobody)
    few = np.arange(num_tasks) % SOURCES[0]
    mixes[f"{SOURCES[0]} sources, one cold"] = (few, few == 0)
    found = {}
    for name, (sources, cold) in mixes.items():
        references, chances = make_pool(num_tasks, cold, config.seed)
        selector = bots_jax.adaptive(
            num_tasks=num_tasks,
            batch_size=batch_size,
            plugin=plugins.references(num_references=2),
            group_ids=sources,
            selection=selection,
        )
        state = selector.init(references)
        found[name] = Loop(selector, state, chances, config.seed)
    return found


def run_case(
    config: Config, num_tasks: int, batch_size: int, selection: str
) -> list[dict[str, Any]]:
    """Times the candidates at one N and B; returns rows of the JSON file."""
    where = {"num_tasks": num_tasks, "batch_size": batch_size, "selection": selection}
    loops = make_loops(config, num_tasks, batch_size, selection)
    candidates = [
        Candidate(name, loop.step, loop.prepare, warmups=WARMUPS)
        for name, loop in loops.items()
    ]
    label = f"N={num_tasks:,} B={batch_size} {selection}"
    timings = harness.time_candidates(label, candidates, config)
    rows = [where | timing.as_row() for timing in timings]
    for row in rows:
        row |= loops[row["candidate"]].as_row(WARMUPS)
        found = ratio(rows, row["candidate"], FREE, **where)
        row["times_free"] = None if found is None else round(found, 3)
        CONSOLE.print(f"  {row['candidate']}: {found or float('nan'):.2f} times {FREE}")
    return rows


def mix_table(rows: Sequence[Row]) -> Table:
    """One row per mix: ms of a step, and how many steps without quotas that is."""
    sizes = cases(rows, "num_tasks", "batch_size", "selection")
    body = []
    for name in dict.fromkeys(row["candidate"] for row in rows):
        row = [name]
        for num_tasks, batch_size, selection in sizes:
            where = {"num_tasks": num_tasks, "batch_size": batch_size}
            found = find(rows, candidate=name, selection=selection, **where)
            share = times((found or {}).get("times_free"))
            gave_up = (found or {}).get("fell_back_share", 0)
            told = f"; {gave_up:.0%} gave up" if selection != "sweep" else ""
            row.append(f"{spread(found, 1e3)}, {share}{told}")
        body.append(row)
    heads = [f"N={power(n)}, B={b}, {how}, ms" for n, b, how in sizes]
    return Table(["sources", *heads], body)


def main(config: Config) -> Path:
    """Times, writes; returns the file."""
    return run_cases(config, "kept_mix", QUESTION, run_case, CHOSEN)


if __name__ == "__main__":
    harness.run_script(main, Config)
