"""How near the update of a dense posterior comes to the bandwidth of memory.

The update reads alpha, beta and two references of every task and writes alpha and
beta: 24 bytes per task. It is compared with copies that read 12 and write 12.

    python -m benchmarks.update
"""

import dataclasses
import functools
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from . import harness, machine, ours
from . import pool as settings
from .agreement import check_updates
from .cases import check_sizes
from .harness import CONSOLE, Candidate
from .pool import make_big_pool, make_pool

QUESTION = "How near does the dense update come to the bandwidth of a copy?"
UPDATE, NUMPY_COPY, JITTED_COPY = "dense update", "numpy copyto", "jitted copy"
COPIES = (NUMPY_COPY, JITTED_COPY)
BYTES_PER_TASK = 24
_HELD_BYTES = 16 + 32 + 24  # per task: state, both copies' arrays, the state's making


@dataclasses.dataclass(frozen=True)
class Config(harness.TimingConfig):
    """How near the dense update comes to the bandwidth of a copy.

    Attributes:
      num_tasks: N; those that do not fit into memory are recorded as not run.
      batch_size: B.
    """

    num_tasks: tuple[int, ...] = (1_000_000, 3_000_000, 10_000_000, 100_000_000)
    batch_size: int = 1024
    smallest: ClassVar[dict[str, Any]] = {"num_tasks": (20_000,), "batch_size": 32}


def make_update(num_tasks: int, batch_size: int, seed: int) -> Callable[[], Any]:
    """Makes the update of a dense posterior, jitted, its state donated.

    Args:
      num_tasks: N.
      batch_size: B.
      seed: of pool and evidence.

    Returns:
      A function that updates its own state with the same evidence in each call.
    """
    pool = make_big_pool(num_tasks, seed)
    selector = ours.make_selector(ours.DENSE_SWEEP, num_tasks, batch_size)
    target = settings.TARGET_SUCCESS_PROB
    state = ours.make_state(ours.DENSE_SWEEP, batch_size, pool, target)
    rng = np.random.default_rng(seed)
    task_ids = rng.choice(num_tasks, batch_size, replace=False).astype(np.int32)
    successes = rng.binomial(settings.GROUP_SIZE, pool.chances(task_ids))
    evidence = ours.counts_of(task_ids, successes)
    jitted = jax.jit(selector.update, donate_argnums=0)
    update, _ = ours.compile_stages(jitted, state, evidence)
    return ours.updater(update, state, evidence)


@functools.partial(jax.jit, donate_argnums=0, keep_unused=True)
def _copy(target: Any, source: Any) -> Any:
    del target  # its memory becomes the result's
    return jnp.copy(source)


def make_copies(num_tasks: int) -> dict[str, Callable[[], Any]]:
    """Makes copies of 12 bytes per task, by NumPy on one core and by XLA.

    Args:
      num_tasks: N.

    Returns:
      Functions by name; each writes the same array again.
    """
    source = np.ones(3 * num_tasks, np.float32)
    target = np.zeros(3 * num_tasks, np.float32)
    held = [jnp.zeros(3 * num_tasks, jnp.float32)]
    on_device = jnp.ones(3 * num_tasks, jnp.float32)

    def jitted() -> Any:
        held[0] = _copy(held[0], on_device)
        return held[0]

    return {NUMPY_COPY: lambda: np.copyto(target, source), JITTED_COPY: jitted}


def share_of_copy(rows: list[dict[str, Any]]) -> float | None:
    """Divides the fastest copy's median by the update's; None if one is missing.

    Example:
      >>> rows = [{"candidate": UPDATE, "median_s": 2.0}]
      >>> share_of_copy([*rows, {"candidate": JITTED_COPY, "median_s": 1.0}])
      0.5
    """
    medians = {row["candidate"]: row["median_s"] for row in rows if "median_s" in row}
    copies = [medians[name] for name in COPIES if name in medians]
    if not copies or UPDATE not in medians:
        return None
    return round(min(copies) / medians[UPDATE], 4)


def run_case(config: Config, num_tasks: int) -> list[dict[str, Any]]:
    """Times update and copies at one N; returns rows of the JSON file."""
    where = {"num_tasks": num_tasks, "batch_size": config.batch_size}
    free, needed = machine.free_bytes(), _HELD_BYTES * num_tasks
    if free is not None and needed > free:
        reason = f"needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} are free"
        names = (UPDATE, *COPIES)
        return [where | harness.not_run(name, reason).as_row() for name in names]
    update = make_update(num_tasks, config.batch_size, config.seed)
    calls = {UPDATE: update, **make_copies(num_tasks)}
    candidates = [Candidate(name, call) for name, call in calls.items()]
    label = f"N={num_tasks:,}"
    timings = harness.time_candidates(label, candidates, config)
    rows = [where | timing.as_row() for timing in timings]
    for row in rows:
        if "median_s" in row:
            speed = BYTES_PER_TASK * num_tasks / row["median_s"] / 1e9
            row["gb_per_s"] = float(f"{speed:.4g}")
    rows[0]["share_of_copy"] = share_of_copy(rows)
    share = rows[0]["share_of_copy"]
    text = f"{share:.0%} of a copy's bandwidth" if share else "not measured"
    CONSOLE.print(f"  {label}: {text}", highlight=False)
    return rows


def main(config: Config) -> Path:
    """Checks, times, writes; returns the file."""
    config = config.resized()
    check_sizes(config.num_tasks, (config.batch_size,))
    machine.share_device()
    step = ours.OurStep(3000, 32, config.seed, ours.DENSE_SWEEP)
    check = check_updates(step, make_pool(3000, config.seed), 32, 5, config.seed)
    if not check["agrees"]:
        raise SystemExit(f"the update is wrong, so it is not timed: {check}")
    record: dict[str, Any] = {
        "question": QUESTION,
        "machine": machine.machine_stamp(config.seed),
        "settings": {
            "bytes_per_task": BYTES_PER_TASK,
            "repetitions": config.repetitions,
            "budget_s_per_case": config.budget_s,
        },
        "agreement": [check],
        "rows": [],
    }
    for num_tasks in config.num_tasks:
        gc.collect()
        record["rows"] += run_case(config, num_tasks)
    path = harness.results_path(config.results, "update", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)
