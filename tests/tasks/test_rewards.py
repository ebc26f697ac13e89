import logging
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest

from bots_jax.tasks import FAMILY_NAMES, Scorer
from bots_jax.tasks.rewards.library import last_box
from bots_jax.tasks.rewards.matching import (
    REWARDS,
    boxed_math,
    check_reward,
    exact_match,
    last_number,
    load_reward,
    numeric_match,
    pool_reward,
    reasoning_gym,
)
from tests.tasks import reward_samples

pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize(
    "settings, completion, answer, value",
    [
        ({}, " a b\n", "a b", 1.0),
        ({}, "a  b", "a b", 0.0),
        ({}, "A b", "a b", 0.0),
        ({"whitespace": "keep"}, "a b ", "a b", 0.0),
        ({"whitespace": "collapse"}, "a\n  b ", "a b", 1.0),
        ({"ignore_case": True}, "STRASSE", "straße", 1.0),
        ({}, "4", 4, 1.0),
        ({}, "", "", 1.0),
    ],
)
def test_exact(settings, completion, answer, value):
    assert exact_match(**settings)(completion, {"answer": answer}) == value


@pytest.mark.parametrize(
    "text, value",
    [
        ("It is 5.", 5),
        ("1,234,567.5 m", Fraction(12345675, 10)),
        ("12,345,67", 67),  # no thousands: the groups are not of three
        ("1,23", 23),  # a comma is no decimal point
        ("x=-4", -4),
        ("(-4)", -4),
        ("10-4", 4),  # a difference, not a negative number
        ("2026-11-21", 21),
        ("\u22125", -5),
        ("-3/4", Fraction(-3, 4)),
        ("1/0", None),
        ("12.5%", Fraction(1, 8)),
        (r"50\%", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("1e5.", 100000),
        ("2.5E-1", Fraction(1, 4)),
        ("1e99999", None),
        ("9" * 500, None),
        ("1 or 2", 2),
        ("none", None),
        ("\u0663", None),  # a digit, but not one of ours
        ("", None),
    ],
)
def test_last_number(text, value):
    assert last_number(text) == value


def test_numbers_are_read_as_python_reads_them():
    """Against float, over numbers of many sizes in the spellings of print."""
    rng = np.random.default_rng(0)
    for value in rng.standard_normal(300) * 10.0 ** rng.integers(-9, 9, 300):
        for text in (f"{value}", f"{value:.6e}", f"{value:,.4f}", f"{value:.0f}"):
            assert float(last_number(f"so {text} it is") or 0) == float(
                text.replace(",", "")
            )


def test_numeric_tolerances():
    row = {"answer": "100"}
    assert numeric_match()("100.00005", row) == 1.0
    assert numeric_match()("100.001", row) == 0.0
    assert numeric_match(rel_tol=0.0)("100.00001", row) == 0.0
    assert numeric_match(rel_tol=0.0, abs_tol=0.1)("100.1", row) in (0.0, 1.0)
    assert numeric_match(rel_tol=0.0, abs_tol=0.125)("100.125", row) == 1.0
    assert numeric_match(rel_tol=0.01)("99", row) == 1.0
    assert numeric_match(rel_tol=0.01)("98.9", row) == 0.0
    assert numeric_match()("no idea", row) == 0.0
    big = {"answer": "12345678901234567890"}  # beyond float64
    assert numeric_match(rel_tol=0.0)("12345678901234567891", big) == 0.0


@pytest.mark.parametrize("reward", [exact_match(), numeric_match(), reasoning_gym()])
def test_a_row_without_an_answer_is_nobodys_failure(reward):
    with pytest.raises(ValueError, match="the row has no"):
        reward("1", {"prompt": "?", "answer": None})


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="whitespace must be one of"):
        exact_match(whitespace="none")
    with pytest.raises(ValueError, match=r"rel_tol must be in \[0, 1\], got 2"):
        numeric_match(rel_tol=2)
    with pytest.raises(ValueError, match="abs_tol must be in"):
        numeric_match(abs_tol=math.nan)
    with pytest.raises(ValueError, match="answer must hold a number, got 'x'"):
        numeric_match()("1", {"answer": "x"})


@pytest.mark.parametrize(
    "completion, answer, value",
    [
        (r"so $\boxed{\frac12}$", r"\frac{1}{2}", 1.0),
        (r"\boxed{0.5}", r"$\frac{1}{2}$", 1.0),
        (r"\boxed {x^2+2x+1}", "(x+1)^2", 1.0),
        (r"\boxed{10,000}", "10000", 1.0),
        (r"\boxed{(1,2)}", "(2,1)", 0.0),
        (r"\boxed{1}, no: \boxed{2}", "2", 1.0),  # the last one counts
        (r"\boxed{2}, no: \boxed{1}", "2", 0.0),  # and the last one only
        (r"\boxed{2", "2", 0.0),  # cut off
        (r"\boxed{}", "2", 0.0),
        ("2", "2", 0.0),  # not in a box
        ("", "2", 0.0),
    ],
)
def test_boxed(completion, answer, value):
    pytest.importorskip("math_verify", reason="needs bots-jax[rewards]")
    assert boxed_math()(completion, {"answer": answer}) == value


def test_boxed_without_a_box(caplog):
    pytest.importorskip("math_verify", reason="needs bots-jax[rewards]")
    with caplog.at_level(logging.WARNING):
        assert boxed_math(require_box=False)("It is $1/2$.", {"answer": "0.5"}) == 1.0
        with pytest.raises(ValueError, match="answer must be mathematics, got ''"):
            boxed_math()(r"\boxed{1}", {"answer": ""})
    assert not caplog.records


def test_last_box():
    assert last_box(r"\boxed{a{b}c} d}") == "a{b}c"
    assert last_box("none") is None


def test_boxed_names_its_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"bots-jax\[rewards\]"):
        boxed_math()


def test_reasoning_gym_agrees_with_its_own_scorer():
    import reasoning_gym as library

    dataset = library.create_dataset("gcd", size=3, seed=1)
    for entry in dataset:
        row = {"prompt": entry["question"], **entry}
        for completion in (entry["answer"], "no", entry["answer"] + "1"):
            value = dataset.score_answer(completion, entry)
            assert reasoning_gym()(completion, row) == value
            named = {"answer": entry["answer"], "x": {"m": "{}", "d": "gcd"}}
            assert reasoning_gym("x.d", "x.m")(completion, named) == value
    with pytest.raises(ValueError, match="the row has no 'metadata', only"):
        reasoning_gym()("1", {"answer": "1"})


def test_pool_agrees_with_the_scorer_of_the_trainer(small_pool):
    scorer = Scorer(small_pool)
    ids = np.arange(0, len(small_pool), 37)
    for task_id in ids.tolist():
        item = {
            "family": FAMILY_NAMES[small_pool.family[task_id]],
            "question": small_pool.entry(task_id)["question"],
            "metadata": str(small_pool.metadata[task_id]),
        }
        answer = str(small_pool.answers[task_id])
        row = {"answer": answer, "extra_info": item}
        for completion in (answer, str(small_pool.wrong_answers[task_id]), "?"):
            (value,) = scorer.score([task_id], [completion])
            assert np.float32(pool_reward()(completion, row)) == value


def test_rewards_can_be_sent_to_other_processes():
    for name in REWARDS:
        if name == "boxed":
            pytest.importorskip("math_verify", reason="needs bots-jax[rewards]")
        reward = load_reward(name)
        assert pickle.loads(pickle.dumps(reward)) == reward


def test_load_reward(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raises_here.py").write_text("1 / 0")
    (tmp_path / "wants_more.py").write_text("import no_such_library")
    here = "tests.tasks.reward_samples"
    assert load_reward(f"{here}:by_name") is reward_samples.by_name
    cases = {
        "no_such_module:f": "there is no module 'no_such_module'.",
        f"{here}.deeper:f": f"there is no module '{here}.deeper'",
        f"{here}:no_such": f"module '{here}' has no 'no_such'.",
        f"{here}:not_callable": "must be a function, got 3.",
        f"{here}:of_three": "must be a function of (completion, row), got one of "
        "(completion, row, more).",
        "raises_here:f": "importing 'raises_here' failed with 'ZeroDivisionError: "
        "division by zero'",
        "wants_more:f": "importing 'wants_more' failed with \"No module named "
        "'no_such_library'\"",
        "a b:f": "must be of the form 'package.module:function', got 'a b:f'.",
        ":f": "must be of the form",
        "best": "reward must be one of 'exact', 'numeric', 'boxed'",
    }
    for path, sentence in cases.items():
        with pytest.raises(ValueError) as caught:
            load_reward(path)
        assert sentence in str(caught.value), path


def test_check_reward():
    check_reward(max)  # a function in C that does not say what it takes
    check_reward(exact_match())
    with pytest.raises(ValueError, match="reward 'of_three' must be a function of"):
        check_reward(reward_samples.of_three)
