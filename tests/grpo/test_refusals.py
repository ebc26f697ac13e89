"""Runs that must not be mixed up: each refusal is one sentence and loses nothing."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from bots_jax.cli import main
from bots_jax.grpo.data import load_data
from bots_jax.grpo.references import evaluate_reference
from bots_jax.tasks import generation
from tests.grpo.tiny import TINY, arguments


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs a command that fails with status 1, and returns its one sentence."""
    assert main(["train", "--quiet", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bots-jax: error: ")
    return line.removeprefix("bots-jax: error: ")


@pytest.fixture
def copy(finished_run, tmp_path) -> pathlib.Path:
    directory = tmp_path / "copy"
    shutil.copytree(finished_run.directory, directory)
    return directory


def change_settings(directory: pathlib.Path, group: str, **values) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    (config[group] if group else config).update(values)
    path.write_text(json.dumps(config))


def test_a_checkpoint_of_another_run(copy, capsys):
    """Same shapes, another selector: the checkpoints of the first must not be used."""
    change_settings(copy, "selector", forgetting=0.3)
    said = refused(capsys, "--resume", str(copy))
    assert f"{copy}/checkpoints holds a checkpoint of another run" in said


def test_a_warm_up_of_another_run(copy, capsys):
    change_settings(copy, "warmup", learning_rate=1e-3)
    said = refused(capsys, "--resume", str(copy))
    assert f"{copy}/warmup holds a checkpoint of another run" in said


def test_references_of_another_run(copy, trainer):
    with pytest.raises(ValueError, match="weak.npz holds the pass rates of another"):
        evaluate_reference(
            "weak",
            trainer.policy,
            trainer.data.train,
            TINY.reference,
            jax.random.key(0),
            directory=copy / "references",
            fingerprint="another",
            quiet=True,
        )


def test_resume_with_other_settings(finished_run, capsys):
    options = [*arguments(), "--seed", "1"]
    said = refused(capsys, "--resume", str(finished_run.directory), *options)
    assert said.startswith("--resume takes its settings from ")


def test_a_run_directory_that_is_not_empty(finished_run, capsys):
    directory = finished_run.directory
    said = refused(capsys, *arguments(), "--run-dir", str(directory))
    assert f"run directory must be new or empty, got {directory}" in said
    assert f"use --resume {directory}" in said


@pytest.mark.parametrize(
    "options, name",
    [
        (["--seed", "1"], "seed"),
        (["--num-tasks", "201"], "num_tasks"),
        (["--families", "gcd"], "families"),
        (["--model.width", "32"], "model"),
        (["--warmup.num-steps", "31"], "warmup"),
        (["--reference.rollouts", "3"], "reference"),
        (["--evaluation.num-tasks", "41"], "evaluation.num_tasks"),
    ],
)
def test_warm_up_from_a_run_with_other_settings(
    finished_run, tmp_path, capsys, options, name
):
    source, target = str(finished_run.directory), tmp_path / "new"
    words = ["--run-dir", str(target), "--warmup-from", source]
    said = refused(capsys, *arguments(), *options, *words)
    assert said.startswith(f"--warmup-from needs a run with the same {name}: ")
    assert not target.exists()


def test_warm_up_from_a_run_that_is_not_finished(copy, tmp_path, capsys):
    (copy / "references" / "strong.npz").unlink()
    target = tmp_path / "new"
    words = ["--run-dir", str(target), "--warmup-from", str(copy)]
    said = refused(capsys, *arguments(), *words)
    assert said.startswith("--warmup-from needs a run that has measured its references")
    assert not target.exists()


def test_more_tasks_than_exist(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(generation, "PATIENCE", 2)  # else a cell is searched for long
    words = ["--num-tasks", "9000", "--families", "ab"]
    said = refused(capsys, *words, "--run-dir", str(tmp_path / "new"))
    assert "num_tasks must be at most" in said and "distinct tasks found in ab" in said


def test_held_out_tasks_are_never_trained_on(data):
    assert not set(data.train.pool.keys) & set(data.held_out.pool.keys)
    assert len(data.train.pool) == TINY.num_tasks
    again = load_data(TINY, quiet=True)
    assert again.train.pool.fingerprint == data.train.pool.fingerprint
    assert (data.mixed.wrong_rate > 0).all() and not np.any(data.correct.wrong_rate)
