"""Reads tables written as JSON lines: one object per line, one type per column."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK_ROWS = 4096
_CHUNK_BYTES = 2**24
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KINDS = {bool: "booleans", int: "numbers", float: "numbers", str: "text"}
_KINDS |= {list: "lists", dict: "objects"}
_INT64 = range(-(2**63), 2**63)


def json_schema(path: Path) -> pa.Schema:
    r"""Reads all lines and finds the columns and their types.

    A column or a field that some lines lack is null there. Whole numbers among others
    become floating point. Text stays text, also where it looks like a date.

    Raises:
      ValueError: with one sentence, if a line is not an object, or a column holds
        values of several types.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "tasks.jsonl")
      ...     _ = path.write_text('{"prompt": "1 + 1"}\n{"rate": 0}\n{"rate": 0.5}')
      ...     json_schema(path)
      prompt: string
      rate: double
    """
    import pyarrow as pa

    found: pa.DataType = pa.struct([])
    names: dict[str, None] = {}  # in the order in which they appear
    for rows in _chunks(path):
        for row in rows:
            names.update(dict.fromkeys(row))
        try:
            merged = merged_type(found, pa.array(rows).type)
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise _mixture(path, error) from None
        if merged is None:
            raise _mixture(path, None)
        found = merged
    return pa.schema([found.field(found.get_field_index(name)) for name in names])


def json_batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Reads all lines as record batches of a schema that `json_schema` found."""
    import pyarrow as pa

    whole = pa.struct(list(schema))
    for rows in _chunks(path):
        try:
            array = pa.array(rows, whole)
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise _mixture(path, error) from None
        assert isinstance(array, pa.StructArray)
        yield pa.RecordBatch.from_arrays(array.flatten(), schema=schema)


def merged_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Finds the type that holds values of both; None where there is none.

    Example:
      >>> import pyarrow as pa
      >>> merged_type(pa.int64(), pa.float64()), merged_type(pa.int64(), pa.null())
      (DataType(double), DataType(int64))
      >>> merged_type(pa.int64(), pa.string()) is None
      True
    """
    import pyarrow as pa

    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_list(one) and pa.types.is_list(other):
        value = merged_type(one.value_type, other.value_type)
        return None if value is None else pa.list_(value)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = {one.field(at).name: one.field(at).type for at in range(len(one))}
        for at in range(len(other)):
            name, type_ = other.field(at).name, other.field(at).type
            merged = merged_type(fields.get(name, pa.null()), type_)
            if merged is None:
                return None
            fields[name] = merged
        return pa.struct(list(fields.items()))
    return None


def _chunks(path: Path) -> Iterator[list[dict[str, Any]]]:
    rows, size = [], 0
    for _, row, num_bytes in _lines(path):
        rows.append(row)
        size += num_bytes
        if len(rows) >= _CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Gives the number of each line that is not blank, its object and its bytes."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode())
            except UnicodeDecodeError:
                raise ValueError(f"line {number} of {path} is not UTF-8.") from None
            except (ValueError, RecursionError) as error:
                raise ValueError(
                    f"line {number} of {path} is not a JSON object, one of which must "
                    f"stand on each line: {error}."
                ) from None
            if not isinstance(row, dict):
                raise ValueError(
                    f"line {number} of {path} must be a JSON object, got {row!r:.60}."
                )
            yield number, row, len(line)


def _mixture(path: Path, error: Exception | None) -> ValueError:
    """Finds the first value that does not go with those before; slow."""
    seen: dict[str, tuple[str, int]] = {}

    def visit(name: str, value: Any, line: int) -> str | None:
        if value is None:
            return None
        if isinstance(value, int) and value not in _INT64:
            return (
                f"column {name!r} of {path} must fit in 64 bits, got {str(value):.30}"
            )
        if isinstance(value, str) and not _is_unicode(value):
            return f"column {name!r} of {path} holds half a surrogate pair"
        kind = _KINDS[type(value)]
        before = seen.setdefault(name, (kind, line))
        if before[0] != kind:
            return (
                f"column {name!r} of {path} must hold one type, got {before[0]} in "
                f"line {before[1]} and {kind}"
            )
        inner: list[tuple[str, Any]] = []
        if isinstance(value, dict):
            inner = [(f"{name}.{field}", item) for field, item in value.items()]
        elif isinstance(value, list):
            inner = [(f"{name}[]", item) for item in value]
        found = (visit(field, item, line) for field, item in inner)
        return next((sentence for sentence in found if sentence), None)

    for line, row, _ in _lines(path):
        for name, value in row.items():
            sentence = visit(name, value, line)
            if sentence is not None:
                return ValueError(f"{sentence} in line {line}.")
    why = "its columns mix types" if error is None else str(error).splitlines()[0]
    return ValueError(f"{path} cannot be read as JSON lines: {why}.")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeError:
        return False
    return True
