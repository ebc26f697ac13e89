"""Finds rows of a table whose prompts are equal."""

from __future__ import annotations

import dataclasses

import numpy as np

from bots_jax.tasks.tables.columns import ColumnPath, joined_text
from bots_jax.tasks.tables.files import RowsFile
from bots_jax.tasks.tables.index import Index

_NUM_EXAMPLES = 5
_MOST_ROWS = 5


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Prompts that stand in more than one row.

    Attributes:
      num_prompts: how many such prompts there are.
      num_rows: in how many rows they stand.
      num_conflicting: how many of them have different answers.
      examples: the row numbers and the text of the first few.

    Example:
      >>> print(Duplicates(1, 2, 0, (((0, 4), "What is 1 + 1?"),)))
      1 prompt stands in more than one row (2 rows), 0 of them with different answers;
      first: rows 0 and 4, 'What is 1 + 1?'.
    """

    num_prompts: int
    num_rows: int
    num_conflicting: int
    examples: tuple[tuple[tuple[int, ...], str], ...]

    def __str__(self) -> str:
        if not self.num_prompts:
            return "No prompt stands in more than one row."
        rows, text = self.examples[0]
        rest = rows[-1] if len(rows) <= _MOST_ROWS else f"{len(rows) - _MOST_ROWS} more"
        listed = (
            ", ".join(map(str, rows[:_MOST_ROWS][: len(rows) - 1])) + f" and {rest}"
        )
        are = "prompt stands" if self.num_prompts == 1 else "prompts stand"
        return (
            f"{self.num_prompts} {are} in more than one row ({self.num_rows} rows), "
            f"{self.num_conflicting} of them with different answers; first: rows "
            f"{listed}, {text!r:.80}."
        )


def find_duplicates(index: Index, rows: RowsFile, prompt: ColumnPath) -> Duplicates:
    """Finds prompts that stand in more than one row."""
    order = np.argsort(index.prompts, kind="stable")
    ranked = index.prompts[order]
    again = np.flatnonzero(ranked[1:] == ranked[:-1])  # the same prompt as the next
    if not len(again):
        return Duplicates(0, 0, 0, ())
    firsts = np.flatnonzero(np.append(True, np.diff(again) > 1))
    starts = again[firsts]
    sizes = np.diff(np.append(firsts, len(again))) + 1
    differs = index.contents[order[again]] != index.contents[order[again + 1]]
    conflicts = np.logical_or.reduceat(differs, firsts)
    examples = []
    for group in np.argsort(order[starts])[:_NUM_EXAMPLES]:
        found = order[starts[group] : starts[group] + sizes[group]]
        (text,) = rows.values(found[:1], prompt)
        examples.append((tuple(found.tolist()), joined_text(text)))
    return Duplicates(
        num_prompts=len(starts),
        num_rows=int(sizes.sum()),
        num_conflicting=int(conflicts.sum()),
        examples=tuple(examples),
    )
