"""What a checkpoint says about itself: its record, its checksums, and their checks.

Format 2, a folder named by its step:

    meta.json     format, step, fingerprint, extra, a row per array, and a checksum
                  over all of that
    arrays.bin    the arrays' bytes in that order, little-endian, C order, each at the
                  next multiple of 64

Names of arrays occur in meta.json only, where they are keys and never paths. Format 1
holds what orbax's StandardCheckpointHandler writes, arrays numbered "00000", "00001".
A later format keeps meta.json, its "format" and its "checksum" as they are here.
"""

import json
import math
import zlib
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

FORMAT = 2
"""The format that is written; all up to it are read."""

ALIGNMENT = 64
"""Every array starts at a multiple of so many bytes of arrays.bin."""

KEY_SHAPES = {"threefry2x32": (2,), "rbg": (4,), "unsafe_rbg": (4,)}
"""Implementations of random keys, and the shape of one key's data."""

_NUMPY = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 "
_NUMPY += "float64 complex64 complex128"
_ML = "bfloat16 int2 int4 uint2 uint4 float4_e2m1fn float8_e3m4 float8_e4m3 "
_ML += "float8_e4m3b11fnuz float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz "
_ML += "float8_e8m0fnu"
DTYPES = {name: np.dtype(name) for name in _NUMPY.split()} | {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in _ML.split()
    if hasattr(ml_dtypes, name)
}
"""The dtypes that a checkpoint may hold, by name."""

_FIELDS = {"format", "step", "fingerprint", "extra", "arrays"}
_FIELDS_1 = {"format", "step", "fingerprint"}
_MAX_DIMENSIONS = 32
_MAX_LEVELS = 99  # of nested JSON, which is read back with a stack of any depth


class NewerFormat(ValueError):
    """A whole checkpoint, written by later code than this."""


class ArrayRecord(NamedTuple):
    """What is known of an array beside its bytes.

    Attributes:
      name: where it stands in the tree, as "selector/posterior/alpha".
      dtype: one of `DTYPES`.
      shape: of the array; of the key data, for random keys.
      key: implementation of random keys, one of `KEY_SHAPES`; None for plain numbers.
      crc32: of its bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    key: str | None
    crc32: int

    @property
    def num_bytes(self) -> int:
        """How many bytes it takes in arrays.bin."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


class Meta(NamedTuple):
    """The record of a checkpoint.

    Attributes:
      format: 1 or 2.
      step: its number.
      fingerprint: of what it belongs to.
      arrays: in the order of arrays.bin; empty in format 1.
      extra: what else was saved, as JSON.
    """

    format: int
    step: int
    fingerprint: str
    arrays: tuple[ArrayRecord, ...]
    extra: dict[str, Any]

    def offsets(self) -> list[int]:
        """Lists where each array starts in arrays.bin and, last, where the file ends.

        Example:
          >>> rows = [ArrayRecord(name, "int8", (70,), None, 0) for name in "ab"]
          >>> Meta(2, 0, "run", tuple(rows), {}).offsets()
          [0, 128, 198]
        """
        starts, end = [], 0
        for array in self.arrays:
            starts.append(-(-end // ALIGNMENT) * ALIGNMENT)
            end = starts[-1] + array.num_bytes
        return [*starts, end]


def encode_json(value: Any, what: str) -> str:
    """Writes strict JSON that reads back as the same value.

    Args:
      value: of dicts with text keys, lists, text, numbers, bools and None.
      what: how the error calls it.

    Raises:
      ValueError: if JSON cannot hold it, or would give back something else.

    Example:
      >>> encode_json({"b": [1, None], "a": 0.5}, "extra")
      '{"a":0.5,"b":[1,null]}'
      >>> encode_json({"a": (1, 2)}, "extra")
      Traceback (most recent call last):
      ValueError: extra must be what JSON gives back unchanged (dicts with text keys,
      lists, text, finite numbers, bools, None; at most 99 levels), got {'a': (1, 2)}.
    """
    try:
        text = _canonical(value)
        if json.loads(text) == value and not _is_deeper(value, _MAX_LEVELS):
            return text
    except (ValueError, TypeError, RecursionError, OverflowError):
        pass
    try:
        shown = repr(value)
    except (RecursionError, ValueError):
        shown = "what cannot even be shown"
    raise ValueError(
        f"{what} must be what JSON gives back unchanged (dicts with text keys, lists, "
        f"text, finite numbers, bools, None; at most {_MAX_LEVELS} levels), got "
        f"{shown[:200]}."
    )


def _is_deeper(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)) or not parts:
        return False
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in parts)


def encode_meta(meta: Meta) -> bytes:
    """Writes the record of a checkpoint, with the checksum over it.

    Example:
      >>> meta = Meta(2, 7, "run", (), {"note": "x"})
      >>> parse_meta(encode_meta(meta)) == meta
      True
    """
    record: dict[str, Any] = meta._asdict()
    record["arrays"] = [array._asdict() for array in meta.arrays]
    checksum = _checksum(record)
    return _canonical(record | {"checksum": checksum}).encode()


def parse_meta(data: bytes) -> Meta:
    """Reads the record of a checkpoint; every bit of it is checked.

    Args:
      data: of meta.json, or of the record of format 1, which carries no checksum.

    Raises:
      NewerFormat: if later code has written it.
      ValueError: if it is damaged, and never anything else.

    Example:
      >>> parse_meta(b'{"format": 1, "fingerprint": "run", "step": 3}').step
      3
      >>> parse_meta(encode_meta(Meta(2, 7, "run", (), {})).replace(b"7", b"5"))
      Traceback (most recent call last):
      ValueError: its record does not match its checksum
    """
    record = _parse_json(data)
    _require(isinstance(record, dict), "its record is not a JSON object")
    version = record.get("format")
    _require(_is_count(version), "its record has no number of a format")
    if version == 1:
        _require(set(record) == _FIELDS_1, "its record has other fields than format 1")
        record |= {"arrays": [], "extra": {}}
    else:
        checksum = record.pop("checksum", None)
        is_right = checksum is not None and checksum == _checksum(record)
        _require(is_right, "its record does not match its checksum")
        if version > FORMAT:
            raise NewerFormat(
                f"has format {version}, which this version of bots_jax does not know: "
                f"it reads formats 1 to {FORMAT}; install a newer one."
            )
        _require(set(record) == _FIELDS, "its record has other fields than format 2")
    _require(_is_count(record["step"]), "the step in its record is not a number")
    _require(isinstance(record["fingerprint"], str), "its fingerprint is not text")
    _require(isinstance(record["extra"], dict), "its extra is not a JSON object")
    _require(isinstance(record["arrays"], list), "its arrays are not a list")
    arrays = tuple(_parse_array(array) for array in record["arrays"])
    names = {array.name for array in arrays}
    _require(len(names) == len(arrays), "two of its arrays have one name")
    return Meta(version, record["step"], record["fingerprint"], arrays, record["extra"])


def _parse_array(value: Any) -> ArrayRecord:
    fields = set(ArrayRecord._fields)
    is_row = isinstance(value, dict) and set(value) == fields
    _require(is_row, "the record of an array has other fields than format 2")
    name, dtype, shape, key, crc32 = (value[field] for field in ArrayRecord._fields)
    _require(isinstance(name, str), "the name of an array is not text")
    _require(isinstance(dtype, str) and dtype in DTYPES, "a dtype is unknown")
    is_shape = isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS
    is_shape = is_shape and all(_is_count(size) for size in shape)
    _require(is_shape, "a shape is not a list of sizes")
    _require(_is_count(crc32), "a checksum is not a number")
    if key is not None:
        _require(isinstance(key, str) and key in KEY_SHAPES, "a key is unknown")
        is_key = dtype == "uint32" and tuple(shape[-1:]) == KEY_SHAPES[key]
        _require(is_key, "random keys have data of another shape or dtype")
    return ArrayRecord(name, dtype, tuple(shape), key, crc32)


def _require(is_so: bool, why: str) -> None:
    if not is_so:
        raise ValueError(why)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _parse_json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("its record is not JSON") from None


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _checksum(record: dict[str, Any]) -> str:
    try:
        text = _canonical(record)
    except (ValueError, RecursionError):  # what only a damaged record can hold
        raise ValueError("its record is not strict JSON") from None
    return f"{zlib.crc32(text.encode()):08x}"
