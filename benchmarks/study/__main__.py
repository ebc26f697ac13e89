"""`python -m benchmarks.study run` and `python -m benchmarks.study report`."""

import sys
from typing import Annotated

import tyro

from .report import ReportCommand, report
from .study import RunCommand, run

Command = (
    Annotated[RunCommand, tyro.conf.subcommand("run")]
    | Annotated[ReportCommand, tyro.conf.subcommand("report")]
)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; bad options are answered in a sentence."""
    command = tyro.cli(Command, prog="python -m benchmarks.study", args=arguments)  # type: ignore[arg-type]
    try:
        run(command) if isinstance(command, RunCommand) else report(command)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
