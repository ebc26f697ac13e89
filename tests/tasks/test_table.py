import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bots_jax
from bots_jax.tasks.tables import files as table_files
from bots_jax.tasks.tables.sources import plain_type
from bots_jax.tasks.tables.table import check_unchanged, open_table
from tests.tasks.table_tools import (
    WRITERS,
    chat,
    guru_rows,
    write_lines,
    write_parquet,
)


@pytest.fixture(params=WRITERS)
def guru(request, tmp_path):
    ending, write = WRITERS[request.param]
    return open_table(write(tmp_path / f"tasks{ending}", guru_rows()))


def test_reads_the_layout_of_guru_from_every_kind_of_file(guru):
    assert len(guru) == 6
    assert guru.prompt_column == "prompt"
    assert guru.answer_column == "reward_model.ground_truth"
    assert guru.column_names == list(guru_rows()[0])
    assert guru.rows([4, 0, 4]) == [guru_rows()[row] for row in (4, 0, 4)]
    assert guru.prompts([5]) == [chat("What is 5 + 5?")]
    assert guru.texts(np.array([5, 1])) == ["What is 5 + 5?", "What is 1 + 1?"]
    assert guru.answers([3, 2]) == ["6", "4"]
    assert guru.read([2], ["extra_info.index", "data_source"]) == {
        "extra_info.index": [2],
        "data_source": ["logic"],
    }


def test_columns_of_all_rows(guru):
    rates = guru.numbers("qwen3_30b_pass_rate")
    assert rates.dtype == np.float64
    np.testing.assert_array_equal(rates, [1, 0.875, 0.75, 0.625, 0.5, np.nan])
    np.testing.assert_array_equal(guru.numbers("extra_info.index"), np.arange(6))
    assert guru.text_column("data_source").tolist() == ["logic", "math"] * 3
    assert guru.text_column("extra_info.split").tolist() == ["train"] * 6
    batches = list(guru.batches(["reward_model", "data_source"]))
    assert [row for batch in batches for row in batch.to_pylist()] == [
        {x: row[x] for x in ("data_source", "reward_model")} for row in guru_rows()
    ]
    assert sum(batch.num_rows for batch in guru.batches()) == 6


def test_empty_requests(guru):
    assert guru.rows([]) == []
    assert guru.prompts([]) == guru.answers(np.zeros(0, np.int32)) == []
    assert guru.rows_of([]).shape == (0,)


@pytest.mark.parametrize(
    ("rows", "prompt", "answer"),
    [
        ([{"question": "q", "input": "i", "answer": "a"}], "question", "answer"),
        ([{"problem": "q", "solution": "s", "target": "t"}], "problem", "solution"),
        ([{"input": "q", "reward_model": {"style": "rule"}}], "input", None),
        ([{"prompt": "q", "answer": None, "target": "t"}], "prompt", "target"),
        ([{"prompt": "q", "ground_truth": None}], "prompt", None),
        ([{"prompt": "q", "answer": 7}], "prompt", "answer"),
    ],
)
def test_columns_are_found_by_their_usual_names(tmp_path, rows, prompt, answer):
    table = open_table(write_lines(tmp_path / "tasks.jsonl", rows))
    assert (table.prompt_column, table.answer_column) == (prompt, answer)
    assert table.answers([0]) == [rows[0].get(answer)]


def test_a_name_with_dots_goes_before_a_path_into_structs(tmp_path):
    rows = [{"a.b": "outer", "a": {"b": "inner", "c.d": "deep"}, "q": "?"}]
    table = open_table(write_parquet(tmp_path / "t.parquet", rows), prompt="q")
    assert table.read([0], ["a.b", "a.c.d"]) == {"a.b": ["outer"], "a.c.d": ["deep"]}


def test_a_null_struct_has_null_fields(tmp_path):
    rows = [{"prompt": "a", "info": {"n": 1}}, {"prompt": "b", "info": None}]
    table = open_table(write_parquet(tmp_path / "t.parquet", rows))
    assert table.read([1, 0], ["info.n"]) == {"info.n": [None, 1]}
    np.testing.assert_array_equal(table.numbers("info.n"), [1, np.nan])


def test_messages_lose_fields_that_they_do_not_have(tmp_path):
    messages = [{"role": "system", "content": None}, {"role": "user", "name": "Ada"}]
    messages[1]["content"] = "Hi"
    table = open_table(write_lines(tmp_path / "t.jsonl", [{"prompt": messages}]))
    assert table.prompts([0]) == [[{"role": "system"}, messages[1]]]
    assert table.texts([0]) == ["\nHi"]


def test_several_files_and_folders_in_order(tmp_path):
    rows = guru_rows()
    write_parquet(tmp_path / "b.parquet", rows[:2])
    write_lines(tmp_path / "a.jsonl", rows[2:4])
    both = open_table([tmp_path / "b.parquet", str(tmp_path / "a.jsonl")])
    assert both.rows(range(4)) == rows[:4]
    # What data set libraries put beside the rows is not a part of the table.
    for name in ("state.json", "dataset_info.json", "_metadata.parquet", "read.me"):
        (tmp_path / name).write_text("{}")
    folder = open_table(tmp_path)
    assert folder.rows(range(4)) == rows[2:4] + rows[:2]
    assert folder.fingerprint != both.fingerprint
    assert sorted(folder.keys) == sorted(both.keys)


def test_types_of_files_that_say_the_same_in_other_words(tmp_path):
    column = pa.array(["x", "y", "x"])
    kinds = {
        "plain": column,
        "large": column.cast(pa.large_string()),
        "coded": column.dictionary_encode(),
    }
    for name, values in kinds.items():
        table = pa.table({"prompt": column, "kind": values, "rate": [0, 1, 1]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    rows = [{"prompt": "x", "kind": "x", "rate": 0.5}, {"prompt": "z", "rate": None}]
    write_lines(tmp_path / "z.jsonl", rows)
    table = open_table(tmp_path)
    assert table.text_column("kind").tolist() == ["x", "y", "x"] * 3 + ["x", None]
    assert table.numbers("rate")[[0, 1, 9]].tolist() == [0, 1, 0.5]


def test_types_of_their_own_become_what_they_hold(tmp_path):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.eye(2, dtype=np.int32))
    table = pa.table({"prompt": ["a", "b"], "place": tensors})
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    opened = open_table(tmp_path / "t.arrow")
    assert opened.read([1, 0], ["place"]) == {"place": [[0, 1], [1, 0]]}
    assert repr(opened) == "TaskTable(2 tasks, prompt='prompt', answer=None, key=None)"


@pytest.mark.parametrize(
    ("type_", "plain"),
    [
        (pa.string_view(), pa.string()),
        (pa.binary_view(), pa.binary()),
        (pa.run_end_encoded(pa.int32(), pa.large_string()), pa.string()),
        (pa.large_list(pa.large_binary()), pa.list_(pa.binary())),
        (pa.struct([("x", pa.large_string())]), pa.struct([("x", pa.string())])),
        (pa.timestamp("us"), pa.timestamp("us")),
    ],
    ids=str,
)
def test_plain_types(type_, plain):
    assert plain_type(type_) == plain


def test_json_lines_keep_what_they_say(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"prompt": "a", "answer": "2020-01-01", "rate": 0}\r\n'
        b'\n{"prompt": "\xc3\xa4", "tags": ["x"], "rate": 0.25, '
        b'"big": 9007199254740993}'
    )
    table = open_table(path)
    assert table.answers([0, 1]) == ["2020-01-01", None]  # text, not a date
    row = {"prompt": "ä", "answer": None, "rate": 0.25, "tags": ["x"]}
    assert table.rows([1]) == [row | {"big": 2**53 + 1}]


def test_columns_that_appear_late_in_json_lines(tmp_path):
    rows = [{"prompt": f"p{row}"} for row in range(5000)]
    rows += [{"prompt": "last", "info": {"x": 1}}, {"prompt": "q", "info": {"y": "z"}}]
    table = open_table(write_lines(tmp_path / "t.jsonl", rows))
    assert table.rows([5000])[0]["info"] == {"x": 1, "y": None}
    assert table.answers([0]) == [None]


def test_random_reads_equal_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "_BLOCK_ROWS", 70)
    rng = np.random.default_rng(0)
    rows = [{"prompt": "x" * int(rng.integers(9)), "id": row} for row in range(1000)]
    path = write_parquet(tmp_path / "t.parquet", rows, row_group_size=33)
    table = open_table(path)
    assert len(table._rows.blocks) > 10
    ids = rng.integers(0, 1000, 300)
    assert table.rows(ids) == [rows[row] for row in ids]
    np.testing.assert_array_equal(table.numbers("id"), np.arange(1000))


def test_threads_read_the_same(guru):
    def read(seed):
        ids = np.random.default_rng(seed).integers(0, 6, 50)
        return guru.rows(ids) == [guru_rows()[row] for row in ids]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(64)))


def test_a_pickle_names_files_and_opens_them_again(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", guru_rows(2000))
    table = open_table(path, answer="data_source", cache_dir=tmp_path / "here")
    written = pickle.dumps(table)
    assert len(written) < 2000
    again = pickle.loads(written)
    assert again.rows([3]) == table.rows([3])
    assert again.answer_column == "data_source"
    write_parquet(path, guru_rows(1999))
    with pytest.raises(ValueError, match="had 2000 rows then and has 1999 now"):
        pickle.loads(written)


def test_the_host_object_takes_keys_and_references(tmp_path):
    from bots_jax.tasks.tables.pass_rates import references

    table = open_table(write_parquet(tmp_path / "t.parquet", guru_rows()))
    names = ["qwen2.5_7b_pass_rate", "qwen3_30b_pass_rate"]
    import jax

    selector = bots_jax.bots(num_tasks=len(table), batch_size=2)
    state = selector.init(references(table, names, missing="mean"))
    sampler = bots_jax.TaskSampler(
        selector, jax.random.key(0), state, task_keys=table.keys
    )
    rows = table.rows_of(sampler.select())
    assert len(set(rows.tolist())) == 2
    assert len(table.prompts(rows)) == 2


def test_what_changed_is_said(tmp_path):
    def opened(rows):
        return open_table(write_parquet(tmp_path / "t.parquet", rows))

    rows = guru_rows()
    then = opened(rows).fingerprint
    check_unchanged(opened([row | {"new": 1} for row in rows]), then)
    for changed, sentence in (
        (rows[:-1], "since the checkpoint: it had 6 rows then and has 5 now."),
        (rows[::-1], "its 6 rows are the same, in another order."),
        ([*rows[:-1], rows[0]], "as then, but keys, prompts or answers differ."),
    ):
        with pytest.raises(ValueError, match=sentence):
            check_unchanged(opened(changed), then)
    with pytest.raises(ValueError, match="its fingerprint was 'nonsense' and is '6-"):
        check_unchanged(opened(rows), "nonsense")


MEMORY = """
import sys
from pathlib import Path
from bots_jax.tasks.tables.table import open_table

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) / 1024

peaks = []
for path in sys.argv[1:-1]:
    table = open_table(path, cache_dir=sys.argv[-1])
    table.numbers("rate"), table.text_column("answer"), table.duplicates()
    for batch in table.batches():
        pass
    peaks.append(peak())
print(peaks[1] - peaks[0], table._rows.num_bytes / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_table(tmp_path):
    rng, paths = np.random.default_rng(0), []
    for name, num_rows in (("small", 12_000), ("large", 48_000)):
        paths.append(tmp_path / f"{name}.parquet")
        columns = {
            "prompt": [rng.bytes(2000).hex() for _ in range(num_rows)],
            "answer": [str(row) for row in range(num_rows)],
            "rate": np.linspace(0, 1, num_rows),
        }
        pq.write_table(pa.table(columns), paths[-1], row_group_size=2000)
    program = [sys.executable, "-c", MEMORY, *paths, tmp_path / "cache"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    grown, size = map(float, done.stdout.split())
    assert size > 180
    assert grown < 0.5 * size, (grown, size)
