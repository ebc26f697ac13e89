"""Rolling models out over tables, and going on where it stopped."""

import math
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from bots_jax.tasks.evaluations.reference_eval import (
    import_evaluation,
    log_path,
    reference_eval,
)
from bots_jax.tasks.rewards.matching import exact_match
from bots_jax.tasks.rewards.runner import RewardRunner
from bots_jax.tasks.tables.pass_rates import references
from bots_jax.tasks.tables.table import open_table
from tests.tasks.evaluation_tools import (
    GROUP,
    NUM_TASKS,
    columns,
    expected,
    guru_file,
)
from tests.tasks.reward_samples import by_name, generate

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def path(tmp_path):
    return guru_file(tmp_path / "t.parquet")


@pytest.fixture
def table(path):
    return open_table(path)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "evaluated.parquet"


def evaluate(table, out, generate=generate, reward=None, **options):
    settings = {"group_size": GROUP, "batch_size": 3, "name": "weak", "quiet": True}
    settings |= {"model": "m", "reward": "r"}
    runner = RewardRunner(reward or exact_match(), time_limit=None)
    return reference_eval(table, generate, runner, out=out, **settings | options)


def test_the_new_file(table, path, out):
    import pyarrow as pa
    import pyarrow.parquet as pq

    before = path.read_bytes()
    report = evaluate(table, out)
    assert path.read_bytes() == before
    assert (report.num_tasks, report.num_evaluated) == (NUM_TASKS, NUM_TASKS)
    written, original = pq.read_table(out), pq.read_table(path)
    assert written.select(original.column_names).equals(original)
    assert written.schema.field("weak_pass_rate").type == pa.float32()
    assert written.schema.field("weak_num_rollouts").type == pa.int32()
    rates, counts = columns(out, "weak_pass_rate", "weak_num_rollouts")
    assert rates == expected(table) and counts == [GROUP] * NUM_TASKS
    assert "1 prompt stands in more than one row (2 rows)" in str(report)
    assert {p.name for p in out.parent.iterdir()} == {out.name, log_path(out).name}
    again = open_table(out)
    assert references(again, ["weak_pass_rate"]).dtype == np.float32
    assert again.keys.tolist() == table.keys.tolist()
    # A second model beside the first, and the name of the first refused.
    second = out.with_name("second.parquet")
    evaluate(again, second, name="strong", seed=1)
    assert columns(second, "weak_pass_rate")[0] == rates
    assert columns(second, "strong_pass_rate")[0] == expected(table, seed=1) != rates
    with pytest.raises(ValueError, match="has a column 'weak_pass_rate'"):
        evaluate(again, out.with_name("third.parquet"))


def test_the_size_of_batches_changes_nothing(table, out):
    results = []
    for batch_size in (1, 4, 100):
        target = out.with_name(f"{batch_size}.parquet")
        evaluate(table, target, batch_size=batch_size)
        results.append(columns(target))
    assert results[0] == results[1] == results[2]


class Stopping:
    """A model that is interrupted in its n-th batch."""

    def __init__(self, calls, error):
        self.left, self.error = calls, error

    def __call__(self, prompts, group_size, seeds):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return generate(prompts, group_size, seeds)


@pytest.mark.parametrize("calls", [0, 1])
def test_interrupted_and_gone_on_with(calls, table, out):
    for error in (KeyboardInterrupt(), RuntimeError("out of memory")):
        with pytest.raises(type(error)):
            evaluate(table, out, Stopping(calls, error), batch_size=2)
        assert not out.exists()
    log = log_path(out).read_text().splitlines()
    assert len(log) == 1 + 2 * calls * 2
    asked = []

    def counting(prompts, group_size, seeds):
        asked.extend(seeds)
        return generate(prompts, group_size, seeds)

    evaluate(table, out, counting, batch_size=2)
    assert len(asked) == NUM_TASKS + 1 - len(log)
    assert columns(out, "weak_pass_rate")[0] == expected(table)
    assert log_path(out).read_text().splitlines()[: len(log)] == log


def test_seeds_that_follow_from_the_batch_are_found_out(table, out):
    """The planted bug: a resumed run that seeds by place has other numbers."""

    def by_place(prompts, group_size, seeds):
        return generate(prompts, group_size, list(range(len(prompts))))

    evaluate(table, out, by_place, limit=2)
    out.unlink()
    evaluate(table, out, by_place)
    other = out.with_name("other.parquet")
    evaluate(table, other, by_place)
    assert columns(out, "weak_pass_rate") != columns(other, "weak_pass_rate")


def test_killed_and_gone_on_with(path, table, out):
    """SIGKILL within the third batch, in a process of its own, by the command."""
    (path.parent / "killer.py").write_text(
        textwrap.dedent("""
        import os, signal
        from tests.tasks.reward_samples import generate as whole
        calls = 0
        def generate(prompts, group_size, seeds):
            global calls
            calls += 1
            if calls == 3 and "GO_ON" not in os.environ:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(prompts, group_size, seeds)
        """)
    )
    words = [
        *(sys.executable, "-m", "bots_jax.cli", "reference-eval", str(path), "--quiet"),
        *("--name", "weak", "--generate", "killer:generate", "--reward", "exact"),
        *("--group-size", f"{GROUP}", "--batch-size", "2", "--time-limit", "None"),
        *("--out", str(out)),
    ]
    environ = os.environ | {"PYTHONPATH": os.getcwd()}
    ran = subprocess.run(words, cwd=path.parent, env=environ)
    assert ran.returncode == -signal.SIGKILL
    assert not out.exists() and len(log_path(out).read_text().splitlines()) == 5
    environ["GO_ON"] = "1"
    ran = subprocess.run(words, cwd=path.parent, env=environ, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    assert columns(out, "weak_pass_rate")[0] == expected(table)


def test_what_was_not_evaluated_stays_null(table, out):
    """Rewards that fail, for some rollouts of a task or for all."""

    def reward(completion, row):
        if row["level"] is None or completion == "1":
            raise ValueError("cannot tell")
        return completion == row["answer"]

    def fixed(prompts, group_size, seeds):
        return [["0", "1", "2", "0", "1", "2"]] * len(prompts)

    report = evaluate(table, out, fixed, reward, limit=4)
    rates, counts = columns(out, "weak_pass_rate", "weak_num_rollouts")
    assert rates[2] is None and rates[4:] == [None] * 3
    assert counts == [4, 4, None, 4, None, None, None]
    assert rates[0] == 0.5 and rates[1] == 0.0  # "1" is the answer of task 1
    assert (report.num_evaluated, report.num_failed) == (3, 1)
    assert report.num_failed_rollouts == 3 * 2 + GROUP
    text = str(report)
    assert "3 of 7 tasks evaluated" in text
    assert "null: 4 tasks, 3 never rolled out and 1 without a rollout" in text
    assert "raised ValueError (cannot tell)" in text
    # With the limit lifted, what is there is not done again.
    out.unlink()
    report = evaluate(table, out, fixed, reward)
    assert report.num_evaluated == 5
    assert columns(out, "weak_num_rollouts")[0] == [4, 4, None, 4, 4, 4, None]


def test_nothing_evaluated_at_all(table, out):
    report = evaluate(table, out, reward=lambda completion, row: None)
    assert report.num_evaluated == 0 and math.isnan(report.mean_pass_rate)
    assert columns(out, "weak_pass_rate")[0] == [None] * NUM_TASKS


def test_rewards_in_processes(table, out):
    pytest.importorskip("pebble", reason="needs bots-jax[rewards]")
    words = ["fine", "raise", "seven", "die", "half", "hang"]
    runner = RewardRunner(by_name, time_limit=0.5, num_workers=2)
    with runner:
        report = reference_eval(
            table,
            lambda prompts, group_size, seeds: [words] * len(prompts),
            runner,
            group_size=GROUP,
            batch_size=2,
            limit=2,
            out=out,
            name="weak",
            quiet=True,
        )
    assert columns(out, "weak_pass_rate")[0][:3] == [0.75, 0.75, None]
    assert report.num_failed_rollouts == 8
    for kind in ("took longer than 0.5 s", "ZeroDivisionError", "outside [0, 1]"):
        assert kind in str(report)


@pytest.mark.parametrize(
    "groups, got",
    [
        (lambda n, g: [["1"] * g] * (n - 1), "got 2 groups."),
        (lambda n, g: [["1"] * g] * (n - 1) + [["1"]], "got 1 for prompt 2."),
        (lambda n, g: ["1" * g] * n, "got '111111' for prompt 0."),
        (lambda n, g: [[1] * g] * n, "got 1 for prompt 0."),
        (lambda n, g: None, "got None."),
        (lambda n, g: "12", "got '12'."),
    ],
)
def test_completions_that_are_not_as_asked_for(groups, got, table, out):
    want = f"generate must return {GROUP} texts for each of 3 prompts, "
    with pytest.raises(ValueError) as caught:
        evaluate(table, out, lambda prompts, g, seeds: groups(len(prompts), g))
    assert str(caught.value) == want + got
    assert not out.exists()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"group_size": 0}, "group_size must be an integer in [1, 2147483647], got 0."),
        ({"batch_size": 1.5}, "batch_size must be an integer"),
        ({"limit": 0}, "limit must be an integer"),
        ({"limit": True}, "limit must be an integer in [1, 2147483647], got True."),
        ({"seed": -1}, "seed must be an integer in [0, 2147483647], got -1."),
        ({"seed": 0.5}, "seed must be an integer in [0, 2147483647], got 0.5."),
        ({"seed": 2**31}, "seed must be an integer in [0, 2147483647], got 2147483648"),
        ({"name": "a b"}, "name must be of letters, digits and any of _ . @ + -, got"),
        ({"name": ""}, "name must be of letters"),
    ],
)
def test_settings_out_of_range(options, sentence, table, out):
    with pytest.raises(ValueError) as caught:
        evaluate(table, out, **options)
    assert sentence in str(caught.value)
    assert not out.parent.exists()


def test_settings_of_numpy_are_as_good_as_python_s(table, out):
    settings = {"group_size": np.int32(GROUP), "batch_size": np.int64(3)}
    evaluate(table, out, seed=np.int64(1), **settings)
    assert columns(out, "weak_pass_rate")[0] == expected(table, seed=1)


def test_outputs_that_are_there(table, path, out):
    with pytest.raises(ValueError, match="must be a new file, and .* is there"):
        evaluate(table, path)
    with pytest.raises(ValueError, match=r"must end in \.parquet"):
        evaluate(table, out.with_suffix(".csv"))
    evaluate(table, out)
    before = out.read_bytes()
    with pytest.raises(ValueError, match="Its log is .*: remove the output"):
        evaluate(table, out)
    assert out.read_bytes() == before
    with pytest.raises(ValueError, match="must be a new file"):
        import_evaluation(table, log_path(out), out=out, name="weak")


def test_an_output_that_appears_meanwhile(table, out):
    def meanwhile(prompts, group_size, seeds):
        out.write_text("somebody else's")
        return generate(prompts, group_size, seeds)

    with pytest.raises(ValueError, match="must be a new file, and .* is there"):
        evaluate(table, out, meanwhile)
    assert out.read_text() == "somebody else's"
    assert not list(out.parent.glob("*.partial"))


def test_a_log_of_another_evaluation(table, path, out):
    with pytest.raises(KeyboardInterrupt):
        evaluate(table, out, Stopping(1, KeyboardInterrupt()))
    with pytest.raises(ValueError, match="its seed is 0, this one's is 1"):
        evaluate(table, out, seed=1)
    other = path.with_name("other.jsonl")
    other.write_text('{"prompt": "x", "answer": "1"}')
    with pytest.raises(ValueError, match="the table has changed since .* was begun"):
        evaluate(open_table(other), out)
