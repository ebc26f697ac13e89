"""One arm with one seed, from the common start to its learning curve.

    (tell the oracle) -> select -> roll out -> (keep mixed groups) -> learn -> evidence

Arms get the same rollouts, not the same steps. Of two arms with the same seed, the
random numbers of a step's rollouts are the same, row by row.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import bots_jax
from bots_jax import metrics
from bots_jax.compare.arms import ArmSpec, build_arm, references_of
from bots_jax.compare.shared import Shared
from bots_jax.evaluation.loop import Arm
from bots_jax.grpo.generate import Completions
from bots_jax.grpo.loop import Trainer, learn, make_batch
from bots_jax.grpo.rollouts import reward, roll_out
from bots_jax.grpo.success import success_probs
from bots_jax.grpo.train_step import Batch, Learner, make_grpo_optimizer
from bots_jax.types import Evidence, State, Step

INFORM_EVERY = 4
"""Steps between two times that the oracle is told the success chances."""
_NUM_JUDGEMENTS = 4


class Spent(NamedTuple):
    """What a run has used up.

    Attributes:
      steps: optimiser steps.
      rollouts: all that were generated, those that were not trained on too.
      tokens: generated.
      seconds: of the steps, evaluation and the oracle's knowledge left out.
      selector_seconds: of these, those of the selector.
    """

    steps: int = 0
    rollouts: int = 0
    tokens: int = 0
    seconds: float = 0.0
    selector_seconds: float = 0.0


class Running(NamedTuple):
    """What one step leaves to the next.

    Attributes:
      learner: parameters and optimiser.
      state: of the selector; donated to the next step.
      evidence: of the last step.
      spent: so far.
      visits: int32 [N], steps in which each task was rolled out.
      mixed: of the tasks rolled out in the last step, how many had mixed outcomes.
      rolled_out: how many there were.
    """

    learner: Learner
    state: State
    evidence: Evidence
    spent: Spent
    visits: np.ndarray
    mixed: int = 0
    rolled_out: int = 0


class Runner(NamedTuple):
    """What stays the same over a run.

    Attributes:
      shared: the common start.
      arm: the selector and how it is used.
      step: its jitted step.
      believe: (state, evidence) -> alpha and beta after that evidence; jitted.
      trainer: what the trainer's functions want; its own selector is not used.
      seed: of the run.
    """

    shared: Shared
    arm: Arm
    step: Step
    believe: Callable[[State, Evidence], tuple[Array, Array]]
    trainer: Trainer
    seed: int


def run_arm(shared: Shared, spec: ArmSpec, seed: int) -> dict[str, list[Any]]:
    """Trains once.

    Args:
      shared: the common start.
      spec: the arm.
      seed: everything random follows from it and the common start.

    Returns:
      The learning curve, one list per name, a number per evaluation: `steps`,
      `rollouts`, `tokens`, `seconds` and `selector_seconds` spent; `success`, the mean
      chance to solve a held-out task; `effective_task_ratio` of the tasks rolled out
      since the evaluation before; `coverage` of the pool; and four times in a run
      `auc`, `spearman`, `calibration_error` and `brier` of the posterior against the
      true chances of random tasks, else None.
    """
    settings, grpo = shared.settings, shared.settings.grpo
    runner, now = start_run(shared, spec, seed)
    take_step(runner, _copied(now))  # compiles; nothing of it is kept
    budget = grpo.num_steps * settings.rollouts_per_step
    every = settings.evaluate_every * settings.rollouts_per_step
    judged_every = max(1, -(-budget // every) // _NUM_JUDGEMENTS)
    curve: dict[str, list[Any]] = {}
    mixed = rolled_out = number = 0
    while True:
        is_last = now.spent.rollouts >= budget
        if is_last or now.spent.rollouts >= number * every:
            row = _evaluate(runner, now, mixed / rolled_out if rolled_out else None)
            judges = is_last or (number > 0 and number % judged_every == 0)
            row |= _judge(runner, now, judges)
            for name, value in row.items():
                curve.setdefault(name, []).append(value)
            mixed = rolled_out = 0
            number = now.spent.rollouts // every + 1
        if is_last:
            return curve
        if runner.arm.inform is not None and now.spent.steps % INFORM_EVERY == 0:
            policy = shared.policy._replace(params=now.learner.params)
            chances = jnp.asarray(success_probs(policy, shared.data.train.tokens))
            now = now._replace(state=runner.arm.inform(now.state, chances))
        now = take_step(runner, now)
        mixed, rolled_out = mixed + now.mixed, rolled_out + now.rolled_out


def start_run(shared: Shared, spec: ArmSpec, seed: int) -> tuple[Runner, Running]:
    """Builds an arm, and what its first step starts from.

    Args:
      shared: the common start, of which copies are made.
      spec: the arm.
      seed: of the run.

    Returns:
      What stays the same, and what changes.
    """
    references = references_of(spec, shared.references, seed)
    arm = build_arm(spec, shared.pool._replace(references=references))
    selector = arm.selector
    select_key, generate_key = jax.random.split(jax.random.key(seed))
    trainer = Trainer(
        config=shared.settings.train_config(),
        data=shared.data,
        policy=shared.policy,
        selector=selector,
        select_key=select_key,
        generate_key=generate_key,
        tx=make_grpo_optimizer(shared.settings.grpo),
    )
    params = jax.tree.map(jnp.copy, shared.policy.params)
    learner = Learner(params, trainer.tx.init(params))
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    now = Running(
        learner=shared.policy.devices.copy(learner),
        state=selector.init(references),
        evidence=bots_jax.empty_evidence(selector.batch_size),
        spent=Spent(),
        visits=np.zeros(shared.pool.num_tasks, np.int32),
    )
    believe = jax.jit(
        lambda state, evidence: selector.posterior(selector.update(state, evidence)[0])
    )
    return Runner(shared, arm, step, believe, trainer, seed), now


def _copied(now: Running) -> Running:
    copy = lambda tree: jax.tree.map(jnp.copy, tree)  # noqa: E731
    return now._replace(learner=copy(now.learner), state=copy(now.state))


def take_step(runner: Runner, now: Running) -> Running:
    """Takes one training step.

    Args:
      runner: what stays the same.
      now: its learner and its selector's state are donated.

    Returns:
      What the next step starts from; `spent.steps` numbers the random streams.
    """
    started = time.perf_counter()
    trainer, number = runner.trainer, now.spent.steps
    select_key = jax.random.fold_in(trainer.select_key, number)
    state, chosen, _ = runner.step(select_key, now.state, now.evidence)
    task_ids = np.asarray(chosen)
    selected = time.perf_counter()
    batch, rewards, tokens = _roll_out(runner, now, task_ids)
    learner, _ = learn(trainer, now.learner, batch)
    jax.block_until_ready(learner)
    ended = time.perf_counter()
    # What was not rolled out is padding: a row of evidence for every slot.
    rolled_out = task_ids[: len(rewards)]
    ids = np.full(len(task_ids), -1, np.int32)
    ids[: len(rewards)] = rolled_out
    solved = np.nansum(rewards, axis=1)
    failed = np.isfinite(rewards).sum(axis=1) - solved
    pad = lambda x: np.pad(x, (0, len(ids) - len(x))).astype(np.float32)  # noqa: E731
    visits = now.visits.copy()
    visits[rolled_out] += 1
    spent = now.spent
    return Running(
        learner=learner,
        state=state,
        evidence=Evidence(ids, pad(solved), pad(failed)),  # type: ignore[arg-type]
        spent=Spent(
            spent.steps + 1,
            spent.rollouts + rewards.size,
            spent.tokens + tokens,
            spent.seconds + ended - started,
            spent.selector_seconds + selected - started,
        ),
        visits=visits,
        mixed=int(((solved > 0) & (failed > 0)).sum()),
        rolled_out=len(rewards),
    )


def _roll_out(
    runner: Runner, now: Running, task_ids: np.ndarray
) -> tuple[Batch, np.ndarray, int]:
    """Rolls out B tasks, or generations of B until B groups are mixed.

    No generation is begun that the budget of the run does not hold.

    Returns:
      What is learnt from, the rewards [M, G] of all tasks rolled out, in the order of
      the ids, and the tokens generated.
    """
    trainer, size = runner.trainer, runner.arm.batch_size
    policy = trainer.policy._replace(params=now.learner.params)
    step_key = jax.random.fold_in(trainer.generate_key, now.spent.steps)
    group_size = trainer.config.grpo.group_size
    parts: list[tuple[Any, Completions, np.ndarray]] = []
    mixed = tokens = 0
    spent = now.spent.rollouts // (size * group_size)
    affordable = max(1, trainer.config.grpo.num_steps - spent)
    for number in range(min(len(task_ids) // size, affordable)):
        ids = task_ids[number * size : (number + 1) * size]
        key = jax.random.fold_in(step_key, number)
        prompts, completions = roll_out(
            policy, trainer.data.train, ids, group_size, key
        )
        rewards = reward(policy, trainer.data.train, ids, completions)
        parts.append((prompts, completions, rewards))
        tokens += int(np.asarray(completions.completion_mask).sum())
        mixed += int(is_mixed(rewards).sum())
        if not runner.arm.dynamic_sampling or mixed >= size:
            break
    every = np.concatenate([rewards for _, _, rewards in parts])
    if not runner.arm.dynamic_sampling:
        return make_batch(*parts[0]), every, tokens
    return make_batch(*keep_mixed_groups(parts, size)), every, tokens


def is_mixed(rewards: np.ndarray) -> np.ndarray:
    """Tells which groups hold both 1 and 0; rollouts that are NaN are left out.

    Example:
      >>> is_mixed(np.float32([[1, 0], [1, 1], [np.nan, 0]])).tolist()
      [True, False, False]
    """
    return (np.nansum(rewards, axis=1) > 0) & (rewards == 0).any(axis=1)


def keep_mixed_groups(
    parts: list[tuple[Any, Completions, np.ndarray]], size: int
) -> tuple[Any, Completions, np.ndarray]:
    """Keeps the first `size` mixed groups of all generations.

    Where there are fewer, the batch is filled with groups whose rewards are NaN, which
    nothing is learnt from.

    Args:
      parts: prompts, completions and rewards [B, G] of each generation.
      size: B.

    Returns:
      The same of one batch.
    """
    stacked: Any = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    prompts, completions, rewards = stacked
    group_size = rewards.shape[1]
    rows = np.flatnonzero(is_mixed(rewards))[:size]
    rows = np.concatenate([rows, np.zeros(size - len(rows), np.int64)])
    kept = np.arange(size) < min(size, int(is_mixed(rewards).sum()))
    places = (rows[:, None] * group_size + np.arange(group_size)).reshape(-1)
    take: Any = jax.tree.map(lambda leaf: leaf[places], (prompts, completions))
    return *take, np.where(kept[:, None], rewards[rows], np.float32(np.nan))


def _evaluate(runner: Runner, now: Running, ratio: float | None) -> dict[str, Any]:
    shared = runner.shared
    policy = shared.policy._replace(params=now.learner.params)
    chances = success_probs(policy, shared.data.held_out.tokens)
    return {
        **now.spent._asdict(),
        "success": float(chances.mean(dtype=np.float64)),
        "effective_task_ratio": ratio,
        "coverage": float(metrics.coverage(jnp.asarray(now.visits))),
    }


def _judge(runner: Runner, now: Running, judges: bool) -> dict[str, float | None]:
    """Compares the posterior with the true chances of random tasks."""
    if not judges:
        return dict.fromkeys(("auc", "spearman", "calibration_error", "brier"))
    shared = runner.shared
    policy = shared.policy._replace(params=now.learner.params)
    rows = shared.belief_ids
    tokens = shared.data.train.tokens
    some = type(tokens)(*(column[rows] for column in tokens))
    truth = jnp.asarray(success_probs(policy, some))
    # The last step's evidence is not in the state yet; believe as after it.
    alpha, beta = runner.believe(now.state, now.evidence)
    believed = (alpha / (alpha + beta))[rows]
    found = {
        "auc": metrics.auc(believed, truth),
        "spearman": metrics.spearman(believed, truth),
        "calibration_error": metrics.calibration_error(believed, truth),
        "brier": metrics.brier(believed, truth),
    }
    numbers = {name: float(value) for name, value in found.items()}
    return {name: v if np.isfinite(v) else None for name, v in numbers.items()}
