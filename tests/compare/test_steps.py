"""Steps of a run: what they cost, learn from and leave; dynamic sampling; luck."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.compare import run
from bots_jax.compare.arms import parse_arm
from bots_jax.compare.run import is_mixed, keep_mixed_groups, start_run, take_step
from bots_jax.grpo.generate import Completions
from bots_jax.grpo.loop import learn, make_batch
from bots_jax.grpo.success import success_probs
from tests.compare.tiny import SETTINGS

B, G = SETTINGS.grpo.batch_size, SETTINGS.grpo.group_size
BUDGET = SETTINGS.grpo.num_steps * B * G
REWARD = run.reward


class Generations:
    """Remembers what was rolled out and learnt from, step by step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.rolled_out: list[tuple[np.ndarray, Any, np.ndarray]] = []
        self.batch: Any = None
        monkeypatch.setattr(run, "reward", self._reward)
        monkeypatch.setattr(run, "learn", self._learn)

    def _reward(self, policy, tasks, ids, completions):
        rewards = REWARD(policy, tasks, ids, completions)
        self.rolled_out.append((ids, completions, rewards))
        return rewards

    def _learn(self, trainer, learner, batch):
        self.batch = batch
        return learn(trainer, learner, batch)


@pytest.mark.parametrize("arm", ["uniform", "dynamic_sampling"])
def test_steps_are_charged_for_all_they_roll_out(arm, shared, monkeypatch):
    """A slow ledger beside the run: rollouts, tokens, visits, evidence."""
    runner, now = start_run(shared, parse_arm(arm), 0)
    seen = Generations(monkeypatch)
    rollouts = tokens = 0
    visits = np.zeros(SETTINGS.num_tasks, int)
    while now.spent.rollouts < BUDGET:
        seen.rolled_out.clear()
        before, now = now, take_step(runner, now)
        ids = np.concatenate([ids for ids, _, _ in seen.rolled_out])
        rewards = np.concatenate([rewards for _, _, rewards in seen.rolled_out])
        assert len(set(ids.tolist())) == len(ids) == len(rewards)
        for task in ids:
            visits[task] += 1
        rollouts += rewards.size
        for _, completions, _ in seen.rolled_out:
            for row in np.asarray(completions.completion_mask):
                tokens += int(row.sum())
        assert now.spent.steps == before.spent.steps + 1
        assert (now.spent.rollouts, now.spent.tokens) == (rollouts, tokens)
        assert 0 < now.spent.selector_seconds < now.spent.seconds
        np.testing.assert_array_equal(now.visits, visits)
        solved = rewards.sum(axis=1)
        assert now.rolled_out == len(ids)
        assert now.mixed == sum(0 < count < G for count in solved)
        evidence = {
            int(task): (float(s), float(f))
            for task, s, f in zip(*map(np.asarray, now.evidence), strict=True)
            if task >= 0
        }
        assert evidence == {
            int(task): (float(s), float(G - s))
            for task, s in zip(ids, solved, strict=True)
        }
        padding = np.asarray(now.evidence.task_ids) < 0
        assert not np.asarray(now.evidence.successes)[padding].any()
        assert not np.asarray(now.evidence.failures)[padding].any()
        if arm == "dynamic_sampling":
            assert_learns_from_mixed_groups(seen)
            is_last = now.spent.rollouts == BUDGET
            assert_stops_when_there_is_enough(seen, is_last)
    assert now.spent.rollouts == BUDGET


def assert_learns_from_mixed_groups(seen: Generations) -> None:
    """The first B mixed groups in the order they were rolled out, then nothing."""
    kept = []
    for _, completions, rewards in seen.rolled_out:
        for group in range(B):
            if 0 < rewards[group].sum() < G and len(kept) < B:
                rows = slice(group * G, (group + 1) * G)
                kept.append(
                    (
                        np.asarray(completions.completion_ids)[rows],
                        np.asarray(completions.completion_mask)[rows],
                        np.asarray(completions.logprobs)[rows],
                        rewards[group],
                    )
                )
    batch = seen.batch
    assert batch.completion_ids.shape[0] == B * G
    for place, (ids, mask, logprobs, rewards) in enumerate(kept):
        rows = slice(place * G, (place + 1) * G)
        np.testing.assert_array_equal(batch.completion_ids[rows], ids)
        np.testing.assert_array_equal(batch.completion_mask[rows], mask)
        np.testing.assert_array_equal(batch.old_logprobs[rows], logprobs)
        standard = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        np.testing.assert_allclose(batch.advantages[rows], standard, rtol=1e-4)
    rest = slice(len(kept) * G, None)
    assert not np.asarray(batch.completion_mask[rest]).any()
    assert not np.asarray(batch.advantages[rest]).any()


def assert_stops_when_there_is_enough(seen: Generations, is_last: bool) -> None:
    mixed = [int(is_mixed(rewards).sum()) for _, _, rewards in seen.rolled_out]
    assert 1 <= len(mixed) <= 3
    assert sum(mixed[:-1]) < B  # else it would have stopped before
    assert sum(mixed) >= B or len(mixed) == 3 or is_last


def some_parts(
    rng: np.random.Generator, num: int
) -> list[tuple[Any, Completions, np.ndarray]]:
    parts = []
    for _ in range(num):
        rewards = (rng.random((B, G)) < rng.random((B, 1)) ** 3).astype(np.float32)
        rewards[rng.random((B, G)) < 0.05] = np.nan
        marks = rng.integers(0, 1000, (B * G, 3)).astype(np.int32)
        completions: Any = Completions(marks, marks > 500, marks / np.float32(7))  # type: ignore[arg-type]
        parts.append((marks[:, :2], completions, rewards))
    return parts


@pytest.mark.parametrize("seed", range(6))
def test_mixed_groups_are_kept_as_a_slow_loop_keeps_them(seed):
    rng = np.random.default_rng(seed)
    parts = some_parts(rng, 1 + seed % 3)
    prompts, completions, rewards = keep_mixed_groups(parts, B)
    assert prompts.shape == (B * G, 2) and rewards.shape == (B, G)
    wanted = []
    for part_prompts, part, part_rewards in parts:
        for group, marks in enumerate(part_rewards):
            known = marks[np.isfinite(marks)]
            if 1 in known and 0 in known:
                rows = slice(group * G, (group + 1) * G)
                wanted.append((part_prompts[rows], part.completion_ids[rows], marks))
    assert 0 < len(wanted)
    for place, (ids, tokens, marks) in enumerate(wanted[:B]):
        rows = slice(place * G, (place + 1) * G)
        np.testing.assert_array_equal(prompts[rows], ids)
        np.testing.assert_array_equal(completions.completion_ids[rows], tokens)
        np.testing.assert_array_equal(rewards[place], marks)
    assert np.isnan(rewards[len(wanted) :]).all()


def test_padding_gives_no_gradient(shared, monkeypatch):
    """Three mixed groups and five of padding, against the three alone.

    The loss is a mean over tokens, and padding has none: the two agree to rounding.
    Groups of equal rewards in their place would have no advantage either, but tokens.
    """
    runner, now = start_run(shared, parse_arm("dynamic_sampling"), 0)
    seen = Generations(monkeypatch)
    take_step(runner, run._copied(now))
    _, completions, _ = seen.rolled_out[0]
    prompts = np.repeat(
        shared.data.train.tokens.prompt_ids[seen.rolled_out[0][0]], G, 0
    )
    rewards = np.zeros((B, G), np.float32)
    rewards[[1, 4, 6], 0] = 1
    batch = make_batch(*keep_mixed_groups([(prompts, completions, rewards)], B))
    rows = np.flatnonzero(np.repeat(np.isin(np.arange(B), [1, 4, 6]), G))
    alone = make_batch(
        jnp.asarray(prompts[rows]),
        Completions(*(leaf[rows] for leaf in completions)),
        rewards[[1, 4, 6]],
    )
    filled = batch._replace(
        completion_mask=jnp.where(
            batch.completion_mask, True, jnp.asarray(completions.completion_mask)
        )
    )

    def learnt(batch: Any) -> tuple[Any, Any]:
        return learn(runner.trainer, run._copied(now).learner, batch)

    (learner, info), (other, wanted), (_, diluted) = map(learnt, (batch, alone, filled))
    assert float(info.num_tokens) == float(wanted.num_tokens) > 0
    assert float(info.grad_norm) == pytest.approx(float(wanted.grad_norm), rel=1e-4)
    assert float(info.grad_norm) > 1e-3
    pairs = zip(*(jax.tree.leaves(x.opt_state) for x in (learner, other)), strict=True)
    for one, two in pairs:
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-7)
    assert float(diluted.grad_norm) < 0.9 * float(info.grad_norm)


def test_nothing_mixed_teaches_nothing(shared):
    runner, now = start_run(shared, parse_arm("dynamic_sampling"), 0)
    prompts, completions = run.roll_out(
        shared.policy, shared.data.train, np.arange(B), G, jax.random.key(0)
    )
    rewards = np.zeros((B, G), np.float32)
    batch = make_batch(*keep_mixed_groups([(prompts, completions, rewards)], B))
    learner, info = learn(runner.trainer, run._copied(now).learner, batch)
    assert float(info.grad_norm) == float(info.num_tokens) == 0
    pairs = zip(
        *map(jax.tree.leaves, (learner.params, now.learner.params)), strict=True
    )
    for one, two in pairs:
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("arm", ["bots", "dynamic_sampling"])
def test_arms_share_their_luck(arm, shared):
    """The same tasks in the same rows get the same rollouts, whoever picked them."""
    ids = np.random.default_rng(0).permutation(SETTINGS.num_tasks)[:B]
    rolled = [
        run._roll_out(*start_run(shared, parse_arm(text), seed), ids)
        for text, seed in (("uniform", 0), (arm, 0), (arm, 1))
    ]
    (_, rewards, tokens), (_, same, as_many), (_, other, _) = rolled
    np.testing.assert_array_equal(same, rewards)
    assert as_many == tokens
    assert (other != rewards).any()


def test_an_arm_that_picks_the_same_tasks_learns_the_same(shared):
    """Another selector whose step is uniform's, through a few steps."""
    runner, now = start_run(shared, parse_arm("uniform"), 0)
    other, start = start_run(shared, parse_arm("bots"), 0)
    other = other._replace(step=runner.step)
    start = start._replace(state=jax.tree.map(jnp.copy, now.state))
    while now.spent.steps < 3:
        now, start = take_step(runner, now), take_step(other, start)
    one, two = (
        success_probs(
            shared.policy._replace(params=after.learner.params),
            shared.data.held_out.tokens,
        )
        for after in (now, start)
    )
    np.testing.assert_array_equal(one, two)
