"""`bots-jax reference-eval`, and models of our own trainer in it."""

import json

import numpy as np
import pytest

from bots_jax.cli import main
from bots_jax.tasks.evaluations.pool_table import pool_table
from bots_jax.tasks.evaluations.reference_eval import log_path
from bots_jax.tasks.tables.table import open_table
from tests.tasks.evaluation_tools import (
    GROUP,
    NUM_TASKS,
    columns,
    expected,
    guru_file,
)

pytestmark = pytest.mark.filterwarnings("default")

HERE = "tests.tasks.reward_samples"


@pytest.fixture
def path(tmp_path):
    return guru_file(tmp_path / "t.parquet")


@pytest.fixture
def table(path):
    return open_table(path)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "evaluated.parquet"


def command(path, out, *words):
    return main(
        ["reference-eval", str(path), "--name", "weak", "--out", str(out), *words]
    )


def test_the_command_and_import_of_its_log(path, table, out, capsys):
    words = ["--generate", f"{HERE}:generate", "--reward", "exact"]
    words += ["--group-size", f"{GROUP}", "--time-limit", "None"]
    assert command(path, out, *words) == 0
    printed = capsys.readouterr().out
    assert "7 of 7 tasks evaluated, mean pass rate 0." in printed
    assert f"evaluating weak: {NUM_TASKS}/{NUM_TASKS}" in printed
    assert f"written to {out}" in printed
    assert columns(out, "weak_pass_rate")[0] == expected(table)
    imported = out.with_name("imported.parquet")
    assert command(path, imported, "--log", str(log_path(out)), "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert columns(imported) == columns(out)


GENERATE = ("--generate", f"{HERE}:generate")
EXACT = (*GENERATE, "--reward", "exact")


@pytest.mark.parametrize(
    "words, sentence",
    [
        ((), "exactly one of --generate, --run and --log must be given, got none."),
        ((*GENERATE, "--log", "x"), "must be given, got --generate, --log."),
        (GENERATE, "--reward must be given: exact, numeric, boxed"),
        ((*GENERATE, "--reward", "best"), "reward must be one of 'exact', "),
        (("--generate", "no:no", "--reward", "exact"), "there is no module 'no'"),
        (("--log", "x", "--reward", "exact"), "--reward has no meaning with --log"),
        (("--log", "x", "--group-size", "8"), "--group-size has no meaning with --log"),
        ((*EXACT, "--step", "1"), "--step belongs to --run"),
        (("--log", "no.jsonl"), "there is no file no.jsonl to read"),
        (("--run", "no", "--reward", "pool"), "no run at no: no/config.json is not"),
        (
            (*GENERATE, "--reward", "exact", "--time-limit", "0"),
            "time_limit must be > 0",
        ),
        ((*GENERATE, "--reward", "exact", "--prompt", "promt"), "promt"),
    ],
)
def test_options_that_do_not_fit(words, sentence, path, out, capsys):
    assert command(path, out, *words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bots-jax: error: ") and sentence in line
    assert not out.parent.exists()


def test_an_interrupt_says_how_to_go_on(path, out, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{HERE}.generate", interrupted)
    words = [*EXACT, "--time-limit", "None", "--quiet"]
    assert command(path, out, *words) == 130
    said = capsys.readouterr().err
    assert "interrupted; its log is kept, and the same command again goes on" in said
    assert log_path(out).exists()


def test_a_missing_extra_is_named(path, out, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    assert command(path, out, *EXACT) == 1
    assert capsys.readouterr().err == (
        "bots-jax: error: bots-jax reference-eval needs pebble: "
        "pip install 'bots-jax[rewards]'.\n"
    )


# Our own trainer's models


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has got as far as its warm-up, without having learned anything."""
    from bots_jax.checkpoint import Checkpoints
    from bots_jax.grpo.model import make_model
    from bots_jax.grpo.run_dir import create_run
    from bots_jax.grpo.train_step import Learner, make_warmup_optimizer
    from bots_jax.tasks import CharTokenizer
    from tests.grpo.tiny import TINY

    directory = tmp_path_factory.mktemp("runs") / "tiny"
    create_run(TINY, directory)
    _, params = make_model(TINY.model, CharTokenizer().vocab_size, TINY.seed)
    tx = make_warmup_optimizer(1e-3, 10)
    with Checkpoints(directory / "warmup", "f00") as checkpoints:
        for step in (20, 30):
            checkpoints.save(step, Learner(params, tx.init(params)))
    return directory


def test_a_run_over_its_own_pool(run, small_pool, tmp_path, capsys):
    tasks, out = tmp_path / "pool.parquet", tmp_path / "out.parquet"
    pool_table(small_pool.take(np.arange(0, 800, 80)), tasks)
    words = ["--run", str(run), "--phase", "warmup", "--reward", "pool"]
    words += ["--group-size", "2", "--time-limit", "None", "--quiet"]
    assert command(tasks, out, *words, "--batch-size", "4", "--limit", "5") == 0
    out.unlink()
    assert command(tasks, out, *words, "--batch-size", "4") == 0
    whole = tmp_path / "whole.parquet"
    assert command(tasks, whole, *words, "--batch-size", "3") == 0
    capsys.readouterr()
    assert columns(out) == columns(whole)
    header = json.loads(log_path(out).read_text().splitlines()[0])
    assert header["model"] == "tiny/warmup/30 of f00"
    out.unlink()
    assert command(tasks, out, *words, "--step", "20") == 1
    assert "this one's is 'tiny/warmup/20 of f00'" in capsys.readouterr().err


def test_runs_that_cannot_be_rolled_out(run, path, out, capsys):
    words = ["--run", str(run), "--reward", "exact", "--time-limit", "None", "--quiet"]
    for more, sentence in {
        ("--phase", "warmup"): "reads the short spelling of its own tasks only, as "
        "pool_table writes them, got 'Task 0'.",
        ("--phase", "warmup", "--step", "7"): "step must be one of those in ",
        (): f"there is no checkpoint in {run}/checkpoints yet.",
    }.items():
        assert command(path, out, *words, *more) == 1
        assert sentence in capsys.readouterr().err


def test_a_model_depends_on_its_seeds_only(run):
    from bots_jax.grpo.reference_model import RunModel

    model = RunModel(run, phase="warmup")
    prompts = ["G4,6=", "G9,6=", "G4,6="]
    one, two, three = model(prompts, 2, [1, 2, 3])
    assert one != three  # another seed, other completions
    assert model(prompts[::-1], 2, [3, 2, 1]) == [three, two, one]
    assert model([], 2, []) == []
    for prompt in ("gcd of 4 and 6", "G4,6", "4,6=", "", "G" + "4" * 30 + "="):
        with pytest.raises(ValueError, match="reads the short spelling of its own ta"):
            model([prompt], 2, [1])
