"""A small table, and what an evaluation of it by `generate` must give."""

from pathlib import Path
from typing import Any

import numpy as np

from bots_jax.tasks.evaluations.reference_eval import task_seed
from bots_jax.tasks.tables.table import TaskTable
from tests.tasks.reward_samples import generate

NUM_TASKS, GROUP = 7, 6


def guru_file(path: Path) -> Path:
    """Writes seven tasks, of which the last is the third again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    answers = [{"ground_truth": str(i % 3), "style": "rule"} for i in range(6)]
    rows = {
        "prompt": [[{"role": "user", "content": f"Task {i}"}] for i in range(6)],
        "level": pa.array([1, 2, None, 4, 5, 6], pa.int8()),
        "reward_model": answers,
    }
    table = pa.table(rows)
    pq.write_table(pa.concat_tables([table, table.slice(2, 1)]), path)
    return path


def columns(out: Path, *names: str) -> list[list[Any]]:
    import pyarrow.parquet as pq

    read = pq.read_table(out)
    return [read[name].to_pylist() for name in names or read.column_names]


def expected(table: TaskTable, seed: int = 0) -> list[float]:
    """Pass rates of `generate`, whose completions follow from the tasks' seeds."""
    rates = []
    for key, answer in zip(table.keys.tolist(), table.answers(range(7)), strict=True):
        (texts,) = generate([""], GROUP, [task_seed(seed, key)])
        hits = [text == answer for text in texts]
        rates.append(float(np.float32(np.mean(hits))))
    return rates
