"""What training on tasks of each difficulty gains on tasks that are held out.

From one policy, early or late in training, a few steps are taken on tasks of one band
of success chances alone, and the change of the mean chance to solve held-out tasks is
computed, by bands of their own difficulty too. Nothing is sampled in the measurement,
so that small gains are seen. Adam's momentum moves the policy where no group is mixed,
too: the gain of the easiest and the hardest band is what the others are to be read by.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bots_jax.compare.arms import parse_arm
from bots_jax.compare.run import Runner, Running, is_mixed, start_run, take_step
from bots_jax.compare.shared import Shared
from bots_jax.grpo.loop import learn, make_batch
from bots_jax.grpo.rollouts import reward, roll_out
from bots_jax.grpo.success import success_probs
from bots_jax.grpo.train_step import Learner
from bots_jax.progress import TellFn

BANDS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 1.0)
"""Edges of the bands of success chances."""


class Gain(NamedTuple):
    """What one repetition of some steps on one band gained.

    Attributes:
      after_steps: uniform training steps taken before.
      low, high: success chances of the tasks trained on, before.
      num_tasks: of the pool in that band.
      num_steps: taken on it.
      repetition: from 0.
      mean_chance: of the tasks trained on.
      mixed: share of the groups with mixed outcomes.
      gain: change of the mean chance to solve a held-out task.
      gain_by_band: the same for the held-out tasks of each band, times their share:
        they add up to `gain`.
    """

    after_steps: int
    low: float
    high: float
    num_tasks: int
    num_steps: int
    repetition: int
    mean_chance: float
    mixed: float
    gain: float
    gain_by_band: list[float]


def measure_gains(
    shared: Shared,
    *,
    seed: int = 0,
    after: Sequence[int] = (5, 100),
    num_steps: Sequence[int] = (1, 8),
    repetitions: int = 16,
    tell: TellFn = lambda what, done: None,
) -> list[Gain]:
    """Measures what steps on each band gain, early and late in uniform training.

    Args:
      shared: the common start.
      seed: of the uniform training and of all repetitions.
      after: training steps after which it is measured, increasing.
      num_steps: how many steps are taken on a band.
      repetitions: with other tasks of the band and other rollouts.
      tell: called as work goes on, once per band, length and time.

    Returns:
      One row per time, band with at least a batch of tasks, length and repetition.
    """
    runner, now = start_run(shared, parse_arm("uniform"), seed)
    gains = []
    for moment in after:
        while now.spent.steps < moment:
            now = take_step(runner, now)
        policy = shared.policy._replace(params=now.learner.params)
        chances = success_probs(policy, shared.data.train.tokens)
        held = success_probs(policy, shared.data.held_out.tokens)
        for low, high in zip(BANDS[:-1], BANDS[1:], strict=True):
            below = chances <= high if high == BANDS[-1] else chances < high
            tasks = np.flatnonzero((chances >= low) & below)
            for length in num_steps:
                tell(f"after {moment} steps, {low:g} to {high:g}, {length} steps", 1)
                if len(tasks) < shared.pool.batch_size:
                    continue
                for number in range(repetitions):
                    measured = _gain(runner, now, tasks, chances, held, length, number)
                    gains.append(
                        Gain(moment, low, high, len(tasks), length, number, **measured)
                    )
    return gains


def _gain(
    runner: Runner,
    now: Running,
    tasks: np.ndarray,
    chances: np.ndarray,
    held: np.ndarray,
    num_steps: int,
    repetition: int,
) -> dict[str, Any]:
    shared, trainer = runner.shared, runner.trainer
    grpo = shared.settings.grpo
    learner: Learner = jax.tree.map(jnp.copy, now.learner)
    name = [runner.seed, now.spent.steps, repetition]
    rng = np.random.default_rng(name)
    key = jax.random.key(int(rng.integers(2**31)))
    mixed, picked = [], []
    for step in range(num_steps):
        ids = rng.choice(tasks, grpo.batch_size, replace=False)
        policy = trainer.policy._replace(params=learner.params)
        prompts, completions = roll_out(
            policy,
            shared.data.train,
            ids,
            grpo.group_size,
            jax.random.fold_in(key, step),
        )
        rewards = reward(policy, shared.data.train, ids, completions)
        learner, _ = learn(trainer, learner, make_batch(prompts, completions, rewards))
        mixed.append(is_mixed(rewards).mean())
        picked.append(chances[ids].mean())
    policy = trainer.policy._replace(params=learner.params)
    after = success_probs(policy, shared.data.held_out.tokens)
    change = after.astype(np.float64) - held
    bands = np.clip(np.digitize(held, BANDS) - 1, 0, len(BANDS) - 2)
    by_band = np.bincount(bands, change, minlength=len(BANDS) - 1) / len(held)
    return {
        "mean_chance": float(np.mean(picked)),
        "mixed": float(np.mean(mixed)),
        "gain": float(change.mean()),
        "gain_by_band": [float(x) for x in by_band],
    }
