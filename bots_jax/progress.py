"""Progress on long work: bars on a terminal, plain lines without one."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

TellFn = Callable[[str, int], None]
"""tell(what runs now, units finished since the last call)."""


class Phase:
    """One long piece of work, shown while it goes on.

    On a terminal it is a bar with rate and time left; elsewhere a line is printed at
    the start, every few seconds and at the end.

    Example:
      >>> with Phase("counting", total=2, quiet=True) as phase:
      ...     phase.advance(); phase.advance(loss=0.5)
      >>> phase.done
      2
    """

    def __init__(
        self,
        name: str,
        total: int,
        done: int = 0,
        quiet: bool = False,
        line_every: float = 10.0,
    ):
        """Starts at `done` of `total` units, which matters after a resume.

        Args:
          name: of the work.
          total: units in all.
          done: units that were done before.
          quiet: show nothing.
          line_every: seconds between two lines; 0 for one after every unit.
        """
        self.name, self.total, self.done = name, total, done
        self._first, self._quiet, self._line_every = done, quiet, line_every
        self._console = Console(file=sys.stdout)
        self._bar: Progress | None = None

    def __enter__(self) -> "Phase":
        self._started = self._printed = time.monotonic()
        if self._quiet:
            return self
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description:<22}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}"),
                console=self._console,
            )
            self._task = self._bar.add_task(
                self.name, total=self.total, completed=self.done, rate="", shown=""
            )
            self._bar.start()
        else:
            self._line(f"{self.done}/{self.total}")
        return self

    def advance(self, units: int = 1, **shown: float) -> None:
        """Counts finished units and shows a few numbers beside them."""
        numbers = (f"{name} {value:.3g}" for name, value in shown.items())
        self.tell("  ".join(numbers), units)

    def tell(self, text: str, units: int = 0) -> None:
        """Says what runs or how it went, and counts finished units.

        Example:
          >>> with Phase("simulate", 2, 1, line_every=0) as phase:  # doctest: +ELLIPSIS
          ...     phase.tell("bots, seed 1"); phase.tell("bots, seed 1: done", 1)
          simulate: 1/2
          simulate: 2/2  ...  0 s left  bots, seed 1: done
          simulate: 2/2  done in 0.0 s
        """
        self.done += units
        if self._quiet:
            return
        elapsed = max(time.monotonic() - self._started, 1e-9)
        rate = (self.done - self._first) / elapsed
        if self._bar is not None:
            self._bar.update(
                self._task, completed=self.done, rate=f"{rate:.1f}/s", shown=text
            )
            return
        if units and time.monotonic() - self._printed >= self._line_every:
            self._printed = time.monotonic()
            left = (self.total - self.done) / max(rate, 1e-9)
            self._line(
                f"{self.done}/{self.total}  {rate:.1f}/s  {left:.0f} s left  {text}"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self._quiet and error is None:
            seconds = time.monotonic() - self._started
            self._line(f"{self.done}/{self.total}  done in {seconds:.1f} s")

    def _line(self, text: Any) -> None:
        print(f"{self.name}: {text}", flush=True)
