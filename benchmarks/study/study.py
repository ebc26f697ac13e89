"""Runs what is missing of the study: gains by difficulty, then every part.

Each result is a file of its own, so that it can be stopped at any time:

    python -m benchmarks.study run
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from bots_jax.compare.command import CompareCommand, plain_settings, run_missing
from bots_jax.compare.gains import BANDS, measure_gains
from bots_jax.compare.settings import CompareSettings
from bots_jax.compare.shared import prepare_shared
from bots_jax.compare.workers import SHARED
from bots_jax.directory_lock import DirectoryLock
from bots_jax.evaluation.store import ResultStore, write_json
from bots_jax.grpo.config import from_dict, to_dict
from bots_jax.grpo.devices import keep_freed_memory
from bots_jax.progress import Phase

from .. import machine
from .protocol import FOLDER, Protocol, read_protocol

RESULTS = FOLDER / "results"


@dataclasses.dataclass(frozen=True)
class RunCommand:
    """Do what is missing of the study.

    Attributes:
      protocol: every number of the study.
      output: where results go; those that are there are kept. A new folder repeats the
        study from nothing.
      parts: only these; all by default.
      seeds: at most so many per arm, to have something early; all by default.
      workers: runs at the same time; by default one per core without an accelerator.
    """

    protocol: Path = FOLDER / "protocol.json"
    output: Path = RESULTS
    parts: tuple[str, ...] = ()
    seeds: int | None = None
    workers: int | None = None


def run(command: RunCommand) -> None:
    """Runs what is missing.

    Raises:
      ValueError: for a part that the protocol has not, or results that were made with
        other numbers.
    """
    protocol = read_protocol(command.protocol)
    known = [part.name for part in protocol.parts]
    for name in command.parts:
        if name not in known:
            raise ValueError(f"parts must be among {', '.join(known)}; got {name!r}.")
    wanted = [p for p in protocol.parts if p.name in (command.parts or known)]
    stamp = machine.machine_stamp(0)
    for name in dict.fromkeys(part.setting for part in wanted):
        if name in protocol.gains:
            run_gains(protocol, name, command.output)
    # Half of the seeds of every part first: there is something to see early.
    for share in (2, 1):
        for part in wanted:
            seeds = -(-min(part.seeds, command.seeds or part.seeds) // share)
            settings = protocol.settings[part.setting]
            directory = command.output / part.setting
            directory.mkdir(parents=True, exist_ok=True)
            store = ResultStore(directory, plain_settings(settings))
            runs = CompareCommand(part.arms, seeds, settings, workers=command.workers)
            with DirectoryLock(directory / "writer.lock"):
                if run_missing(runs, store):
                    add_stamp(directory / "machine.json", stamp)


def add_stamp(path: Path, stamp: dict[str, Any]) -> None:
    """Adds a machine and a moment to those that a setting's results come from."""
    there = json.loads(path.read_text()) if path.is_file() else []
    write_json(path, [*there, stamp | {"finished_utc": machine.now()}])


def run_gains(protocol: Protocol, name: str, output: Path) -> Path:
    """Measures what training on each difficulty gains, unless it was measured.

    Args:
      protocol: of the study.
      name: of a setting.
      output: folder of all results.

    Returns:
      The file.

    Raises:
      ValueError: if it was measured with other numbers.
    """
    path = output / name / "gains.json"
    settings = protocol.trial_settings(name)
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        if from_dict(CompareSettings, found["settings"]) != settings:
            raise ValueError(f"{path} was made with other numbers than the protocol's.")
        return path
    keep_freed_memory()
    stamp = machine.machine_stamp(0)
    shared = prepare_shared(settings, output / name / SHARED / "trial")
    length = settings.grpo.num_steps
    after, num_steps, repetitions = (min(5, length // 4), length // 2), (1, 8), 8
    total = len(after) * len(num_steps) * (len(BANDS) - 1)
    with Phase(f"gains, {name}", total) as phase:
        gains = measure_gains(
            shared,
            after=after,
            num_steps=num_steps,
            repetitions=repetitions,
            tell=phase.tell,
        )
    record = {
        "question": "What does training on tasks of each difficulty gain elsewhere?",
        "machine": stamp,
        "settings": to_dict(settings),
        "bands": BANDS,
        "gains": [gain._asdict() for gain in gains],
    }
    write_json(path, record)
    return path
