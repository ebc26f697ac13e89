"""Checkpoints: what goes in comes out, whole or absent, told apart, readable later."""

import re
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.checkpoint import Checkpoints
from bots_jax.checkpoint_format import DTYPES
from bots_jax.checkpoint_tree import Saved
from tests.checkpoint_tools import (
    TREE,
    Pair,
    assert_same,
    damage,
    moved,
    read,
    restore,
    save,
)


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
