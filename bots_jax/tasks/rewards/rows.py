"""What a reward is, and what it finds in the row of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
"""The table's columns, with `prompt` and `answer` among them."""

Reward = Callable[[str, Row], float]
"""reward(completion, row) -> number in [0, 1]."""


def answer_of(row: Row) -> Any:
    """Returns the answer of a row.

    Raises:
      ValueError: where it has none.

    >>> answer_of({"prompt": "?", "answer": None})
    Traceback (most recent call last):
    ValueError: the row has no answer.
    """
    answer = row.get("answer")
    if answer is None:
        raise ValueError("the row has no answer.")
    return answer


def look_up(row: Row, name: str) -> Any:
    """Returns a column of a row; dots reach into structs.

    Raises:
      ValueError: where it has none of this name.

    >>> look_up({"extra_info": {"level": 3}}, "extra_info.level")
    3
    """
    if name in row:
        return row[name]
    found: Any = row
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise ValueError(f"the row has no {name!r}, only {sorted(row)}.")
        found = found[part]
    return found
