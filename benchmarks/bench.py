"""`bots-jax bench`: every benchmark of the engine in a row, against its targets.

Each result is written as JSON when it is there, so that a run that is stopped keeps
what it has; the targets table and the figure come last.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import rich.table
import tyro

from . import (
    cases,
    figures,
    harness,
    machine,
    memory,
    official,
    ours,
    regimes,
    sampler,
    step,
    tables,
    update,
)
from .cases import Limits
from .cells import Table
from .fetch import fetch_official
from .harness import CONSOLE
from .losses import losses
from .targets import evaluate, target_table


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large a run is.

    Attributes:
      num_tasks: N of steps.
      batch_sizes: B of steps.
      limits: up to which N candidates of steps run.
      repetitions: timed calls per candidate.
      budget_s: seconds per case after which no further round begins.
      num_choices: repeated choices of the check that all choose alike.
      phases: time update and selection by themselves, too.
      num_updated: N of updates.
      num_draws: of the sampler.
      num_measured: N of the memory.
      measured: candidates of the memory.
      only: (N, B) of steps; all that are sensible if empty.
      regimes: measure where the race gets slow, too.
    """

    num_tasks: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    limits: Limits
    repetitions: int
    budget_s: float
    num_choices: int
    phases: bool
    num_updated: tuple[int, ...]
    num_draws: tuple[int, ...]
    num_measured: tuple[int, ...]
    measured: tuple[str, ...] = memory.NAMES
    only: tuple[tuple[int, int], ...] = ()
    regimes: bool = False


FULL = Sizes(
    num_tasks=tuple(10**k for k in range(4, 10)),
    batch_sizes=(32, 256, 1024, 4096),
    limits=Limits(),
    repetitions=31,
    budget_s=12.0,
    num_choices=400,
    phases=True,
    num_updated=(10**6, 3 * 10**6, 10**7, 10**8),
    num_draws=(10**4, 10**5, 10**6, 10**7),
    num_measured=(10**6, 10**7),
    regimes=True,
)
QUICK = Sizes(
    num_tasks=tuple(10**k for k in range(4, 9)),
    batch_sizes=(32, 1024),
    limits=Limits(dense=10_000_000),
    repetitions=5,
    budget_s=2.0,
    num_choices=30,
    phases=False,
    num_updated=(10**7,),
    num_draws=(10**6,),
    num_measured=(10**7,),
    measured=(ours.LAZY_RACE, ours.DENSE_RACE),
    only=(
        (10**4, 32),
        *((n, b) for n in (10**5, 10**6, 10**7) for b in (32, 1024)),
        (10**8, 1024),
    ),
)


@dataclasses.dataclass(frozen=True)
class BenchCommand:
    """Measure the engine on this machine, against its targets.

    Times a step, the dense update and the exact sampler, measures memory, and compares
    with the official code and with plain JAX. About 25 minutes on 2 CPU cores, 3 with
    --quick. Every candidate is checked to do the same work first.
    """

    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Fewer repetitions and sizes."""
    official: Path | None = None
    """Folder of the unzipped trinity-rft 0.6.0 wheel; without it, and without torch,
    the official code is recorded as not run."""
    fetch_official: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Download that wheel by pip into the cache folder, $BOTS_JAX_CACHE or
    ~/.cache/bots_jax, and use it."""
    results: Path | None = None
    """Folder of the JSON files and the figure; if not given, ./bench-results or, in a
    checkout, benchmarks/results (its folder "local" for anything but a full run)."""
    num_tasks: tuple[int, ...] | None = None
    """N of all benchmarks, instead of the usual sizes."""
    batch_sizes: tuple[int, ...] | None = None
    """B of steps, instead of the usual sizes."""
    repetitions: int | None = None
    """Timed calls per candidate, instead of the usual number."""
    patience_s: float = 0.0
    """Seconds per case to wait for other processes to be quiet."""
    seed: int = 0
    """Of pools, evidence, keys and order."""


def sizes_of(command: BenchCommand) -> Sizes:
    """Works out how large a run is, and refuses what no case can be made of.

    Raises:
      ValueError: for sizes out of range, in one sentence.
    """
    sizes = QUICK if command.quick else FULL
    if command.repetitions is not None:
        if command.repetitions < 1:
            raise ValueError(
                f"repetitions must be at least 1, got {command.repetitions}."
            )
        sizes = dataclasses.replace(sizes, repetitions=command.repetitions)
    if command.batch_sizes is not None:
        sizes = dataclasses.replace(sizes, batch_sizes=command.batch_sizes, only=())
    if command.num_tasks is None:
        cases.check_sizes(sizes.num_tasks, sizes.batch_sizes)
        return sizes
    cases.check_sizes(command.num_tasks, sizes.batch_sizes)
    usual = tuple(n for n in command.num_tasks if n <= 10**7) or (10**7,)
    return dataclasses.replace(
        sizes,
        num_tasks=command.num_tasks,
        num_updated=usual,
        num_draws=usual,
        num_measured=usual,
        only=(),
        regimes=False,
    )


def results_folder(command: BenchCommand) -> Path:
    """Chooses where results go; committed ones are replaced by a full run only."""
    if command.results is not None:
        return command.results
    chosen = (command.num_tasks, command.batch_sizes, command.repetitions)
    is_full = not command.quick and chosen == (None, None, None)
    if machine.IN_CHECKOUT and not is_full:
        return machine.RESULTS / "local"
    return machine.RESULTS


def make_runs(
    sizes: Sizes, folder: Path | None, results: Path, patience_s: float, seed: int
) -> dict[str, Callable[[], Path | None]]:
    """Makes one function per benchmark, in the order in which they run.

    Args:
      sizes: how large.
      folder: of the official code; None if there is none.
      results: folder of the JSON files.
      patience_s: per case, for other processes to be quiet.
      seed: any integer.

    Returns:
      Functions by name of the result file.
    """
    common: dict[str, Any] = {"seed": seed, "results": results}
    timed = {"repetitions": sizes.repetitions, "budget_s": sizes.budget_s}
    timed |= {"patience_s": patience_s}
    fitting = max(1, min(sizes.num_measured) // cases.MAX_BATCH_SHARE)
    batch = {"batch_size": min(1024, max(sizes.batch_sizes), fitting)}
    configs: dict[str, tuple[Callable[[Any], Path | None], Any]] = {
        "step": (
            step.main,
            step.Config(
                official=folder,
                num_tasks=sizes.num_tasks,
                batch_sizes=sizes.batch_sizes,
                num_choices=sizes.num_choices,
                phases=sizes.phases,
                limits=sizes.limits,
                only=sizes.only,
                **common,
                **timed,
            ),
        ),
        "update": (
            update.main,
            update.Config(num_tasks=sizes.num_updated, **batch, **common, **timed),
        ),
        "sampler": (
            sampler.main,
            sampler.Config(num_draws=sizes.num_draws, **common, **timed),
        ),
        "memory": (
            memory.main,
            memory.Config(
                official=folder,
                num_tasks=sizes.num_measured,
                names=sizes.measured,
                **batch,
                **common,
            ),
        ),
    }
    if sizes.regimes:
        configs["regimes"] = (regimes.main, regimes.Config(**common))
    return {
        name: (lambda main=main, config=config: main(config))
        for name, (main, config) in configs.items()
    }


def show(title: str, table: Table) -> None:
    """Prints a table in the terminal."""
    shown = rich.table.Table(title=title, title_justify="left")
    for column in table.head:
        shown.add_column(column)
    for line in table.body:
        shown.add_row(*(cell.replace("**", "") for cell in line))
    CONSOLE.print(shown)


def report(records: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Prints all tables, where we lose, and the targets; returns the targets."""
    for title, _, table in tables.sections(records, short=True):
        show(title, table)
    for sentence in losses(records):
        CONSOLE.print(f"we lose: {sentence}", highlight=False)
    found = evaluate(records)
    show("Targets", target_table(found))
    absent = [row for row in records.get("step", {}).get("rows", []) if "reason" in row]
    absent = [row for row in absent if row["candidate"] == official.NAME]
    if absent and all(row["status"] == "not run" for row in absent):
        reason = absent[0]["reason"]
        CONSOLE.print(f"the official code was not run: {reason}", highlight=False)
    return found


def run_all(
    sizes: Sizes, folder: Path | None, results: Path, patience_s: float, seed: int
) -> Path:
    """Runs every benchmark, prints the tables, writes the summary and the figure.

    Args:
      sizes: how large.
      folder: of the official code; None if there is none.
      results: folder of all files.
      patience_s: per case, for other processes to be quiet.
      seed: any integer.

    Returns:
      The summary, bench.json, which holds the targets.
    """
    machine.share_device()
    start = time.perf_counter()
    stamp = machine.machine_stamp(seed)
    runs = make_runs(sizes, folder, results, patience_s, seed)
    for number, (name, run) in enumerate(runs.items(), 1):
        spent = time.perf_counter() - start
        CONSOLE.rule(f"{number} of {len(runs)}: {name} ({spent:.0f} s so far)")
        run()
    records = {name: tables.load_all(results)[name] for name in runs}
    figures.save_step_figure(records["step"], results / "step.png")
    found = report(records)
    path = results / "bench.json"
    seconds = round(time.perf_counter() - start, 1)
    record = {"question": "Are the targets met?", "machine": stamp}
    harness.write_results(path, record | {"seconds": seconds, "targets": found})
    CONSOLE.print(f"{seconds:.0f} s in all; results are in {results}", highlight=False)
    return path


def run_bench(command: BenchCommand) -> Path:
    """Runs what the command line asks for; returns the summary's file.

    Raises:
      ValueError: for bad sizes, or a folder without the official code.
      OSError: with one sentence, if results cannot be written.
    """
    sizes = sizes_of(command)
    if command.official is not None and command.fetch_official:
        raise ValueError("--official and --fetch-official must not both be given.")
    if command.seed < 0:
        raise ValueError(f"seed must be at least 0, got {command.seed}.")
    folder = command.official
    if folder is not None:
        official.check_folder(folder)
    results = results_folder(command)
    results.mkdir(parents=True, exist_ok=True)
    if command.fetch_official:
        from bots_jax.tasks.cache import default_cache_dir

        folder = fetch_official(default_cache_dir())
    return run_all(sizes, folder, results, command.patience_s, command.seed)
