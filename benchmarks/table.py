"""Measures how many rows per second a table of tasks gives at random ids.

A synthetic table in the layout of GURU (chat messages of 300 to 1000 letters, an
answer in a struct, two pass rates) is written as parquet and opened, which copies it
once. Then prompts with their answers, whole rows, and the same by Arrow's own `take`
on the same copy are read at random ids, which are new in every call; the file is in
the cache of the system.

    python -m benchmarks.table
"""

import dataclasses
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bots_jax.tasks.tables.pass_rates import references
from bots_jax.tasks.tables.table import TaskTable, open_table

from . import harness, machine
from .cases import check_sizes
from .harness import CONSOLE, Candidate

QUESTION = "How many rows per second come out of a table of tasks at random ids?"
PROMPTS, ROWS, TAKE = "prompts and answers", "rows", "Arrow's take"
RATES = ("qwen2.5_7b_pass_rate", "qwen3_30b_pass_rate")
_CHUNK = 20_000
_WORDS = (
    "angle arc area chord circle cone cube divisor edge factor graph integer limit "
    "matrix mean median modulo number odd parity plane point prime product proof root "
    "sequence series set side slope square sum tangent triangle value vertex volume"
).split()


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """How many rows per second come out of a table of tasks at random ids.

    Attributes:
      num_rows: N.
      batch_sizes: B, rows per call.
      take_repetitions: fewer of them for Arrow's take, which is slow.
      folder: where to write; None for the system's folder of temporary files.
    """

    num_rows: tuple[int, ...] = (1_000_000,)
    batch_sizes: tuple[int, ...] = (32, 256, 1024)
    repetitions: int = 50
    take_repetitions: int = 3
    budget_s: float = 60.0
    folder: Path | None = None
    smallest: ClassVar[dict[str, Any]] = {"num_rows": (5_000,), "batch_sizes": (32,)}


def write_source(path: Path, num_rows: int, seed: int) -> None:
    """Writes the parquet file, some thousand rows at a time.

    Args:
      path: the file.
      num_rows: N.
      seed: of texts and pass rates.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    schema = None
    writer: Any = None
    for start in range(0, num_rows, _CHUNK):
        count = min(_CHUNK, num_rows - start)
        text = " ".join(rng.choice(_WORDS, 100_000).tolist())
        lengths = rng.integers(300, 1001, count).tolist()
        places = rng.integers(0, len(text) - 1000, count).tolist()
        ids = range(start, start + count)
        contents = [
            f"{row}: {text[place : place + length]}"[:length]
            for row, place, length in zip(ids, places, lengths, strict=True)
        ]
        columns = {
            "data_source": ["synthetic"] * count,
            "prompt": [[{"role": "user", "content": x}] for x in contents],
            "reward_model": [{"ground_truth": str(x), "style": "rule"} for x in ids],
            "extra_info": [{"index": x, "split": "train"} for x in ids],
        }
        columns |= {name: rng.integers(0, 17, count) / 16 for name in RATES}
        table = pa.table(columns, schema=schema)
        if writer is None:
            schema = table.schema
            writer = pq.ParquetWriter(path, schema)
        writer.write_table(table)
    writer.close()


def _timed(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Runs once; tells the seconds, and how far the memory grew beyond its start."""
    machine.give_back()
    before = machine.resident_mib()
    machine.reset_peak()
    start = time.perf_counter()
    value = call()
    seconds = time.perf_counter() - start
    grown = machine.resident_mib(peak=True) - before
    return value, {"seconds": round(seconds, 3), "peak_growth_mib": round(grown, 1)}


def run_opening(source: Path, cache: Path) -> dict[str, Any]:
    """Times what is done once per file, and once per run; returns facts for JSON."""
    _, first = _timed(lambda: open_table(source, cache_dir=cache))
    table, again = _timed(lambda: open_table(source, cache_dir=cache))
    _, rates = _timed(lambda: references(table, RATES))
    duplicates, search = _timed(table.duplicates)
    if duplicates.num_prompts:
        raise SystemExit("the prompts should be distinct, so nothing is timed")
    copied = sum(path.stat().st_size for path in cache.iterdir())
    facts = {
        "source_mib": round(source.stat().st_size / 2**20, 1),
        "copy_mib": round(copied / 2**20, 1),
        "first_open": first,
        "open_again": again,
        "references": rates,
        "duplicates": search,
    }
    CONSOLE.print(
        f"  the first open takes {first['seconds']} s and "
        f"{first['peak_growth_mib']} MiB, the next {again['seconds']} s",
        highlight=False,
    )
    return facts


def _forget(read: Any) -> None:
    del read  # so that the harness has nothing to wait for


def run_reads(
    config: Config, table: TaskTable, cache: Path, batch_size: int
) -> list[dict]:
    """Times reads at one B; returns rows of the JSON file."""
    import pyarrow as pa

    rng = np.random.default_rng(config.seed)
    ids = np.zeros(0, np.int64)

    def draw() -> None:
        nonlocal ids
        ids = rng.integers(0, len(table), batch_size)

    (copy,) = cache.glob("*.rows.arrow")
    mapped = pa.ipc.open_file(pa.memory_map(str(copy))).read_all()
    columns = mapped.select([table.prompt_column, "reward_model"])

    def take() -> list[dict]:
        return columns.take(pa.array(ids)).to_pylist()

    draw()
    # Arrow's own is not asked: where offsets overflow it fails, and is recorded so.
    if table.answers(ids) != [str(row) for row in ids]:
        raise SystemExit("what is read is not what was written, so it is not timed")
    before = machine.resident_mib()
    candidates = [
        Candidate(
            PROMPTS, lambda: (table.prompts(ids), table.answers(ids)) and 0, draw
        ),
        Candidate(ROWS, lambda: table.rows(ids) and 0, draw),
        Candidate(TAKE, lambda: take() and 0, draw, config.take_repetitions, 0),
    ]
    label = f"N={len(table):,} B={batch_size}"
    timings = harness.time_candidates(label, candidates, config)
    rows = [timing.as_row() for timing in timings]
    grown = round(machine.resident_mib() - before, 1)
    for row in rows:
        row["resident_growth_of_all_mib"] = grown
        if "median_s" in row:
            row["rows_per_s"] = round(batch_size / row["median_s"])
            CONSOLE.print(
                f"  {label}: {row['candidate']}, {row['rows_per_s']:,} rows per s",
                highlight=False,
            )
    where = {"num_rows": len(table), "batch_size": batch_size}
    return [where | row for row in rows]


def main(config: Config) -> Path:
    """Writes a table, checks, times, writes; returns the file."""
    config = config.resized()
    check_sizes(config.num_rows, config.batch_sizes)
    record: dict[str, Any] = {
        "question": QUESTION,
        "machine": machine.machine_stamp(config.seed),
        "settings": {
            "repetitions": config.repetitions,
            "prompt_letters": [300, 1000],
            "budget_s_per_case": config.budget_s,
        },
        "tables": [],
        "rows": [],
    }
    for num_rows in config.num_rows:
        with tempfile.TemporaryDirectory(dir=config.folder) as name:
            source, cache = Path(name, "tasks.parquet"), Path(name, "cache")
            CONSOLE.print(f"writing {num_rows:,} rows", highlight=False)
            write_source(source, num_rows, config.seed)
            facts = run_opening(source, cache)
            record["tables"].append({"num_rows": num_rows} | facts)
            table = open_table(source, cache_dir=cache)
            for batch_size in config.batch_sizes:
                gc.collect()
                record["rows"] += run_reads(config, table, cache, batch_size)
            del table
    path = harness.results_path(config.results, "table", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)
