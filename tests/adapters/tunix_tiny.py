"""A tiny Qwen3 for Tunix on a CPU, and runs of it that can be killed.

    python -m tests.adapters.tunix_tiny FOLDER --steps 6 --kill before:4

Prompts are words, a task is solved by saying its digit, and what counts as solved in a
run that is killed does not depend on the model, so that runs can be compared exactly.
"""

import argparse
import json
import os
import pathlib
import signal
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import bots_jax
from bots_jax.adapters import tunix, tunix_checkpoints

WORDS = ["<pad>", "<s>", "</s>", "say", "not", *map(str, range(10))]
NUMBER_OF = {word: number for number, word in enumerate(WORDS)}
NUM_TASKS, BATCH_SIZE, GROUP_SIZE = 40, 4, 4


class Tokenizer:
    """Words, with what Tunix asks of a tokenizer."""

    bos_token, eos_token, pad_token = "<s>", "</s>", "<pad>"

    def encode(self, text: str, **_: Any) -> list[int]:
        return [NUMBER_OF[word] for word in text.split()]

    def decode(self, ids: Any, **_: Any) -> str:
        return " ".join(WORDS[int(number)] for number in ids)

    def bos_id(self) -> int:
        return 1

    def eos_id(self) -> int:
        return 2

    def pad_id(self) -> int:
        return 0


class ChatParser:
    """One user message is the prompt as it is; for the agentic learner."""

    assistant_token = generation_prompt = ""

    def parse(self, messages: Any, **_: Any) -> str:
        said = [m["content"] for m in messages if m["role"] == "user"]
        return " ".join(str(np.asarray(text).reshape(-1)[0]) for text in said)

    def update_assistant_end_tokens(self, tokens: Any) -> tuple[Any, int]:
        return tokens, 0  # later versions of Tunix ask for it

    def parse_assistant(self, *_: Any, **__: Any) -> str:
        return ""


def make_cluster(
    *,
    max_steps: int,
    micro: int | None = None,
    mini: int | None = None,
    root: pathlib.Path | None = None,
    save_every: int = 1,
    keep: int = 2,
    eval_every: int = 10**6,
    logprobs: bool = False,
    reference: bool = False,
) -> Any:
    """Makes Tunix's cluster of a one-layer model."""
    import optax
    from flax import nnx
    from jax.sharding import Mesh
    from orbax import checkpoint
    from tunix.models.qwen3 import model  # pyright: ignore[reportMissingImports]
    from tunix.rl import rl_cluster  # pyright: ignore[reportMissingImports]
    from tunix.rl.rollout import base_rollout  # pyright: ignore[reportMissingImports]

    config = model.ModelConfig(
        num_layers=1,
        vocab_size=len(WORDS),
        embed_dim=16,
        hidden_dim=32,
        num_heads=2,
        head_dim=8,
        num_kv_heads=1,
        rope_theta=10_000,
        norm_eps=1e-6,
        use_tied_embedding=True,
    )
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    with jax.set_mesh(mesh):
        actor, other = (model.Qwen3(config, rngs=nnx.Rngs(0)) for _ in range(2))
    options = checkpoint.CheckpointManagerOptions(
        save_interval_steps=save_every, max_to_keep=keep
    )
    role = rl_cluster.Role
    return rl_cluster.RLCluster(
        actor=actor,
        reference=other if reference else None,
        tokenizer=Tokenizer(),
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh={r: mesh for r in (role.ACTOR, role.REFERENCE, role.ROLLOUT)},
            rollout_engine="vanilla",
            training_config=rl_cluster.RLTrainingConfig(
                actor_optimizer=optax.adam(3e-3),
                eval_every_n_steps=eval_every,
                max_steps=max_steps,
                mini_batch_size=mini or BATCH_SIZE,
                train_micro_batch_size=micro or mini or BATCH_SIZE,
                checkpoint_root_directory=None if root is None else str(root),
                checkpointing_options=None if root is None else options,
            ),
            rollout_config=base_rollout.RolloutConfig(
                max_tokens_to_generate=2,
                max_prompt_length=4,
                kv_cache_size=16,
                temperature=1.0,
                top_p=1.0,
                top_k=None,
                return_logprobs=logprobs,
            ),
        ),
    )


def make_sampler(names: bool = False, batch_size: int = BATCH_SIZE) -> Any:
    """Makes a sampler over the tiny tasks."""
    selector = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=batch_size)
    keys = [f"task-{number}" for number in range(NUM_TASKS)] if names else None
    return bots_jax.TaskSampler(
        selector, jax.random.key(7), selector.init(), task_keys=keys
    )


def make_rows() -> dict[str, list[str]]:
    """The columns of all tasks."""
    digits = [str(number % 10) for number in range(NUM_TASKS)]
    return {"prompts": [f"say {digit}" for digit in digits], "answer": digits}


def said_digit(prompts: Any, completions: Any, answer: Any, **_: Any) -> list[float]:
    """1 if the first word is the digit; what a model can learn."""
    return [
        float(bool(text.split()) and text.split()[0] == str(digit))
        for text, digit in zip(completions, answer, strict=True)
    ]


def settled(task_ids: Any) -> np.ndarray:
    """Rewards that only the task and the place in the group decide; [R]."""
    seen: dict[Any, int] = {}
    rewards = []
    for key in np.asarray(task_ids).tolist():
        place = seen[key] = seen.get(key, -1) + 1
        rewards.append(float((int(key) * 7 + place * 3) % 10 < int(key) % 5 * 2))
    return np.array(rewards)


class Heard:
    """A reward that only the task decides, and who asked for it."""

    __name__ = "heard"

    def __init__(self) -> None:
        self.train: list[Any] = []
        self.evaluation = 0

    def __call__(
        self, prompts: Any, completions: Any, task_id: Any, mode: str, **_: Any
    ) -> list[float]:
        if mode == "train":
            self.train += np.asarray(task_id)[::GROUP_SIZE].tolist()
        else:
            self.evaluation += len(task_id)
        numbers = [int(str(key).split("-")[-1]) for key in task_id]
        return settled(numbers).tolist()


def replayed(ids: list[Any], names: bool = False) -> Any:
    """What the same evidence makes of a sampler without any adapter."""
    sampler = make_sampler(names)
    for start in range(0, len(ids), BATCH_SIZE):
        drawn = sampler.select()
        batch = ids[start : start + BATCH_SIZE]
        assert drawn.tolist() == batch
        numbers = [int(str(key).split("-")[-1]) for key in batch]
        rewards = settled(np.repeat(numbers, GROUP_SIZE))
        sampler.observe(batch, rewards.reshape(BATCH_SIZE, GROUP_SIZE))
        sampler.advance()
    return sampler


def make_learner(bots: Any, cluster: Any, reward_fns: Any, **how: Any) -> Any:
    """Makes Tunix's GRPO learner on these tasks."""
    from tunix.rl.grpo import grpo_learner  # pyright: ignore[reportMissingImports]

    config = {"num_iterations": 1, **how}
    return grpo_learner.GRPOLearner(
        rl_cluster=cluster,
        reward_fns=reward_fns,
        metric_fns=[bots.metrics],
        algo_config=grpo_learner.GRPOConfig(
            num_generations=GROUP_SIZE,
            beta=0.0,
            reward_manager=bots.reward_manager,
            **config,
        ),
    )


def make_agentic_learner(bots: Any, cluster: Any, reward_fns: Any, **how: Any) -> Any:
    """Makes Tunix's agentic GRPO learner on these tasks."""
    from tunix.rl.agentic import agentic_grpo_learner  # pyright: ignore[reportMissingImports]

    return agentic_grpo_learner.GRPOLearner(
        rl_cluster=cluster,
        reward_fns=reward_fns,
        metric_fns=[bots.metrics],
        chat_parser=ChatParser(),
        algo_config=agentic_grpo_learner.GRPOConfig(
            num_generations=GROUP_SIZE,
            beta=0.0,
            max_response_length=2,
            max_concurrency=4,
            reward_manager=bots.reward_manager,
            **how,
        ),
    )


def die() -> None:
    """Ends this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def plan_kill(manager: Any, moment: str, step: int) -> None:
    """Kills the process when the checkpoint of a step is saved.

    Args:
      manager: Tunix's, before `attach`.
      moment: "before" any of it, "between" the two saves, "after" Tunix's is whole.
      step: of Tunix.
    """
    ours, theirs = tunix_checkpoints.save, manager.save

    def save_ours(tasks: Any, place: pathlib.Path, at: int) -> None:
        if at == step and moment == "before":
            die()
        ours(tasks, place, at)
        if at == step and moment == "between":
            die()

    def save_theirs(at: int, *args: Any, **how: Any) -> bool:
        is_saved = theirs(at, *args, **how)
        if at == step and moment == "after":
            for name in ("_checkpoint_manager", "_checkpointer"):
                beneath = getattr(manager, name, None)  # another one in later versions
                for wait in ("wait_until_finished", "wait"):
                    getattr(beneath, wait, lambda: None)()
            die()
        return is_saved

    tunix_checkpoints.save, manager.save = save_ours, save_theirs


def run(folder: pathlib.Path, steps: int, kill: str, agentic: bool, mini: int) -> None:
    """Trains, logs the tasks whose rewards came, and writes the posterior."""
    cluster = make_cluster(
        max_steps=steps, root=folder / "model", mini=mini, logprobs=agentic
    )
    if kill:
        moment, at = kill.split(":")
        plan_kill(cluster.actor_trainer.checkpoint_manager, moment, int(at))
    sampler = make_sampler()
    bots = tunix.attach(cluster, sampler, make_rows())
    log = (folder / "log.jsonl").open("a")

    def reward(prompts: Any, completions: Any, task_id: Any, **_: Any) -> list[float]:
        task_ids = np.asarray(task_id)[::GROUP_SIZE].tolist()
        line = {"from": restored, "step": sampler.step, "task_ids": task_ids}
        log.write(json.dumps(line) + "\n")
        log.flush()
        return settled(task_id).tolist()

    restored = cluster.actor_trainer.train_steps
    make: Callable[..., Any] = make_agentic_learner if agentic else make_learner
    make(bots, cluster, [reward]).train(bots)
    alpha, beta = sampler.posterior()
    np.savez(folder / "posterior.npz", alpha=alpha, beta=beta, step=sampler.step)


def main() -> None:
    """Runs with options from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--kill", default="")
    parser.add_argument("--agentic", action="store_true")
    parser.add_argument("--mini", type=int, default=BATCH_SIZE)
    options = parser.parse_args()
    run(options.folder, options.steps, options.kill, options.agentic, options.mini)


if __name__ == "__main__":
    main()
