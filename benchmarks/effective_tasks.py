"""Measures whether BOTS picks more effective tasks than uniform choice.

For every seed both arms share pool, warm-up and references (`--warmup-from`), and get
the same number of rollouts. Finished runs are kept and unfinished ones go on, so the
script can be stopped at any time:

    python -m benchmarks.effective_tasks --seeds 0 1 2
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import harness, machine

QUESTION = "Does BOTS pick more effective tasks than uniform choice in the default run?"
ARMS = ("bots", "uniform")
_KEPT = (
    "held_out_start",
    "held_out_end",
    "held_out_gain",
    "effective_task_ratio_first_third",
    "coverage_first_third",
    "effective_task_ratio",
    "coverage",
    "rollouts",
    "reference_rollouts",
    "tokens",
    "seconds_per_step",
    "selector_share",
    "spearman",
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)
    """One pair of runs for each."""
    runs: Path = Path("runs/effective_tasks")
    """Where the runs are kept."""
    results: Path = machine.RESULTS
    """Where the result goes."""
    quick: bool = False
    """A tiny run of one seed, to see that everything works."""

    def options(self) -> list[str]:
        """Returns the options that make a run tiny, or none."""
        if not self.quick:
            return []
        tiny = (
            "--num-tasks 200 --families gcd spell_backward --model.width 16 "
            "--model.mlp-width 32 --warmup.num-steps 4 --warmup.strong-steps 2 "
            "--reference.rollouts 2 --grpo.num-steps 4 --grpo.batch-size 4 "
            "--grpo.group-size 2 --evaluation.num-tasks 16 --evaluation.rollouts 1 "
            "--evaluation.calibration-tasks 8 --evaluation.calibration-rollouts 2"
        )
        return [str(word) for word in tiny.split()]


def run_arm(config: Config, seed: int, arm: str) -> Path:
    """Makes sure that one run is finished, and returns its directory."""
    directory = config.runs / f"{arm}-{seed}"
    if (directory / "summary.json").is_file():
        return directory
    command = [sys.executable, "-m", "bots_jax.cli", "train"]
    if (directory / "config.json").is_file():
        command += ["--resume", str(directory)]
    else:
        command += ["--run-dir", str(directory), "--seed", str(seed)]
        command += ["--selector.name", arm, *config.options()]
        if arm != ARMS[0]:
            command += ["--warmup-from", str(config.runs / f"{ARMS[0]}-{seed}")]
    subprocess.run(command, check=True)
    return directory


def read_arm(directory: Path, seed: int, arm: str) -> dict[str, Any]:
    """Reads what the result file keeps of one run."""
    summary = json.loads((directory / "summary.json").read_text())
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    curve = [
        [row["step"], row["held_out/solved"]]
        for row in steps
        if row.get("held_out/solved") is not None
    ]
    ratios = [row["effective_task_ratio"] for row in steps if "solved" in row]
    row: dict[str, Any] = {"seed": seed, "arm": arm}
    row |= {name: summary[name] for name in _KEPT}
    row["held_out_curve"] = curve
    row["effective_task_ratio_per_step"] = [round(value, 4) for value in ratios]
    return row


def paired_interval(differences: np.ndarray, seed: int = 0) -> list[float]:
    """Returns the bootstrap 95 % interval of a mean over paired seeds.

    Example:
      >>> paired_interval(np.array([1.0, 1.0]))
      [1.0, 1.0]
    """
    rng = np.random.default_rng(seed)
    draws = rng.choice(differences, (10_000, len(differences))).mean(axis=1)
    return [float(value) for value in np.quantile(draws, [0.025, 0.975])]


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Compares the arms seed by seed."""
    column = lambda arm, name: np.array(  # noqa: E731
        [row[name] for row in rows if row["arm"] == arm]
    )
    name = "effective_task_ratio_first_third"
    usable = column("uniform", name) > 0  # a tiny run may see no effective task
    ratios = column("bots", name)[usable] / column("uniform", name)[usable]
    gains = column("bots", "held_out_end") - column("uniform", "held_out_end")
    ratio_summary = {}
    if len(ratios):
        ratio_summary = {
            "first_third_ratio_mean": float(ratios.mean()),
            "first_third_ratio_min": float(ratios.min()),
            "first_third_ratio_interval": paired_interval(ratios),
        }
    return {
        "num_seeds": len(gains),
        **ratio_summary,
        "held_out_end_difference_mean": float(gains.mean()),
        "held_out_end_difference_interval": paired_interval(gains),
    }


def main(config: Config) -> Path:
    """Runs what is missing, compares, writes; returns the file."""
    seeds = config.seeds[:1] if config.quick else config.seeds
    record: dict[str, Any] = {
        "question": QUESTION,
        "machine": machine.machine_stamp(seeds[0]),
        "settings": {"seeds": list(seeds), "options": config.options()},
        "rows": [],
    }
    path = harness.results_path(config.results, "effective_tasks", config.quick)
    for seed in seeds:
        for arm in ARMS:
            directory = run_arm(config, seed, arm)
            record["rows"].append(read_arm(directory, seed, arm))
        record["summary"] = summarise(record["rows"])
        harness.write_results(path, record)
    return path


if __name__ == "__main__":
    harness.run_script(main, Config)
