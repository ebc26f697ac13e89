"""What runs, and the time left: a bar on a terminal, lines without one."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

TellFn = Callable[[str, int], None]
"""tell(what runs now, results finished since the last call)."""


@contextlib.contextmanager
def progress(
    command: str, total: int, done: int = 0, quiet: bool = False
) -> Iterator[TellFn]:
    """Shows what runs and the time left: a bar, or lines where there is no terminal.

    Args:
      command: that runs.
      total: results.
      done: those that were there before.
      quiet: show nothing.

    Yields:
      A function to call with what runs, and how many results were finished.

    Example:
      >>> with progress("simulate", 2, done=1) as tell:
      ...     tell("bots, seed 1", 0); tell("bots, seed 1: done", 1)
      simulate: 2/2  bots, seed 1: done  0 s left
    """
    import rich.console
    import rich.progress

    console = rich.console.Console(file=sys.stdout)
    if quiet:
        yield lambda what, finished: None
    elif not console.is_terminal:
        yield _plain_lines(command, total, done)
    else:
        columns = (
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
        )
        with rich.progress.Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(command, total=total, completed=done)

            def tell(what: str, finished: int) -> None:
                bar.update(
                    task, advance=finished, description=None if finished else what
                )

            yield tell


def _plain_lines(command: str, total: int, before: int) -> TellFn:
    started, done = time.monotonic(), before

    def tell(what: str, finished: int) -> None:
        nonlocal done
        if not finished:
            return
        done += finished
        seconds = (time.monotonic() - started) / (done - before) * (total - done)
        print(f"{command}: {done}/{total}  {what}  {seconds:.0f} s left", flush=True)

    return tell
