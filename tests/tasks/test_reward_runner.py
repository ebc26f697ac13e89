import functools
import subprocess
import sys
import time
from typing import Any, cast

import numpy as np
import pytest

from bots_jax.tasks.rewards.runner import RewardRunner
from tests.tasks import reward_samples

pebble = pytest.importorskip("pebble", reason="needs bots-jax[rewards]")
pytestmark = pytest.mark.filterwarnings("default")

LIMIT = 1.0


def score(runner: RewardRunner, *words: str) -> list[float]:
    return runner.score(words, [{"answer": "1"}] * len(words)).tolist()


@pytest.fixture(scope="module")
def runner():
    with RewardRunner(
        reward_samples.by_name, time_limit=LIMIT, num_workers=2
    ) as runner:
        runner.start()
        yield runner


@pytest.fixture(autouse=True)
def counted_anew(request):
    if "runner" in request.fixturenames:
        runner = request.getfixturevalue("runner")
        runner.errors, runner.first_messages, runner.num_scored = {}, {}, 0


def test_what_is_not_a_reward_is_not_a_failure(runner):
    words = ("fine", "raise", "seven", "minus", "none", "nan", "text", "complex")
    more = ("exit", "unprintable", "true", "half", "zero", "raise")
    values = score(runner, *words, *more)
    nan = np.nan
    expected = [1, *[nan] * 9, 1, 0.5, 0, nan]
    np.testing.assert_array_equal(values, expected)
    assert runner.errors == {
        "raised ZeroDivisionError": 2,
        "returned a value outside [0, 1]": 3,
        "returned no number": 3,
        "raised SystemExit": 1,
        "raised Unprintable": 1,
    }
    assert runner.first_messages["raised ZeroDivisionError"] == "no more"
    assert runner.first_messages["returned a value outside [0, 1]"] == "7"
    report = runner.report()
    assert report.startswith("10 of 14 completions not evaluated: ")
    assert "2 raised ZeroDivisionError (no more)" in report


def test_processes_that_die_cost_their_completion_only(runner):
    values = score(runner, "fine", "die", "die by signal", "die", "fine", "fine")
    np.testing.assert_array_equal(values, [1, np.nan, np.nan, np.nan, 1, 1])
    # Seldom the pool cannot tell a death from a hang; not evaluated it is anyway.
    assert sum(runner.errors.values()) == 3 and "died" in runner.errors
    assert score(runner, "fine") == [1.0]


def test_a_reward_that_hangs_is_killed(runner):
    started = time.monotonic()
    values = score(runner, "hang", *["fine"] * 20)
    assert time.monotonic() - started < 20
    np.testing.assert_array_equal(values, [np.nan, *[1] * 20])
    assert runner.errors == {"took longer than 1 s": 1}


def test_a_reward_that_is_deaf_to_signals_is_killed_too(runner):
    started = time.monotonic()
    np.testing.assert_array_equal(score(runner, "hang deaf", "fine"), [np.nan, 1])
    assert time.monotonic() - started < 30


def test_a_row_that_cannot_be_sent(runner):
    values = runner.score(["fine", "fine"], [{"f": lambda: 1}, {}])
    np.testing.assert_array_equal(values, [np.nan, 1])
    assert sum(runner.errors.values()) == 1


def test_no_completions(runner):
    assert runner.score([], []).shape == (0,)
    assert runner.report() == "all 0 completions evaluated"
    with pytest.raises(ValueError, match="rows must be one per completion, got 0 for"):
        runner.score(["a"], [])


def test_loading_does_not_count_as_scoring():
    with RewardRunner(reward_samples.Slow(), time_limit=LIMIT, num_workers=1) as runner:
        assert score(runner, "fine", "fine") == [1.0, 1.0]
    assert runner.errors == {}


def test_without_a_limit_anything_callable_runs_here():
    runner = RewardRunner(lambda completion, row: len(completion) / 4, time_limit=None)
    assert score(runner, "a", "ab", "abcde")[:2] == [0.25, 0.5]
    assert runner.errors == {"returned a value outside [0, 1]": 1}

    def interrupted(completion, row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(RewardRunner(interrupted, time_limit=None), "a")


def test_what_cannot_be_sent_to_a_process_is_refused():
    with pytest.raises(ValueError, match="another process can import, got <function"):
        RewardRunner(lambda completion, row: 1.0)
    with pytest.raises(ValueError, match=r"must be a function of \(completion, row\)"):
        RewardRunner(cast(Any, reward_samples.of_three))
    for limit in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="time_limit must be > 0, or None"):
            RewardRunner(reward_samples.by_name, time_limit=limit)
    with pytest.raises(ValueError, match="num_workers must be > 0"):
        RewardRunner(reward_samples.by_name, num_workers=0)


def test_a_reward_that_loads_here_only(monkeypatch):
    """A module that exists in this process, as those of a notebook do."""
    module = type(sys)("only_here")
    exec("def reward(completion, row): return 1.0", module.__dict__)
    module.reward.__module__ = "only_here"
    monkeypatch.setitem(sys.modules, "only_here", module)
    with RewardRunner(module.reward, num_workers=1) as runner:
        with pytest.raises(ValueError, match="cannot be loaded in another process"):
            runner.start()


def test_without_the_library(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'bots-jax\[rewards\]'"):
        RewardRunner(functools.partial(reward_samples.by_name))


def test_beside_a_running_jax_without_a_warning():
    """Processes of a program with devices and threads, all warnings being errors."""
    program = """
import jax
from bots_jax.tasks.rewards.runner import RewardRunner
from bots_jax.tasks.rewards.matching import exact_match

if __name__ == "__main__":
    jax.numpy.zeros(3) + 1
    with RewardRunner(exact_match(), num_workers=1) as runner:
        print(runner.score(["1", "2"], [{"answer": "1"}] * 2).tolist())
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True
    )
    assert (ran.stdout.strip(), ran.stderr) == ("[1.0, 0.0]", "")
