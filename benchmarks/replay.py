"""Which plug-in foresees tasks that were not rolled out, on logged answers.

Runs `bots-jax replay` both ways on a matrix of your own, and puts tables, results and
figures under results/replay/. The committed ones are of `data/combine.csv` of "Lost in
Benchmarks?" (arXiv 2505.15055, github.com/Joe-Hall-Lee/PSN-IRT), a random half of its
41,871 items; the data are not part of this repository:

    python -m benchmarks.replay response_matrix.npz --models-are-rows
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from bots_jax.evaluation.replay import MODES
from bots_jax.evaluation.replay_command import ReplayCommand, run_replay

from . import harness, machine


@dataclasses.dataclass(frozen=True)
class Config:
    """Which plug-in foresees tasks that were not rolled out.

    Attributes:
      matrix: pass rates, tasks by models.
      array: name of the array, for an .npz that holds several.
      models_are_rows: whether the array is models by tasks.
      num_observed: tasks rolled out per policy.
      batch_size: tasks per update.
      num_rollouts: rollouts behind a pass rate.
      seeds: draws of the tasks.
      results: folder that tables and figures are put into.
    """

    matrix: Annotated[Path, tyro.conf.Positional]
    array: str | None = None
    models_are_rows: bool = False
    num_observed: int = 256
    batch_size: int = 32
    num_rollouts: int = 1
    seeds: int = 8
    results: Path = machine.RESULTS / "replay"


def main(config: Config) -> Path:
    """Walks the matrix both ways; returns the folder."""
    machine.share_device()
    given = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name != "results"
    }
    for mode in MODES:
        command = ReplayCommand(**given, mode=mode, output=config.results / mode)
        run_replay(command, machine.machine_stamp)
    return config.results


if __name__ == "__main__":
    harness.run_script(main, Config)
