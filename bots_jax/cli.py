"""The command line: one function per command."""

import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Callable
from typing import Any

_USAGE = """\
usage: bots-jax COMMAND [OPTIONS]

Bayesian online task selection for reinforcement finetuning, in JAX.

commands:
{commands}

bots-jax COMMAND --help shows the options of a command with their defaults."""


def train_command(arguments: list[str]) -> None:
    """Train a small language model by GRPO, with a selector choosing its tasks."""
    import tyro

    from bots_jax.grpo.commands import TrainCommand, run_train

    run_train(tyro.cli(TrainCommand, prog="bots-jax train", args=arguments))


def simulate_command(arguments: list[str]) -> None:
    """Compare selectors on simulated students, without training a model."""
    import tyro

    from bots_jax.evaluation.commands import SimulateCommand, run_simulate

    command = tyro.cli(SimulateCommand, prog="bots-jax simulate", args=arguments)
    run_simulate(command, _benchmarks("machine").machine_stamp)


def replay_command(arguments: list[str]) -> None:
    """Compare implicit plug-ins on logged pass rates, without training a model."""
    import tyro

    from bots_jax.evaluation.replay_command import ReplayCommand, run_replay

    command = tyro.cli(ReplayCommand, prog="bots-jax replay", args=arguments)
    run_replay(command, _benchmarks("machine").machine_stamp)


def compare_command(arguments: list[str]) -> None:
    """Train with several selectors side by side, and tell who learns soonest."""
    import tyro

    from bots_jax.compare.command import CompareCommand, run_compare

    command = tyro.cli(CompareCommand, prog="bots-jax compare", args=arguments)
    run_compare(command, _benchmarks("machine").machine_stamp)


def reference_eval_command(arguments: list[str]) -> None:
    """Write pass rates of a model beside the tasks of a table, as a new file."""
    import tyro

    from bots_jax.tasks.evaluations.command import (
        ReferenceEvalCommand,
        run_reference_eval,
    )

    command = tyro.cli(
        ReferenceEvalCommand, prog="bots-jax reference-eval", args=arguments
    )
    run_reference_eval(command)


def bench_command(arguments: list[str]) -> None:
    """Measure the engine on this machine, against its targets."""
    import tyro

    bench = _benchmarks("bench")
    command = tyro.cli(bench.BenchCommand, prog="bots-jax bench", args=arguments)
    bench.run_bench(command)


def _benchmarks(name: str) -> Any:
    """Imports a module of the benchmarks: a wheel's own, else those of the checkout."""
    if importlib.util.find_spec("bots_jax.benchmarks") is not None:
        return importlib.import_module(f"bots_jax.benchmarks.{name}")
    checkout = pathlib.Path(__file__).resolve().parents[1]
    if not (checkout / "benchmarks" / f"{name}.py").is_file():
        raise ValueError("this installation of bots_jax comes without its benchmarks.")
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    return importlib.import_module(f"benchmarks.{name}")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": train_command,
    "compare": compare_command,
    "reference-eval": reference_eval_command,
    "replay": replay_command,
    "simulate": simulate_command,
    "bench": bench_command,
}
_RESUMED = ("train", "compare", "simulate")
_GOES_ON = {name: "go on with --resume." for name in _RESUMED} | {
    "reference-eval": "its log is kept, and the same command again goes on with it."
}
_EXTRAS = {"math_verify": "rewards", "pebble": "rewards"}


def usage() -> str:
    """Returns the help text: every command with its first line.

    Example:
      >>> "train" in usage()
      True
    """
    width = max(map(len, COMMANDS))
    lines = [
        f"  {name:<{width}} {(f.__doc__ or '').strip()}" for name, f in COMMANDS.items()
    ]
    return _USAGE.format(commands="\n".join(lines))


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; every expected error is one sentence on standard error.

    Args:
      arguments: without the program's name; those of the process by default.

    Returns:
      Exit status: 0, 1 for an error, 2 for an unknown command, 130 when interrupted.

    Example:
      >>> main(["--help"])  # doctest: +ELLIPSIS
      usage: bots-jax COMMAND [OPTIONS]
      ...
      0
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "--version":
        from bots_jax.version import __version__

        print(__version__)
        return 0
    if name not in COMMANDS:
        allowed = ", ".join(COMMANDS)
        return _fail(f"command must be one of: {allowed}; got {name!r}.", status=2)
    try:
        COMMANDS[name](rest)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("bots_jax"):
            raise
        extra = _EXTRAS.get(error.name or "", "train")
        return _fail(
            f"bots-jax {name} needs {error.name}: pip install 'bots-jax[{extra}]'."
        )
    except (ValueError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        how = _GOES_ON.get(name, "results that were written are kept.")
        return _fail(f"interrupted; {how}", status=130)
    return 0


def _fail(message: str, status: int = 1) -> int:
    print(f"bots-jax: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
