"""Records changed at random: the reader's function raises its own error or is right."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from bots_jax.checkpoint_format import (
    FORMAT,
    ArrayRecord,
    Meta,
    NewerFormat,
    _checksum,
    encode_json,
    encode_meta,
    parse_meta,
)
from tests.faults.common import mutate

ROWS = (
    ArrayRecord("selector/alpha", "float32", (5, 2), None, 123),
    ArrayRecord("key", "uint32", (3, 2), "threefry2x32", 2**32 - 1),
    ArrayRecord("", "bool", (), None, 0),
)
META = Meta(FORMAT, 7, "run", ROWS, {"a": [0.5, None, {"é": True}], "b": -3})
WORDS = (b"null", b"[", b"{}", b"NaN", b"1e999", b'"', b"\xff", b"-", b"true", b"0")
WORDS += (b"[" * 3000, b"9" * 5000, b'"\\ud800"', b'"format":1,', b"1.0", b'{"a":' * 9)
TIMES = [1000, pytest.param(100_000, marks=pytest.mark.nightly)]


def parse(data: bytes) -> Meta | None:
    """Parses; None where it is refused, by an error of ours and no other."""
    try:
        return parse_meta(data)
    except ValueError as error:
        assert type(error) in (ValueError, NewerFormat), repr(error)
        assert str(error) and len(str(error).splitlines()) == 1
        return None


@pytest.mark.parametrize("times", TIMES)
def test_bytes_changed_at_random(times):
    rng = np.random.default_rng(times)
    data = encode_meta(META)
    old = json.dumps({"format": 1, "fingerprint": "run", "step": 3}).encode()
    for _ in range(times):
        found = parse(mutate(data, rng, WORDS))
        assert found is None or found == META
        parse(mutate(old, rng, WORDS))


def signed(record: dict) -> bytes:
    """Gives a record a checksum that fits, as no accident would."""
    try:
        checksum = _checksum(record)
    except ValueError:
        checksum = "00000000"
    return json.dumps(record | {"checksum": checksum}).encode()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
JSON = st.recursive(
    SCALARS | st.sampled_from(["float32", "uint32", "rbg", 2**62, 2**70, -1, 1.0]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner)
    ),
    max_leaves=8,
)
PATHS = [("format",), ("step",), ("fingerprint",), ("extra",), ("arrays",)]
PATHS += [("arrays", 1)]
PATHS += [("arrays", 1, field) for field in ArrayRecord._fields]


@pytest.mark.parametrize("times", [200, pytest.param(20_000, marks=TIMES[1].marks)])
def test_values_of_other_kinds_under_a_checksum_that_fits(times):
    @hypothesis.settings(max_examples=times)
    @hypothesis.given(path=st.sampled_from(PATHS), value=JSON)
    def check(path: tuple, value: object) -> None:
        record = json.loads(encode_meta(META))
        del record["checksum"]
        place = record
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        found = parse(signed(record))
        if found is not None:
            assert all(size >= 0 for size in found.offsets())
            assert parse_meta(encode_meta(found)) == found

    check()


@hypothesis.given(JSON)
def test_any_json_is_refused_or_a_record(value):
    parse(json.dumps(value).encode())
    if isinstance(value, dict):
        parse(signed(value))


@hypothesis.given(JSON)
def test_an_extra_comes_back_or_is_refused(value):
    try:
        text = encode_json(value, "extra")
    except ValueError:
        return
    assert json.loads(text) == value


@pytest.mark.parametrize("missing", [*META._fields, "checksum"])
def test_a_field_that_is_missing(missing):
    record = json.loads(encode_meta(META))
    del record[missing]
    assert parse(json.dumps(record).encode()) is None
    if missing != "checksum":
        del record["checksum"]
        assert parse(signed(record)) is None


def test_a_newer_format_is_told_from_damage():
    record = json.loads(encode_meta(META))
    del record["checksum"]
    with pytest.raises(NewerFormat, match=f"has format {FORMAT + 1}, which"):
        parse_meta(signed(record | {"format": FORMAT + 1, "new": "field"}))
    with pytest.raises(ValueError, match="^its record does not match its checksum$"):
        parse_meta(encode_meta(META).replace(b'"format":2', b'"format":3'))
