"""`bots-jax compare`: from command-line options to tables and figures."""

import dataclasses
import datetime
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import tyro

from bots_jax import checks
from bots_jax.compare import figures
from bots_jax.compare.arms import build_arm, check_specs, references_of
from bots_jax.compare.report import (
    BASELINE,
    ArmReport,
    Run,
    belief_table,
    compare_runs,
    cost_table,
    learning_table,
)
from bots_jax.compare.settings import CompareSettings, check_settings
from bots_jax.compare.shared import check_same_start, stand_in_pool
from bots_jax.compare.workers import prepare_starts, run_cells
from bots_jax.directory_lock import DirectoryLock
from bots_jax.evaluation.store import (
    Cell,
    ResultStore,
    check_same_settings,
    flat_settings,
    write_json,
    write_text,
)
from bots_jax.evaluation.tables import TextTable, markdown, print_table
from bots_jax.grpo.config import from_dict, to_dict
from bots_jax.grpo.devices import keep_freed_memory
from bots_jax.progress import Phase
from bots_jax.tasks.families import resolve_families

QUESTION = "Which selector makes a model learn soonest, in steps, rollouts and seconds?"

ARMS = ("uniform", "bots", "adaptive", "adaptive_no_references", "oracle")
"""What is compared if nothing is said."""

StampFn = Callable[[int], dict[str, Any]]
"""stamp(seed) -> which machine and software."""


@dataclasses.dataclass(frozen=True)
class CompareCommand:
    """Train with several selectors side by side, and tell who learns soonest.

    All arms start from one warm-up, choose from one pool, are given the same references
    and the same number of rollouts, and share their seeds; with several starts, that
    holds seed by seed. Each result is a file of its own in the output directory, so
    that a comparison that was stopped goes on where it was, and arms and seeds can be
    added later.
    """

    arms: tuple[str, ...] = ARMS
    """What to compare: NAME, or NAME:OPTION=VALUE,... such as bots:forgetting=0.3 or
    bots:references=swapped (good, swapped, random, none)."""
    seeds: int = 8
    """Runs per arm: seeds 0, 1, 2, ..."""
    settings: Annotated[CompareSettings, tyro.conf.arg(name="")] = CompareSettings()
    """What decides a result."""
    output: pathlib.Path | None = None
    """Directory of the comparison; runs/compare-TIME if not given. Results that are
    there and were made with the same settings are taken as they are."""
    resume: pathlib.Path | None = None
    """Go on with the comparison in this directory, with its own options."""
    workers: int | None = None
    """Runs at the same time, each on a core of its own; by default as many as there are
    cores without an accelerator, else 1. Another number rounds differently, so go on
    with the one that you began with."""
    quiet: bool = False
    """Print no progress and no table."""


def run_compare(
    command: CompareCommand, stamp: StampFn | None = None
) -> list[ArmReport]:
    """Runs a comparison, or goes on with one.

    Args:
      command: the options.
      stamp: describes the machine for results.json; nothing is said without.

    Returns:
      One report per arm.

    Raises:
      ValueError: for options that are out of range or contradict each other, or
        results that were made with other settings.
      BlockingIOError: if another process is running this comparison.
    """
    directory = command.resume or command.output or _default_directory()
    if command.resume is not None:
        command = _resumed(command, command.resume)
    _check(command)
    store = ResultStore(directory, plain_settings(command.settings))
    _check_directory(store)
    directory.mkdir(parents=True, exist_ok=True)
    with DirectoryLock(directory / "writer.lock"):
        write_json(directory / "options.json", _options(command))
        run_missing(command, store)
    return report(command, store, stamp)


def run_missing(command: CompareCommand, store: ResultStore) -> int:
    """Runs the results that are not there, seed by seed.

    Args:
      command: its arms, seeds and settings say which.
      store: where they go; locked by the caller.

    Returns:
      How many were missing.

    Raises:
      ValueError: if the starts are not those of results that are there.
    """
    cells = _cells(command)
    missing = [cell for cell in cells if store.read(cell) is None]
    if not command.quiet:
        print(f"output directory: {store.directory}", flush=True)
    if not missing:
        return 0
    keep_freed_memory()
    settings, workers = command.settings, _workers(command)
    starts = sorted({settings.start_of(cell.seed) for cell in missing})
    alone = command.quiet or len(starts) == 1
    with Phase("starts", len(starts), 0, alone, line_every=0) as phase:
        told = phase.tell, command.quiet or not alone
        prints = prepare_starts(store, settings, starts, workers, *told)
    for cell in cells:
        record, start = store.read(cell), settings.start_of(cell.seed)
        if record is not None and start in prints:
            check_same_start(store.path(cell), record.get("start"), prints[start])
    workers, done = min(workers, len(missing)), len(cells) - len(missing)
    with Phase("compare", len(cells), done, command.quiet, line_every=0) as phase:
        run_cells(store, settings, missing, workers, phase.tell)
    return len(missing)


def report(
    command: CompareCommand, store: ResultStore, stamp: StampFn | None = None
) -> list[ArmReport]:
    """Writes tables and figures of the results that are there, and prints the tables.

    Args:
      command: its arms and seeds say which results.
      store: where they are.
      stamp: as for `run_compare`.

    Returns:
      One report per arm.

    Raises:
      ValueError: if one is not there.
    """
    runs = read_runs(command, store)
    reports = compare_runs(runs)
    tables = tables_of(command, reports)
    texts = "\n\n".join(markdown(table) for table in tables)
    write_text(store.directory / "table.md", texts + "\n")
    record = {
        "question": QUESTION,
        "machine": None if stamp is None else stamp(command.settings.task_seed),
        "options": _options(command),
        "arms": [one.as_dict() for one in reports],
    }
    write_json(store.directory / "results.json", record)
    curves = {arm: [run.curve for run in seeds] for arm, seeds in runs.items()}
    paths = figures.save_figures(store.directory / "figures", curves, reports)
    if not command.quiet:
        for table in tables:
            print_table(table)
        print("figures:", *paths, sep="\n  ")
    return reports


def tables_of(command: CompareCommand, reports: Sequence[ArmReport]) -> list[TextTable]:
    """Lays a comparison out as tables."""
    settings = command.settings
    grpo = settings.grpo
    title = (
        f"{settings.num_tasks:,} tasks, {grpo.num_steps} steps of {grpo.batch_size} "
        f"tasks and {grpo.group_size} rollouts"
    )
    return [
        learning_table(f"Learning: {title}", reports),
        cost_table(f"Costs: {title}", reports),
        belief_table(f"What was picked and believed: {title}", reports),
    ]


def plain_settings(settings: CompareSettings) -> dict[str, Any]:
    """Flattens settings to names and JSON values.

    Example:
      >>> plain_settings(CompareSettings())["grpo.batch_size"]
      16
    """
    return json.loads(json.dumps(flat_settings(settings)))


def _default_directory() -> pathlib.Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / f"compare-{now}"


def _check(command: CompareCommand) -> None:
    specs = check_specs(command.arms)
    if BASELINE not in command.arms:
        raise ValueError(
            f"arms must hold {BASELINE!r}, which the others are compared with; "
            f"got {list(command.arms)}."
        )
    if checks.check_count("seeds", command.seeds) < 2:
        raise ValueError(
            f"seeds must be at least 2, for an interval, got {command.seeds}."
        )
    if command.workers is not None:
        checks.check_count("workers", command.workers, 1, 1024)
    check_settings(command.settings)
    resolve_families(command.settings.families)
    pool = stand_in_pool(command.settings)
    for spec in specs:  # what they would refuse is refused before all work
        references = references_of(spec, pool.references, seed=0)
        selector = build_arm(spec, pool._replace(references=references)).selector
        if spec.quality == "none":
            selector.init(None)


def _workers(command: CompareCommand) -> int:
    if command.workers is not None:
        return command.workers
    import jax

    return len(os.sched_getaffinity(0)) if jax.default_backend() == "cpu" else 1


def _cell(command: CompareCommand, arm: str, seed: int) -> Cell:
    return Cell(command.settings.num_tasks, arm, seed)


def _cells(command: CompareCommand) -> list[Cell]:
    """All results, seed by seed, so that every stop leaves whole pairs."""
    seeds = range(command.seeds)
    return [_cell(command, arm, seed) for seed in seeds for arm in command.arms]


def _options(command: CompareCommand) -> dict[str, Any]:
    return {
        "arms": list(command.arms),
        "seeds": command.seeds,
        "settings": to_dict(command.settings),
    }


def _check_directory(store: ResultStore) -> None:
    """Checks that what is in the directory, if anything, belongs to this comparison."""
    directory, path = store.directory, store.directory / "options.json"
    if path.is_file():
        there = read_options(directory)
        check_same_settings(path, plain_settings(there.settings), store.settings)
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(
            f"output directory must be new, empty or that of a comparison, "
            f"got {directory}."
        )


def _resumed(command: CompareCommand, directory: pathlib.Path) -> CompareCommand:
    if command.output is not None:
        raise ValueError("--resume goes on where a comparison is; drop --output.")
    there = read_options(directory)
    told = {"workers": command.workers, "quiet": command.quiet, "resume": directory}
    there = dataclasses.replace(there, **told)
    if command not in (dataclasses.replace(CompareCommand(), **told), there):
        raise ValueError(
            f"--resume takes its options from {directory / 'options.json'}; "
            "drop the others, or add to that comparison with --output."
        )
    return there


def read_options(directory: pathlib.Path) -> CompareCommand:
    """Reads the options that a comparison was made with.

    Args:
      directory: of the comparison.

    Returns:
      The command that would make it.

    Raises:
      ValueError: if there is none, or it cannot be read.

    Example:
      >>> read_options(pathlib.Path("nowhere"))
      Traceback (most recent call last):
      ValueError: no comparison at nowhere: nowhere/options.json is not there.
    """
    path = directory / "options.json"
    if not path.is_file():
        raise ValueError(f"no comparison at {directory}: {path} is not there.")
    try:
        values: Mapping[str, Any] = json.loads(path.read_text())
        settings = from_dict(CompareSettings, values["settings"])
        return CompareCommand(tuple(values["arms"]), values["seeds"], settings)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as options: {error}.") from None


def read_runs(command: CompareCommand, store: ResultStore) -> dict[str, list[Run]]:
    """Reads the results of a comparison, and sees that pairs are pairs.

    Args:
      command: its arms and seeds say which results.
      store: where they are.

    Returns:
      arm -> one run per seed.

    Raises:
      ValueError: if one is not there, or arms began differently with the same seed.
    """
    runs: dict[str, list[Run]] = {arm: [] for arm in command.arms}
    began: dict[int, str | None] = {}
    for cell in _cells(command):
        record, path = store.read(cell), store.path(cell)
        if record is None:
            raise ValueError(f"{path} is not there: the result is missing.")
        start = command.settings.start_of(cell.seed)
        theirs = began.setdefault(start, record.get("start"))
        check_same_start(path, record.get("start"), theirs)
        runs[cell.arm].append(Run(record["curves"], record["summary"]))
    return runs
