"""Law 5: evidence adds up, or is dropped and counted, never applied wrongly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax

NUM_TASKS = 12
GOOD = ([3, 7, 3, 0], [1.0, 6.0, 2.0, 4.0], [7.0, 2.0, 3.0, 4.0])
SELECTOR = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=2, forgetting=0.25)
REFERENCES = np.stack([np.linspace(0, 0.5, 12), np.linspace(0.3, 1, 12)], 1)
START = SELECTOR.init(REFERENCES)
update = jax.jit(SELECTOR.update)


def learn(ids, successes, failures):
    evidence = bots_jax.Evidence(
        jnp.asarray(np.array(ids, np.int32)),
        jnp.asarray(np.array(successes, np.float32)),
        jnp.asarray(np.array(failures, np.float32)),
    )
    return update(START, evidence)


def assert_same_state(left, right) -> None:
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def with_row(row: tuple[float, float, float], position: int):
    columns = [list(column) for column in GOOD]
    for column, value in zip(columns, row, strict=True):
        column.insert(position, value)
    return columns


COUNTERS = ("num_masked", "num_out_of_range", "num_invalid")
BAD_ROWS = {
    "padding_id": ((-1, 3, 5), "num_masked"),
    "padding_id_with_nan": ((-1, np.nan, np.inf), "num_masked"),
    "no_trials": ((5, 0, 0), "num_masked"),
    "no_trials_out_of_range": ((NUM_TASKS, 0, 0), "num_masked"),
    "id_too_large": ((NUM_TASKS, 3, 5), "num_out_of_range"),
    "id_largest": ((2**31 - 1, 3, 5), "num_out_of_range"),
    "id_negative": ((-2, 3, 5), "num_out_of_range"),
    "id_smallest": ((-(2**31), 3, 5), "num_out_of_range"),
    "nan_successes": ((3, np.nan, 5), "num_invalid"),
    "nan_failures": ((3, 3, np.nan), "num_invalid"),
    "infinite": ((7, np.inf, 0), "num_invalid"),
    "minus_infinite": ((7, 3, -np.inf), "num_invalid"),
    "both_infinite": ((7, np.inf, -np.inf), "num_invalid"),
    "negative_successes": ((5, -1, 5), "num_invalid"),
    "negative_failures": ((5, 5, -1e-3), "num_invalid"),
    "too_many_successes": ((5, 2.0**24 + 2, 0), "num_invalid"),
    "too_many_together": ((5, 2.0**23, 2.0**23 + 2), "num_invalid"),
}


@pytest.mark.parametrize("position", [0, 2, 4])
@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_dropped_counted_and_harms_no_other(name, position):
    row, counter = BAD_ROWS[name]
    state, info = learn(*with_row(row, position))
    clean, clean_info = learn(*with_row((-1, 0, 0), position))
    assert_same_state(state, clean)
    for field in COUNTERS:
        assert int(getattr(info, field)) == int(field == counter)
    for field in ("success_rate", "effective_task_ratio", "capability"):
        assert float(getattr(info, field)) == float(getattr(clean_info, field))
    assert int(info.num_tasks_applied) == 3 and int(info.num_repeated) == 1


def test_largest_count_is_applied():
    state, info = learn([5], [2.0**24], [0])
    assert int(info.num_invalid) == 0 and int(info.num_tasks_applied) == 1
    assert float(SELECTOR.posterior(state)[0][5]) == 2.0**24  # the prior's 1 rounds off


def test_batch_of_nothing_but_bad_rows_only_forgets():
    rows = zip(*(row for row, _ in BAD_ROWS.values()), strict=True)
    state, info = learn(*rows)
    assert_same_state(state.posterior, START.posterior)
    assert_same_state(state.plugin, START.plugin)
    assert int(info.num_tasks_applied) == 0
    dropped = {name: int(getattr(info, name)) for name in COUNTERS}
    assert dropped == {"num_masked": 4, "num_out_of_range": 4, "num_invalid": 9}


@pytest.mark.parametrize("seed", range(5))
def test_order_of_the_rows_does_not_matter(seed):
    order = np.random.default_rng(seed).permutation(4)
    shuffled = [np.array(column)[order] for column in GOOD]
    assert_same_state(learn(*shuffled), learn(*GOOD))


def test_a_row_split_in_two_equals_the_whole():
    whole = [3, 7, -1], [4, 6, 0], [4, 2, 0]
    split = [3, 7, 3], [1, 6, 3], [3, 2, 1]
    whole_state, whole_info = learn(*whole)
    split_state, split_info = learn(*split)
    assert_same_state(split_state, whole_state)  # the capability included
    assert float(split_info.success_rate) == float(whole_info.success_rate)
    assert int(split_info.num_repeated) == 1 and int(whole_info.num_repeated) == 0
    # a mean over rows, in place of tasks, would see (.25 + .75 + .75) / 3
    assert float(split_info.success_rate) == (0.5 + 0.75) / 2


@pytest.mark.parametrize("padding", [1, 29])
def test_padding_rows_change_nothing(padding):
    padded = [list(column) + [0] * padding for column in GOOD]
    padded[0][4:] = [-1] * padding
    state, info = learn(*padded)
    want, want_info = learn(*GOOD)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert int(info.num_masked) == padding
    assert int(info.num_tasks_applied) == int(want_info.num_tasks_applied)


def test_many_repeats_of_one_task_add_up_exactly():
    state, info = learn([4] * 1000, [1] * 1000, [2] * 1000)
    assert float(SELECTOR.posterior(state)[0][4]) == 1001
    assert float(SELECTOR.posterior(state)[1][4]) == 2001
    assert int(info.num_repeated) == 999


DTYPES = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("place", ["host", "device", "traced"])
def test_ids_of_every_integer_dtype(dtype, place):
    """Comparing unsigned ids with a negative limit on the device once dropped all."""
    ids, ones = np.array([3, 7], dtype), np.ones(2, np.float32)
    make = bots_jax.evidence_from_counts
    if place == "traced":
        make = jax.jit(make)
    got = make(jnp.asarray(ids) if place == "device" else ids, ones, 4 * ones)
    assert got.task_ids.dtype == jnp.int32
    assert got.task_ids.tolist() == [3, 7]


@pytest.mark.parametrize("ids", [np.array([2**40]), np.array([2**32 + 3], np.uint64)])
def test_ids_that_int32_cannot_hold_are_out_of_range(ids):
    """And not wrapped to another task."""
    evidence = bots_jax.evidence_from_counts(ids, [1], 4)
    assert int(update(START, evidence)[1].num_out_of_range) == 1


def test_rewards_are_counted():
    rewards = np.array([[1, 0, 1, 1], [0, 0, 0, 0.5], [1, 1, np.nan, -7]])
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]], bool)
    evidence = bots_jax.evidence_from_rewards([2, 0, 1], rewards, mask)
    assert evidence.successes.tolist() == [3, 0.5, 2]
    assert evidence.failures.tolist() == [1, 3.5, 0]


@pytest.mark.parametrize(
    "dtype", [bool, np.int32, np.float16, np.float64, jnp.bfloat16]
)
def test_rewards_of_every_dtype(dtype):
    rewards = np.array([[1, 0, 1], [0, 0, 1]]).astype(dtype)
    for evidence in (
        bots_jax.evidence_from_rewards([0, 1], rewards),
        bots_jax.evidence_from_rewards([0, 1], rewards, np.ones((2, 3), bool)),
        jax.jit(bots_jax.evidence_from_rewards)(np.array([0, 1]), rewards),
    ):
        assert evidence.successes.tolist() == [2, 1]
        assert all(x.dtype == jnp.float32 for x in evidence[1:])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_bad_reward_under_jit_drops_its_row_and_is_counted(bad):
    rewards = jnp.float32([[1, 0, 1], [1, bad, 0]])
    evidence = jax.jit(bots_jax.evidence_from_rewards)(np.array([3, 4]), rewards)
    state, info = update(START, evidence)
    assert int(info.num_invalid) == 1 and int(info.num_tasks_applied) == 1
    assert float(SELECTOR.posterior(state)[0][3]) == 3


def test_row_without_real_rollouts_is_padding():
    rewards, mask = np.ones((2, 3)), np.array([[1, 1, 1], [0, 0, 0]], bool)
    evidence = bots_jax.evidence_from_rewards([3, 4], rewards, mask)
    assert int(update(START, evidence)[1].num_masked) == 1


@pytest.mark.parametrize("group_size", [1, 3, 64, 1000])
def test_counts_of_any_group_size(group_size):
    rewards = np.arange(2 * group_size).reshape(2, group_size) % 2
    evidence = bots_jax.evidence_from_rewards([3, 4], rewards)
    total = evidence.successes + evidence.failures
    assert total.tolist() == [group_size] * 2
    state, _ = update(START, evidence)
    assert float(SELECTOR.posterior(state)[0][3]) == 1 + rewards[0].sum()


def test_no_rows_at_all():
    for evidence in (
        bots_jax.evidence_from_counts([], [], 4),
        bots_jax.evidence_from_rewards([], np.zeros((0, 4))),
        bots_jax.empty_evidence(0),
    ):
        state, info = SELECTOR.update(START, evidence)
        assert int(info.num_tasks_applied) == 0
        assert_same_state(state.posterior, START.posterior)


def test_evidence_of_plain_lists_and_numpy_is_understood():
    lists = bots_jax.Evidence(*([[3, 7], [1, 2], [3, 2]]))  # type: ignore[arg-type]
    state, info = SELECTOR.update(START, lists)
    assert int(info.num_tasks_applied) == 2
    assert float(SELECTOR.posterior(state)[0][3]) == 2
