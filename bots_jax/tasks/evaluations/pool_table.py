"""A pool of the trainer's own tasks as a table, in the layout of GURU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bots_jax.tasks.evaluations.new_file import new_parquet
from bots_jax.tasks.families import FAMILY_NAMES
from bots_jax.tasks.pool import TaskPool

_ROWS_AT_ONCE = 8192


def pool_table(pool: TaskPool, path: str | Path) -> None:
    """Writes a pool as a new parquet file, one row per task, in the pool's order.

    Columns are `prompt` (one message, in the short spelling), `reward_model`
    (`ground_truth`, `style`), `data_source`, `ability` and `extra_info` (`index`,
    `key`, `family`, `level`, `question` and `metadata`, the last two reasoning-gym's).
    `pool_reward` scores its completions.

    Args:
      pool: N tasks.
      path: the file.

    Raises:
      ValueError: if there is such a file.

    >>> import tempfile
    >>> from bots_jax.tasks import generate_pool
    >>> from bots_jax.tasks.tables.table import open_table
    >>> pool = generate_pool(8, families=["gcd"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pool_table(pool, Path(folder, "pool.parquet"))
    ...     table = open_table(Path(folder, "pool.parquet"), cache_dir=folder)
    ...     table.texts([0, 7]) == pool.prompts[[0, 7]].tolist()
    True
    """
    import pyarrow as pa

    text, whole = pa.string(), pa.int32()
    schema = pa.schema(
        {
            "data_source": text,
            "prompt": pa.list_(pa.struct({"role": text, "content": text})),
            "ability": text,
            "reward_model": pa.struct({"ground_truth": text, "style": text}),
            "extra_info": pa.struct(
                {
                    "index": whole,
                    "key": text,
                    "family": text,
                    "level": whole,
                    "question": text,
                    "metadata": text,
                }
            ),
        }
    )
    with new_parquet(Path(path), schema) as write:
        for start in range(0, len(pool), _ROWS_AT_ONCE):
            ids = range(start, min(start + _ROWS_AT_ONCE, len(pool)))
            rows = [_row(pool, task_id) for task_id in ids]
            write(pa.RecordBatch.from_pylist(rows, schema))


def _row(pool: TaskPool, task_id: int) -> dict[str, Any]:
    family = FAMILY_NAMES[pool.family[task_id]]
    return {
        "data_source": f"reasoning_gym/{family}",
        "prompt": [{"role": "user", "content": str(pool.prompts[task_id])}],
        "ability": "reasoning",
        "reward_model": {
            "ground_truth": str(pool.answers[task_id]),
            "style": "rule",
        },
        "extra_info": {
            "index": task_id,
            "key": str(pool.keys[task_id]),
            "family": family,
            "level": int(np.int32(pool.level[task_id])),
            "question": pool.entry(task_id)["question"],
            "metadata": str(pool.metadata[task_id]),
        },
    }
