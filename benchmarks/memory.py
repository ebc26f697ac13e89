"""How much memory one step needs.

Each candidate runs in a process of its own. What counts is what this process holds
beyond JAX itself: beyond what it held when everything was imported and one tiny
function had been jitted and run. That is split into the state's arrays, what compiling
left behind, and the scratch space of a step. Freed arrays go back to the system at
once, so that none is counted twice, and no array of length N but the state is held.

    python -m benchmarks.memory --official trinity-rft
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from . import cases, harness, machine, official, ours, plain_jax
from . import pool as settings
from .harness import CONSOLE, Timing
from .pool import make_big_pool, make_pool

QUESTION = "How much memory does one step need?"
OURS = (ours.LAZY_RACE, ours.DENSE_RACE, ours.DENSE_SWEEP)
NAMES = (*OURS, plain_jax.NAME)


@dataclasses.dataclass(frozen=True)
class Config:
    """How much memory one step needs.

    Attributes:
      official: folder of the unzipped trinity-rft 0.6.0 wheel; without it the official
        code is recorded as not run.
      num_tasks: N.
      batch_size: B.
      names: candidates, beside the official code.
      seed: of pool, evidence and keys.
      results: folder of the JSON file.
      quick: smallest sizes, seconds; written to memory_quick.json.
      child: used by the script itself: the candidate to measure in this process.
    """

    official: Path | None = None
    num_tasks: tuple[int, ...] = (1_000_000, 10_000_000)
    batch_size: int = 1024
    names: tuple[str, ...] = NAMES
    seed: int = 0
    results: Path = machine.RESULTS
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    child: str | None = None

    def resized(self) -> "Config":
        """Returns the smallest sizes for a quick run."""
        if not self.quick:
            return self
        return dataclasses.replace(self, num_tasks=(100_000,), batch_size=32)


def _held_mib(peak: bool = False) -> float:
    """Reads what the device holds or, on CPU, the process."""
    on_device = machine.device_bytes("peak_bytes_in_use" if peak else "bytes_in_use")
    if on_device is not None:
        return on_device / 2**20
    return machine.resident_mib(peak)


def measure(config: Config) -> dict[str, float]:
    """Measures one candidate in this process; Linux only.

    Returns:
      MiB beyond JAX itself: of the state's arrays, of what compiling left, of scratch
      in a step, and their sum, the peak. On a GPU, of the device's memory.
    """
    num_tasks, batch_size = config.num_tasks[0], config.batch_size
    available, _ = cases.makers(config.official, config.seed, OURS)
    make = available[config.child or ""]
    jax.block_until_ready(jax.jit(lambda x: x + 1)(np.float32(0)))
    machine.give_back()
    baseline = _held_mib()
    # The official code keeps its arrays; ours and plain JAX copy a block again and
    # again.
    is_official = config.child == official.NAME
    pool = (make_pool if is_official else make_big_pool)(num_tasks, config.seed)
    rng = np.random.default_rng(config.seed)
    task_ids = rng.choice(num_tasks, batch_size, replace=False)
    candidate = make(num_tasks, batch_size)
    evidence = candidate.encode(task_ids, np.full(batch_size, 0.5))
    candidate.reset(pool, settings.TARGET_SUCCESS_PROB)
    del pool
    jax.clear_caches()
    machine.give_back()
    held = _held_mib()
    state = candidate.state_bytes() / 2**20
    if machine.device_bytes("bytes_in_use") is None:
        machine.reset_peak()
    candidate.step(evidence)
    peak = _held_mib(peak=True)
    return {
        "state_arrays_mib": round(state, 1),
        "compiling_left_mib": round(held - baseline - state, 1),
        "scratch_mib": round(peak - held, 1),
        "peak_mib": round(peak - baseline, 1),
    }


def run_child(config: Config, name: str, num_tasks: int) -> dict[str, Any]:
    """Measures one candidate in a process of its own; returns a row."""
    row = {"num_tasks": num_tasks, "batch_size": config.batch_size}
    command = [sys.executable, "-m", f"{machine.PACKAGE}.memory", "--child", name]
    command += ["--num-tasks", str(num_tasks), "--batch-size", str(config.batch_size)]
    command += ["--seed", str(config.seed)]
    if config.official is not None:
        command += ["--official", str(config.official.resolve())]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=machine.ROOT,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)},  # of glibc
    )
    try:
        measured = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        reason = f"exit status {done.returncode}: {reason}"
        return row | Timing(name, "failed", reason).as_row()
    return row | {"candidate": name, "status": "ok"} | measured


def main(config: Config) -> Path | None:
    """Measures and writes; returns the file. With `child`, prints one JSON line."""
    config = config.resized()
    machine.share_device()
    if config.child is not None:
        print(json.dumps(measure(config)))
        return None
    cases.check_sizes(config.num_tasks, (config.batch_size,))
    record: dict[str, Any] = {
        "question": QUESTION,
        "machine": machine.machine_stamp(config.seed),
        "rows": [],
    }
    available, missing = cases.makers(config.official, config.seed, OURS)
    unknown = [name for name in config.names if name not in available]
    if unknown:
        known = ", ".join(map(repr, available))
        raise ValueError(f"names must be among {known}, got {unknown[0]!r}.")
    wanted = (*config.names, official.NAME)
    names = [name for name in available if name in wanted]
    missing = [timing for timing in missing if timing.candidate == official.NAME]
    for num_tasks in config.num_tasks:
        with harness.progress(f"memory, N={num_tasks:,}", len(names)) as advance:
            for name in names:
                row = run_child(config, name, num_tasks)
                record["rows"].append(row)
                text = f"peak {row['peak_mib']} MiB" if "peak_mib" in row else "failed"
                CONSOLE.print(f"  {name}: {text}", highlight=False)
                advance()
        where = {"num_tasks": num_tasks, "batch_size": config.batch_size}
        record["rows"] += [where | timing.as_row() for timing in missing]
    path = harness.results_path(config.results, "memory", config.quick)
    harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)
