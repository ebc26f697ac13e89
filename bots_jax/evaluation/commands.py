"""`bots-jax simulate`: from command-line options to tables and figures."""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro

from bots_jax import checks
from bots_jax.evaluation.arms import ARMS, BASELINE, check_arms
from bots_jax.evaluation.intervals import MIN_PAIRS
from bots_jax.evaluation.report import Comparison, comparison_table, save_figures
from bots_jax.evaluation.simulate import (
    RunSettings,
    check_run_settings,
    run_cells,
)
from bots_jax.evaluation.store import (
    Cell,
    ResultStore,
    check_same_settings,
    flat_settings,
    write_json,
)
from bots_jax.evaluation.student_settings import (
    StudentSettings,
    check_student_settings,
)
from bots_jax.evaluation.summary import compare_arms, mean_curves
from bots_jax.evaluation.tables import markdown, print_table
from bots_jax.progress import Phase
from bots_jax.whole_files import write_text

QUESTION = "Which selector finds tasks that are worth their rollouts?"

StampFn = Callable[[int], dict[str, Any]]
"""stamp(seed) -> which machine and software."""


@dataclasses.dataclass(frozen=True)
class SimulateCommand:
    """Compare selectors on simulated students, without training a model.

    Every arm meets the same students with the same luck, seed by seed. Each result is
    a file of its own in the output directory, so that a comparison that was stopped
    goes on where it was, and arms, sizes and seeds can be added later.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    """What to compare."""
    num_tasks: tuple[int, ...] = (20_000,)
    """Sizes of the pool."""
    seeds: int = 8
    """Students per arm: seeds 0, 1, 2, ..."""
    settings: Annotated[RunSettings, tyro.conf.arg(name="")] = RunSettings()
    """What decides a result."""
    output: pathlib.Path | None = None
    """Directory of the comparison; runs/simulate-TIME if not given. Results that are
    there and were made with the same settings are taken as they are."""
    resume: pathlib.Path | None = None
    """Go on with the comparison in this directory, with its own options."""
    quiet: bool = False
    """Print no progress and no table."""


def run_simulate(
    command: SimulateCommand, stamp: StampFn | None = None
) -> list[Comparison]:
    """Runs a comparison, or goes on with one.

    Args:
      command: the options.
      stamp: describes the machine for results.json; nothing is said without.

    Returns:
      One comparison per size of pool.

    Raises:
      ValueError: for options that are out of range or contradict each other, fewer
        than 2 seeds, or results that were made with other settings.
    """
    directory = command.resume or command.output or _default_directory()
    if command.resume is not None:
        command = _resumed(command, command.resume)
    _check(command)
    store = ResultStore(directory, flat_settings(command.settings))
    _adopt(store, command)
    cells = [
        Cell(size, arm, seed)
        for size in command.num_tasks
        for arm in command.arms
        for seed in range(command.seeds)
    ]
    missing = [cell for cell in cells if store.read(cell) is None]
    if not command.quiet:
        print(f"output directory: {directory}", flush=True)
    done = len(cells) - len(missing)
    with Phase("simulate", len(cells), done, command.quiet, line_every=0) as phase:
        run_cells(store, command.settings, missing, phase.tell)
    records = {cell: _read(store, cell) for cell in cells}
    comparisons = [_compare(command, size, records) for size in command.num_tasks]
    _write(directory, command, comparisons, records, stamp)
    if not command.quiet:
        for comparison in comparisons:
            print_table(comparison_table(comparison))
    return comparisons


def _default_directory() -> pathlib.Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / f"simulate-{now}"


def _check(command: SimulateCommand) -> None:
    check_arms(command.arms)
    if checks.check_count("seeds", command.seeds) < 2:
        raise ValueError(
            f"seeds must be at least 2, for an interval, got {command.seeds}."
        )
    check_run_settings(command.settings, command.num_tasks)
    check_student_settings(command.settings.student)


def _options(command: SimulateCommand) -> dict[str, Any]:
    return {
        "arms": list(command.arms),
        "num_tasks": list(command.num_tasks),
        "seeds": command.seeds,
        "settings": dataclasses.asdict(command.settings),
    }


def _adopt(store: ResultStore, command: SimulateCommand) -> None:
    """Makes the directory, or checks that what is there belongs to this comparison."""
    directory, path = store.directory, store.directory / "options.json"
    if path.is_file():
        there = _read_options(directory, command)
        check_same_settings(path, flat_settings(there.settings), store.settings)
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(
            f"output directory must be new, empty or that of a comparison, "
            f"got {directory}."
        )
    write_json(path, _options(command))


def _resumed(command: SimulateCommand, directory: pathlib.Path) -> SimulateCommand:
    if command.output is not None:
        raise ValueError("--resume goes on where a comparison is; drop --output.")
    if not (directory / "options.json").is_file():
        raise ValueError(
            f"no comparison at {directory}: {directory / 'options.json'} is not there."
        )
    there = _read_options(directory, command)
    plain = dataclasses.replace(SimulateCommand(), resume=directory)
    plain = dataclasses.replace(plain, quiet=command.quiet)
    if command not in (plain, there):
        raise ValueError(
            f"--resume takes its options from {directory / 'options.json'}; "
            "drop the others, or add to that comparison with --output."
        )
    return there


def _read_options(directory: pathlib.Path, command: SimulateCommand) -> SimulateCommand:
    """Reads the options that a comparison was made with, all else as in `command`."""
    path = directory / "options.json"
    try:
        values = json.loads(path.read_text())
        settings = dict(values["settings"])
        student = StudentSettings(**settings.pop("student"))
        return dataclasses.replace(
            command,
            arms=tuple(values["arms"]),
            num_tasks=tuple(values["num_tasks"]),
            seeds=values["seeds"],
            settings=RunSettings(**settings, student=student),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as options: {error}.") from None


def _read(store: ResultStore, cell: Cell) -> dict[str, Any]:
    record = store.read(cell)
    if record is None:
        raise ValueError(f"{store.path(cell)} was removed while the comparison ran.")
    return record


def _compare(
    command: SimulateCommand, size: int, records: dict[Cell, dict[str, Any]]
) -> Comparison:
    of = lambda name: {  # noqa: E731
        arm: [records[Cell(size, arm, seed)][name] for seed in range(command.seeds)]
        for arm in command.arms
    }
    rows = compare_arms(
        of("summary"), size, BASELINE, min_pairs=min(MIN_PAIRS, command.seeds)
    )
    curves = {arm: mean_curves(runs) for arm, runs in of("curves").items()}
    num_steps = command.settings.num_steps(size)
    return Comparison(size, num_steps, command.settings, rows, curves)


def _write(
    directory: pathlib.Path,
    command: SimulateCommand,
    comparisons: Sequence[Comparison],
    records: dict[Cell, dict[str, Any]],
    stamp: StampFn | None,
) -> None:
    texts = [markdown(comparison_table(comparison)) for comparison in comparisons]
    write_text(directory / "table.md", "\n\n".join(texts) + "\n")
    rows = [
        {"num_steps": comparison.num_steps} | row.as_dict()
        for comparison in comparisons
        for row in comparison.rows
    ]
    results = [cell._asdict() | record["summary"] for cell, record in records.items()]
    write_json(
        directory / "results.json",
        {
            "question": QUESTION,
            "machine": None if stamp is None else stamp(0),
            "options": _options(command),
            "rows": rows,
            "results": results,
        },
    )
    for comparison in comparisons:
        save_figures(directory / "figures", comparison)
