"""Each kind of bad input has its one clear sentence."""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax import bots, evidence_from_counts, evidence_from_rewards, uniform

N, B = 6, 2
BOTH = pytest.mark.parametrize("factory", [bots, uniform])
nan, inf = float("nan"), float("inf")


def refuses(sentence: str):
    """Expects a ValueError with this piece of its message, taken literally."""
    return pytest.raises(ValueError, match=re.escape(sentence))


@BOTH
@pytest.mark.parametrize("name", ["num_tasks", "batch_size"])
@pytest.mark.parametrize(
    "value", [0, -1, 2**31 - 1, 4.0, nan, "4", None, True, np.ones(2), [4]]
)
def test_sizes(factory, name, value):
    sizes = {"num_tasks": N, "batch_size": B} | {name: value}
    with refuses(f"{name} must be an integer in [1, 2147483646], got "):
        factory(**sizes)


@BOTH
def test_batch_larger_than_the_pool(factory):
    with refuses("batch_size must be at most num_tasks = 6, got 7."):
        factory(num_tasks=N, batch_size=7)


def make_bots(**settings: Any) -> bots_jax.TaskSelector:
    return bots(num_tasks=N, batch_size=B, **settings)


SCALARS = {
    "group_size": ("[1, 1.67772e+07]", [0, 0.5, -1, 2.0**24 + 2, nan, inf]),
    "forgetting": ("[0, 1]", [-0.1, 1.1, nan, inf, -inf, jnp.float32(1.5)]),
    "implicit_weight": ("[0, 1]", [-1e-9, 2, nan, inf, np.float32(1.5)]),
    "temperature": ("[0, 1e+06]", [-0.1, 1e7, nan, inf]),
    "capability_momentum": ("[0, 1]", [-0.1, 1.1, nan]),
    "target_success_prob": ("[0, 1]", [-0.1, 1.1, nan]),
    "prior_alpha": ("[0.01, 100000]", [0, 0.009, -1, 1.1e5, nan, inf]),
    "prior_beta": ("[0.01, 100000]", [0, 0.009, -1, 1.1e5, nan, inf]),
}
PER_TASK = ["target_success_prob", "prior_alpha", "prior_beta"]


@pytest.mark.parametrize(
    "name, interval, value",
    [(name, text, v) for name, (text, values) in SCALARS.items() for v in values],
)
def test_parameter_out_of_range(name, interval, value):
    with refuses(f"{name} must be in {interval}, got {float(value):g}."):
        make_bots(**{name: value})


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("value", ["0.5", None, 0.5j, object()])
def test_parameter_of_the_wrong_type(name, value):
    if value is None and name in ("forgetting", "implicit_weight"):
        return  # 0.1, or what ess_max and ess_implicit say
    with refuses(f"{name} must be a real number or an array of them, got "):
        make_bots(**{name: value})


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"ess_max": 15}, "ess_max must be in [16, inf), got 15."),
        ({"ess_max": nan}, "ess_max must be in [16, inf), got nan."),
        ({"ess_max": inf}, "ess_max must be in [16, inf), got inf."),
        ({"ess_max": "160"}, "ess_max must be a real number or an array of them, got "),
        ({"ess_max": [160]}, "ess_max must be a scalar, got shape (1,)."),
        (
            {"ess_max": 160, "forgetting": 0.1},
            "forgetting and ess_max must not both be given, got both.",
        ),
        ({"ess_implicit": -1}, "ess_implicit must be in [0, inf), got -1."),
        (
            {"ess_implicit": 16, "implicit_weight": 0.1},
            "implicit_weight and ess_implicit must not both be given, got both.",
        ),
        (
            {"ess_implicit": 161},
            "ess_implicit must be at most group_size / forgetting = 160, got 161; "
            "make it smaller, or ess_max larger.",
        ),
        (
            {"ess_max": 32, "group_size": 8, "ess_implicit": 33},
            "ess_implicit must be at most group_size / forgetting = 32, got 33; ",
        ),
        (
            {"ess_implicit": 1, "forgetting": 0},
            "ess_implicit needs a forgetting above 0, got 0.",
        ),
    ],
)
def test_effective_sizes(settings, sentence):
    with refuses(sentence):
        make_bots(**settings)


@pytest.mark.parametrize("name", [name for name in SCALARS if name not in PER_TASK])
def test_scalar_parameter_as_an_array(name):
    with refuses(f"{name} must be a scalar, got shape (6,)."):
        make_bots(**{name: np.full(N, 0.5)})


@pytest.mark.parametrize("name", PER_TASK)
@pytest.mark.parametrize("shape", [(5,), (1,), (6, 1), (1, 6), (0,)])
def test_per_task_parameter_of_the_wrong_shape(name, shape):
    with refuses(f"{name} must have shape () or (6,), got {shape}."):
        make_bots(**{name: np.full(shape, 0.5)})


@pytest.mark.parametrize("name", PER_TASK)
@pytest.mark.parametrize("value, shown", [(nan, "nan"), (-1, "-1")])
def test_per_task_parameter_with_one_bad_value(name, value, shown):
    values = np.full(N, 0.5)
    values[4] = value
    with refuses(f"got {shown} at index 4."):
        make_bots(**{name: values})


@pytest.mark.parametrize("value", ["posterior_means", 0.5, True])
def test_estimate_that_is_not_a_function(value):
    with refuses("estimate must be a function, got "):
        bots(num_tasks=N, batch_size=B, estimate=value)


def test_unknown_parameter():
    with pytest.raises(TypeError, match="lamb"):
        bots(num_tasks=N, batch_size=B, lamb=0.1)  # type: ignore[call-arg]


@BOTH
@pytest.mark.parametrize(
    "eligible, sentence",
    [
        (False, "eligible must leave at least batch_size = 2 tasks, got 0."),
        (
            np.arange(N) == 3,
            "eligible must leave at least batch_size = 2 tasks, got 1.",
        ),
        (np.ones(5, bool), "eligible must have shape () or (6,), got (5,)."),
        (np.ones((6, 1), bool), "eligible must have shape () or (6,), got (6, 1)."),
        (np.ones(N), "eligible must be booleans, got dtype float64."),
        (1, "eligible must be booleans, got dtype int64."),
    ],
)
def test_eligible(factory, eligible, sentence):
    with refuses(sentence):
        factory(num_tasks=N, batch_size=B, eligible=eligible)
    selector = factory(num_tasks=N, batch_size=B)
    with refuses(sentence):
        bots_jax.set_eligible(selector, selector.init(), eligible)


def _references(row: int, column: int, value: float) -> np.ndarray:
    references = np.full((N, 2), 0.5)
    references[row, column] = value
    return references


@BOTH
@pytest.mark.parametrize(
    "references, sentence",
    [
        (_references(3, 1, 1.01), "must be in [0, 1], got 1.01 at index (3, 1)"),
        (_references(0, 0, -0.1), "must be in [0, 1], got -0.1 at index (0, 0)"),
        (_references(5, 1, nan), "must be in [0, 1], got nan at index (5, 1)"),
        (_references(5, 1, inf), "references must be in [0, 1], got inf at"),
        (np.ones((5, 2)), "references must have shape (6, 2), got (5, 2)."),
        (np.ones((6, 3)), "references must have shape (6, 2), got (6, 3)."),
        (np.ones((2, 6)), "references must have shape (6, 2), got (2, 6)."),
        (np.ones(6), "references must have shape (6, 2), got (6,)."),
        (0.5, "references must have shape (6, 2), got ()."),
        (np.ones((6, 2), int), "references must be floating point, got dtype int64."),
        (np.ones((6, 2), bool), "references must be floating point, got dtype bool."),
        (np.full((6, 2), "1"), "references must be floating point, got dtype <U1."),
    ],
)  # fmt: skip
def test_references(factory, references, sentence):
    with refuses(sentence):
        factory(num_tasks=N, batch_size=B).init(references)


def rewards(value: float = 1.0, shape=(2, 3), dtype: Any = np.float64) -> np.ndarray:
    out = np.zeros(shape, dtype)
    out.flat[-1] = value
    return out


@pytest.mark.parametrize(
    "task_ids, value, sentence",
    [
        ([0, 1], rewards(1.5), "rewards must be in [0, 1], got 1.5 at index (1, 2)."),
        ([0, 1], rewards(-0.5), "rewards must be in [0, 1], got -0.5 at index (1, 2)."),
        ([0, 1], rewards(nan), "rewards must be in [0, 1], got nan at index (1, 2)."),
        ([0, 1], rewards(2, dtype=int), "rewards must be in [0, 1], got 2 at index"),
        ([0, 1], rewards(shape=(6,)), "rewards must have shape (rows, rollouts), got"),
        ([0, 1], rewards().astype(str), "rewards must be real numbers, got dtype <U"),
        ([0, 1], rewards().astype(complex), "rewards must be real numbers, got dtype"),
        ([0], rewards(), "task_ids must have shape (2,), got (1,)."),
        ([[0, 1]], rewards(), "task_ids must have shape (2,), got (1, 2)."),
        ([0.0, 1.0], rewards(), "task_ids must be integers, got dtype float64."),
        ([True, False], rewards(), "task_ids must be integers, got dtype bool."),
        ([0, 2**70], rewards(), "task_ids must be integers, got dtype object."),
    ],
)  # fmt: skip
def test_rewards(task_ids, value, sentence):
    with refuses(sentence):
        evidence_from_rewards(task_ids, value)


@pytest.mark.parametrize(
    "mask, sentence",
    [
        (np.ones((2, 3)), "mask must be booleans, got dtype float64."),
        (np.ones((2, 3), int), "mask must be booleans, got dtype int64."),
        (np.ones((3, 2), bool), "mask must have shape (2, 3), got (3, 2)."),
        (np.ones(2, bool), "mask must have shape (2, 3), got (2,)."),
        (True, "mask must have shape (2, 3), got ()."),
    ],
)
def test_mask(mask, sentence):
    with refuses(sentence):
        evidence_from_rewards([0, 1], rewards(), mask)


@pytest.mark.parametrize(
    "task_ids, successes, rollouts, sentence",
    [
        ([0, 1], [1, 5], 4, "successes must be in [0, rollouts], got 5 of 4 at row 1."),
        ([0, 1], [1, -1], 4, "must be in [0, rollouts], got -1 of 4 at row 1."),
        ([0, 1], [1, nan], 4, "must be in [0, rollouts], got nan of 4 at row 1."),
        ([0, 1], [1, 3], [4, 2], "must be in [0, rollouts], got 3 of 2 at row 1."),
        ([0, 1], [1, 1], -4, "rollouts must be in [0, 1.67772e+07], got -4"),
        ([0, 1], [1, 1], nan, "rollouts must be in [0, 1.67772e+07], got nan"),
        ([0, 1], [1, 1], 2**25, "rollouts must be in [0, 1.67772e+07], got 3.3"),
        ([0, 1], [1, 1], [4, 4, 4], "rollouts must have shape () or (2,), got (3,)."),
        ([0, 1], [[1, 1]], 4, "successes must have shape (rows,), got (1, 2)."),
        ([0, 1], 1, 4, "successes must have shape (rows,), got ()."),
        ([0], [1, 1], 4, "task_ids must have shape (2,), got (1,)."),
        ([0.5, 1], [1, 1], 4, "task_ids must be integers, got dtype float64."),
        ([0, 1], ["1", "1"], 4, "successes must be real numbers, got dtype <U1."),
        ([0, 1], [True, False], 4, "successes must be real numbers, got dtype bool."),
        ([0, 1], [1, 1], "4", "rollouts must be real numbers, got dtype <U1."),
    ],
)  # fmt: skip
def test_counts(task_ids, successes, rollouts, sentence):
    with refuses(sentence):
        evidence_from_counts(task_ids, successes, rollouts)


def rows(ids=(0, 1), successes=(1, 2), failures=(3, 2)) -> bots_jax.Evidence:
    columns = (ids, successes, failures)
    return bots_jax.Evidence(*(np.array(c) for c in columns))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "evidence, sentence",
    [
        (rows(ids=(0, N)), "task_ids must be in [0, 6), got 6 at row 1."),
        (rows(ids=(-1, 0)), "task_ids must be in [0, 6), got -1 at row 0."),
        (rows(ids=(0, 2**40)), "task_ids must be in [0, 6), got 1.09951e+12 at row 1."),
        (rows(ids=(3, 3)), "task_ids must be distinct, got 3 at row 1."),
        (rows(ids=(0.0, 1.0)), "task_ids must be integers, got dtype float64."),
        (rows(ids=((0, 1),)), "task_ids must have shape (rows,), got (1, 2)."),
        (rows(successes=(-1, 2)), "successes must be in [0, 4], got -1 at row 0."),
        (rows(successes=(1, 5)), "successes must be in [0, 4], got 5 at row 1."),
        (rows(successes=(nan, 1)), "successes must be in [0, 4], got nan at row 0."),
        (rows(failures=(3, -1)), "failures must be in [0, 4], got -1 at row 1."),
        (rows(failures=(inf, 1)), "failures must be in [0, 4], got inf at row 0."),
        (rows(successes=(1, 3)), "successes + failures must be at most group_size = 4"),
        (rows(successes=(1, 2, 3)), "successes must have shape (2,), got (3,)."),
        (rows(failures=(1,)), "failures must have shape (2,), got (1,)."),
        (rows(failures=("1", "2")), "failures must be real numbers, got dtype <U1."),
    ],
)  # fmt: skip
def test_check_evidence(evidence, sentence):
    with refuses(sentence):
        bots_jax.check_evidence(evidence, N, group_size=4, distinct=True)


def test_check_evidence_lets_good_rows_pass():
    strict = bots_jax.check_evidence(rows(), N, group_size=4, distinct=True)
    repeated = bots_jax.check_evidence(rows(ids=(1, 1), successes=(99, 2)), N)
    assert strict is None and repeated is None  # and nothing was raised


@BOTH
@pytest.mark.parametrize(
    "evidence, sentence",
    [
        (rows(ids=(0.0, 1.0)), "task_ids must be integers, got dtype float64."),
        (rows(ids=(0, 1, 2)), "successes must have shape (3,), got (2,)."),
        (rows(ids=((0, 1),)), "task_ids must have shape (rows,), got (1, 2)."),
        (rows(failures=(1, 2, 3)), "failures must have shape (2,), got (3,)."),
        (rows(successes=(True, True)), "successes must be real numbers, got dtype"),
    ],
)  # fmt: skip
def test_update(factory, evidence, sentence):
    selector = factory(num_tasks=N, batch_size=B)
    with refuses(sentence):
        selector.update(selector.init(), evidence)


@pytest.mark.parametrize("value", [-1, 1.5, None])
def test_empty_evidence(value):
    with refuses("num_rows must be an integer in [0, 2147483646], got "):
        bots_jax.empty_evidence(value)


@pytest.mark.parametrize("value", ["fast", "", None, 1, ["dense"]])
def test_engine_and_selection_are_words(value):
    with refuses("engine must be one of 'auto', 'dense', 'lazy', got "):
        make_bots(engine=value)
    with refuses("selection must be one of 'auto', 'sweep', 'race', got "):
        make_bots(selection=value)


def test_a_race_under_a_rule_that_has_none():
    sentence = "selection must be 'sweep' or 'auto' for this rule, got 'race'"
    with refuses(sentence):
        make_bots(selection="race", estimate=bots_jax.posterior_means)
    with refuses(sentence):
        make_bots(selection="race", score=bots_jax.target_log_density)
    with refuses(sentence):
        make_bots(selection="race", score=lambda a, b, t: a)


def test_score_is_a_function_and_stands_alone():
    with refuses("score must be a function, got 'density'."):
        make_bots(score="density")
    with refuses("estimate and score must not both be given, got both."):
        make_bots(score=bots_jax.target_log_density, estimate=bots_jax.posterior_means)


def test_references_as_a_pair():
    selector, half = make_bots(), np.full(N, 0.5)
    with refuses("references must hold 2 arrays in a tuple, got 3."):
        selector.init((half, half, half))
    with refuses("strong references must have shape (6,), got (5,)."):
        selector.init((half, half[:5]))
    with refuses("weak references must be in [0, 1], got nan at index 2."):
        selector.init((np.where(np.arange(N) == 2, nan, half), half))
    with refuses("weak references must be floating point, got dtype int64."):
        selector.init((np.ones(N, np.int64), half))


@pytest.mark.parametrize("engine", ["dense", "lazy"])
def test_beliefs_that_are_set(engine):
    selector = make_bots(engine=engine)
    state, ones = selector.init(), np.ones(N)
    cases = [
        (ones[:5], "alpha must have shape (6,), got (5,)."),
        (np.ones(N, np.int32), "alpha must be floating point, got dtype int32."),
        (ones / 2, "alpha must be in [1, 1e+07], got 0.5 at index 0."),
        (ones * 1e12, "alpha must be in [1, 1e+07], got 1e+12 at index 0."),
        (ones * nan, "alpha must be in [1, 1e+07], got nan at index 0."),
    ]
    for alpha, sentence in cases:
        with refuses(sentence):
            bots_jax.set_posterior(selector, state, alpha, ones)
    with refuses("beta must have shape (6,), got (6, 1)."):
        bots_jax.set_posterior(selector, state, ones, ones[:, None])
