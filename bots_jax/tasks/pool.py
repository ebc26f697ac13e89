"""The tasks as columns of one table, and how to hold some of them out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from bots_jax.tasks.arrays import CellCounts, PerTaskIndex
from bots_jax.tasks.families import FAMILIES, FAMILY_NAMES, NUM_LEVELS


@dataclass(frozen=True, eq=False)
class TaskPool:
    """N distinct tasks, sorted by family and level; row i is task i.

    Attributes:
      prompts: str [N], distinct, at most MAX_PROMPT_CHARS characters.
      answers: str [N], the right answers in the short spelling.
      wrong_answers: str [N], what the family's wrong procedure answers.
      family: int32 [N], index into FAMILY_NAMES, whichever families the pool holds.
      level: int32 [N] in [0, NUM_LEVELS), 0 is the easiest.
      keys: str [N], `family/level/hash of the prompt`, the same in every pool.
      metadata: str [N], reasoning-gym's metadata of the item as JSON.

    >>> pool = TaskPool(*[np.array([text]) for text in ("G4,6=", "2", "4")],
    ...     np.int32([5]), np.int32([0]), np.array(["gcd/0/x"]), np.array(["{}"]))
    >>> pool.entry(0)["question"][-47:]
    ': 4, 6. Give only the GCD as your final answer.'
    """

    prompts: np.ndarray
    answers: np.ndarray
    wrong_answers: np.ndarray
    family: PerTaskIndex
    level: PerTaskIndex
    keys: np.ndarray
    metadata: np.ndarray

    def __post_init__(self):
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must be of equal length, got {lengths}")

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of keys and answers: equal for equal tasks in equal order."""
        return digest(self.keys, self.answers)

    @property
    def counts(self) -> CellCounts:
        """Tasks per cell, int64 [families, levels], zero where there are none."""
        table = np.zeros((len(FAMILY_NAMES), NUM_LEVELS), np.int64)
        np.add.at(table, (self.family, self.level), 1)
        return table

    def entry(self, task_id: int) -> dict[str, Any]:
        """Rebuilds the reasoning-gym item: question, answer and metadata."""
        family = FAMILIES[FAMILY_NAMES[self.family[task_id]]]
        question = family.expand(str(self.prompts[task_id]))
        return {
            "question": question,
            "answer": family.lengthen_answer(str(self.answers[task_id]), question),
            "metadata": json.loads(self.metadata[task_id]),
        }

    def take(self, rows: np.ndarray) -> TaskPool:
        """Returns the pool of some rows (indices or a mask), in their order."""
        return replace(
            self,
            **{field.name: getattr(self, field.name)[rows] for field in fields(self)},
        )


def digest(*columns: Iterable[object]) -> str:
    """Hashes columns by their values, not by their storage.

    >>> digest(["a", "b"]) == digest(np.array(["a", "b"])), digest(["a"]) == digest([1])
    (True, False)
    """
    return hashlib.sha256(
        json.dumps([[str(value) for value in column] for column in columns]).encode()
    ).hexdigest()


def split_pool(
    pool: TaskPool, held_out: int, seed: int = 0
) -> tuple[TaskPool, TaskPool]:
    """Holds tasks out, as many per family and level as its share of the pool.

    Args:
      pool: N tasks; unchanged.
      held_out: how many tasks to hold out, in [1, N).
      seed: which tasks of a cell are held out.

    Returns: (the rest, the tasks held out), both in the order of the pool.

    Raises:
      ValueError: if held_out leaves either part empty.

    >>> from bots_jax.tasks.generation import generate_pool
    >>> rest, held = split_pool(generate_pool(40, families=["gcd"]), 8)
    >>> rest.counts[5].tolist(), held.counts[5].tolist()
    ([8, 8, 8, 8], [2, 2, 2, 2])
    """
    if not 1 <= held_out < len(pool):
        raise ValueError(f"held_out must be in [1, {len(pool)}), got {held_out}")
    cells = pool.family.astype(np.int64) * NUM_LEVELS + pool.level
    shares = _apportion(pool.counts.ravel(), held_out)
    # Ranked by a hash: numpy promises no equal shuffles across its versions.
    ranks = np.array([digest([seed], [key]) for key in pool.keys])
    is_held = np.zeros(len(pool), bool)
    for cell in np.flatnonzero(shares):
        rows = np.flatnonzero(cells == cell)
        is_held[rows[np.argsort(ranks[rows])[: shares[cell]]]] = True
    return pool.take(~is_held), pool.take(is_held)


def _apportion(counts: np.ndarray, total: int) -> np.ndarray:
    """Splits `total` in proportion to `counts`, by the largest remainders."""
    exact = total * counts / counts.sum()
    shares = np.floor(exact).astype(np.int64)
    first = np.argsort(shares - exact, kind="stable")[: total - shares.sum()]
    shares[first] += 1
    return shares
