"""Pass rates, rewards and scalars: padded chunks, and scores that are missing."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest

from bots_jax.grpo.data import TaskSet
from bots_jax.grpo.loop import (
    Trainer,
    evaluate,
    group_advantages,
    grpo_step,
    solved_rates,
    start_state,
)
from bots_jax.grpo.rollouts import pass_rates, roll_out

nan = float("nan")


class FakeScorer:
    """Scores by a rule, and remembers what it was asked."""

    def __init__(self, rule: Callable[[np.ndarray], np.ndarray]):
        self.rule, self.asked = rule, []

    def score(self, task_ids: np.ndarray, completions: Sequence[str]) -> np.ndarray:
        assert len(task_ids) == len(completions)
        self.asked.append(np.asarray(task_ids))
        return self.rule(np.asarray(task_ids)).astype(np.float32)


def scored_by(tasks: TaskSet, rule: Callable[[np.ndarray], np.ndarray]) -> TaskSet:
    scorer: Any = FakeScorer(rule)
    return tasks._replace(scorer=scorer)


def test_the_last_chunk_is_padded_and_its_padding_dropped(trainer: Trainer):
    """17 tasks by 7: 7 + 7 + 3, the last repeated up to 7 and cut again."""
    tasks = scored_by(trainer.data.train, lambda ids: (ids % 10) / 10)
    ids = np.arange(40, 57)[::-1].copy()
    rates = pass_rates(
        trainer.policy, tasks, ids, 2, jax.random.key(0), tasks_per_chunk=7
    )
    np.testing.assert_allclose(rates.mean_reward, (ids % 10) / 10, rtol=1e-6)
    assert rates.mean_reward.dtype == np.float32 and rates.num_rollouts == 2
    scorer: Any = tasks.scorer
    assert [len(asked) for asked in scorer.asked] == [14, 14, 14]
    assert set(scorer.asked[2]) == set(ids[14:])


def test_greedy_rates_do_not_depend_on_the_chunks(trainer: Trainer):
    def rates(size: int) -> np.ndarray:
        return pass_rates(
            trainer.policy,
            trainer.data.train,
            np.arange(0, 200, 13),
            1,
            jax.random.key(0),
            temperature=0.0,
            tasks_per_chunk=size,
        ).mean_reward

    np.testing.assert_array_equal(rates(5), rates(64))


def test_rollouts_of_a_task_stand_in_a_row(trainer: Trainer):
    prompts, completions = roll_out(
        trainer.policy, trainer.data.train, np.array([7, 3]), 3, jax.random.key(0)
    )
    expected = trainer.data.train.tokens.prompt_ids[[7, 7, 7, 3, 3, 3]]
    np.testing.assert_array_equal(prompts, expected)
    assert completions.completion_ids.shape == (6, 9)


def test_missing_scores_are_left_out_of_pass_rates(trainer: Trainer):
    """Task 0: 1, NaN, 0, NaN. Two scores, mean 1/2; as failures they would make 1/4."""
    table = np.array([[1, nan, 0, nan], [0.5, 1, 1, nan], [nan] * 4])
    tasks = scored_by(trainer.data.train, lambda ids: table.ravel())
    rates = pass_rates(
        trainer.policy, tasks, np.arange(3), 4, jax.random.key(0), tasks_per_chunk=3
    )
    np.testing.assert_allclose(rates.mean_reward, [0.5, 2.5 / 3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(rates.solved, [0.5, 2 / 3, 0.0], rtol=1e-6)


def test_missing_scores_are_average_among_siblings():
    """1, 0, NaN: the mean of those scored is 1/2, so the advantages are ±a and 0.

    A NaN taken as a failure would have given the third one -0.7.
    """
    rewards = np.array([[1, 0, nan], [nan, nan, nan], [1, 1, nan]], np.float32)
    found = group_advantages(rewards, np.isfinite(rewards))
    assert found[0, 0] == -found[0, 1] > 1 and found[0, 2] == 0
    np.testing.assert_array_equal(found[1:], 0)


@pytest.mark.parametrize(
    "rewards, rate, is_mixed",
    [
        ([1, 1, nan], 1.0, False),  # a NaN is no failure beside a success
        ([0, nan, nan], 0.0, False),
        ([nan, nan, nan], 0.0, False),
        ([1, 0.9, 1], 2 / 3, True),  # nearly right is not solved
        ([1, 0, nan], 0.5, True),
    ],
)
def test_solved_rates(rewards, rate, is_mixed):
    rates, mixed = solved_rates(np.array([rewards], np.float32))
    assert rates[0] == pytest.approx(rate) and bool(mixed[0]) == is_mixed


def test_a_step_survives_scorers_that_fail(trainer: Trainer):
    """Half of the scores missing: masked for the selector, counted in the row."""

    def rule(ids: np.ndarray) -> np.ndarray:
        scores = np.tile([1.0, 0.0, nan, nan], len(ids) // 4)
        scores[:4] = nan  # the first task has none at all
        return scores

    data = trainer.data._replace(train=scored_by(trainer.data.train, rule))
    state = start_state(trainer, np.full((200, 2), 0.5, np.float32))
    before = np.asarray(state.sampler.posterior())
    state, row = grpo_step(trainer._replace(data=data), state, 0)
    after = np.asarray(state.sampler.posterior())
    ids = row["picked/task_ids"]
    assert row["unscored"] == 4 + 7 * 2
    assert (row["reward"], row["solved"]) == (0.5, 7 * 0.5 / 8)
    assert row["effective_task_ratio"] == 7 / 8
    assert row["update/num_masked"] == 1 and row["update/num_tasks_applied"] == 7
    assert np.isfinite(row["learn/loss"])
    # One success and one failure of two scores, not one of four.
    grown = (after - before)[:, ids[1:]]
    np.testing.assert_allclose(grown[0], grown[1], rtol=1e-5)


def test_two_evaluations_differ_by_the_policy_alone(trainer: Trainer):
    params = trainer.policy.params
    first, again = evaluate(trainer, params), evaluate(trainer, params)
    assert first == again and set(first) == {"held_out/solved", "held_out/reward"}
