"""Small tables in every kind of file."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def chat(text):
    return [{"role": "user", "content": text}]


def guru_rows(num_rows=6):
    """Rows in the layout of GURU; the last one was not evaluated by one model."""
    return [
        {
            "data_source": "math" if row % 2 else "logic",
            "prompt": chat(f"What is {row} + {row}?"),
            "reward_model": {"ground_truth": str(2 * row), "style": "rule"},
            "qwen2.5_7b_pass_rate": row / 8,
            "qwen3_30b_pass_rate": None if row == num_rows - 1 else 1 - row / 8,
            "extra_info": {"index": row, "split": "train"},
        }
        for row in range(num_rows)
    ]


def write_parquet(path: Path, rows, **how):
    pq.write_table(pa.Table.from_pylist(rows), path, **how)
    return path


def write_lines(path: Path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_arrow(path: Path, rows, make=pa.ipc.new_file):
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as file, make(file, table.schema) as writer:
        writer.write_table(table)
    return path


def write_stream(path: Path, rows):
    """The format without a footer, which data set libraries write."""
    return write_arrow(path, rows, pa.ipc.new_stream)


WRITERS = {
    "parquet": (".parquet", write_parquet),
    "lines": (".jsonl", write_lines),
    "json": (".json", write_lines),
    "arrow": (".arrow", write_arrow),
    "stream": (".arrow", write_stream),
}
