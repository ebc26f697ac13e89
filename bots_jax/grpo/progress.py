"""Progress on long work: bars on a terminal, plain lines without one."""

import sys
import time
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

_SECONDS_BETWEEN_LINES = 10.0


class Phase:
    """One long piece of work, shown while it goes on.

    On a terminal it is a bar with rate and time left; elsewhere a line is printed at
    the start, every 10 seconds and at the end.

    Example:
      >>> with Phase("counting", total=2, quiet=True) as phase:
      ...     phase.advance(); phase.advance(loss=0.5)
      >>> phase.done
      2
    """

    def __init__(self, name: str, total: int, done: int = 0, quiet: bool = False):
        """Starts at `done` of `total` units, which matters after a resume."""
        self.name, self.total, self.done = name, total, done
        self._first, self._quiet = done, quiet
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
        self.done += units
        if self._quiet:
            return
        text = "  ".join(f"{name} {value:.3g}" for name, value in shown.items())
        elapsed = max(time.monotonic() - self._started, 1e-9)
        rate = (self.done - self._first) / elapsed
        if self._bar is not None:
            self._bar.update(
                self._task, completed=self.done, rate=f"{rate:.1f}/s", shown=text
            )
            return
        if time.monotonic() - self._printed > _SECONDS_BETWEEN_LINES:
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
