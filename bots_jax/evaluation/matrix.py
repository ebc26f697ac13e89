"""Logged pass rates of many tasks under many models, read from a file."""

import pathlib
from typing import Any, NamedTuple

import numpy as np

SUFFIXES = (".npy", ".npz", ".csv", ".parquet")


class PassRates(NamedTuple):
    """What was logged.

    Attributes:
      rates: float32 [N, M] in [0, 1], tasks by models, weakest model first.
      names: of the models, in that order.
    """

    rates: np.ndarray
    names: tuple[str, ...]


def read_matrix(
    path: pathlib.Path, array: str | None = None, models_are_rows: bool = False
) -> PassRates:
    """Reads a matrix of pass rates and sorts its models by mean rate.

    .npy and .npz hold one array; .csv and .parquet have a column per model, of which
    those that are not numbers (ids, prompts) are left out.

    Args:
      path: of the file.
      array: name of the array in an .npz that holds several.
      models_are_rows: whether the array is [M, N].

    Returns:
      The pass rates.

    Raises:
      ValueError: for a file that cannot be read, an array of another shape, a single
        column, or values that are missing or outside [0, 1].

    Example:
      >>> read_matrix(pathlib.Path("rates.txt"))
      Traceback (most recent call last):
      ValueError: the matrix must be a .npy, .npz, .csv or .parquet file, got rates.txt.
    """
    if path.suffix not in SUFFIXES:
        allowed = ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}"
        raise ValueError(f"the matrix must be a {allowed} file, got {path}.")
    if not path.is_file():
        raise ValueError(f"the matrix must be a file, {path} is none.")
    if array is not None and path.suffix != ".npz":
        raise ValueError(f"array names are for .npz files, got {array!r} for {path}.")
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix in readers:
        values, names = readers[path.suffix](path)
    else:
        values, names = _read_numpy(path, array), None
    if models_are_rows:
        values = np.asarray(values).T
        names = None
    return sorted_by_ability(values, names)


def sorted_by_ability(values: Any, names: tuple[str, ...] | None = None) -> PassRates:
    """Checks pass rates and puts the weakest model first.

    Args:
      values: [N, M] of numbers or booleans.
      names: of the models; their numbers by default.

    Returns:
      The pass rates, float32.

    Raises:
      ValueError: as `read_matrix`.

    Example:
      >>> sorted_by_ability(np.array([[1, 0], [1, 1]])).names
      ('model 1', 'model 0')
      >>> sorted_by_ability(np.array([[0.5], [0.1]]))
      Traceback (most recent call last):
      ValueError: the matrix must have at least 2 columns, one per model, got 1.
    """
    table = np.asarray(values)
    if table.ndim != 2 or not len(table):
        raise ValueError(
            f"the matrix must have shape (num_tasks, models), got {table.shape}."
        )
    if table.shape[1] < 2:
        raise ValueError(
            "the matrix must have at least 2 columns, one per model, "
            f"got {table.shape[1]}."
        )
    if table.dtype.kind not in "fiub":
        raise ValueError(f"the matrix must hold numbers, got dtype {table.dtype}.")
    with np.errstate(over="ignore"):
        rates = table.astype(np.float32)
    bad = ~((rates >= 0) & (rates <= 1))
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"the matrix must hold pass rates in [0, 1], got {table[row, column]:g} "
            f"at task {row}, model {column}."
        )
    own = names or tuple(f"model {number}" for number in range(rates.shape[1]))
    order = np.argsort(rates.mean(axis=0, dtype=np.float64), kind="stable")
    return PassRates(rates[:, order], tuple(own[number] for number in order))


def _unreadable(path: pathlib.Path, error: Exception) -> ValueError:
    """Says the first sentence of what a library has said."""
    lines = str(error).splitlines() or [type(error).__name__]
    reason = lines[0].split(". ")[0].rstrip(".")
    return ValueError(f"{path} cannot be read: {reason}.")


def _read_numpy(path: pathlib.Path, array: str | None) -> np.ndarray:
    import zipfile
    import zlib

    broken = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
    with path.open("rb") as file:  # np.load leaves a broken one open
        try:
            loaded = np.load(file, allow_pickle=False)
        except broken as error:
            raise _unreadable(path, error) from None
        if isinstance(loaded, np.ndarray):
            return loaded
        name = _name_in(path, loaded.files, array)
        try:
            return loaded[name]
        except broken as error:
            raise _unreadable(path, error) from None


def _name_in(path: pathlib.Path, names: list[str], array: str | None) -> str:
    if array is None and len(names) != 1:
        holds = ", ".join(names) or "none"
        raise ValueError(
            f"{path} must hold one array, or one must be named; it holds {holds}."
        )
    if array is not None and array not in names:
        raise ValueError(f"array must be among {', '.join(names)}; got {array!r}.")
    return names[0] if array is None else array


def _read_csv(path: pathlib.Path) -> tuple[np.ndarray, tuple[str, ...]]:
    import pyarrow
    import pyarrow.csv

    try:
        return _numeric_columns(pyarrow.csv.read_csv(path), path)
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from None


def _read_parquet(path: pathlib.Path) -> tuple[np.ndarray, tuple[str, ...]]:
    import pyarrow
    import pyarrow.parquet

    try:
        return _numeric_columns(pyarrow.parquet.read_table(path), path)
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from None


def _check_words(words: list[Any], name: str, path: pathlib.Path) -> None:
    """Refuses a column of words most of which are numbers: one of them is mistyped."""

    def is_number(word: Any) -> bool:
        try:
            float(word)
        except (TypeError, ValueError):
            return False
        return True

    wrong = [row for row, word in enumerate(words) if not is_number(word)]
    if wrong and 2 * len(wrong) < len(words):
        raise ValueError(
            f"{path} must hold numbers in column {name!r}, got {words[wrong[0]]!r:.60} "
            f"at task {wrong[0]}."
        )


def _numeric_columns(
    table: Any, path: pathlib.Path
) -> tuple[np.ndarray, tuple[str, ...]]:
    import pyarrow

    names, columns = [], []
    for place, field in enumerate(table.schema):  # names may repeat
        kind = field.type
        if not (pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind)):
            if not pyarrow.types.is_boolean(kind):
                _check_words(table.column(place).to_pylist(), field.name, path)
                continue
        column = table.column(place)
        if column.null_count:
            raise ValueError(
                f"{path} must have no missing pass rate, column {field.name!r} has "
                f"{column.null_count}."
            )
        names.append(field.name)
        columns.append(column.to_numpy(zero_copy_only=False).astype(np.float64))
    if not columns:
        raise ValueError(f"{path} must have columns of numbers, it has none.")
    return np.stack(columns, axis=1), tuple(names)
