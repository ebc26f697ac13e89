"""Checkpoints: what goes in comes out, whole or absent, told apart, readable later."""

import errno
import inspect
import pathlib
import re
import shutil
import threading
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax import checkpoint_commit, checkpoint_files
from bots_jax.checkpoint import Checkpoints, is_disk_full
from bots_jax.checkpoint_format import DTYPES, FORMAT, Meta, encode_meta
from bots_jax.checkpoint_tree import Saved
from tests.fixtures import make_checkpoint

TREE = {"w": jnp.arange(6, dtype=jnp.float32).reshape(2, 3), "n": jnp.int32(4)}


class Pair(NamedTuple):
    one: Any
    two: Any


def save(directory: pathlib.Path, *steps: int, keep: int | None = 3) -> None:
    with Checkpoints(directory, "run", keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, moved(step))


def moved(step: int) -> dict[str, jax.Array]:
    return {name: leaf + step for name, leaf in TREE.items()}


def restore(
    directory: pathlib.Path, fingerprint: str = "run", template: Any = TREE
) -> tuple[int, Any]:
    found = Checkpoints(directory, fingerprint).restore_latest(template)
    assert found is not None
    return found


def read(directory: pathlib.Path, **options: Any) -> Saved:
    saved = Checkpoints(directory, "run").read_latest(**options)
    assert saved is not None
    return saved


def assert_same(found: Any, expected: Any) -> None:
    """Compares trees bit for bit, dtypes and structure included."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        if jnp.issubdtype(getattr(other, "dtype", np.int8), jax.dtypes.prng_key):
            assert one.dtype == other.dtype
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        one, other = np.asarray(one), np.asarray(other)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


def damage(directory: pathlib.Path, step: int, pattern: str = "*") -> None:
    """Cuts files to half their length, as a disk may that was switched off."""
    paths = [path for path in (directory / str(step)).rglob(pattern) if path.is_file()]
    assert paths
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_saved_comes_back_bit_for_bit(tmp_path, asynchronous):
    tree = {
        "float": np.array([0.1, np.nan, -0.0, 1e-45], np.float32),
        "int": np.int64(2**40),
        "flag": np.array([True, False]),
        "nested": (np.array([[7]], np.int32), {"scalar": np.float32(2), "no": None}),
        "empty": np.zeros((0, 3), np.float32),
        "pair": Pair(jax.random.key(3), [jax.random.split(jax.random.key(4), (2, 2))]),
        "rbg": jax.random.key(1, impl="rbg"),
        "bfloat16": jnp.arange(5, dtype=jnp.bfloat16),
        "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "strided": np.arange(10, dtype=np.int16)[::3],
        "python": {"int": 3, "float": 0.5, "bool": True},
    }
    with Checkpoints(tmp_path, "run", asynchronous=asynchronous) as checkpoints:
        checkpoints.save(7, tree)
    step, found = restore(tmp_path, template=tree)
    assert step == 7
    assert_same(found, tree)


def test_every_dtype_comes_back(tmp_path):
    values = np.random.default_rng(0).integers(0, 2, 11)
    tree = {name: values.astype(dtype) for name, dtype in DTYPES.items()}
    with Checkpoints(tmp_path, "run") as checkpoints:
        checkpoints.save(0, tree)
    assert_same(restore(tmp_path, template=tree)[1], tree)
    assert_same(read(tmp_path).arrays, tree)


def test_bytes_in_the_other_order_come_back_as_numbers(tmp_path):
    with Checkpoints(tmp_path, "run") as checkpoints:
        checkpoints.save(0, {"x": np.array([1, 258], ">i4")})
    assert_same(read(tmp_path).arrays, {"x": np.array([1, 258], np.int32)})


def test_a_selectors_state_comes_back(tmp_path):
    selector = bots_jax.bots(num_tasks=5, batch_size=2)
    state = selector.init(np.full((5, 2), 0.5, np.float32))
    with Checkpoints(tmp_path, "run") as checkpoints:
        checkpoints.save(1, state)
    assert_same(restore(tmp_path, template=state)[1], state)


def test_arrays_split_over_devices_are_gathered(tmp_path):
    mesh = jax.make_mesh((jax.device_count(),), ("x",))
    spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    values = np.arange(4 * jax.device_count(), dtype=np.float32)
    with Checkpoints(tmp_path, "run", asynchronous=True) as checkpoints:
        checkpoints.save(1, {"x": jax.device_put(values, spec)})
    assert_same(read(tmp_path).arrays, {"x": values})


def test_names_are_readable_and_parts_are_found(tmp_path):
    tree = {"a": Pair(np.ones(1), [np.zeros(2), None, np.int8(3)]), "ab": np.ones(3)}
    with Checkpoints(tmp_path, "run") as checkpoints:
        checkpoints.save(1, {"s": tree}, extra={"x": [1, 0.1, None, True, "é"]})
    saved = read(tmp_path)
    assert set(saved.arrays) == {"s/a/one", "s/a/two/0", "s/a/two/2", "s/ab"}
    assert (saved.step, saved.fingerprint) == (1, "run")
    assert saved.extra == {"x": [1, 0.1, None, True, "é"]}
    assert set(saved.part("s/a")) == {"one", "two/0", "two/2"}
    assert set(saved.part("s/a/one")) == {""} and saved.part("nothing") == {}
    assert saved.part("") == saved.arrays
    assert_same(saved.tree({"s": tree}), {"s": tree})
    assert_same(saved.tree(tree["a"], prefix="s/a"), tree["a"])
    assert_same(saved.tree(np.ones(3), prefix="s/ab"), np.ones(3))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree["ab"])
    assert_same(saved.tree(shapes, prefix="s/ab"), np.ones(3))


def test_a_tree_of_one_array(tmp_path):
    with Checkpoints(tmp_path, "run") as checkpoints:
        checkpoints.save(1, np.ones(3))
    assert list(read(tmp_path).arrays) == [""]
    assert_same(restore(tmp_path, template=np.zeros(3))[1], np.ones(3))


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ({"a": {"x": np.ones(2)}}, "array 'a/y' is not in the template."),
        (
            {"a": {"x": np.ones(2), "y": np.ones(1), "z": np.ones(1)}},
            "array 'a/z' of the template is not there.",
        ),
        (
            {"a": {"x": np.ones(3), "y": np.ones(1)}},
            "array 'a/x' is float64[2], the template has float64[3].",
        ),
        (
            {"a": {"x": np.ones(2), "y": np.ones(1, np.int32)}},
            "array 'a/y' is float64[1], the template has int32[1].",
        ),
        (
            {"a": {"x": np.ones(2), "y": jax.random.key(0)}},
            "array 'a/y' is float64[1], the template has key<fry>[].",
        ),
    ],
)
def test_a_template_that_does_not_fit_is_refused(template, sentence):
    saved = Saved(1, {"a/x": np.ones(2), "a/y": np.ones(1)}, {}, "run")
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        saved.tree(template)
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        saved.tree(template["a"], prefix="a")


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"a/b": 1, "a": {"b": 2}}, "two leaves named 'a/b'"),
        ({"a": "text"}, "leaf 'a' must be an array of bool, .* got dtype <U4"),
        ({"a": np.array([None])}, "leaf 'a' must be .* got dtype object"),
        ({"a": np.zeros(1, "f4,i4")}, "leaf 'a' must be an array of"),
    ],
)
def test_trees_that_cannot_be_saved_are_refused(tmp_path, tree, sentence):
    with Checkpoints(tmp_path, "run") as checkpoints:
        with pytest.raises(ValueError, match=sentence):
            checkpoints.save(1, tree)
    assert list(tmp_path.iterdir()) == []


def nested(depth: int) -> list:
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    "extra",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {1: 2},
        {"a": (1, 2)},
        {"a": np.ones(1)},
        {"a": np.float32(1)},
        {"a": b"x"},
        {"a": 10**5000},
        {"a": nested(900)},
        [1],
    ],
    ids=range(10),
)
def test_an_extra_that_json_would_change_is_refused(tmp_path, extra):
    checkpoints = Checkpoints(tmp_path, "run")
    with pytest.raises(ValueError, match="^extra must be .*got"):
        checkpoints.save(1, TREE, extra)
    assert list(tmp_path.iterdir()) == []


def test_other_arguments_out_of_range(tmp_path):
    with pytest.raises(ValueError, match="keep must be > 0, or None for all, got 0."):
        Checkpoints(tmp_path, "run", keep=0)
    with pytest.raises(ValueError, match="step must be >= 0 .* got -1."):
        Checkpoints(tmp_path, "run").save(-1, TREE)


def test_an_empty_directory_holds_none(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new", "run")
    assert checkpoints.restore_latest(TREE) is None
    assert checkpoints.read_latest() is None
    assert not (tmp_path / "new").exists()  # reading makes nothing


def test_the_newest_are_kept_and_used(tmp_path):
    save(tmp_path, 1, 2, 3, 10, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"3", "10"}
    step, tree = restore(tmp_path)
    assert step == 10 and tree["n"] == 14


def test_what_was_just_saved_is_kept_also_below_others(tmp_path):
    save(tmp_path, 5, 6, 7)
    save(tmp_path, 1, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "7"}


def test_a_step_saved_again_is_replaced(tmp_path):
    save(tmp_path, 1, 2)
    with Checkpoints(tmp_path, "run") as checkpoints:
        checkpoints.save(2, moved(20))
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}
    assert restore(tmp_path)[1]["n"] == 24


def test_a_kill_while_a_step_is_replaced_loses_neither(tmp_path):
    save(tmp_path, 1, 2)
    (tmp_path / "2").rename(tmp_path / "2.replaced")  # and the new one has no name yet
    assert restore(tmp_path)[0] == 2
    save(tmp_path, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3"}
    shutil.copytree(tmp_path / "3", tmp_path / "3.replaced")  # the new one has it
    save(tmp_path, 4)
    assert {path.name for path in tmp_path.iterdir()} == {"2", "3", "4"}


def test_another_runs_checkpoint_is_refused(tmp_path):
    save(tmp_path, 1)
    sentence = (
        f"{tmp_path} holds a checkpoint of another run: its fingerprint is run, this "
        "run's is other."
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        restore(tmp_path, "other")
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Checkpoints(tmp_path, "other").read_latest()
    saved = Checkpoints(tmp_path, "other").read_latest(any_fingerprint=True)
    assert saved is not None and saved.fingerprint == "run"


@pytest.mark.parametrize(
    "template",
    [
        {"w": np.zeros((3, 2), np.float32), "n": np.int32(0)},
        {"w": np.zeros((2, 3), np.int32), "n": np.int32(0)},
        {"w": np.zeros((2, 3), np.float32)},
    ],
    ids=["shape", "dtype", "count"],
)
def test_other_shapes_are_refused(tmp_path, template):
    save(tmp_path, 1)
    with pytest.raises(ValueError, match="holds a checkpoint of another shape: array"):
        restore(tmp_path, template=template)


def test_a_half_written_checkpoint_is_never_picked_up(tmp_path):
    """What a kill leaves: orbax's temporary directory, which has not got its name."""
    save(tmp_path, 1, 2)
    half = tmp_path / "3.orbax-checkpoint-tmp-1700000000000000"
    shutil.copytree(tmp_path / "2", half)
    (half / "meta.json").unlink()
    step, tree = restore(tmp_path)
    assert step == 2 and tree["n"] == 6
    save(tmp_path, 3)  # and it is not in the way of the real one
    assert restore(tmp_path)[0] == 3
    assert not half.exists()


@pytest.mark.parametrize("pattern", ["*", "meta.json", "arrays.bin"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, pattern):
    save(tmp_path, 1, 2)
    damage(tmp_path, 2, pattern)
    with pytest.warns(UserWarning, match="checkpoint 2 in .* cannot be read and is pa"):
        step, tree = restore(tmp_path)
    assert step == 1
    np.testing.assert_array_equal(tree["w"], TREE["w"] + 1)


def test_the_step_of_a_damaged_checkpoint_can_be_saved_again(tmp_path):
    save(tmp_path, 1, 2)
    damage(tmp_path, 2)
    with Checkpoints(tmp_path, "run") as checkpoints:
        with pytest.warns(UserWarning, match="passed over"):
            checkpoints.restore_latest(TREE)
        checkpoints.save(2, moved(20))
    step, tree = restore(tmp_path)
    assert step == 2 and tree["n"] == 24


def test_a_damaged_one_does_not_take_the_place_of_a_whole_one(tmp_path):
    """Resumed from 1, the newest that stays must not be the damaged 9."""
    save(tmp_path, 1, 9)
    damage(tmp_path, 9)
    with Checkpoints(tmp_path, "run", keep=1) as checkpoints:
        with pytest.warns(UserWarning, match="passed over"):
            checkpoints.restore_latest(TREE)
        checkpoints.save(2, moved(2))
    assert {path.name for path in tmp_path.iterdir()} == {"2"}


def test_when_all_are_damaged_there_is_none(tmp_path):
    save(tmp_path, 1, 2)
    damage(tmp_path, 1)
    damage(tmp_path, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert Checkpoints(tmp_path, "run").restore_latest(TREE) is None
    said = [str(w.message) for w in caught if "passed over" in str(w.message)]
    assert [line.split()[1] for line in said] == ["2", "1"]


def test_what_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    """Else a run would start anew because of a wrong owner."""
    save(tmp_path, 1, 2)

    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("bots_jax.checkpoint.read_step", refuse)
    with pytest.raises(PermissionError):
        restore(tmp_path)


def test_a_newer_format_is_refused_and_not_passed_over(tmp_path):
    save(tmp_path, 1, 2)
    newer = encode_meta(Meta(FORMAT + 1, 2, "run", (), {}))
    (tmp_path / "2" / "meta.json").write_bytes(newer)
    sentence = (
        f"checkpoint {tmp_path}/2 has format {FORMAT + 1}, which this version of "
        f"bots_jax does not know: it reads formats 1 to {FORMAT}; install a newer one."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        restore(tmp_path)


@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_every_format_is_still_read(version, tmp_path):
    """A format without its committed fixture fails here."""
    source = make_checkpoint.HERE / f"checkpoint_v{version}"
    assert source.is_dir(), "run python -m tests.fixtures.make_checkpoint"
    size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    assert size < 100_000
    folder = tmp_path / "fixture"
    shutil.copytree(source, folder)
    for step in sorted(make_checkpoint.STEPS, reverse=True):
        tree = make_checkpoint.make_tree(step, version)
        checkpoints = Checkpoints(folder, make_checkpoint.FINGERPRINT)
        found = checkpoints.restore_latest(tree)
        assert found is not None and found[0] == step
        assert_same(found[1], tree)
        saved = checkpoints.read_latest()
        assert saved is not None and saved.format == version
        assert saved.extra == make_checkpoint.make_extra(step, version)
        assert len(saved.arrays) == len(jax.tree.leaves(tree))
        with pytest.raises(ValueError, match="another shape"):
            checkpoints.restore_latest({**tree, "more": np.ones(1)})
        shutil.rmtree(folder / str(step))


def test_a_run_of_the_first_format_goes_on_in_the_present_one(tmp_path):
    folder = tmp_path / "fixture"
    shutil.copytree(make_checkpoint.HERE / "checkpoint_v1", folder)
    tree = make_checkpoint.make_tree(13, 1)
    with Checkpoints(folder, make_checkpoint.FINGERPRINT) as checkpoints:
        assert checkpoints.restore_latest(tree) is not None
        checkpoints.save(13, tree)
        saved = checkpoints.read_latest()
    assert saved is not None and saved.format == FORMAT
    assert {path.name for path in folder.iterdir()} == {"12", "13"}


def test_the_tree_may_be_overwritten_when_save_returns(tmp_path, monkeypatch):
    """The copy is made before: NumPy arrays in place, JAX arrays by donation."""
    may_write = threading.Event()
    write = checkpoint_files.write_step

    def late(*args):
        assert may_write.wait(60)
        write(*args)

    monkeypatch.setattr(checkpoint_commit, "write_step", late)
    bump = jax.jit(lambda x: x + 1, donate_argnums=0)
    mine, donated = np.zeros(1000), jnp.zeros(1000)
    extra = {"list": [1]}
    with Checkpoints(tmp_path, "run", asynchronous=True) as checkpoints:
        checkpoints.save(1, {"mine": mine, "donated": donated}, extra)
        mine += 1
        extra["list"].append(2)
        for _ in range(3):
            donated = bump(donated)
        jax.block_until_ready(donated)
        may_write.set()
    saved = read(tmp_path)
    assert not saved.arrays["mine"].any() and not saved.arrays["donated"].any()
    assert saved.extra == {"list": [1]}


@pytest.mark.parametrize("where", ["save", "wait", "close", "with"])
def test_what_goes_wrong_in_the_background_is_raised_later(
    tmp_path, monkeypatch, where
):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpoints = Checkpoints(tmp_path, "run", asynchronous=True)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_commit, "write_step", full)
        checkpoints.save(1, TREE)
        with pytest.raises(OSError, match="No space left on the disk of"):
            if where == "save":
                checkpoints.save(2, TREE)
            elif where == "with":
                with checkpoints:
                    pass
            else:
                getattr(checkpoints, where)()
    checkpoints.wait()  # it is raised once
    assert checkpoints.read_latest() is None
    checkpoints.save(3, TREE)
    checkpoints.close()
    assert read(tmp_path).step == 3


def test_the_first_failure_is_the_one_to_hear_of(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_commit, "write_step", full)
    with pytest.raises(KeyError, match="first"):
        with Checkpoints(tmp_path, "run", asynchronous=True) as checkpoints:
            checkpoints.save(1, TREE)
            raise KeyError("first")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ValueError("RESOURCE_EXHAUSTED: write failed"),
    ],
)
def test_a_full_disk_is_one_sentence_and_earlier_ones_stay(
    tmp_path, monkeypatch, error
):
    save(tmp_path, 1)

    def full(*args, **kwargs):
        raise error

    with Checkpoints(tmp_path, "run") as checkpoints, monkeypatch.context() as patch:
        patch.setattr(checkpoint_commit, "write_step", full)
        with pytest.raises(OSError, match="No space left on the disk of") as caught:
            checkpoints.save(2, TREE)
    assert caught.value.errno == errno.ENOSPC
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path) in str(caught.value) and "resume" in str(caught.value)
    assert restore(tmp_path)[0] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"1"}


def test_other_errors_are_not_called_a_full_disk(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint_commit, "write_step", broken)
    with Checkpoints(tmp_path, "run") as checkpoints, pytest.raises(PermissionError):
        checkpoints.save(2, TREE)
    assert not is_disk_full(ValueError("shape"))


def test_a_full_disk_is_found_behind_the_error_it_caused():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as inner:
            raise RuntimeError("could not commit") from inner
    except RuntimeError as error:
        assert is_disk_full(error)


def test_orbax_can_read_what_it_has_committed(tmp_path):
    import orbax.checkpoint as ocp

    save(tmp_path, 1)
    with ocp.Checkpointer(checkpoint_commit.StepHandler()) as checkpointer:
        saved = checkpointer.restore(tmp_path / "1", args=checkpoint_commit.StepArgs())
    assert_same(saved.tree(TREE), jax.tree.map(np.asarray, moved(1)))


def test_there_is_no_pickle():
    for module in (checkpoint_commit, checkpoint_files):
        assert "pickle" not in inspect.getsource(module)
