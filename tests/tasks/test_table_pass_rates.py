import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bots_jax.tasks.tables.pass_rates import (
    counts,
    evaluated,
    pass_rate_columns,
    references,
)
from bots_jax.tasks.tables.table import open_table
from tests.tasks.table_tools import guru_rows, write_parquet

WEAK, STRONG = "qwen2.5_7b_pass_rate", "qwen3_30b_pass_rate"


@pytest.fixture
def guru(tmp_path):
    return open_table(write_parquet(tmp_path / "guru.parquet", guru_rows()))


@pytest.fixture
def with_rates(tmp_path):
    def make(**columns):
        (length,) = {len(values) for values in columns.values()}
        prompts = [f"p{row}" for row in range(length)]
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"prompt": prompts, **columns}), path)
        return open_table(path)

    return make


def test_columns_are_found(guru, with_rates):
    assert pass_rate_columns(guru) == [WEAK, STRONG]
    table = with_rates(
        a_pass_rate=[0, 1],
        b_pass_rate=["0", "1"],
        pass_rates=[0.5, 0.5],
        info=[{"c_pass_rate": 0.5}, {"c_pass_rate": None}],
    )
    assert pass_rate_columns(table) == ["a_pass_rate", "info.c_pass_rate"]


def test_references_come_in_the_order_asked_for(guru):
    found = references(guru, [STRONG, WEAK], missing=0.25)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 1], np.arange(6) / 8)
    np.testing.assert_array_equal(found[:, 0], [1, 0.875, 0.75, 0.625, 0.5, 0.25])
    assert references(guru, [WEAK]).shape == (6, 1)


def test_missing_rates_are_refused_unless_told_how_to_fill_them(guru):
    sentence = f"not all tasks were evaluated: '{STRONG}' is null for 1 of 6; missing="
    with pytest.raises(ValueError, match=sentence):
        references(guru, [WEAK, STRONG])
    mean = references(guru, [WEAK, STRONG], missing="mean")
    assert mean[5].tolist() == [0.625, 0.75]  # (1 + .875 + .75 + .625 + .5) / 5
    np.testing.assert_array_equal(mean[:5], references(guru, [WEAK, STRONG], 0)[:5])


def test_nan_counts_as_missing_like_null(with_rates):
    table = with_rates(a=[0.5, np.nan, 1.0], b=[None, 0.5, np.nan])
    with pytest.raises(ValueError, match="'a' is null for 1 of 3, 'b' is null for 2"):
        references(table, ["a", "b"])
    assert evaluated(table, ["a"]).tolist() == [True, False, True]
    assert evaluated(table, ["a", "b"]).tolist() == [False] * 3
    assert evaluated(table, ["a"]).dtype == np.bool_


@pytest.mark.parametrize("missing", ["zero", -0.1, 1.5, np.nan, True, None])
def test_bad_ways_to_fill_are_refused(guru, missing):
    with pytest.raises(ValueError, match="missing must be 'refuse', 'mean' or a"):
        references(guru, [WEAK], missing=missing)


def test_a_column_without_any_rate_has_no_mean(with_rates):
    table = with_rates(a=pa.array([None, None], pa.float32()), b=[None, None])
    for name in "ab":
        with pytest.raises(ValueError, match=f"evaluated in column '{name}', so it"):
            references(table, [name], missing="mean")
        assert references(table, [name], missing=0.5).tolist() == [[0.5], [0.5]]


@pytest.mark.parametrize("value", [1.5, -1e-9, np.inf, -np.inf, 100])
def test_rates_out_of_range_name_row_and_column(with_rates, value):
    table = with_rates(a=[0.0, 0.5, float(value)])
    sentence = f"must be in \\[0, 1\\], got {value:g} in row 2 of column 'a'."
    for read in (references, evaluated):
        with pytest.raises(ValueError, match=sentence):
            read(table, ["a"])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([None, "high"], "'a' must hold numbers, got string: 'high' in row 1."),
        ([False, True], "'a' must hold numbers, got bool: False in row 0."),
        ([[0.5], [1.0]], "'a' must hold numbers, got list<.*>: \\[0.5\\] in row 0."),
    ],
)
def test_rates_that_are_not_numbers_are_refused(with_rates, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        references(with_rates(a=values), ["a"])


@pytest.mark.parametrize("columns", [[], WEAK])
def test_columns_must_be_a_list(guru, columns):
    with pytest.raises(ValueError, match="columns must be a list of names, got"):
        references(guru, columns)


def test_missing_columns_are_named(guru):
    with pytest.raises(ValueError, match=f"'qwen2.5_pass_rate'; did you mean '{WEAK}'"):
        references(guru, ["qwen2.5_pass_rate"])


def test_counts_stand_beside_the_rates(with_rates):
    table = with_rates(
        a_pass_rate=[0.5, None, 1.0],
        a_num_rollouts=[16, None, 8],
        b_pass_rate=[0.0, 0.0, 0.0],
        b_num_rollouts=[1, 2, 3],
        c_num_rollouts=[1.0, 0.5, 2.0],
        d_num_rollouts=[1, -2, 3],
    )
    found = counts(table, ["a_pass_rate", "b_pass_rate"])
    assert found.dtype == np.int32
    assert found.tolist() == [[16, 1], [0, 2], [8, 3]]
    for name, value in (("c", "0.5"), ("d", "-2")):
        sentence = f"'{name}_num_rollouts' must hold whole numbers >= 0, got {value} in"
        with pytest.raises(ValueError, match=sentence):
            counts(table, [f"{name}_pass_rate"])
    with pytest.raises(ValueError, match="there is no column 'e_num_rollouts'"):
        counts(table, ["e_pass_rate"])


def test_decimals_are_numbers(with_rates):
    from decimal import Decimal

    table = with_rates(a_pass_rate=[Decimal("0.25"), Decimal("1.00")])
    assert pass_rate_columns(table) == ["a_pass_rate"]
    assert references(table, ["a_pass_rate"]).tolist() == [[0.25], [1.0]]
