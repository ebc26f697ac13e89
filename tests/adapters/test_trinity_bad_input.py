"""Unusable columns, settings and feedback: one sentence each, nothing lost."""

import numpy as np
import pytest

from tests.adapters import trinity_by_path as by_path


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"weak": [0.1, 0.2]}, "no column 'strong'; it has"),
        ({"weak": [0.1, None], "strong": [0.5, 0.6]}, "got 1 nulls in 2 rows"),
        ({"weak": [0.1, 1.2], "strong": [0.5, 0.6]}, r"in \[0, 1\], got 1.2 at index"),
        ({"weak": [0.1, 0.2], "strong": [0.5, "x"]}, "must hold numbers, got 'x'"),
    ],
)
def test_unusable_columns_are_refused_in_one_sentence(columns, message):
    with pytest.raises(ValueError, match=message) as raised:
        by_path.make(columns=columns)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"lambda": 0.1}, "kwargs must be among m, lamb, .*got 'lambda'"),
        ({"lamb": 1.5}, r"lamb must be in \[0, 1\], got 1.5"),
        ({"rho": "0.1"}, "rho must be a real number"),
        ({"m": 0}, r"m must be an integer in \[1, 4096\], got 0"),
        ({"tau": -1}, "tau must be in"),
        ({"do_sample": 1}, "do_sample must be true or false, got 1"),
        ({"adaptive_rho": True}, "adaptive_rho must be false"),
        ({"reward_range": [1, 0]}, "reward_range must be"),
        ({"remap": True}, "without key_column"),
        ({"keys": ["weak"]}, "must name 2 columns"),
        ({"keys": []}, "must name 2 columns"),
    ],
)
def test_unusable_settings_are_refused_in_one_sentence(kwargs, message):
    with pytest.raises(ValueError, match=message):
        by_path.make(**kwargs)


def test_without_references_there_is_no_implicit_evidence():
    selector = by_path.make(keys=[], rho=0.0)
    selector.feedback([1], [1.0])
    alpha, _ = selector.sampler.posterior()
    assert alpha[1] > 16 and (np.delete(alpha, 1) == 1).all()


@pytest.mark.parametrize(
    ("indices", "values", "message"),
    [
        ([1, 2], [0.5, 1.5], r"must be in \[0, 1\], got 1.5"),
        ([1, 2], [0.5], "values must have shape"),
        ([1, 999], [0.5, 0.5], r"indices must be in \[0, 49\], got 999 at index 1"),
    ],
)
def test_unusable_feedback_is_refused_and_nothing_is_learnt(indices, values, message):
    selector = by_path.make(50)
    before = selector.sampler.posterior()
    with pytest.raises(ValueError, match=message):
        selector.feedback(indices, values)
    assert selector.sampler.step == 0
    for a, b in zip(before, selector.sampler.posterior(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_feedback_of_nothing_still_is_a_step():
    selector = by_path.make(50)
    selector.feedback([], [])
    assert selector.sampler.step == 1
