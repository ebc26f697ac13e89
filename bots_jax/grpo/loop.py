"""GRPO with a selector in the loop: select, generate, reward, learn, update, log.

Differences from the textbook: the tasks of a batch come from a selector, not from a
shuffled list; the loss is normalised by tokens, not by sequences; and the policy that
sampled is the policy that learns (`num_updates` = 1), so the ratio is clipped only
when a batch is used more than once.
"""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import bots_jax
from bots_jax.checkpoint_tree import Saved
from bots_jax.grpo.advantages import group_relative_advantages
from bots_jax.grpo.config import GrpoConfig, SelectorConfig, TrainConfig
from bots_jax.grpo.data import RunData
from bots_jax.grpo.devices import Devices
from bots_jax.grpo.generate import Completions
from bots_jax.grpo.rollouts import SOLVED, Policy, pass_rates, reward, roll_out
from bots_jax.grpo.train_step import (
    Batch,
    Learner,
    LearnInfo,
    learn_from_rollouts,
    make_grpo_optimizer,
)
from bots_jax.metrics import coverage

SELECTORS = ("bots", "uniform")


class Trainer(NamedTuple):
    """What stays the same over a run.

    Attributes:
      config: the settings.
      data: the tasks.
      policy: structure, tokenizer and devices; its parameters are the starting ones,
        which `kl_coef` pulls towards.
      selector: the rule that chooses tasks.
      select_key: of the sampler that follows the rule.
      generate_key: each step folds its number in.
      tx: the optimiser.
    """

    config: TrainConfig
    data: RunData
    policy: Policy
    selector: bots_jax.TaskSelector
    select_key: jax.Array
    generate_key: jax.Array
    tx: optax.GradientTransformation


class RunState(NamedTuple):
    """What a checkpoint holds: everything that the next step needs.

    Attributes:
      learner: the policy's parameters and the optimiser's state.
      sampler: chooses the tasks and learns from their rewards.
      visits: int32 [N], how often each task was chosen.
      num_rollouts, num_tokens: int64 scalars, generated so far.
    """

    learner: Learner
    sampler: bots_jax.TaskSampler
    visits: np.ndarray
    num_rollouts: np.ndarray
    num_tokens: np.ndarray

    def to_save(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Everything as arrays, and what is not an array."""
        sampler = self.sampler.state_dict()
        tree = {**self._asdict(), "sampler": sampler["arrays"]}
        return tree, {"sampler": sampler["extra"]}

    def restored(self, saved: Saved, devices: Devices) -> "RunState":
        """What `to_save` gave, of a run with the same settings."""
        sampler = {"arrays": saved.part("sampler"), "extra": saved.extra["sampler"]}
        self.sampler.load_state_dict(sampler)
        names = [name for name in self._fields if name != "sampler"]
        found = {name: saved.tree(getattr(self, name), name) for name in names}
        return self._replace(**found | {"learner": devices.copy(found["learner"])})


def make_selector(
    config: SelectorConfig, grpo: GrpoConfig, num_tasks: int
) -> bots_jax.TaskSelector:
    """Builds the selector that a config names.

    Raises:
      ValueError: for an unknown name, or a parameter out of range.

    Example:
      >>> make_selector(SelectorConfig(name="uniform"), GrpoConfig(), 100).name
      'uniform'
    """
    if config.name == "uniform":
        return bots_jax.uniform(num_tasks=num_tasks, batch_size=grpo.batch_size)
    if config.name == "bots":
        return bots_jax.bots(
            num_tasks=num_tasks,
            batch_size=grpo.batch_size,
            group_size=grpo.group_size,
            forgetting=config.forgetting,
            implicit_weight=config.implicit_weight,
            target_success_prob=config.target_success_prob,
            temperature=config.temperature,
            capability_momentum=config.capability_momentum,
        )
    raise ValueError(f"selector must be one of {SELECTORS}, got {config.name!r}.")


def make_trainer(config: TrainConfig, data: RunData, policy: Policy) -> Trainer:
    """Bundles what stays the same over a run."""
    selector = make_selector(config.selector, config.grpo, len(data.train.pool))
    select_key, generate_key = jax.random.split(jax.random.key(config.seed))
    return Trainer(
        config=config,
        data=data,
        policy=policy,
        selector=selector,
        select_key=select_key,
        generate_key=generate_key,
        tx=make_grpo_optimizer(config.grpo),
    )


def start_state(trainer: Trainer, references: np.ndarray) -> RunState:
    """Builds the state before the first step."""
    params = jax.tree.map(jnp.copy, trainer.policy.params)
    learner = trainer.policy.devices.copy(Learner(params, trainer.tx.init(params)))
    selector = trainer.selector
    state = selector.init(references)
    return RunState(
        learner=learner,
        sampler=bots_jax.TaskSampler(selector, trainer.select_key, state),
        visits=np.zeros(len(trainer.data.train.pool), np.int32),
        num_rollouts=np.zeros((), np.int64),
        num_tokens=np.zeros((), np.int64),
    )


class Stopwatch:
    """Seconds per phase of a step.

    Example:
      >>> watch = Stopwatch()
      >>> watch.lap("select"); sorted(watch.seconds)
      ['select']
    """

    def __init__(self) -> None:
        """Starts now."""
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Books the time since the last lap."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def grpo_step(
    trainer: Trainer, state: RunState, step: int
) -> tuple[RunState, dict[str, Any]]:
    """Takes one training step.

    Args:
      trainer: what stays the same.
      state: what changes; its arrays on the devices are donated, its sampler moves on.
      step: from 0; decides the random numbers of the step.

    Returns:
      New state, and the line of metrics.jsonl.
    """
    config, tasks, watch = trainer.config.grpo, trainer.data.train, Stopwatch()

    # Select: which tasks the model is ready for.
    task_ids = state.sampler.select()
    watch.lap("select")

    # Generate: G rollouts of each.
    policy = trainer.policy._replace(params=state.learner.params)
    generate_key = jax.random.fold_in(trainer.generate_key, step)
    prompt_ids, completions = roll_out(
        policy, tasks, task_ids, config.group_size, generate_key, config.temperature
    )
    jax.block_until_ready(completions)
    watch.lap("generate")

    # Reward: by the tasks' own scorers. A rollout that could not be scored is masked.
    rewards = reward(policy, tasks, task_ids, completions)
    scored = np.isfinite(rewards)
    watch.lap("reward")

    # Learn: from rollouts relative to their siblings.
    batch = make_batch(prompt_ids, completions, rewards)
    learner, learn_info = learn(trainer, state.learner, batch)
    jax.block_until_ready(learner)
    watch.lap("learn")

    # Update the selector: what the rewards say about these tasks and the others.
    state.sampler.observe(task_ids, rewards, mask=scored)
    state.sampler.advance()
    jax.block_until_ready(state.sampler.state)
    watch.lap("update")

    # Log.
    num_tokens = int(np.asarray(completions.completion_mask).sum())
    visits = state.visits.copy()
    visits[task_ids] += 1
    new = RunState(
        learner=learner,
        sampler=state.sampler,
        visits=visits,
        num_rollouts=state.num_rollouts + rewards.size,
        num_tokens=state.num_tokens + num_tokens,
    )
    row = {"step": step, **step_scalars(rewards, num_tokens, learn_info, new)}
    row.update(state.sampler.metrics())
    row.update({f"seconds/{name}": value for name, value in watch.seconds.items()})
    row["picked/task_ids"] = task_ids.tolist()
    row["picked/solved"] = solved_rates(rewards)[0].tolist()
    return new, row


@jax.jit
def _masked_advantages(rewards: jax.Array, scored: jax.Array) -> jax.Array:
    mean = jnp.mean(rewards, axis=1, keepdims=True, where=scored)
    return group_relative_advantages(jnp.where(scored, rewards, mean))


def group_advantages(rewards: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Standardises rewards within groups, unscored rollouts counting as average.

    Args:
      rewards: float32 [B, G]; NaN where not scored.
      scored: bool [B, G].

    Returns:
      float32 [B, G]; 0 in a group without a score.

    Example:
      >>> rewards, scored = np.float32([[1, 0, np.nan]]), np.array([[1, 1, 0]], bool)
      >>> float(group_advantages(rewards, scored)[0, 2])
      0.0
    """
    clean = np.where(scored, rewards, 0).astype(np.float32)
    return np.nan_to_num(np.asarray(_masked_advantages(clean, scored)))


def make_batch(
    prompt_ids: jax.Array, completions: Completions, rewards: np.ndarray
) -> Batch:
    """Bundles rollouts with their advantages over their siblings.

    Args:
      prompt_ids: int32 [B·G, P].
      completions: of B·G rows, G in a row for each task.
      rewards: float32 [B, G]; NaN where not scored, and then masked.

    Returns:
      The batch to learn from.
    """
    scored = np.isfinite(rewards)
    advantages = np.where(scored, group_advantages(rewards, scored), 0).reshape(-1)
    batch = Batch(prompt_ids, *completions, jnp.asarray(advantages, jnp.float32))
    if not scored.all():
        real = batch.completion_mask & jnp.asarray(scored.reshape(-1, 1))
        batch = batch._replace(completion_mask=real)
    return batch


def learn(
    trainer: Trainer, learner: Learner, batch: Batch
) -> tuple[Learner, LearnInfo]:
    """Takes `num_updates` optimiser steps on a batch; info of the last."""
    config = trainer.config.grpo
    reference = trainer.policy.params if config.kl_coef > 0 else None
    batch = trainer.policy.devices.split(batch)
    info = None
    for _ in range(config.num_updates):
        learner, info = learn_from_rollouts(
            trainer.policy.model,
            learner,
            reference,
            batch,
            tx=trainer.tx,
            config=config,
            pad_id=trainer.policy.tokenizer.pad_id,
        )
    assert info is not None  # num_updates >= 1, checked with the config
    return learner, info


def solved_rates(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts full rewards per task; rollouts without a score are left out.

    Args:
      rewards: float32 [B, G]; NaN where not scored.

    Returns:
      Share of solved rollouts, float [B], and whether some were and some were not.

    Example:
      >>> rates, is_mixed = solved_rates(np.float32([[1, 1, np.nan], [1, 0.5, 0]]))
      >>> rates.round(2).tolist(), is_mixed.tolist()
      ([1.0, 0.33], [False, True])
    """
    solved = (rewards >= SOLVED).sum(axis=1)
    scored = np.isfinite(rewards).sum(axis=1)
    return solved / np.maximum(scored, 1), (solved > 0) & (solved < scored)


def step_scalars(
    rewards: np.ndarray, num_tokens: int, learn_info: LearnInfo, state: RunState
) -> dict[str, float]:
    """Summarises a step: what was earned, how mixed it was, what was covered.

    The effective task ratio counts tasks that some rollouts solved and some did not;
    partly right answers do not count as solved.
    """
    scored = np.isfinite(rewards)
    rates, is_mixed = solved_rates(rewards)
    learnt = {f"learn/{name}": float(v) for name, v in learn_info._asdict().items()}
    return {
        "reward": float(np.sum(rewards, where=scored) / max(scored.sum(), 1)),
        "solved": float(rates.mean()),
        "effective_task_ratio": float(is_mixed.mean()),
        "coverage": float(coverage(jnp.asarray(state.visits))),
        "max_visits": int(state.visits.max()),
        "unscored": int((~scored).sum()),
        "completion_length": num_tokens / rewards.size,
        "rollouts_total": int(state.num_rollouts),
        "tokens_total": int(state.num_tokens),
        **learnt,
    }


def evaluate(trainer: Trainer, params: nnx.State) -> dict[str, float]:
    """Measures success on the held-out tasks, sampled as in training.

    The same tasks and the same key every time, so that two evaluations differ by the
    policy alone.
    """
    config, tasks = trainer.config.evaluation, trainer.data.held_out
    rates = pass_rates(
        trainer.policy._replace(params=params),
        tasks,
        np.arange(len(tasks.pool)),
        config.rollouts,
        jax.random.fold_in(jax.random.key(trainer.config.seed), 2**31 - 1),
        temperature=trainer.config.grpo.temperature,
    )
    return {
        "held_out/solved": float(rates.solved.mean()),
        "held_out/reward": float(rates.mean_reward.mean()),
    }
