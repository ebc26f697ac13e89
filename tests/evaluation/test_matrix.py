"""Files of pass rates: read back the same, or refused in one sentence."""

import pathlib
import re
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from bots_jax.evaluation.matrix import SUFFIXES, PassRates, read_matrix

RATES = np.array([[0.5, 0.0, 1.0], [0.25, 0.125, 0.75], [0.0, 0.0, 1.0]])
NAMES = ("model 0", "model 1", "model 2")
suffixes = pytest.mark.parametrize("suffix", SUFFIXES)
tables = pytest.mark.parametrize("suffix", (".csv", ".parquet"))


def write(path: pathlib.Path, values: Any, names: tuple[str, ...] = NAMES) -> Any:
    """Writes a matrix in the format of its suffix."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez_compressed(path, rates=values)
    else:
        write_table(path, dict(zip(names, np.asarray(values).T, strict=True)))
    return path


def write_table(path: pathlib.Path, columns: dict[str, Any]) -> pathlib.Path:
    table = pyarrow.table(columns)
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    return path


def refuses(sentence: str):
    """Expects one sentence, taken literally, that ends the message."""
    return pytest.raises(ValueError, match=f"{re.escape(sentence)}$")


def assert_holds(found: PassRates, values: np.ndarray, names: tuple[str, ...]):
    assert found.rates.dtype == np.float32 and found.names == names
    np.testing.assert_array_equal(found.rates, values.astype(np.float32))


@suffixes
def test_every_format_is_read_back_weakest_model_first(suffix, tmp_path):
    """Means of the columns are 0.25, 0.04 and 0.92."""
    found = read_matrix(write(tmp_path / f"rates{suffix}", RATES))
    assert_holds(found, RATES[:, [1, 0, 2]], ("model 1", "model 0", "model 2"))


@suffixes
def test_models_as_rows(suffix, tmp_path):
    path = write(tmp_path / f"rates{suffix}", RATES.T, ("a", "b", "c"))
    found = read_matrix(path, models_are_rows=True)
    assert_holds(found, RATES[:, [1, 0, 2]], ("model 1", "model 0", "model 2"))


def test_order_check_sees_models_that_are_not_sorted(tmp_path):
    found = read_matrix(write(tmp_path / "rates.npy", RATES))
    with pytest.raises(AssertionError):
        assert_holds(found._replace(rates=RATES), RATES, found.names)
    with pytest.raises(AssertionError):
        assert_holds(found, RATES[:, [1, 0, 2]], NAMES)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, np.float64])
def test_every_kind_of_number(dtype, tmp_path):
    values = np.array([[0, 1], [1, 1]], dtype)
    for suffix in (".npy", ".npz"):
        found = read_matrix(write(tmp_path / f"rates{suffix}", values))
        assert_holds(found, values, ("model 0", "model 1"))


@tables
def test_columns_that_are_not_numbers_are_left_out(suffix, tmp_path):
    columns = {
        "id": ["x", "y", "z"],
        "strong": [1.0, 0.5, 0.75],
        "prompt": ["1 + 1", "2 + 2", ""],
        "solved": [False, True, False],
        "weak": [0, 0, 0],
    }
    found = read_matrix(write_table(tmp_path / f"rates{suffix}", columns))
    want = np.array([[0, 0, 1], [0, 1, 0.5], [0, 0, 0.75]])
    assert_holds(found, want, ("weak", "solved", "strong"))


def test_models_of_the_same_name_are_kept_apart(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_text("a,a,b\n0.5,1,0\n0.5,1,0\n")
    found = read_matrix(path)
    assert_holds(found, np.array([[0, 0.5, 1]] * 2), ("b", "a", "a"))


def test_models_of_the_same_ability_stay_in_order(tmp_path):
    found = read_matrix(write(tmp_path / "rates.npy", np.eye(3)))
    assert_holds(found, np.eye(3), NAMES)


def test_one_array_of_several(tmp_path):
    path = tmp_path / "rates.npz"
    np.savez(path, rates=RATES, other=np.ones(3))
    assert read_matrix(path, "rates").rates.shape == (3, 3)
    with refuses(
        f"{path} must hold one array, or one must be named; it holds rates, other."
    ):
        read_matrix(path)
    with refuses("array must be among rates, other; got 'rate'."):
        read_matrix(path, "rate")
    np.savez(path)
    with refuses(f"{path} must hold one array, or one must be named; it holds none."):
        read_matrix(path)
    table = write(tmp_path / "rates.csv", RATES)
    with refuses(f"array names are for .npz files, got 'rates' for {table}."):
        read_matrix(table, "rates")


@suffixes
@pytest.mark.parametrize("bad", [1.5, -0.25, np.inf, np.nan, 1e300])
def test_values_outside_0_and_1(suffix, bad, tmp_path):
    values = RATES.copy()
    values[1, 2] = bad
    path = write(tmp_path / f"rates{suffix}", values)
    sentence = f"hold pass rates in [0, 1], got {bad:g} at task 1, model 2."
    if suffix == ".csv" and np.isnan(bad):
        sentence = "have no missing pass rate, column 'model 2' has 1."
    with refuses(sentence):
        read_matrix(path)


@tables
def test_missing_values(suffix, tmp_path):
    columns = {"a": [0.5, None, None], "b": [0.1, 0.2, 0.3]}
    path = write_table(tmp_path / f"rates{suffix}", columns)
    with refuses(f"{path} must have no missing pass rate, column 'a' has 2."):
        read_matrix(path)


@suffixes
def test_a_single_column(suffix, tmp_path):
    path = write(tmp_path / f"rates{suffix}", RATES[:, :1], ("a",))
    with refuses("the matrix must have at least 2 columns, one per model, got 1."):
        read_matrix(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("shape", [(3,), (), (2, 2, 2), (0, 3)])
def test_other_shapes(suffix, shape, tmp_path):
    path = write(tmp_path / f"rates{suffix}", np.zeros(shape))
    with refuses(f"the matrix must have shape (num_tasks, models), got {shape}."):
        read_matrix(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_is_not_numbers(suffix, tmp_path):
    path = tmp_path / f"rates{suffix}"
    with refuses("the matrix must hold numbers, got dtype <U3."):
        read_matrix(write(path, np.full((3, 2), "0.5")))
    with refuses("the matrix must hold numbers, got dtype complex128."):
        read_matrix(write(path, np.full((3, 2), 0.5j)))
    with refuses(
        "cannot be read: Object arrays cannot be loaded when allow_pickle=False."
    ):
        read_matrix(write(path, np.full((3, 2), None)))


@tables
def test_tables_without_numbers(suffix, tmp_path):
    path = write_table(tmp_path / f"rates{suffix}", {"a": ["x"], "b": ["y"]})
    with refuses(f"{path} must have columns of numbers, it has none."):
        read_matrix(path)


@suffixes
@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 0.9])
def test_truncated_files(suffix, share, tmp_path):
    """A table of text that is cut may still be one: at the end of a line it is."""
    values = np.random.default_rng(0).random((40, 3))
    path = write(tmp_path / f"rates{suffix}", values)
    whole = path.read_bytes()
    cut = whole[: int(share * len(whole))]
    path.write_bytes(cut.rstrip(b"0123456789.,\n") + b"," if suffix == ".csv" else cut)
    with pytest.raises(ValueError) as caught:
        read_matrix(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ") and message.endswith(".")
    assert "\n" not in message and not message.endswith("..")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x93NUMPY"])
def test_files_of_something_else(suffix, content, tmp_path):
    path = tmp_path / f"rates{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} cannot be read: "):
        read_matrix(path)


def test_numpy_files_under_each_others_name(tmp_path):
    path = write(tmp_path / "rates.npy", RATES)
    found = read_matrix(path.rename(tmp_path / "rates.npz"))
    assert found.rates.shape == (3, 3)


def test_paths(tmp_path):
    for name in ("rates.txt", "rates", "rates.npy.gz"):
        path = tmp_path / name
        with refuses(
            f"the matrix must be a .npy, .npz, .csv or .parquet file, got {path}."
        ):
            read_matrix(path)
    path = tmp_path / "rates.npy"
    with refuses(f"the matrix must be a file, {path} is none."):
        read_matrix(path)
    path.mkdir()
    with refuses(f"the matrix must be a file, {path} is none."):
        read_matrix(path)


def test_a_mistyped_cell_is_named_and_not_taken_for_an_id(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_text("weak,middle,strong\n0.1,0.2,0.3\n0.1,O.2,0.3\n0.1,0.2,0.3\n")
    with pytest.raises(ValueError, match=r"in column 'middle', got 'O\.2' at task 1"):
        read_matrix(path)
