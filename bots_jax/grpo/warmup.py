"""Supervised warm-up: the policy that GRPO starts from, and the strong reference.

Demonstrations are of mixed quality, as pretraining data are: each family and level
shows a wrong procedure at its own rate. The right procedure is then in the model but
seldom sampled, which is what reinforcement brings out. The strong reference is the
same model after further steps on correct demonstrations; it stands in for a stronger
model that somebody has, and only its pass rates are used.
"""

import pathlib

import jax
import numpy as np
from flax import nnx

from bots_jax.checkpoint import Checkpoints
from bots_jax.grpo.config import WarmupConfig
from bots_jax.grpo.devices import Devices
from bots_jax.grpo.train_step import (
    Learner,
    learn_from_demonstrations,
    make_warmup_optimizer,
)
from bots_jax.progress import Phase
from bots_jax.tasks import CharTokenizer, Demonstrations


def warm_up(
    name: str,
    model: nnx.GraphDef,
    params: nnx.State,
    demonstrations: Demonstrations,
    config: WarmupConfig,
    num_steps: int,
    *,
    seed: tuple[int, ...],
    devices: Devices,
    directory: pathlib.Path,
    fingerprint: str,
    quiet: bool = False,
) -> nnx.State:
    """Learns from demonstrations, going on from the newest checkpoint there is.

    Args:
      name: shown beside the progress.
      model: structure of the policy.
      params: where it starts; not changed.
      demonstrations: what it learns from.
      config: batch size, learning rate, checkpoints.
      num_steps: length.
      seed: with the step, decides the demonstrations of a step.
      devices: what batches are split over.
      directory: of the checkpoints.
      fingerprint: of what they belong to.
      quiet: True for no progress.

    Returns:
      Parameters after `num_steps`, on the devices.
    """
    tx = make_warmup_optimizer(config.learning_rate, num_steps)
    start = Learner(jax.tree.map(jax.numpy.copy, params), tx.init(params))
    with Checkpoints(directory, fingerprint, keep=1) as checkpoints:
        found = checkpoints.restore_latest(start)
        first, learner = found if found is not None else (0, start)
        learner = devices.copy(learner)
        with Phase(name, num_steps, first, quiet) as phase:
            for step in range(first, num_steps):
                rng = np.random.default_rng([*seed, step])
                batch = demonstrations.sample(rng, config.batch_size)
                learner, info = learn_from_demonstrations(
                    model,
                    learner,
                    *devices.split((batch.prompt_ids, batch.answer_ids)),
                    tx=tx,
                    pad_id=CharTokenizer.pad_id,
                )
                done = step + 1
                if done % config.checkpoint_every == 0 or done == num_steps:
                    checkpoints.save(done, learner)
                if done % 10 == 0 or done == num_steps:
                    phase.advance(done - phase.done, loss=float(info.loss))
    return learner.params
