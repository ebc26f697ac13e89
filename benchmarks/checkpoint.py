"""How long a checkpoint takes, and how long it keeps a training loop waiting.

Saving is compared with `np.save` of the same bytes, reading with `np.load`. Every
writer brings its bytes to the disk (fsync) before it returns; the files that are read
are in the cache of the system. A loop of steps is then timed with and without a save
in the background.

    python -m benchmarks.checkpoint
"""

import contextlib
import dataclasses
import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bots_jax.checkpoint import Checkpoints

from . import harness, machine, ours
from . import pool as settings
from .cases import check_sizes
from .harness import CONSOLE, Candidate
from .pool import make_big_pool

QUESTION = (
    "How long does a checkpoint take, and how long does it keep a training loop "
    "waiting?"
)
NUMPY_SAVE, SAVE, BLOCKED = "np.save", "save", "save, asynchronous: until it returns"
NUMPY_LOAD, READ = "np.load", "read_latest"
LOOP, LOOP_SAVING = "loop", "loop with a save in the background"
BYTES_PER_TASK = 16
_HELD_COPIES = 5  # the table, its copy, what is read back twice, and room


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """How long a checkpoint takes, and how long it keeps a training loop waiting.

    Attributes:
      num_tasks: N; 16 bytes each.
      loop_tasks: N of the loop; those of `num_tasks` that are among them.
      batch_size: B of the loop.
      loop_s: about how long a loop takes.
      loops: timed loops of each kind.
      folder: where to write; None for the system's folder of temporary files.
    """

    num_tasks: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    loop_tasks: tuple[int, ...] = (10_000_000,)
    batch_size: int = 1024
    repetitions: int = 15
    loop_s: float = 10.0
    loops: int = 5
    budget_s: float = 60.0
    folder: Path | None = None
    smallest: ClassVar[dict[str, Any]] = {
        "num_tasks": (20_000,),
        "loop_tasks": (20_000,),
        "batch_size": 32,
        "loop_s": 0.1,
        "loops": 2,
    }


def save_numpy(folder: Path, table: np.ndarray) -> None:
    """Writes an array by `np.save` into a new file, as durably as a checkpoint."""
    path, before = folder / "table.partial", folder / "table.npy"
    with path.open("wb") as file:
        np.save(file, table, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    path.replace(before)


def file_system(folder: Path) -> str | None:
    """Names the kind of file system that a folder lies on; None where nobody tells.

    Example:
      >>> file_system(Path("/proc"))
      'proc'
    """
    kinds = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            kinds[line.split()[1]] = line.split()[2]
    folder = folder.resolve()
    for parent in (folder, *folder.parents):
        if str(parent) in kinds:
            return kinds[str(parent)]
    return None


def make_tree(num_tasks: int, seed: int) -> dict[str, Any]:
    """Makes a table of 16 bytes per task on the device, and a few small leaves."""
    table = np.random.default_rng(seed).random((num_tasks, 4), dtype=np.float32)
    return {
        "table": jnp.asarray(table),
        "step": jnp.int32(seed),
        "key": jax.random.key(0),
    }


def run_files(config: Config, num_tasks: int, folder: Path) -> list[dict[str, Any]]:
    """Times saving and reading at one N; returns rows of the JSON file."""
    where = {"num_tasks": num_tasks}
    free, needed = machine.free_bytes(), _HELD_COPIES * BYTES_PER_TASK * num_tasks
    names = (NUMPY_SAVE, SAVE, BLOCKED, NUMPY_LOAD, READ)
    if free is not None and needed > free:
        reason = f"needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} are free"
        return [where | harness.not_run(name, reason).as_row() for name in names]
    tree = make_tree(num_tasks, config.seed)
    table = np.asarray(tree["table"])
    directly = Checkpoints(folder / "directly", "benchmark")
    behind = Checkpoints(folder / "behind", "benchmark", asynchronous=True)
    with directly, behind:
        directly.save(0, tree)
        saved = directly.read_latest()
        if saved is None or not np.array_equal(saved.arrays["table"], table):
            raise SystemExit("what is read is not what was saved, so it is not timed")
        save_numpy(folder, table)
        calls: dict[str, Callable[[], Any]] = {
            NUMPY_SAVE: lambda: save_numpy(folder, table),
            SAVE: lambda: directly.save(_now(), tree),
            BLOCKED: lambda: behind.save(_now(), tree),
            NUMPY_LOAD: lambda: np.load(folder / "table.npy", allow_pickle=False),
            READ: lambda: _forget(directly.read_latest()),
        }
        candidates = [Candidate(name, calls[name], behind.wait) for name in names]
        rows = _time(config, candidates, f"N={num_tasks:,}", config.repetitions)
    for row in rows:
        if "median_s" in row:
            speed = BYTES_PER_TASK * num_tasks / row["median_s"] / 1e9
            row["gb_per_s"] = float(f"{speed:.4g}")
    rows[1]["times_numpy"] = ratio(rows, SAVE, NUMPY_SAVE)
    CONSOLE.print(
        f"  a save takes {rows[1]['times_numpy']} times as long as np.save",
        highlight=False,
    )
    return [where | row for row in rows]


def _now() -> int:
    """Numbers the saves; each is the newest."""
    return time.monotonic_ns() // 1000


def _forget(saved: Any) -> None:
    del saved  # so that the harness has nothing to wait for


def _time(
    config: Config,
    candidates: list[Candidate],
    label: str,
    repetitions: int,
    **how: Any,
) -> list[dict[str, Any]]:
    timings = harness.time_candidates(
        label, candidates, config, repetitions=repetitions, **how
    )
    return [timing.as_row() for timing in timings]


def run_loops(config: Config, num_tasks: int, folder: Path) -> list[dict[str, Any]]:
    """Times a loop of steps with and without a save in it; returns rows."""
    pool = make_big_pool(num_tasks, config.seed)
    step = ours.OurStep(num_tasks, config.batch_size, config.seed, ours.AUTO)
    step.reset(pool, settings.TARGET_SUCCESS_PROB)
    rng = np.random.default_rng(config.seed)
    task_ids = rng.choice(num_tasks, config.batch_size, replace=False)
    rates = rng.binomial(settings.GROUP_SIZE, pool.chances(task_ids))
    evidence = step.encode(task_ids, rates / settings.GROUP_SIZE)
    seconds = _seconds_of(lambda: step.step(evidence), 20)
    count = max(round(config.loop_s / seconds), 2)

    def loop(save: bool) -> None:
        for position in range(count):
            step.step(evidence)
            if save and position == count // 4:
                checkpoints.save(_now(), step.state)

    with Checkpoints(folder / "loop", "benchmark", asynchronous=True) as checkpoints:
        checkpoints.save(0, step.state)
        calls = {LOOP: lambda: loop(False), LOOP_SAVING: lambda: loop(True)}
        candidates = [
            Candidate(name, call, checkpoints.wait, warmups=0)
            for name, call in calls.items()
        ]
        longer = dataclasses.replace(config, budget_s=10 * config.loop_s * config.loops)
        label = f"N={num_tasks:,}: loops of {count} steps"
        rows = _time(longer, candidates, label, config.loops, warmups=0)
    rows[1]["times_loop"] = ratio(rows, LOOP_SAVING, LOOP)
    CONSOLE.print(
        f"  with a save, a loop takes {rows[1]['times_loop']} times as long",
        highlight=False,
    )
    sizes = {"num_tasks": num_tasks, "batch_size": config.batch_size}
    sizes |= {"num_steps": count, "state_bytes": step.state_bytes()}
    return [sizes | row for row in rows]


def _seconds_of(call: Callable[[], Any], times: int) -> float:
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def ratio(rows: list[dict[str, Any]], name: str, other: str) -> float | None:
    """Divides one candidate's median by another's; None if one is missing.

    Example:
      >>> rows = [{"candidate": SAVE, "median_s": 3.0}]
      >>> ratio([*rows, {"candidate": NUMPY_SAVE, "median_s": 2.0}], SAVE, NUMPY_SAVE)
      1.5
    """
    medians = {row["candidate"]: row["median_s"] for row in rows if "median_s" in row}
    if name not in medians or other not in medians:
        return None
    return round(medians[name] / medians[other], 3)


def main(config: Config) -> Path:
    """Checks, times, writes; returns the file."""
    config = config.resized()
    check_sizes(config.num_tasks, (config.batch_size,))
    machine.share_device()
    record: dict[str, Any] = {
        "question": QUESTION,
        "machine": machine.machine_stamp(config.seed),
        "settings": {
            "bytes_per_task": BYTES_PER_TASK,
            "repetitions": config.repetitions,
            "fsync": "every writer, before it returns or, in the background, is done",
            "budget_s_per_case": config.budget_s,
        },
        "rows": [],
        "loops": [],
    }
    for num_tasks in config.num_tasks:
        gc.collect()
        with tempfile.TemporaryDirectory(dir=config.folder) as name:
            folder = Path(name)
            record["settings"]["file_system"] = file_system(folder)
            record["rows"] += run_files(config, num_tasks, folder)
            if num_tasks in config.loop_tasks:
                gc.collect()
                record["loops"] += run_loops(config, num_tasks, folder)
    path = harness.results_path(config.results, "checkpoint", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)
