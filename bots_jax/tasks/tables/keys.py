"""Gives every row of a table a key that stays, and finds rows by their keys."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bots_jax.tasks.tables.columns import ColumnPath
from bots_jax.tasks.tables.files import RowsFile

if TYPE_CHECKING:
    import pyarrow as pa

ABSENT = -1
"""The row of a key that is not there."""

_EXACT = 2**53
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str
)


def prompt_hash(prompt: Any) -> int:
    """Hashes a prompt, text or chat messages, to 64 bits.

    Fields of messages that are null count as absent, and 1.0 as 1, so that the kind
    of file does not matter; nothing else is made equal, spaces neither.

    Example:
      >>> prompt_hash([{"role": "user", "content": "Hi"}])
      -5633902625720309517
      >>> prompt_hash([{"content": "Hi", "name": None, "role": "user"}])
      -5633902625720309517
    """
    return int(np.frombuffer(_digest(_canonical(prompt)), "<i8")[0])


def _canonical(value: Any) -> bytes:
    text = _ENCODER.encode(value if isinstance(value, str) else _plain(value))
    return text.encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        items = ((name, _plain(item)) for name, item in value.items())
        return {name: item for name, item in items if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    return value


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()


def first_null(array: pa.Array) -> int:
    """Finds the first null in an array that has one."""
    return array.is_null().to_pylist().index(True)


def pair_hashes(
    prompts: list[Any], answers: Iterator[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Hashes prompts alone, and with their answers; int64 [n] each."""
    of_prompts, of_pairs = bytearray(), bytearray()
    for prompt, answer in zip(prompts, answers, strict=True):
        text = _canonical(prompt)
        of_prompts += _digest(text)
        of_pairs += _digest(b"[" + text + b"," + _canonical(answer) + b"]")
    return np.frombuffer(of_prompts, "<i8"), np.frombuffer(of_pairs, "<i8")


def own_keys(array: pa.Array, name: str, start: int) -> np.ndarray:
    """Reads keys from a column; int64, hashes where they are text.

    Args:
      array: some rows of the column.
      name: of the column.
      start: the number of the first of these rows.

    Raises:
      ValueError: for a key that is null or too large.
    """
    import pyarrow as pa

    if array.null_count:
        row = start + first_null(array)
        raise ValueError(
            f"key column {name!r} must have no null, got one in row {row}."
        )
    if not pa.types.is_string(array.type):
        values = array.to_numpy(zero_copy_only=False)
        if values.dtype == np.uint64 and values.max(initial=0) >= 2**63:
            row = start + int(values.argmax())
            raise ValueError(
                f"key column {name!r} must fit in 64 bits with a sign, "
                f"got {values.max()} in row {row}."
            )
        return values.astype(np.int64)
    return text_hashes(array.to_pylist())


def text_hashes(keys: list[str]) -> np.ndarray:
    """Hashes keys that are text to 64 bits; int64."""
    content = b"".join(_digest(key.encode("utf-8", "surrogatepass")) for key in keys)
    return np.frombuffer(content, "<i8").astype(np.int64)


def numbered(contents: np.ndarray) -> np.ndarray:
    """Makes distinct keys: the n-th row of equal content, n > 0, gets its own hash.

    Which of the equal rows is the first depends on their order, but it is not seen:
    they are equal.
    """
    order = np.argsort(contents, kind="stable")
    ranked, keys = contents[order], contents.copy()
    again = np.flatnonzero(ranked[1:] == ranked[:-1]) + 1
    ordinals = again - np.searchsorted(ranked, ranked[again], "left")
    added: set[int] = set()
    for place, ordinal in zip(again.tolist(), ordinals.tolist(), strict=True):
        content, salt = ranked[place].astype("<i8").tobytes(), b""
        content += ordinal.to_bytes(8, "little")
        while True:  # once but for an accident of about 1 in 10^12
            key = int(np.frombuffer(_digest(content + salt), "<i8")[0])
            at = int(np.searchsorted(ranked, key))
            is_there = at < len(ranked) and int(ranked[at]) == key
            if not is_there and key not in added:
                break
            salt += b"+"
        added.add(key)
        keys[order[place]] = key
    return keys


def check_distinct(rows: RowsFile, path: ColumnPath, keys: np.ndarray) -> None:
    """Refuses keys that repeat; equal hashes of different texts are let pass."""
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    again = np.flatnonzero(ranked[1:] == ranked[:-1])
    pairs = np.stack([order[again], order[again + 1]], 1)
    for first, second in pairs[np.argsort(pairs[:, 1])].tolist():
        one, other = rows.values(np.array([first, second]), path)
        if one == other:
            raise ValueError(
                f"key column {'.'.join(path)!r} must hold distinct values, got "
                f"{one!r:.60} in rows {first} and {second}."
            )


def rows_fingerprint(keys: np.ndarray, contents: np.ndarray) -> str:
    """Hashes rows in their order and, sorted by key, in any; tells their number."""

    def digest(order: Any) -> str:
        state = hashlib.sha256()
        for hashes in (keys, contents):
            state.update(hashes[order].astype("<i8", copy=False).data)
        return state.hexdigest()[:16]

    in_order, in_any = digest(slice(None)), digest(np.argsort(keys, kind="stable"))
    return f"{len(keys)}-{in_order}-{in_any}"


class KeyLookup:
    """Finds rows by their keys, in memory of 8 bytes per row."""

    def __init__(self, keys: np.ndarray, rows: RowsFile, text_path: ColumnPath | None):
        """Sorts.

        Args:
          keys: int64 [N].
          rows: the table.
          text_path: the column of keys, where they are text and `keys` their hashes.
        """
        self._keys, self._rows, self._text_path = keys, rows, text_path
        self._order = np.argsort(keys, kind="stable")

    def rows_of(self, keys: Any) -> np.ndarray:
        """Finds rows; int32, `ABSENT` where a key is not there.

        Raises:
          ValueError: for keys of another kind.
        """
        wanted = list(keys)
        hashes, may_be = self._hashes(wanted)
        first = np.searchsorted(self._keys, hashes, "left", sorter=self._order)
        last = np.searchsorted(self._keys, hashes, "right", sorter=self._order)
        rows = np.full(len(wanted), ABSENT, np.int32)
        for place in np.flatnonzero((last > first) & may_be):
            found = self._order[first[place] : last[place]]
            if self._text_path is not None:  # several texts may have one hash
                texts = self._rows.values(found, self._text_path)
                found = found[[text == wanted[place] for text in texts]]
            if len(found):
                rows[place] = found[0]
        return rows

    def _hashes(self, wanted: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        is_text = self._text_path is not None
        for place, key in enumerate(wanted):
            is_int = isinstance(key, (int, np.integer)) and not isinstance(key, bool)
            if not (isinstance(key, str) if is_text else is_int):
                kind = "text" if is_text else "integers"
                raise ValueError(
                    f"keys must be {kind}, got {key!r:.60} at index {place}."
                )
        if is_text:
            return text_hashes(wanted), np.ones(len(wanted), bool)
        fits = [-(2**63) <= int(key) < 2**63 for key in wanted]
        whole = [int(key) if ok else 0 for key, ok in zip(wanted, fits, strict=True)]
        return np.array(whole, np.int64), np.array(fits, bool)
