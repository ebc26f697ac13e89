"""How much memory one step needs.

Each candidate runs in a process of its own, which has compiled before its memory is
first read, so that what is counted is state and scratch space of the step. There
freed arrays go back to the system at once, so that none is counted twice.

    python -m benchmarks.memory --official trinity-rft
"""

import dataclasses
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks import harness, official
from benchmarks import pool as settings
from benchmarks import step as step_benchmark
from benchmarks.harness import CONSOLE, Timing
from benchmarks.pool import make_pool

QUESTION = "How much memory does one step need?"
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")


@dataclasses.dataclass(frozen=True)
class Config:
    """How much memory one step needs.

    Attributes:
      official: folder of the unzipped trinity-rft 0.6.0 wheel; without it the official
        code is recorded as not run.
      num_tasks: N.
      batch_size: B.
      seed: of pool, evidence and keys.
      results: folder of the JSON file.
      quick: smallest sizes, seconds; written to memory_quick.json.
      child: used by the script itself: the candidate to measure in this process.
    """

    official: Path | None = None
    num_tasks: tuple[int, ...] = (1_000_000, 10_000_000)
    batch_size: int = 1024
    seed: int = 0
    results: Path = harness.RESULTS
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    child: str | None = None

    def resized(self) -> "Config":
        """Returns the smallest sizes for a quick run."""
        if not self.quick:
            return self
        return dataclasses.replace(self, num_tasks=(100_000,), batch_size=32)


def _read_mib(field: str) -> float:
    """Reads VmRSS, what is resident now, or VmHWM, its peak since the last reset."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"the kernel does not report {field}")


def measure(config: Config) -> dict[str, float]:
    """Measures one candidate in this process; Linux only.

    Returns:
      MiB of state, resident after it is set, and of the peak during a step, both over
      what the process held before.
    """
    num_tasks, batch_size = config.num_tasks[0], config.batch_size
    candidates, _ = step_benchmark.makers(
        step_benchmark.Config(official=config.official, seed=config.seed)
    )
    make = candidates[config.child or ""]
    rehearsal = make(num_tasks, batch_size)  # compiles what setting the state needs
    rehearsal.reset(make_pool(num_tasks, config.seed), settings.TARGET_SUCCESS_PROB)
    del rehearsal
    candidate = make(num_tasks, batch_size)
    gc.collect()
    before = _read_mib("VmRSS")
    pool = make_pool(num_tasks, config.seed)
    task_ids = np.random.default_rng(config.seed).permutation(num_tasks)[:batch_size]
    evidence = candidate.encode(task_ids, np.full(batch_size, 0.5))
    candidate.reset(pool, settings.TARGET_SUCCESS_PROB)
    del pool
    gc.collect()
    state = _read_mib("VmRSS") - before
    _RESET_PEAK.write_text("5")
    candidate.step(evidence)
    return {
        "state_mib": round(state, 1),
        "peak_mib": round(_read_mib("VmHWM") - before, 1),
    }


def run_child(config: Config, name: str, num_tasks: int) -> dict[str, Any]:
    """Measures one candidate in a process of its own; returns a row."""
    row = {"num_tasks": num_tasks, "batch_size": config.batch_size}
    command = [sys.executable, "-m", "benchmarks.memory", "--child", name]
    command += ["--num-tasks", str(num_tasks), "--batch-size", str(config.batch_size)]
    command += ["--seed", str(config.seed)]
    if config.official is not None:
        command += ["--official", str(config.official.resolve())]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=harness.ROOT,
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
    if config.child is not None:
        print(json.dumps(measure(config)))
        return None
    record: dict[str, Any] = {
        "question": QUESTION,
        "machine": harness.machine_stamp(config.seed),
        "rows": [],
    }
    available, missing = step_benchmark.makers(
        step_benchmark.Config(official=config.official, seed=config.seed)
    )
    names = [name for name in available if name != official.NAME_AS_SHIPPED]
    missing = [timing for timing in missing if timing.candidate == official.NAME]
    for num_tasks in config.num_tasks:
        with harness.progress(f"N={num_tasks:,}", len(names)) as advance:
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
    main(tyro.cli(Config))
