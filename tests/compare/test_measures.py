"""How soon and how far: by hand, against slow references, and laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots_jax.compare.measures import (
    COSTS,
    JUDGEMENTS,
    best_so_far,
    mean_success,
    summarise,
    time_to,
    time_to_baseline,
    wanted_success,
)
from bots_jax.compare.workers import rounded


def curve(success, rollouts=None, **more):
    rollouts = rollouts or [10 * i for i in range(len(success))]
    return {"success": success, "rollouts": rollouts, **more}


BUMPY = curve([0.1, 0.4, 0.2, 0.2, 0.6, 0.5])


@pytest.mark.parametrize(
    "success, wanted",
    [
        (0.05, 0.0),  # at once
        (0.1, 0.0),
        (0.25, 5.0),  # half way to the first bump: the fall after it is not counted
        (0.4, 10.0),
        (0.5, 37.5),  # 0.2 to 0.6 between 30 and 40
        (0.6, 40.0),
        (0.61, math.inf),
    ],
)
def test_first_crossings_by_hand(success, wanted):
    assert time_to(BUMPY, success, "rollouts") == pytest.approx(wanted)


def test_a_plateau_is_reached_where_it_begins():
    flat = curve([0.1, 0.3, 0.3, 0.3])
    assert time_to(flat, 0.3, "rollouts") == 10


def test_every_cost_is_read_from_its_own_column():
    two = curve([0.0, 1.0], [0, 8], tokens=[0, 80], seconds=[0.0, 4.0], steps=[0, 2])
    assert [time_to(two, 0.25, cost) for cost in COSTS] == [0.5, 2.0, 20.0, 1.0]


@pytest.mark.parametrize(
    "mine, baseline, share, wanted",
    [
        # to 0.2, half of the gain from 0.1 to 0.3: 10 rollouts of the baseline
        ([0.1, 0.3, 0.4], [0.1, 0.2, 0.3], 0.5, 0.5),
        ([0.1, 0.1, 0.2], [0.1, 0.2, 0.3], 0.5, 2.0),
        ([0.1, 0.1, 0.1], [0.1, 0.2, 0.3], 0.5, math.inf),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], 1.0, 1.0),
        # the baseline has its last score, 0.3, at 10 for the first time
        ([0.1, 0.1, 0.3], [0.1, 0.3, 0.2, 0.3], 1.0, 2.0),
        ([0.1, 0.9, 0.9], [0.2, 0.2, 0.2], 0.5, math.nan),
        ([0.1, 0.9, 0.9], [0.2, 0.9, 0.1], 0.5, math.nan),
        ([0.3, 0.3, 0.3], [0.1, 0.2, 0.3], 0.5, 0.0),
    ],
)
def test_time_to_baseline_by_hand(mine, baseline, share, wanted):
    found = time_to_baseline(curve(mine), curve(baseline), share, "rollouts")
    assert found == pytest.approx(wanted, nan_ok=True)


def test_rounding_does_not_put_the_score_out_of_reach():
    """0.0707332 + (0.74666 - 0.0707332) is more than 0.74666 in float64.

    The baseline would then never reach its own score, and everybody else be done with
    it in no time, or never.
    """
    start, end = 0.0707332, 0.74666
    assert start + (end - start) > end
    baseline = curve([start, 0.4, end])
    assert wanted_success(baseline, 1.0) == end
    assert time_to_baseline(baseline, baseline, 1.0, "rollouts") == 1
    assert time_to_baseline(curve([start, 0.2, 0.3]), baseline, 1.0, "rollouts") > 1e9
    fast = curve([start, end, 0.8])
    assert time_to_baseline(fast, baseline, 1.0, "rollouts") == 0.5


@pytest.mark.parametrize(
    "share, wanted", [(0.25, 0.4), (0.5, 0.4), (0.8, 0.6), (1.0, 0.6)]
)
def test_best_so_far_by_hand(share, wanted):
    """A quarter of 50 rollouts is 12.5, half 25; four fifths are 40 exactly."""
    assert best_so_far(BUMPY, share) == wanted


def test_mean_success_by_hand():
    """(0.1 + 0.3) / 2 * 10 + (0.3 + 0.2) / 2 * 30 = 2 + 7.5 over 40."""
    assert mean_success(curve([0.1, 0.3, 0.2], [0, 10, 40])) == pytest.approx(0.2375)


scores_of = st.lists(
    st.floats(0, 1, width=32).map(lambda x: float(f"{x:.6g}")), min_size=2, max_size=9
)


@given(scores_of, st.integers(0, 10**6), st.floats(0, 1))
def test_time_to_equals_a_fine_walk_along_the_curve(success, seed, wanted):
    """The slow reference walks each piece in a thousand strides."""
    rng = np.random.default_rng(seed)
    rollouts = np.cumsum(rng.integers(1, 50, len(success))).tolist()
    found = time_to(curve(success, rollouts), wanted, "rollouts")
    walked = math.inf
    for i in range(len(success) - 1):
        for part in np.linspace(0, 1, 1001):
            height = success[i] + part * (success[i + 1] - success[i])
            if height >= wanted - 1e-12 and walked == math.inf:
                walked = rollouts[i] + part * (rollouts[i + 1] - rollouts[i])
    if math.isinf(found) or math.isinf(walked):
        assert found == walked or max(success) == pytest.approx(wanted, abs=1e-11)
    else:
        assert abs(found - walked) <= 0.051


@given(scores_of, st.floats(0, 1), st.floats(0, 1))
def test_more_success_takes_no_less_time(success, one, two):
    low, high = sorted((one, two))
    line = curve(success)
    assert time_to(line, low, "rollouts") <= time_to(line, high, "rollouts")
    assert best_so_far(line, low) <= best_so_far(line, high)
    assert best_so_far(line, 1.0) == max(success)
    assert min(success) - 1e-12 <= mean_success(line) <= max(success) + 1e-12


@given(scores_of, st.floats(0.01, 1))
def test_the_baseline_needs_its_own_time(success, share):
    ratio = time_to_baseline(curve(success), curve(success), share, "rollouts")
    assert ratio == 1.0 if success[-1] > success[0] else math.isnan(ratio)


@given(scores_of, st.floats(0, 0.5), st.floats(0.01, 1))
def test_a_better_curve_is_no_later(success, lift, share):
    """Better from the first evaluation after the start on, which is shared."""
    better = [success[0], *(x + lift for x in success[1:])]
    one, two = curve(better), curve(success)
    if success[-1] > success[0]:
        assert time_to_baseline(one, two, share, "rollouts") <= 1 + 1e-12
    assert mean_success(one) >= mean_success(two) - 1e-12


def a_run():
    columns = {
        "steps": [0, 2, 4, 6],
        "tokens": [0, 10, 30, 60],
        "seconds": [0.0, 1.0, 2.0, 4.0],
        "selector_seconds": [0.0, 0.25, 0.5, 1.0],
        "effective_task_ratio": [None, 0.5, 0.25, 0.75],
        "coverage": [None, 0.9, 0.8, 0.7],
        "auc": [None, 0.5, None, 1.0],
        "spearman": [None] * 4,
        "calibration_error": [None, 0.25, None, None],
        "brier": [None, None, None, 0.125],
    }
    return curve([0.1, 0.2, 0.2, 0.4], [0, 8, 16, 24], **columns)


def test_a_summary_by_hand():
    found = summarise(a_run())
    assert (found["start"], found["end"]) == (0.1, 0.4)
    assert found["mean_success"] == pytest.approx((0.15 + 0.2 + 0.3) / 3)
    assert found["effective_task_ratio"] == 0.5
    assert found["effective_task_ratio_first_third"] == 0.5
    assert found["coverage"] == 0.7
    assert {name: found[name] for name in JUDGEMENTS} == {
        "auc": 0.75,
        "spearman": None,
        "calibration_error": 0.25,
        "brier": 0.125,
    }
    assert found["selector_share"] == 0.25
    assert found["selector_ms"] == pytest.approx(1000 / 6)
    assert [found[cost] for cost in COSTS] == [6, 24, 60, 4.0]


def test_a_run_that_was_never_rolled_out_has_no_ratio():
    empty = {**a_run(), "effective_task_ratio": [None] * 4}
    assert summarise(empty)["effective_task_ratio"] is None


def test_rounding_keeps_whole_numbers_and_gaps():
    assert rounded({"a": [1234567, None, 0.00012345678, 1.0]}) == {
        "a": [1234567, None, 0.000123457, 1.0]
    }
