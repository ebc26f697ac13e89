"""A run killed at any moment and resumed equals the run that nobody disturbed."""

import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from bots_jax.cli import main
from bots_jax.directory_lock import DirectoryLock
from tests.grpo.tiny import (
    REPOSITORY,
    arguments,
    environment,
    last_checkpoint,
    read_rows,
    read_summary,
    run_python,
)


def killed_before(path: str, *command: str) -> None:
    """Runs a command that SIGKILL ends just before `path` gets its name."""
    done = run_python(
        "-m", "tests.grpo.killed_run", path, "train", *command, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def assert_equal_runs(directory: pathlib.Path, finished_run, trainer) -> None:
    expected = finished_run.directory
    assert read_rows(directory) == read_rows(expected)
    assert read_summary(directory) == read_summary(expected)
    (step, state), (last, other) = (
        last_checkpoint(folder, trainer) for folder in (directory, expected)
    )
    assert step == last == trainer.config.grpo.num_steps
    for one, two in zip(*map(jax.tree.leaves, (state, other)), strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


def has_learnt(directory: pathlib.Path) -> bool:
    norms = [row["learn/grad_norm"] for row in read_rows(directory)[:-1]]
    return all(norm > 0.01 for norm in norms)


def test_a_run_killed_three_times_equals_the_undisturbed_one(
    finished_run, trainer, tmp_path
):
    directory = tmp_path / "killed"
    killed_before("warmup/20", *arguments(), "--run-dir", str(directory))
    assert [path.name for path in (directory / "warmup").iterdir() if is_whole(path)]
    assert half_written(directory / "warmup")

    killed_before("references/strong.npz", "--resume", str(directory))
    assert (directory / "references" / "weak.npz").is_file()
    assert not (directory / "metrics.jsonl").exists()

    killed_before("checkpoints/4", "--resume", str(directory))
    assert half_written(directory / "checkpoints")
    metrics = directory / "metrics.jsonl"
    assert len(metrics.read_text().splitlines()) == 4  # two of them to be done again
    with metrics.open("a") as file:
        file.write('{"step": 4, "reward": 0.')  # what a kill within a line leaves

    assert main(["train", "--quiet", "--resume", str(directory)]) == 0
    assert has_learnt(directory)
    assert_equal_runs(directory, finished_run, trainer)


def is_whole(path: pathlib.Path) -> bool:
    return path.name.isdigit()


def half_written(directory: pathlib.Path) -> list[pathlib.Path]:
    others = [path for path in directory.iterdir() if not is_whole(path)]
    return [path for path in others if path.name != "writer.lock"]


def test_resuming_a_finished_run_changes_nothing(finished_run, trainer, tmp_path):
    directory = tmp_path / "finished"
    shutil.copytree(finished_run.directory, directory)
    for name in ("summary.json", "figures", "references.parquet"):
        path = directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main(["train", "--quiet", "--resume", str(directory)]) == 0
    assert_equal_runs(directory, finished_run, trainer)
    assert len(list((directory / "figures").iterdir())) == 4
    assert (directory / "references.parquet").is_file()


# tensorstore may report a damaged file once more, to an event loop that has ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_costs_steps_and_no_more(finished_run, trainer, tmp_path):
    """The newest is damaged: the one before is used, and the step saved once more."""
    directory = tmp_path / "damaged"
    shutil.copytree(finished_run.directory, directory)
    for path in (directory / "checkpoints" / "6").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match="checkpoint 6 in .* is passed over"):
        assert main(["train", "--quiet", "--resume", str(directory)]) == 0
    assert_equal_runs(directory, finished_run, trainer)


MOMENTS = [
    "warmup/10",
    "warmup/30",
    "strong/4",
    "references/weak.npz",
    "checkpoints/2",
    "checkpoints/6",
]


@pytest.mark.nightly
@pytest.mark.parametrize("path", MOMENTS)
def test_killed_before_each_file(path, finished_run, trainer, tmp_path):
    directory = tmp_path / "killed"
    killed_before(path, *arguments(), "--run-dir", str(directory))
    assert main(["train", "--quiet", "--resume", str(directory)]) == 0
    assert_equal_runs(directory, finished_run, trainer)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twenty_kills_in_a_row_at_random_moments(seed, finished_run, trainer, tmp_path):
    directory = tmp_path / "killed"
    rng = np.random.default_rng(seed)
    command = [*arguments(), "--run-dir", str(directory)]
    for _ in range(20):
        process = start(*command)
        try:
            assert process.wait(rng.uniform(1.5, 9)) == 0  # it may have come to its end
        except subprocess.TimeoutExpired:
            process.kill()
            assert process.wait() == -signal.SIGKILL
        if (directory / "config.json").exists():
            command = ["--resume", str(directory), "--quiet"]
    assert main(["train", "--quiet", "--resume", str(directory)]) == 0
    assert_equal_runs(directory, finished_run, trainer)


def start(*command: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "bots_jax.cli", "train", *command],
        env=environment(),
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
    )


def test_two_trainers_of_one_run_are_refused(finished_run, tmp_path, capsys):
    directory = tmp_path / "busy"
    shutil.copytree(finished_run.directory, directory)
    with DirectoryLock(directory / "writer.lock"):
        assert main(["train", "--quiet", "--resume", str(directory)]) == 1
    said = capsys.readouterr().err
    assert str(directory) in said and len(said.strip().splitlines()) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("lines", [1, 2, 3, 5, 6])
def test_killed_from_outside_when_so_many_lines_are_written(
    lines, finished_run, trainer, tmp_path
):
    directory = tmp_path / "killed"
    process = start(*arguments(), "--run-dir", str(directory))
    metrics = directory / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert main(["train", "--quiet", "--resume", str(directory)]) == 0
    assert_equal_runs(directory, finished_run, trainer)
