"""Damage to any file of a checkpoint is seen, and costs that checkpoint and no more."""

import pathlib
import shutil
import warnings
from collections.abc import Callable

import jax
import numpy as np
import pytest

from bots_jax.checkpoint import Checkpoints
from bots_jax.checkpoint_files import read_step
from bots_jax.checkpoint_format import encode_meta, parse_meta
from tests.faults.common import flip
from tests.fixtures import make_checkpoint
from tests.test_checkpoint import assert_same

OUR_FILES = ("meta.json", "arrays.bin")
NIGHTLY = pytest.mark.nightly


def make_tree(step: int) -> dict:
    return {
        "x": np.arange(5, dtype=np.float32) + step,
        "y": np.arange(5, dtype=np.float32) - step,
        "n": np.int32(step),
        "key": jax.random.key(step),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A directory with whole checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("whole")
    with Checkpoints(folder, "run") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, make_tree(step), extra={"step": step})
    return folder


@pytest.fixture
def folder(whole: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def read(folder: pathlib.Path) -> int:
    """Reads the newest, whose values must be right, and returns its step."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        saved = Checkpoints(folder, "run").read_latest()
    assert saved is not None
    said = [str(warning.message) for warning in caught]
    assert len(said) == 2 - saved.step, said
    if said:
        start = f"checkpoint 2 in {folder} cannot be read and is passed over: "
        assert said[0].startswith(start) and len(said[0]) > len(start)
        assert len(said[0].splitlines()) == 1
    assert_same(saved.tree(make_tree(0)), make_tree(saved.step))
    assert saved.extra == {"step": saved.step}
    return saved.step


def files_of(folder: pathlib.Path, step: int = 2) -> list[pathlib.Path]:
    found = [path for path in (folder / str(step)).rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: path.name)


def test_the_files_are_those_that_are_known(whole):
    names = {path.name for path in files_of(whole)}
    assert names - {"_CHECKPOINT_METADATA", "commit_success.txt"} == set(OUR_FILES)
    assert read(whole) == 2


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "a byte long": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    "ones": lambda data: b"\xff" * len(data),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_is_cut_or_overwritten(folder, damage):
    for path in files_of(folder):
        data = path.read_bytes()
        path.write_bytes(damage(data))
        assert read(folder) == (1 if path.name in OUR_FILES else 2)
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["removed", "a folder", "a link to nothing"])
def test_a_file_that_is_gone(folder, how):
    for path in files_of(folder):
        data = path.read_bytes()
        path.unlink()
        if how == "a folder":
            path.mkdir()
        elif how == "a link to nothing":
            path.symlink_to("nowhere")
        assert read(folder) == (1 if path.name in OUR_FILES else 2)
        path.rmdir() if how == "a folder" else path.unlink(missing_ok=True)
        path.write_bytes(data)


def is_of_an_array(path: pathlib.Path, bit: int) -> bool:
    """False for what fills arrays.bin up to the next multiple of 64."""
    if path.name != "arrays.bin":
        return True
    meta = parse_meta(path.with_name("meta.json").read_bytes())
    return any(
        start <= bit // 8 < start + row.num_bytes
        for start, row in zip(meta.offsets(), meta.arrays, strict=False)
    )


@pytest.mark.parametrize(
    "every", [97, pytest.param(1, marks=NIGHTLY)], ids=["some", "all"]
)
def test_every_flipped_bit_is_seen(folder, every):
    for path in files_of(folder):
        data = path.read_bytes()
        for bit in range(every // 2, 8 * len(data), every):
            is_used = path.name in OUR_FILES and is_of_an_array(path, bit)
            path.write_bytes(flip(data, bit))
            assert read(folder) == (1 if is_used else 2), (path.name, bit)
        path.write_bytes(data)


def test_files_that_changed_places(folder):
    one, two = folder / "1", folder / "2"
    for name in OUR_FILES:
        data = (two / name).read_bytes()
        (two / name).write_bytes((one / name).read_bytes())
        assert read(folder) == 1
        (two / name).write_bytes(data)


def test_a_checkpoint_under_the_number_of_another(folder):
    (folder / "2").rename(folder / "3")
    with pytest.warns(UserWarning, match="checkpoint 3 .*: it says that it is of step"):
        saved = Checkpoints(folder, "run").read_latest()
    assert saved is not None and saved.step == 1


def test_arrays_that_changed_places(folder):
    """Of one shape and dtype, each whole, and the record's checksum made anew."""
    path = folder / "2" / "meta.json"
    meta = parse_meta(path.read_bytes())
    order = [row.name for row in meta.arrays]
    one, two = order.index("x"), order.index("y")
    rows = list(meta.arrays)
    rows[one], rows[two] = rows[two], rows[one]
    path.write_bytes(encode_meta(meta._replace(arrays=tuple(rows))))
    assert read(folder) == 1


def test_a_record_that_claims_more_memory_than_there_is(folder):
    """Refused by the size of the file, before anything is allocated."""
    path = folder / "2" / "meta.json"
    meta = parse_meta(path.read_bytes())
    row = meta.arrays[0]._replace(shape=(2**60, 2**60), dtype="float64", key=None)
    path.write_bytes(encode_meta(meta._replace(arrays=(row, *meta.arrays[1:]))))
    assert read(folder) == 1


@pytest.mark.parametrize("linked", ["2", *(f"2/{name}" for name in OUR_FILES)])
def test_symbolic_links_are_not_followed(folder, tmp_path, linked):
    """Not even to something whole."""
    elsewhere = tmp_path / "elsewhere"
    (folder / linked).rename(elsewhere)
    (folder / linked).symlink_to(elsewhere)
    assert read(folder) == 1


def test_links_that_lie_in_wait_for_a_writer(folder, tmp_path):
    """Whatever has the name of a file that is to be written, nothing else is."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "arrays.bin").write_text("untouched")
    for name in ("3", "3.orbax-checkpoint-tmp", "2.deleted", "2.replaced"):
        (folder / name).symlink_to(elsewhere)
    with Checkpoints(folder, "run", keep=1) as checkpoints:
        checkpoints.save(3, make_tree(3))
    assert [path.name for path in elsewhere.iterdir()] == ["arrays.bin"]
    assert (elsewhere / "arrays.bin").read_text() == "untouched"
    assert {path.name for path in folder.iterdir()} == {"3"}
    assert not (folder / "3").is_symlink()
    (folder / "writer.lock").symlink_to(elsewhere / "lock")
    with pytest.raises(OSError, match="writer.lock"):
        Checkpoints(folder, "run").save(4, make_tree(4))
    assert not (elsewhere / "lock").exists()


HOSTILE = ("../../up", "/etc/passwd", "..", "a\0b", "x" * 5000, "C:\\x", "\ud800", "~")


def test_names_of_arrays_are_never_paths(tmp_path):
    tree = {name: np.full(2, i, np.int8) for i, name in enumerate(HOSTILE)}
    folder = tmp_path / "a" / "b"
    with Checkpoints(folder, "run") as checkpoints:
        checkpoints.save(1, tree)
        saved = checkpoints.read_latest()
    assert saved is not None
    assert_same(saved.arrays, tree)
    assert {path.name for path in (folder / "1").iterdir()} >= set(OUR_FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in folder.parent.iterdir()] == ["b"]


@pytest.fixture
def first_format(tmp_path: pathlib.Path) -> pathlib.Path:
    shutil.copytree(make_checkpoint.HERE / "checkpoint_v1", tmp_path / "v1")
    return tmp_path / "v1" / "12"


def test_the_first_format_is_read_whole_or_not_at_all(first_format):
    """It has checksums of its own for the index only, so that values may change."""
    rng = np.random.default_rng(0)
    expected = read_step(first_format, 12)
    refused = 0
    for path in files_of(first_format.parent, 12):
        data = path.read_bytes()
        bits = rng.integers(0, 8 * len(data), 8)
        for damaged in (b"", data[: len(data) // 2], *(flip(data, b) for b in bits)):
            path.write_bytes(damaged)
            try:
                saved = read_step(first_format, 12)
            except (ValueError, OSError):
                refused += 1
                continue
            assert list(saved.arrays) == list(expected.arrays)
        path.write_bytes(data)
    assert refused > 20


def test_the_first_format_follows_no_link_and_no_other_record(first_format, tmp_path):
    record = first_format / "arrays" / "_METADATA"
    text = record.read_text().replace("00001", "../../3/arrays/00001")
    record.write_text(text.replace('"use_ocdbt": true', '"use_ocdbt": false'))
    saved = read_step(first_format, 12)
    tree = make_checkpoint.make_tree(12, 1)
    assert_same(saved.tree(tree), tree)
    (first_format / "arrays" / "d").rename(tmp_path / "d")
    (first_format / "arrays" / "d").symlink_to(tmp_path / "d")
    with pytest.raises(ValueError, match="d is a symbolic link"):
        read_step(first_format, 12)
