import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bots_jax.tasks.tables.table import open_table
from tests.tasks.table_tools import guru_rows, write_arrow, write_lines, write_parquet


def refused(sentence, *args, **kwargs):
    with pytest.raises(ValueError, match=sentence) as caught:
        open_table(*args, **kwargs)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    return text


@pytest.fixture
def guru(tmp_path):
    return write_parquet(tmp_path / "guru.parquet", guru_rows())


def test_missing_columns_name_those_there_are(guru):
    refused(
        "no column 'promt'; did you mean 'prompt'\\? There are", guru, prompt="promt"
    )
    text = refused("no column 'reward_model.truth'", guru, answer="reward_model.truth")
    assert "did you mean 'reward_model.ground_truth'?" in text
    assert "'extra_info.index'" in text
    refused("no column 'zzz'. There are", guru, key="zzz")
    refused("must be named by text, got 7.", guru, key=7)
    table = open_table(guru)
    for read in (
        table.numbers,
        table.text_column,
        lambda name: table.read([0], [name]),
    ):
        with pytest.raises(
            ValueError, match="there is no column 'data_sorce'; did you"
        ):
            read("data_sorce")
    with pytest.raises(ValueError, match="there is no column 'x'"):
        table.batches(["x"])
    with pytest.raises(ValueError, match="reads whole columns, got 'extra_info.index'"):
        table.batches(["extra_info.index"])


def test_a_table_without_prompts_is_refused(tmp_path):
    path = write_lines(tmp_path / "t.jsonl", [{"text": "x", "n": 1}])
    text = refused("no column 'prompt', 'question', 'problem' or 'input' holds", path)
    assert text.endswith("prompt= names another. There are 'text', 'n'.")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(5, "int64"), ([1], "list<item: int64>"), ({"a": "b"}, "struct<a: string>")],
)
def test_prompts_of_another_type_are_refused(tmp_path, value, kind):
    path = write_parquet(tmp_path / "t.parquet", [{"prompt": value}])
    refused(f"'prompt' must hold text or chat messages .*, got {kind}.", path)


def test_rows_without_a_prompt_are_refused(tmp_path):
    rows = [{"prompt": "a"}, {"prompt": "b"}, {"prompt": None}]
    path = write_parquet(tmp_path / "t.parquet", rows)
    refused("must have a prompt, got null in row 2 of column 'prompt'.", path)
    path = write_parquet(tmp_path / "u.parquet", [{"prompt": None}])
    refused("must hold text or chat messages .*, got null.", path)


def test_an_answer_column_without_answers_is_refused(tmp_path):
    rows = [{"prompt": "a", "answer": None, "info": {"x": None, "y": 1}}] * 3
    path = write_parquet(tmp_path / "t.parquet", rows)
    refused(
        "'answer' holds no answer: it is null in all 3 rows.", path, answer="answer"
    )
    refused("'info.x' holds no answer: it is null in all", path, answer="info.x")


MIXED = {
    "text and number": (["a", 1], "'x' .*, got text in line 1 and numbers in line 2."),
    "number and boolean": ([1, True], "got numbers in line 1 and booleans in line 2."),
    "after a null": ([None, 1.5, [1]], "got numbers in line 2 and lists in line 3."),
    "object": ([{"a": 1}, "a"], "got objects in line 1 and text in line 2."),
    "inside": ([{"a": [1]}, {"a": ["b"]}], "'x.a\\[\\]' .* numbers .* text in line 2."),
    "too large": (
        [1, 2**64],
        "must fit in 64 bits, got 1844674407370955161. in line 2",
    ),
    "too fine": ([2**60 + 1, 0.5], "cannot be read as JSON lines: Integer value 11529"),
    "half a pair": (["a", "\ud800"], "'x' .* holds half a surrogate pair in line 2."),
}


@pytest.mark.parametrize(("values", "sentence"), MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("gap", [0, 5000])
def test_mixed_types_in_json_lines_name_column_and_lines(
    tmp_path, values, sentence, gap
):
    # Far apart, or close enough to be read at once.
    rows = [{"prompt": "p", "x": value} for value in values]
    path = write_lines(tmp_path / "t.jsonl", rows[:1] + [{}] * gap + rows[1:])
    for number in (3, 2):
        sentence = sentence.replace(f"line {number}", f"line {number + gap}")
    assert str(path) in refused(sentence, path)


LINES = {
    "cut": (
        b'{"prompt": "a"}\n{"prompt": "b',
        "line 2 of .* is not a JSON object",
    ),
    "array": (b'[\n{"prompt": "a"}\n]', "line 1 of .* is not a JSON object"),
    "list": (b'[{"prompt": "a"}]', "line 1 of .* must be a JSON object, got \\[{'prom"),
    "latin": (b'{"prompt": "\xe4"}', "line 1 of .* is not UTF-8."),
    "parquet": (b"PAR1\x00\xff", "line 1 of .* is not"),
    "deep": (b'{"a":' + b"[" * 10**5, "line 1 of .* is not a JSON object"),
}


@pytest.mark.parametrize(("content", "sentence"), LINES.values(), ids=LINES)
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_broken_lines_are_refused(tmp_path, content, sentence, ending):
    path = tmp_path / f"t.{ending}"
    path.write_bytes(content)
    refused(sentence, path)


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "arrow"])
def test_empty_files_are_refused(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    path.touch()
    refused(f"t.{ending} is empty.", path)


def test_tables_without_rows_or_columns_are_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), path)
    refused("t.parquet holds no rows.", path)
    (tmp_path / "t.jsonl").write_text("\n\n")
    refused("t.jsonl has no columns.", tmp_path / "t.jsonl")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_truncated_files_are_refused(tmp_path, ending, keep):
    path = tmp_path / f"t.{ending}"
    (write_parquet if ending == "parquet" else write_arrow)(path, guru_rows(500))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    refused(f"t.{ending} cannot be read as .{ending}: ", path)
    path.write_bytes(b"hello, world" * 100)
    refused(f"t.{ending} cannot be read as .{ending}: ", path)


def test_damage_inside_a_parquet_file_is_refused(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", guru_rows(500))
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    refused("t.parquet cannot be read as .parquet: ", path)


def test_what_is_not_a_table_is_refused(tmp_path, guru):
    refused("there is no file .*none.parquet.", tmp_path / "none.parquet")
    (tmp_path / "t.png").write_bytes(b"png")
    refused(
        "must be .parquet, .jsonl, .json or .arrow, got .*t.png.", tmp_path / "t.png"
    )
    (tmp_path / "empty").mkdir()
    refused("folder .*empty holds no file .parquet, .jsonl", tmp_path / "empty")
    refused("must be .parquet, .* got .*nowhere.", tmp_path / "nowhere")
    refused("paths must name at least one file, got none.", [])


def test_files_that_differ_are_refused(tmp_path, guru):
    more = write_parquet(tmp_path / "more.parquet", [r | {"x": 1} for r in guru_rows()])
    text = refused("the same columns: .*more.parquet has 'x'", [guru, more])
    assert text.endswith("guru.parquet has not.")
    refused("the same columns: .*more.parquet has 'x', and", [more, guru])
    rows = [row | {"data_source": 7} for row in guru_rows()]
    other = write_lines(tmp_path / "other.jsonl", rows)
    text = refused(
        "'data_source' must have one type in all files: it is", [guru, other]
    )
    assert re.search("string in .*guru.parquet and int64 in .*other.jsonl", text)


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"])] * 2, names=["prompt", "prompt"])
    pq.write_table(table, tmp_path / "t.parquet")
    refused("t.parquet has two columns 'prompt'.", tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([0, 6], "task_ids must be in \\[0, 5\\], got 6 at index 1."),
        ([-1], "task_ids must be in \\[0, 5\\], got -1 at index 0."),
        (np.array([2**63], np.uint64), "got 9223372036854775808 at index 0."),
        ([0.0], "task_ids must be row numbers, got 0.0."),
        ([True], "task_ids must be row numbers, got True."),
        (["a"], "task_ids must be row numbers, got 'a'."),
        ([[0]], "task_ids must be a list or an array"),
        (3, "task_ids must be a list or an array"),
    ],
)
def test_bad_row_numbers_are_refused(guru, ids, sentence):
    table = open_table(guru)
    for read in (table.rows, table.prompts, table.texts, table.answers, table.read):
        with pytest.raises(ValueError, match=sentence):
            read(ids)


def test_columns_of_another_type_are_refused(guru):
    table = open_table(guru)
    with pytest.raises(ValueError, match="must hold numbers, got string: 'logic' in"):
        table.numbers("data_source")
    with pytest.raises(ValueError, match="'extra_info.index' must hold text, got int"):
        table.text_column("extra_info.index")
