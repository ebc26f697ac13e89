"""Times candidates in turn and writes what was measured, and where, as JSON.

Candidates take turns in one process, in an order shuffled anew each round, so that
drift of the machine falls on all of them alike. Before a timed call, the process
sleeps for a moment and the candidate runs once untimed, so that neither another
candidate's spinning threads nor its data in the caches are charged to it.
"""

import contextlib
import dataclasses
import gc
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import jax
import numpy as np
import rich.console
import rich.progress
import tyro

from bots_jax.whole_files import write_text

from . import load, machine

CONSOLE = rich.console.Console(soft_wrap=True)
if not CONSOLE.is_terminal:
    CONSOLE.width = max(CONSOLE.width, 120)  # for the tables, in a file

_SETTLE_S = 0.02  # longer than libgomp's worker threads spin after a parallel region
_SLOW_S = 0.2  # a call that takes longer needs no untimed call before each timed one


@dataclasses.dataclass(frozen=True)
class TimingConfig:
    """The options of every script that times candidates; a script adds its own.

    Attributes:
      repetitions: timed calls per candidate.
      budget_s: seconds per case after which no further round begins.
      patience_s: seconds per case to wait for other processes to be quiet.
      seed: of all that is drawn, and of the order of candidates.
      results: folder of the JSON file.
      quick: smallest sizes, seconds; written to a file of its own, NAME_quick.json.
      smallest: no option; what a script sets for a quick run, by name.
    """

    repetitions: int = 31
    budget_s: float = 15.0
    patience_s: float = 0.0
    seed: int = 0
    results: Path = machine.RESULTS
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    smallest: ClassVar[dict[str, Any]] = {}

    def resized(self) -> Self:
        """Returns the smallest sizes for a quick run, else what there is."""
        if not self.quick:
            return self
        return dataclasses.replace(
            self, **{"repetitions": 3, "budget_s": 2.0} | self.smallest
        )


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to do the work that a benchmark asks about.

    Attributes:
      name: as in the tables.
      call: does the work once; what it returns is blocked on inside the timed region.
      prepare: runs untimed before every call.
      max_repetitions: fewer repetitions for a slow candidate.
      warmups: untimed calls at the start; the harness's own number by default.
    """

    name: str
    call: Callable[[], Any]
    prepare: Callable[[], Any] = lambda: None
    max_repetitions: int | None = None
    warmups: int | None = None


@dataclasses.dataclass
class Timing:
    """What one candidate took.

    Attributes:
      candidate: its name.
      status: "ok", "failed" or "not run".
      reason: why it failed or did not run; what the reader must know if it is ok.
      seconds: one wall time per timed call, also of a candidate that failed later.
      warmups: untimed calls at the start.
      other_cores: cores that other processes kept busy meanwhile, on average over all
        candidates; None if unknown.
    """

    candidate: str
    status: str = "ok"
    reason: str = ""
    seconds: list[float] = dataclasses.field(default_factory=list)
    warmups: int = 0
    other_cores: float | None = None

    @property
    def median_s(self) -> float | None:
        """Median of the seconds; None without any."""
        return float(np.median(self.seconds)) if self.seconds else None

    def as_row(self) -> dict[str, Any]:
        """Returns what the JSON file says of this candidate."""
        row: dict[str, Any] = {"candidate": self.candidate, "status": self.status}
        if self.reason:
            row["reason"] = without_paths(self.reason)
        if self.seconds:
            quartiles = np.quantile(self.seconds, [0.25, 0.75])
            row |= {
                "median_s": _rounded(self.median_s),
                "quartile_1_s": _rounded(quartiles[0]),
                "quartile_3_s": _rounded(quartiles[1]),
                "repetitions": len(self.seconds),
                "warmups": self.warmups,
                "other_cores": self.other_cores,
                "seconds": [_rounded(second) for second in self.seconds],
            }
        return row


def _rounded(seconds: Any) -> float:
    return float(f"{seconds:.4g}")


def not_run(candidate: str, reason: str) -> Timing:
    """Records a candidate that could not be started."""
    return Timing(candidate, "not run", reason)


def interleave(
    candidates: Sequence[Candidate],
    *,
    repetitions: int,
    warmups: int = 2,
    budget_s: float = 60.0,
    patience_s: float = 0.0,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> list[Timing]:
    """Times candidates in turn.

    A candidate that raises is recorded as failed, with what it took until then, and
    the others go on.

    Args:
      candidates: at least one.
      repetitions: rounds, each with one timed call per candidate.
      warmups: untimed calls of each candidate at the start.
      budget_s: no round is begun so many seconds after the first one, which is not
        counted, since candidates that run only once are in it.
      patience_s: waiting for other processes to be quiet before the rounds, at most so
        many seconds in all, which do not count towards the budget.
      seed: of the order in the rounds.
      advance: called after every turn, for a progress bar.

    Returns:
      One timing per candidate, in the order given.
    """
    timings = [Timing(candidate.name) for candidate in candidates]
    for candidate, timing in zip(candidates, timings, strict=True):
        count = warmups if candidate.warmups is None else candidate.warmups
        for _ in range(count):
            _turn(candidate, timing, timed=False)
        timing.warmups = count
        advance()
    order_rng = np.random.default_rng(seed)
    spent, waited, loads = 0.0, 0.0, []
    for round_ in range(repetitions):
        if round_ and spent > budget_s:
            break
        waited += load.wait_until_quiet(patience_s - waited)
        start, other_load = time.perf_counter(), load.OtherLoad()
        for position in order_rng.permutation(len(candidates)):
            candidate, timing = candidates[position], timings[position]
            limit = candidate.max_repetitions
            if limit is None or len(timing.seconds) < limit:
                time.sleep(_SETTLE_S)
                if not timing.seconds or timing.seconds[-1] < _SLOW_S:
                    _turn(candidate, timing, timed=False)
                _turn(candidate, timing, timed=True)
            advance()
        loads.append(other_load.cores())
        spent += time.perf_counter() - start if round_ else 0.0
    known = [cores for cores in loads if cores is not None]
    other_cores = round(max(sum(known) / len(known), 0.0), 2) if known else None
    for timing in timings:
        timing.other_cores = other_cores
        if timing.status == "ok" and len(timing.seconds) == 1 and not timing.warmups:
            timing.reason = "one repetition, without warm-up, since it is slow"
    return timings


def _turn(candidate: Candidate, timing: Timing, timed: bool) -> None:
    if timing.status != "ok":
        return
    if not timed and candidate.warmups == 0:
        return
    try:
        candidate.prepare()
        gc.disable()
        start = time.perf_counter()
        jax.block_until_ready(candidate.call())
        elapsed = time.perf_counter() - start
    except Exception as error:
        timing.status = "failed"
        message = str(error).splitlines()[0] if str(error) else ""
        timing.reason = f"{type(error).__name__}: {message}"
    else:
        if timed:
            timing.seconds.append(elapsed)
    finally:
        gc.enable()


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows a bar with rate and time left, or one plain line without a terminal.

    Args:
      description: of the phase.
      total: steps.

    Yields:
      A function to call after each step.
    """
    if not CONSOLE.is_terminal:
        CONSOLE.print(description, highlight=False)
        yield lambda: None
        return
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.speed:.1f}/s", justify="right"),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=CONSOLE, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.advance(task)


def time_candidates(
    label: str, candidates: Sequence[Candidate], config: TimingConfig, **how: Any
) -> list[Timing]:
    """Times candidates in turn, by the numbers of a script and with a progress bar.

    Args:
      label: of the bar.
      candidates: at least one.
      config: the script's options.
      **how: more arguments of `interleave`, or others in their place.

    Returns:
      One timing per candidate, in the order given.
    """
    names = ("repetitions", "budget_s", "patience_s", "seed")
    given = {name: getattr(config, name) for name in names} | how
    with progress(label, len(candidates) * (given["repetitions"] + 1)) as advance:
        return interleave(candidates, advance=advance, **given)


def without_paths(text: str) -> str:
    """Replaces absolute paths, which tell about one machine only.

    Example:
      >>> without_paths("FileNotFoundError: /home/me/wheel/x.py is missing")
      'FileNotFoundError: <path> is missing'
    """
    return re.sub(r"(?<![\w<.:/])(/[\w.+~-]+){2,}/?", "<path>", text)


def write_results(path: Path, record: dict[str, Any]) -> None:
    """Writes a record as JSON, whole or not at all, and says where.

    Args:
      path: the file; its folder is created.
      record: with "machine", a stamp, to which the end of the run is added.
    """
    record["machine"] |= {
        "finished_utc": machine.now(),
        "load_average_end": machine.load_average(),
    }
    text = re.sub(  # one line per list of numbers
        r"\[[\s\d.,e+-]+\]",
        lambda match: " ".join(match.group().split()),
        json.dumps(record, indent=1),
    )
    write_text(path, text + "\n")
    CONSOLE.print(f"wrote {path.name}", highlight=False)


def results_path(folder: Path, name: str, quick: bool) -> Path:
    """Names the file of a benchmark, apart for quick runs."""
    return folder / f"{name}{'_quick' if quick else ''}.json"


def run_script(main: Callable[[Any], Any], config: type) -> None:
    """Runs a script: options from the command line, bad ones answered in a sentence.

    Args:
      main: takes the options.
      config: their dataclass.
    """
    try:
        main(tyro.cli(config))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
