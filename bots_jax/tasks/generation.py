"""Draws a balanced pool of distinct tasks from reasoning-gym, from the seed alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from bots_jax.tasks.families import (
    FAMILIES,
    FAMILY_NAMES,
    MAX_ANSWER_CHARS,
    MAX_PROMPT_CHARS,
    Entry,
    Family,
    resolve_families,
)
from bots_jax.tasks.pool import TaskPool
from bots_jax.tasks.tokenizer import CONTENT_ALPHABET

PATIENCE = 500
"""A cell is exhausted after so many draws in a row without a new task that fits."""

Progress = Callable[[int, int], None]


class TaskRow(NamedTuple):
    """One task, in the column order of TaskPool."""

    prompt: str
    answer: str
    wrong_answer: str
    family: int
    level: int
    key: str
    metadata: str


def generate_pool(
    num_tasks: int,
    seed: int = 0,
    families: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> TaskPool:
    """Draws distinct tasks, the same number from every family and level.

    Where a cell runs out of distinct tasks, the other cells share what is missing.

    Args:
      num_tasks: how many tasks, > 0.
      seed: decides every task; same seed, same pool, on every machine.
      families: names of the families to draw from; None for all.
      progress: called as progress(done, num_tasks) now and then.

    Returns: the pool, sorted by family and level.

    Raises:
      ValueError: for an unknown family, a bad seed, or more tasks than exist.

    >>> pool = generate_pool(80, families=["gcd", "chain_sum"])
    >>> len(set(pool.prompts)), pool.counts[[0, 5]].tolist()
    (80, [[10, 10, 10, 10], [10, 10, 10, 10]])
    """
    names = check_request(num_tasks, seed, families)
    taken: set[str] = set()
    cells = [
        draw_rows(FAMILIES[name], level, seed, taken)
        for name in names
        for level in range(len(FAMILIES[name].levels))
    ]
    rows: list[TaskRow] = []
    while cells and len(rows) < num_tasks:
        missing = num_tasks - len(rows)
        share = max(1, missing // len(cells))
        still_open = []
        for cell in cells[:missing]:
            drawn = list(islice(cell, share))
            rows += drawn
            if len(drawn) == share:
                still_open.append(cell)
            if progress is not None:
                progress(len(rows), num_tasks)
        cells = still_open + cells[missing:]
    if len(rows) < num_tasks:
        raise ValueError(
            f"num_tasks must be at most {len(rows)}, the number of distinct tasks "
            f"found in {', '.join(names)}; got {num_tasks}"
        )
    rows.sort(key=lambda row: (row.family, row.level))
    return pool_from_columns(*zip(*rows, strict=True))


def check_request(
    num_tasks: int, seed: int, families: Sequence[str] | None
) -> tuple[str, ...]:
    """Checks what a pool is asked for and returns the names of its families.

    >>> check_request(10, 0, ["lcm", "gcd"])
    ('gcd', 'lcm')
    """
    if num_tasks < 1:
        raise ValueError(f"num_tasks must be > 0, got {num_tasks}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    return resolve_families(families)


def pool_from_columns(
    prompts: Sequence[str],
    answers: Sequence[str],
    wrong_answers: Sequence[str],
    family: Sequence[int],
    level: Sequence[int],
    keys: Sequence[str],
    metadata: Sequence[str],
) -> TaskPool:
    """Makes a pool of plain sequences, with the dtypes that TaskPool states.

    >>> pool_from_columns(["G4,6="], ["2"], ["4"], [5], [0], ["k"], ["{}"]).level
    array([0], dtype=int32)
    """
    return TaskPool(
        prompts=np.array(prompts, np.str_),
        answers=np.array(answers, np.str_),
        wrong_answers=np.array(wrong_answers, np.str_),
        family=np.array(family, np.int32),
        level=np.array(level, np.int32),
        keys=np.array(keys, np.str_),
        # Objects: numpy strings would all take the room of the longest.
        metadata=np.array(metadata, np.object_),
    )


def draw_rows(
    family: Family, level: int, seed: int, taken: set[str]
) -> Iterator[TaskRow]:
    """Yields new tasks of one cell until none turns up for PATIENCE draws.

    Args:
      family: one of FAMILIES.
      level: which of its levels.
      seed: of the pool; every cell derives its own.
      taken: prompts not to yield again; grows by every prompt yielded.

    >>> next(draw_rows(FAMILIES["gcd"], 0, 0, set())).key[:6]
    'gcd/0/'
    """
    # Costs a second, which only those who draw tasks should pay.
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(
        family.name,
        seed=_cell_seed(seed, family.name, level),
        **family.levels[level],
    )
    index = misses = 0
    while misses < PATIENCE:
        row = fit_row(family, level, dataset[index])
        index += 1
        if row is None or row.prompt in taken:
            misses += 1
            continue
        misses = 0
        taken.add(row.prompt)
        yield row


def fit_row(family: Family, level: int, entry: Entry) -> TaskRow | None:
    """Spells an item compactly; None where it does not fit the tokens of a task.

    >>> entry = {"question": "Calculate 2*3.", "answer": "6",
    ...     "metadata": {"expression": "2*3"}}
    >>> fit_row(FAMILIES["basic_arithmetic"], 0, entry)[:3]
    ('C2*3=', '6', '5')
    """
    prompt = family.compact(entry["question"])
    answer = family.shorten_answer(entry["answer"], entry["question"])
    if len(prompt) > MAX_PROMPT_CHARS or not 0 < len(answer) <= MAX_ANSWER_CHARS:
        return None
    # No capitals: they are symbols here, and some scorers do not tell them from small.
    if not set(prompt[1:] + answer) <= set(CONTENT_ALPHABET):
        return None
    name_of_prompt = hashlib.sha256(prompt.encode()).hexdigest()[:12]
    return TaskRow(
        prompt=prompt,
        answer=answer,
        wrong_answer=family.wrong_answer(entry),
        family=FAMILY_NAMES.index(family.name),
        level=level,
        key=f"{family.name}/{level}/{name_of_prompt}",
        metadata=json.dumps(entry["metadata"], separators=(",", ":")),
    )


def _cell_seed(seed: int, name: str, level: int) -> int:
    cell = hashlib.sha256(f"{seed}/{name}/{level}".encode()).digest()
    return int.from_bytes(cell[:6], "big")
