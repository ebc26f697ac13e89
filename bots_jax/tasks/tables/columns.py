"""Finds columns of a table by name, into structs too, and says what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

PROMPT_COLUMNS = ("prompt", "question", "problem", "input")
"""Where a prompt is looked for, in this order."""

ANSWER_COLUMNS = (
    "reward_model.ground_truth",
    "answer",
    "ground_truth",
    "solution",
    "target",
)
"""Where an answer is looked for, in this order."""

_MOST_NAMES = 40

ColumnPath = tuple[str, ...]
"""A column's name, then the names of fields inside structs."""


def find_column(schema: pa.Schema, name: str) -> ColumnPath | None:
    """Finds a column; dots reach into structs, unless a name has them itself.

    Args:
      schema: of the table.
      name: such as "answer" or "reward_model.ground_truth".

    Returns:
      The path, None where there is no such column.

    Example:
      >>> import pyarrow as pa
      >>> model = pa.struct([("ground_truth", pa.string())])
      >>> schema = pa.schema([("reward_model", model), ("qwen2.5_rate", pa.float64())])
      >>> find_column(schema, "reward_model.ground_truth")
      ('reward_model', 'ground_truth')
      >>> find_column(schema, "qwen2.5_rate")
      ('qwen2.5_rate',)
    """
    return _find({field.name: field.type for field in schema}, name)


def _find(types: dict[str, Any], name: str) -> ColumnPath | None:
    if name in types:
        return (name,)
    dots = [at for at, letter in enumerate(name) if letter == "."]
    for at in reversed(dots):  # the longest name first
        fields = _fields(types.get(name[:at]))
        rest = _find(fields, name[at + 1 :]) if fields else None
        if rest is not None:
            return (name[:at], *rest)
    return None


def _fields(type_: Any) -> dict[str, Any]:
    import pyarrow as pa

    if type_ is None or not pa.types.is_struct(type_):
        return {}
    fields = [type_.field(at) for at in range(type_.num_fields)]
    return {field.name: field.type for field in fields}


def known_column(schema: pa.Schema, name: Any) -> ColumnPath:
    """Finds a column that must be there.

    Raises:
      ValueError: naming those that are there, and the nearest.

    Example:
      >>> import pyarrow as pa
      >>> known_column(pa.schema([("answer", pa.string())]), "answr")
      Traceback (most recent call last):
      ValueError: there is no column 'answr'; did you mean 'answer'? There is 'answer'.
    """
    if not isinstance(name, str):
        raise ValueError(f"a column must be named by text, got {name!r:.60}.")
    path = find_column(schema, name)
    if path is not None:
        return path
    names = leaf_names(schema)
    near = difflib.get_close_matches(name, [*names, *schema.names], 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"there is no column {name!r}{hint} {_there_are(names)}")


def first_column(schema: pa.Schema, names: Sequence[str], what: str) -> ColumnPath:
    """Finds the first of some columns; one must be there.

    Raises:
      ValueError: naming those that were looked for, and those that are there.

    Example:
      >>> import pyarrow as pa
      >>> first_column(pa.schema([("text", pa.string())]), PROMPT_COLUMNS, "prompt")
      Traceback (most recent call last):
      ValueError: no column 'prompt', 'question', 'problem' or 'input' holds prompts;
      prompt= names another. There is 'text'.
    """
    for name in names:
        path = find_column(schema, name)
        if path is not None:
            return path
    looked = ", ".join(repr(name) for name in names[:-1]) + f" or {names[-1]!r}"
    raise ValueError(
        f"no column {looked} holds {what}s; {what}= names another. "
        f"{_there_are(leaf_names(schema))}"
    )


def leaf_names(schema: pa.Schema) -> list[str]:
    """Names all columns, those inside structs by dotted names.

    Example:
      >>> import pyarrow as pa
      >>> info = pa.struct([("index", pa.int64()), ("split", pa.string())])
      >>> leaf_names(pa.schema([("prompt", pa.string()), ("info", info)]))
      ['prompt', 'info.index', 'info.split']
    """

    def walk(name: str, type_: Any) -> list[str]:
        fields = _fields(type_)
        if not fields:
            return [name]
        inner = [walk(f"{name}.{field}", kind) for field, kind in fields.items()]
        return [leaf for leaves in inner for leaf in leaves]

    return [leaf for field in schema for leaf in walk(field.name, field.type)]


def _there_are(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"There {'is' if len(names) == 1 else 'are'} {shown}{more}."


def type_of(schema: pa.Schema, path: ColumnPath) -> pa.DataType:
    """Looks up the type of a column."""
    type_ = schema.field(path[0]).type
    for name in path[1:]:
        type_ = _fields(type_)[name]
    return type_


def array_of(batch: pa.RecordBatch, path: ColumnPath) -> pa.Array:
    """Takes a column out of a batch; null where a struct around it is null."""
    array = batch.column(batch.schema.get_field_index(path[0]))
    if len(path) > 1:
        import pyarrow.compute as pc

        for name in path[1:]:
            at = array.type.get_field_index(name)
            array = pc.struct_field(array, [at])  # pyright: ignore[reportAttributeAccessIssue]
    return array


def check_prompt_type(name: str, type_: pa.DataType) -> None:
    """Refuses prompts that are neither text nor chat messages.

    Example:
      >>> import pyarrow as pa
      >>> check_prompt_type("prompt", pa.int64())
      Traceback (most recent call last):
      ValueError: column 'prompt' must hold text or chat messages with a text
      'content', got int64.
    """
    import pyarrow as pa

    if pa.types.is_string(type_):
        return
    if pa.types.is_list(type_):
        content = _fields(type_.value_type).get("content")
        if content is not None and pa.types.is_string(content):
            return
    raise ValueError(
        f"column {name!r} must hold text or chat messages with a text 'content', "
        f"got {type_}."
    )


def check_key_type(name: str, type_: pa.DataType) -> None:
    """Refuses keys that are neither text nor whole numbers.

    Example:
      >>> import pyarrow as pa
      >>> check_key_type("id", pa.float64())
      Traceback (most recent call last):
      ValueError: key column 'id' must hold text or whole numbers, got double.
    """
    import pyarrow as pa

    if not (pa.types.is_string(type_) or pa.types.is_integer(type_)):
        raise ValueError(
            f"key column {name!r} must hold text or whole numbers, got {type_}."
        )


def joined_text(prompt: str | list[dict[str, Any]]) -> str:
    r"""Makes one text of a prompt: the contents of its messages, a line break between.

    Example:
      >>> joined_text([{"role": "system", "content": "Be brief."},
      ...              {"role": "user", "content": "1 + 1?"}])
      'Be brief.\n1 + 1?'
    """
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message.get("content") or "" for message in prompt)


def without_nulls(prompt: Any) -> Any:
    """Drops fields that a message does not have; Arrow gives them as None.

    Example:
      >>> without_nulls([{"role": "user", "content": "Hi", "name": None}])
      [{'role': 'user', 'content': 'Hi'}]
    """
    if not isinstance(prompt, list):
        return prompt
    return [
        {name: value for name, value in message.items() if value is not None}
        for message in prompt
        if message is not None
    ]
