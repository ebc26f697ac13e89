"""The simulated student against formulas in float64 NumPy, and its luck."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bots_jax.evaluation.students import (
    StudentSettings,
    make_labels,
    make_references,
    make_student,
    roll_out,
    success_probs,
    train_student,
)
from tests.statistical import CAUGHT, HONEST, chi_square_pvalue

RICH = StudentSettings(
    discrimination_sd=0.4,
    num_groups=3,
    group_sd=0.7,
    learning_rate=0.5,
    transfer=0.25,
    own_rate=0.8,
)


train = jax.jit(train_student, static_argnums=(3, 4, 5))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_prob(student, ability: np.ndarray, own_gain: np.ndarray) -> np.ndarray:
    """The law of p, task by task."""
    f64 = lambda x: np.asarray(x, np.float64)  # noqa: E731
    p = []
    for k, group in enumerate(np.asarray(student.group_ids)):
        gap = ability[group] - f64(student.difficulty)[k]
        known = f64(student.discrimination)[k] * gap
        p.append(sigmoid(known + f64(student.deviation)[k] + own_gain[k]))
    return np.array(p)


def test_law_of_success_and_learning_over_many_steps():
    student = make_student(jax.random.key(0), 40, RICH)
    ability = np.asarray(student.ability, np.float64)
    own_gain, group_ids = np.zeros(40), np.asarray(student.group_ids)
    rng = np.random.default_rng(0)
    for _ in range(30):
        ids = rng.choice(40, 6, replace=False).astype(np.int32)
        trained = rng.random(6) < 0.8
        p = slow_prob(student, ability, own_gain)
        signal = p * (1 - p)
        learnt = np.zeros(3)
        for k in ids[trained]:
            for group in range(3):
                reach = 1.0 if group == group_ids[k] else 0.25
                learnt[group] += 0.5 * reach * signal[k] / 8  # a batch has 8 slots
        own_gain[ids[trained]] += 0.8 * signal[ids[trained]]
        ability += 0.01 + learnt
        marked = jnp.asarray(np.where(trained, ids, -1).astype(np.int32))
        student = train(student, marked, jnp.asarray(trained), RICH, 0.01, 8)
    np.testing.assert_allclose(student.ability, ability, atol=2e-5)
    np.testing.assert_allclose(student.own_gain, own_gain, atol=2e-5)
    np.testing.assert_allclose(
        success_probs(student), slow_prob(student, ability, own_gain), atol=1e-5
    )
    swapped = slow_prob(student, ability[[1, 2, 0]], own_gain)
    assert np.abs(swapped - np.asarray(success_probs(student))).max() > 1e-2


def test_what_reaches_other_groups():
    """By hand: p = 1/2 in group 0 teaches it 1 * 1/4, and the other transfer * 1/4."""
    settings = StudentSettings(num_groups=2, learning_rate=1.0, transfer=0.4)
    student = make_student(jax.random.key(0), 4, settings)
    zero = jnp.zeros(4, jnp.float32)
    student = student._replace(
        difficulty=zero - 1, deviation=zero, group_ids=jnp.array([0, 0, 1, 1])
    )
    ids, trained = jnp.array([1]), jnp.array([True])
    after = train(student, ids, trained, settings, 0.0, 1)
    np.testing.assert_allclose(after.ability, [-1 + 0.25, -1 + 0.4 * 0.25], rtol=1e-6)


def test_a_repeated_task_gains_twice_and_padding_nothing():
    settings = StudentSettings(own_rate=1.0)
    student = make_student(jax.random.key(0), 4, settings)
    ids = jnp.array([2, 2, -1, 3])
    trained = jnp.array([True, True, False, False])
    after = train(student, ids, trained, settings, 0.0, 4)
    p = np.asarray(success_probs(student))[2]
    np.testing.assert_allclose(after.own_gain, [0, 0, 2 * p * (1 - p), 0], rtol=1e-6)


def test_drift_is_that_of_the_prototype():
    """sim2 of paper_checks: p = sigmoid(-1 + 4 t / T - b + off)."""
    num_steps, settings = 200, StudentSettings()
    student = make_student(jax.random.key(3), 50, settings)
    b, off = (
        np.asarray(x, np.float64) for x in (student.difficulty, student.deviation)
    )
    nothing = jnp.full((4,), -1, jnp.int32)
    for t in range(num_steps):
        if t % 40 == 0 or t == num_steps - 1:
            wanted = sigmoid(-1 + 4 * t / num_steps - b + off)
            np.testing.assert_allclose(success_probs(student), wanted, atol=2e-6)
        student = train(student, nothing, nothing >= 0, settings, 4 / num_steps, 4)


def test_laws_of_what_is_drawn():
    settings = StudentSettings(discrimination_sd=0.5, num_groups=4)
    student = make_student(jax.random.key(1), 20_000, settings)
    for values, mean, sd in (
        (student.difficulty, 1, 2),
        (student.deviation, 0, 1),
        (jnp.log(student.discrimination), 0, 0.5),
    ):
        sample = np.asarray(values, np.float64)
        assert stats.kstest(sample, stats.norm(mean, sd).cdf).pvalue > HONEST
        swapped = stats.kstest(sample, stats.norm(mean, 1.1 * sd).cdf).pvalue
        assert swapped < CAUGHT
    assert student.group_ids.dtype == jnp.int32
    counts = np.bincount(np.asarray(student.group_ids), minlength=4)
    assert chi_square_pvalue(counts, np.full(4, 0.25)) > HONEST
    assert abs(np.corrcoef(student.difficulty, student.deviation)[0, 1]) < 0.03


@pytest.mark.parametrize("group_size", [1, 7, 16])
def test_rollouts_are_binomial(group_size):
    ids = jnp.arange(20_000)
    chance = jnp.full(ids.shape, 0.3, jnp.float32)
    successes = np.asarray(roll_out(jax.random.key(0), ids, chance, group_size))
    counts = np.bincount(successes.astype(int), minlength=group_size + 1)
    law = stats.binom.pmf(np.arange(group_size + 1), group_size, 0.3)
    assert chi_square_pvalue(counts, law) > HONEST
    planted = stats.binom.pmf(np.arange(group_size + 1), group_size, 0.33)
    assert chi_square_pvalue(counts, planted) < CAUGHT


def test_sure_tasks_always_or_never_succeed():
    ids = jnp.arange(5000)
    for chance in (0.0, 1.0):
        p = jnp.full(ids.shape, chance, jnp.float32)
        assert bool((roll_out(jax.random.key(0), ids, p, 9) == 9 * chance).all())


def test_common_random_numbers():
    """A task's luck hangs on key and task alone, and rises with its chance."""
    key, p = jax.random.key(4), jnp.float32
    ids = jnp.array([5, 900, 17, 3])
    chance = p([0.2, 0.5, 0.7, 0.4])
    whole = roll_out(key, ids, chance, 16)
    order = jnp.array([2, 0])
    np.testing.assert_array_equal(
        roll_out(key, ids[order], chance[order], 16), whole[order]
    )
    better = roll_out(key, ids, chance + p(0.1), 16)
    assert bool((better >= whole).all())
    many = jnp.arange(2000)
    half = jnp.full(many.shape, 0.5, jnp.float32)
    one, other = (roll_out(jax.random.key(i), many, half, 16) for i in (0, 1))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.08
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.08


def test_references_follow_the_difficulty():
    student = make_student(jax.random.key(0), 4000, StudentSettings())
    rates = np.asarray(make_references(jax.random.key(1), student, (-1.0, 2.0), 16))
    assert rates.dtype == np.float32 and set(np.unique(rates * 16)) <= set(range(17))
    b = np.asarray(student.difficulty, np.float64)
    for column, ability in enumerate((-1, 2)):
        p = sigmoid(ability - b)
        z = (rates[:, column] - p).sum() / np.sqrt((p * (1 - p) / 16).sum())
        assert abs(z) < 4
        wrong = sigmoid(ability + 0.2 - b)
        z = (rates[:, column] - wrong).sum() / np.sqrt((wrong * (1 - wrong) / 16).sum())
        assert abs(z) > 6


def test_references_may_share_deviations():
    student = make_student(jax.random.key(0), 4000, StudentSettings())
    truth = np.asarray(success_probs(student))

    def agreement(shared: float) -> float:
        rates = make_references(
            jax.random.key(1), student, (-1.0,), 64, shared_deviation=shared
        )
        return float(np.corrcoef(np.asarray(rates)[:, 0], truth)[0, 1])

    assert agreement(0.0) + 0.05 < agreement(0.5) < agreement(1.0)
    rates = make_references(jax.random.key(1), student, (-1.0,), 64, reference_sd=1.5)
    assert np.corrcoef(np.asarray(rates)[:, 0], truth)[0, 1] < agreement(0.0) - 0.05


def test_labels_rank_the_tasks():
    student = make_student(jax.random.key(0), 500, StudentSettings())
    labels = np.asarray(make_labels(jax.random.key(1), student, 0.0))
    order = np.argsort(np.asarray(student.difficulty))
    assert (np.diff(labels[order]) > 0).all()
    noisy = np.asarray(make_labels(jax.random.key(1), student, 2.0))
    agreement = np.corrcoef(stats.rankdata(noisy), stats.rankdata(student.difficulty))
    assert 0.5 < agreement[0, 1] < 0.9
    assert noisy.min() == 0 and noisy.max() == 1


@pytest.mark.parametrize("x64", [False, True])
def test_dtypes_under_strict_promotion(x64):
    def everything(key):
        student = make_student(key, 6, RICH)
        ids = jnp.array([1, -1], jnp.int32)
        after = train_student(student, ids, ids >= 0, RICH, 0.1, 2)
        references = make_references(
            key, student, (0.0, 1.0), 3, shared_deviation=0.5, reference_sd=0.5
        )
        return student, after, references, make_labels(key, student, 1.0)

    with jax.numpy_dtype_promotion("strict"), jax.enable_x64(x64):
        student, after, *others = jax.eval_shape(everything, jax.random.key(0))
    for before, now in zip(student, after, strict=True):
        assert before.dtype == now.dtype and before.dtype in (jnp.float32, jnp.int32)
        assert before.weak_type == now.weak_type
    assert all(other.dtype == jnp.float32 for other in others)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (
            lambda s: make_student(jax.random.key(0), 4, StudentSettings(own_rate=-1)),
            "own_rate must be in [0, 100], got -1.",
        ),
        (
            lambda s: make_student(jax.random.key(0), 4, StudentSettings(num_groups=0)),
            "num_groups must be an integer in [1, 2147483646], got 0.",
        ),
        (
            lambda s: make_references(jax.random.key(0), s, ()),
            "len(abilities) must be an integer in [1, 2147483646], got 0.",
        ),
        (
            lambda s: make_references(jax.random.key(0), s, (0.0,), 0),
            "num_rollouts must be an integer in [1, 2147483646], got 0.",
        ),
    ],
)
def test_bad_settings(call, sentence):
    student = make_student(jax.random.key(0), 4, StudentSettings())
    with pytest.raises(ValueError) as caught:
        call(student)
    assert str(caught.value) == sentence
