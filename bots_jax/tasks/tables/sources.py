"""Reads the files of a table, of any kind, as record batches of one schema."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bots_jax.tasks.tables.json_lines import json_batches, json_schema, merged_type

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".parquet", ".jsonl", ".json", ".arrow")
"""Kinds of files; .json must hold JSON lines too."""

_NOT_ROWS = ("dataset_info.json", "state.json", "dataset_dict.json")
"""What data set libraries write beside their rows."""

_BATCH_ROWS = 1024

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One file or folder, or several."""


def find_files(paths: Paths) -> list[Path]:
    """Lists the files of a table, in the order given; those of folders by name.

    Raises:
      ValueError: with one sentence, if one is not there, is of another kind or empty.

    Example:
      >>> find_files("tasks.png")
      Traceback (most recent call last):
      ValueError: a table must be .parquet, .jsonl, .json or .arrow, got tasks.png.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise ValueError("paths must name at least one file, got none.")
    files = [file for path in given for file in _files_at(Path(path))]
    for file in files:
        if file.stat().st_size == 0:
            raise ValueError(f"{file} is empty.")
    return files


def _files_at(path: Path) -> list[Path]:
    path = path.expanduser()
    if path.is_dir():
        files = sorted(
            file
            for file in path.iterdir()
            if file.suffix in ENDINGS
            and file.is_file()
            and file.name[0] not in "._"
            and file.name not in _NOT_ROWS
        )
        if not files:
            raise ValueError(f"folder {path} holds no file {_or(ENDINGS)}.")
        return files
    if path.suffix not in ENDINGS:
        raise ValueError(f"a table must be {_or(ENDINGS)}, got {path}.")
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    return [path]


def _or(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"


def common_schema(files: Sequence[Path]) -> pa.Schema:
    """Finds the columns of a table; all its files must have the same.

    Dictionaries become their values, long strings and lists plain ones. A column that
    is null throughout in one file takes its type from the others.

    Raises:
      ValueError: with one sentence naming file, column and types.
    """
    import pyarrow as pa

    schema = _file_schema(files[0])
    for file in files[1:]:
        other = _file_schema(file)
        for here, there, one, two in (
            (schema, other, files[0], file),
            (other, schema, file, files[0]),
        ):
            missing = [name for name in here.names if name not in there.names]
            if missing:
                raise ValueError(
                    f"all files of a table must have the same columns: {one} has "
                    f"{missing[0]!r}, and {two} has not."
                )
        fields = []
        for field in schema:
            type_ = merged_type(field.type, other.field(field.name).type)
            if type_ is None:
                raise ValueError(
                    f"column {field.name!r} must have one type in all files: it is "
                    f"{field.type} in {files[0]} and {other.field(field.name).type} "
                    f"in {file}."
                )
            fields.append((field.name, type_))
        schema = pa.schema(fields)
    return schema


def _file_schema(file: Path) -> pa.Schema:
    import pyarrow as pa

    with Unreadable(file):
        is_json = file.suffix in (".jsonl", ".json")
        found = json_schema(file) if is_json else _reader(file).schema
    for name in found.names:
        if found.names.count(name) > 1:
            raise ValueError(f"{file} has two columns {name!r}.")
    if not found.names:
        raise ValueError(f"{file} has no columns.")
    return pa.schema([(field.name, plain_type(field.type)) for field in found])


def file_batches(file: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Reads one file in batches, cast to the schema of the table."""
    import pyarrow as pa

    with Unreadable(file):
        if file.suffix in (".jsonl", ".json"):
            yield from json_batches(file, schema)
            return
        for batch in _reader(file).batches():
            arrays = []
            for field in schema:
                array = batch.column(batch.schema.get_field_index(field.name))
                if isinstance(array, pa.ExtensionArray):
                    array = array.storage
                same = array.type.equals(field.type)
                arrays.append(array if same else array.cast(field.type))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class _Arrow:
    """A file of Arrow, in the format with a footer or in the one without."""

    def __init__(self, file: Path):
        import pyarrow as pa

        self._file, self._has_footer = file, True
        try:
            self.schema = self._open().schema
        except pa.ArrowInvalid:
            self._has_footer = False
            self.schema = self._open().schema

    def _open(self) -> Any:
        import pyarrow as pa

        source = pa.OSFile(str(self._file), "rb")
        return (pa.ipc.open_file if self._has_footer else pa.ipc.open_stream)(source)

    def batches(self) -> Iterator[pa.RecordBatch]:
        reader = self._open()
        if not self._has_footer:
            yield from reader
            return
        for at in range(reader.num_record_batches):
            yield reader.get_batch(at)


class _Parquet:
    """A file of parquet, read by small batches."""

    def __init__(self, file: Path):
        import pyarrow.parquet as pq

        # Buffering ahead keeps what was read, so memory would grow with the file.
        self._open = pq.ParquetFile(file, pre_buffer=False)
        self.schema = self._open.schema_arrow

    def batches(self) -> Iterator[pa.RecordBatch]:
        return self._open.iter_batches(batch_size=_BATCH_ROWS)


def _reader(file: Path) -> _Arrow | _Parquet:
    return _Parquet(file) if file.suffix == ".parquet" else _Arrow(file)


class Unreadable:
    """Turns what a reader raises into one sentence that names the file.

    Example:
      >>> with Unreadable(Path("tasks.parquet")):
      ...     raise OSError("Unexpected end of stream")
      Traceback (most recent call last):
      ValueError: tasks.parquet cannot be read as .parquet: Unexpected end of stream.
    """

    def __init__(self, file: Path):
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import pyarrow as pa

        if isinstance(error, (pa.ArrowException, OSError, UnicodeError)):
            lines = str(error).splitlines() or [type(error).__name__]
            raise ValueError(
                f"{self._file} cannot be read as {self._file.suffix}: "
                f"{lines[0].rstrip('.')}."
            ) from None


def plain_type(type_: pa.DataType) -> pa.DataType:
    """Finds the plain type of the same values: no dictionaries, nothing long.

    Example:
      >>> import pyarrow as pa
      >>> plain_type(pa.list_(pa.dictionary(pa.int32(), pa.large_string())))
      ListType(list<item: string>)
    """
    import pyarrow as pa

    is_ = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return plain_type(type_.storage_type)
    if is_.is_dictionary(type_) or is_.is_run_end_encoded(type_):
        return plain_type(type_.value_type)
    if is_.is_large_string(type_) or is_.is_string_view(type_):
        return pa.string()
    if is_.is_large_binary(type_) or is_.is_binary_view(type_):
        return pa.binary()
    if is_.is_list(type_) or is_.is_large_list(type_):
        return pa.list_(plain_type(type_.value_type))
    if is_.is_struct(type_):
        fields = [type_.field(at) for at in range(type_.num_fields)]
        return pa.struct([(field.name, plain_type(field.type)) for field in fields])
    return type_
