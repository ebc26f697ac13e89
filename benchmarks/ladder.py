"""Which selector finds tasks that are worth their rollouts, on simulated students.

Runs `bots-jax simulate` on two kinds of students, in pools of 10^3 to 10^6 tasks, and
puts its tables, results and figures under results/ladder/. It goes on where it was
stopped:

    python -m benchmarks.ladder --runs runs/ladder
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Annotated

import tyro

from bots_jax.evaluation.commands import SimulateCommand, run_simulate
from bots_jax.evaluation.simulate import RunSettings
from bots_jax.evaluation.student_settings import StudentSettings

from . import harness, machine

STUDENTS = {
    "drift": StudentSettings(),
    "learning": StudentSettings(
        drift=0.0,
        learning_rate=0.1,
        transfer=0.5,
        own_rate=0.5,
        group_sd=1.0,
        discrimination_sd=0.3,
        shared_deviation=0.5,
        reference_sd=0.3,
    ),
}
"""Students that improve whatever they train on, and students that learn from it."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Which selector finds tasks that are worth their rollouts.

    Attributes:
      sizes: pools of the students that drift.
      learning_sizes: pools of the students that learn.
      steps: of every run; 188 are 0.6 epochs of 20,000 tasks.
      seeds: students per arm.
      runs: folder of the results, one file each; what is there is not run again.
      results: folder that tables and figures are put into.
      quick: smallest sizes, seconds.
    """

    sizes: tuple[int, ...] = (1_000, 20_000, 100_000, 1_000_000)
    learning_sizes: tuple[int, ...] = (20_000,)
    steps: int = 188
    seeds: int = 8
    runs: Path = Path("runs/ladder")
    results: Path = machine.RESULTS / "ladder"
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False

    def resized(self) -> "Config":
        """Returns the smallest sizes for a quick run."""
        if not self.quick:
            return self
        small = {"sizes": (500,), "learning_sizes": (500,), "steps": 4, "seeds": 2}
        return dataclasses.replace(self, **small)


def main(config: Config) -> Path:
    """Runs what is missing, and copies tables, results and figures."""
    config = config.resized()
    machine.share_device()
    sizes = {"drift": config.sizes, "learning": config.learning_sizes}
    for name, student in STUDENTS.items():
        run_simulate(
            SimulateCommand(
                num_tasks=sizes[name],
                seeds=config.seeds,
                settings=RunSettings(steps=config.steps, student=student),
                output=config.runs / name,
            ),
            machine.machine_stamp,
        )
        folder = config.results / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("table.md", "results.json"):
            shutil.copyfile(config.runs / name / file, folder / file)
        for figure in sorted((config.runs / name / "figures").glob("*.png")):
            shutil.copyfile(figure, folder / figure.name)
    return config.results


if __name__ == "__main__":
    harness.run_script(main, Config)
