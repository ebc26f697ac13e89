"""Reads pass rates of reference models, which stand as columns beside the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bots_jax.tasks.tables.columns import known_column, leaf_names, type_of
from bots_jax.tasks.tables.table import TaskTable

RATE_ENDING = "_pass_rate"
"""How a column of pass rates is named, after its model."""

COUNT_ENDING = "_num_rollouts"
"""How the column of the numbers of rollouts behind them is named."""


def pass_rate_columns(table: TaskTable) -> list[str]:
    """Names the columns of pass rates: numbers under a name that ends in _pass_rate.

    Example:
      >>> import pathlib, tempfile, bots_jax.tasks.tables.table as tables
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "tasks.jsonl")
      ...     _ = path.write_text('{"prompt": "1 + 1", "weak_pass_rate": 0.5}')
      ...     table = tables.open_table(path, cache_dir=folder)
      >>> pass_rate_columns(table)
      ['weak_pass_rate']
    """
    import pyarrow as pa

    def is_number(name: str) -> bool:
        type_ = type_of(table.schema, known_column(table.schema, name))
        is_real = pa.types.is_floating(type_) or pa.types.is_decimal(type_)
        return is_real or pa.types.is_integer(type_)

    names = leaf_names(table.schema)
    return [name for name in names if name.endswith(RATE_ENDING) and is_number(name)]


def references(
    table: TaskTable, columns: Sequence[str], missing: str | float = "refuse"
) -> np.ndarray:
    r"""Reads pass rates of M models as the references of a selector.

    Args:
      table: N tasks.
      columns: M names; for two references, the weak model's and then the strong one's.
      missing: what becomes of tasks that were not evaluated, whose pass rate is null
        or NaN: "refuse"; "mean" for the mean of those that were, column by column; or
        a number in [0, 1].

    Returns:
      float32 [N, M], in [0, 1].

    Raises:
      ValueError: with one sentence, for a column that is not there or holds something
        else than numbers in [0, 1], and for tasks that were not evaluated.

    Example:
      >>> import pathlib, tempfile, bots_jax.tasks.tables.table as tables
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "tasks.jsonl")
      ...     _ = path.write_text('{"prompt": "1", "x": 0.5}\n{"prompt": "2"}')
      ...     table = tables.open_table(path, cache_dir=folder)
      >>> references(table, ["x"], missing="mean").tolist()
      [[0.5], [0.5]]
      >>> references(table, ["x"])
      Traceback (most recent call last):
      ValueError: not all tasks were evaluated: 'x' is null for 1 of 2; missing='mean'
      or a number fills gaps, and set_eligible keeps such tasks out.
    """
    is_word = isinstance(missing, str) and missing in ("refuse", "mean")
    if not is_word and not _is_rate(missing):
        raise ValueError(
            "missing must be 'refuse', 'mean' or a number in [0, 1], "
            f"got {missing!r:.60}."
        )
    names = _checked_names(columns)
    rates = np.empty((len(table), len(names)), np.float32)
    gaps: list[str] = []
    for at, name in enumerate(names):
        values = _rates(table, name)
        is_gap = np.isnan(values)
        if is_gap.any():
            gaps.append(f"{name!r} is null for {is_gap.sum()} of {len(values)}")
            if missing == "mean":
                if is_gap.all():
                    raise ValueError(
                        f"no task was evaluated in column {name!r}, so it has no mean."
                    )
                values[is_gap] = values[~is_gap].mean()
            elif missing != "refuse":
                values[is_gap] = float(missing)
        rates[:, at] = values
    if gaps and missing == "refuse":
        raise ValueError(
            f"not all tasks were evaluated: {', '.join(gaps)}; missing='mean' or a "
            "number fills gaps, and set_eligible keeps such tasks out."
        )
    return rates


def evaluated(table: TaskTable, columns: Sequence[str]) -> np.ndarray:
    r"""Tells which tasks have a pass rate in every one of some columns.

    Args:
      table: N tasks.
      columns: names.

    Returns:
      bool [N], as `set_eligible` takes it.

    Raises:
      ValueError: as `references` does, but for tasks that were not evaluated.

    Example:
      >>> import pathlib, tempfile, bots_jax.tasks.tables.table as tables
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "tasks.jsonl")
      ...     _ = path.write_text('{"prompt": "1", "x": 0.5}\n{"prompt": "2"}')
      ...     table = tables.open_table(path, cache_dir=folder)
      >>> evaluated(table, ["x"]).tolist()
      [True, False]
    """
    found = np.ones(len(table), bool)
    for name in _checked_names(columns):
        found &= ~np.isnan(_rates(table, name))
    return found


def counts(table: TaskTable, columns: Sequence[str]) -> np.ndarray:
    """Reads how many rollouts are behind pass rates, from the columns beside them.

    Args:
      table: N tasks.
      columns: M names of columns of pass rates, such as "weak_pass_rate"; the numbers
        stand in "weak_num_rollouts".

    Returns:
      int32 [N, M], 0 where it is null.

    Raises:
      ValueError: with one sentence, for a column that is not there, or of something
        else than whole numbers >= 0.
    """
    names = _checked_names(columns)
    found = np.empty((len(table), len(names)), np.int32)
    for at, name in enumerate(names):
        count_name = name.removesuffix(RATE_ENDING) + COUNT_ENDING
        values = np.nan_to_num(table.numbers(count_name), nan=0.0)
        bad = ~((values >= 0) & (values < 2**31) & (values == np.floor(values)))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"column {count_name!r} must hold whole numbers >= 0, "
                f"got {values[row]:g} in row {row}."
            )
        found[:, at] = values
    return found


def _rates(table: TaskTable, name: str) -> np.ndarray:
    values = table.numbers(name)
    bad = ~((values >= 0) & (values <= 1) | np.isnan(values))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"pass rates must be in [0, 1], got {values[row]:g} in row {row} of "
            f"column {name!r}."
        )
    return values


def _checked_names(columns: Any) -> list[str]:
    if isinstance(columns, str) or not len(columns):
        raise ValueError(f"columns must be a list of names, got {columns!r:.60}.")
    return list(columns)


def _is_rate(value: Any) -> bool:
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    return is_number and not isinstance(value, bool) and bool(0 <= value <= 1)
