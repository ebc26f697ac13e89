r"""GRPO on mathematics with Qwen2.5-1.5B-Instruct and Tunix: BOTS or uniform choice.

    python -m bots_jax.recipes.qwen_math --model-dir Qwen2.5-1.5B-Instruct \
        --table math__combined_54.4k.parquet --selector bots --out runs/bots
    python -m bots_jax.recipes.qwen_math --model-dir Qwen2.5-1.5B-Instruct \
        --table math__combined_54.4k.parquet --selector uniform --out runs/uniform

The settings are those of the official example's bots.yaml and random.yaml: 32 tasks a
step, 16 rollouts of each, learning rate 1e-6, lambda = rho = 0.1, p* = 0.5, 4,096 and
8,192 tokens, one epoch of GURU's 54,400 problems. What it writes: metrics.jsonl, a line
per step; settings.json; model/, the checkpoints of Tunix and of the sampler. After an
interruption the same command with --resume goes on.

    python -m bots_jax.recipes.qwen_math --tiny --out runs/tiny

makes a random model of the same architecture and a small table, and goes through the
same code on a CPU: it loads, trains, saves, is built anew, restores, and trains on.

What was run: --tiny, on CPU. What was not: the 1.5B model, for want of its weights; on
TPU or GPU nothing of this script. Differences from the official example that are known:
rollouts are made by Tunix's vanilla sampler from the current weights (there: vLLM, of
weights up to 8 steps old), tasks whose prompt is too long are left out, and a rollout
that could not be evaluated says nothing to the sampler (there: a failure).
"""

import contextlib
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

import bots_jax
from bots_jax.adapters import tunix
from bots_jax.evaluation.store import write_json
from bots_jax.grpo.metrics_log import read_metrics
from bots_jax.progress import Phase
from bots_jax.recipes import qwen_model, tiny_qwen
from bots_jax.whole_files import write_text

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
_MAY_CHANGE = ("steps", "resume", "quiet", "save_every", "time_limit")


@dataclasses.dataclass(frozen=True)
class QwenMath:
    """GRPO on mathematics with a Qwen2 model and Tunix: BOTS or uniform choice."""

    out: pathlib.Path
    """Folder of what is written."""
    model_dir: pathlib.Path = pathlib.Path()
    """Hugging Face folder: config.json, *.safetensors, tokenizer."""
    table: tuple[pathlib.Path, ...] = ()
    """Parquet or JSON lines with prompts and answers."""
    selector: Literal["bots", "uniform"] = "bots"
    """Who chooses."""
    references: tuple[str, ...] = ("qwen2.5_7b_pass_rate", "qwen3_30b_pass_rate")
    """Columns of pass rates of a weak and a strong model, for bots; empty for none."""
    unevaluated: Literal["refuse", "mean"] = "refuse"
    """What to do with tasks without a pass rate; mean: the column's."""
    steps: int = 1700
    """Training steps in all; 1,700 of 32 tasks are one epoch."""
    batch_size: int = 32
    """Tasks per step."""
    group_size: int = 16
    """Rollouts per task."""
    micro_batch_size: int = 1
    """Tasks per gradient computation."""
    rollout_batch_size: int = 8
    """Tasks rolled out at once."""
    learning_rate: float = 1e-6
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    kl_coef: float = 0.0
    """0: no reference model in memory."""
    temperature: float = 1.0
    """Of the rollouts."""
    forgetting: float = 0.1
    """lambda in the paper."""
    implicit_weight: float = 0.1
    """rho in the paper."""
    target_success_prob: float = 0.5
    """p* in the paper."""
    max_prompt_tokens: int = 4096
    max_response_tokens: int = 8192
    instruction: str = INSTRUCTION
    """Added to prompts that do not speak of a box; empty for none."""
    time_limit: float = 10.0
    """Seconds for judging one completion."""
    dtype: str = "bfloat16"
    """Of the computation."""
    param_dtype: str = "float32"
    """Of weights and optimizer."""
    remat: Literal["none", "block", "decoder"] = "decoder"
    """What is computed twice to save memory."""
    flash_attention: bool = False
    """Tunix's, for TPUs."""
    save_every: int = 50
    """Steps between checkpoints."""
    seed: int = 0
    """Of the choice of tasks, and of the rollouts."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on from the last checkpoint in `out`."""
    tiny: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Make a tiny random model and table in `out`, and train on them."""
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print no progress."""


class PromptRows:
    """Prompts in the model's chat format, and answers, for the adapter.

    Attributes:
      fingerprint: of the table, which a checkpoint remembers.
    """

    def __init__(self, table: Any, tokenizer: Any, instruction: str):
        """Reads nothing yet."""
        self._table, self._tokenizer = table, tokenizer
        self._instruction = instruction
        self.fingerprint = table.fingerprint

    def texts(self, rows: Any) -> list[str]:
        """Formats the prompts of rows."""
        return [
            self._tokenizer.apply_chat_template(
                with_instruction(prompt, self._instruction),
                add_generation_prompt=True,
                tokenize=False,
            )
            for prompt in self._table.prompts(rows)
        ]

    def __call__(self, task_ids: np.ndarray) -> dict[str, list[str]]:
        """Gives the columns of tasks, by their keys."""
        rows = self._table.rows_of(task_ids)
        answers = [str(answer) for answer in self._table.answers(rows)]
        return {"prompts": self.texts(rows), "answer": answers}

    def short_enough(self, max_tokens: int, chunk: int = 1024) -> np.ndarray:
        """Tells which prompts have at most so many tokens; bool [N]."""
        fits = np.zeros(len(self._table), bool)
        for at in range(0, len(fits), chunk):
            rows = np.arange(at, min(at + chunk, len(fits)))
            fits[rows] = [
                len(self._tokenizer.encode(text)) <= max_tokens
                for text in self.texts(rows)
            ]
        return fits


def with_instruction(prompt: Any, instruction: str) -> list[dict[str, str]]:
    r"""Makes chat messages that ask for a box.

    Args:
      prompt: text, or chat messages.
      instruction: added to the last message where none speaks of a box.

    Returns:
      Chat messages.

    Example:
      >>> with_instruction("1 + 1 = ?", "Use a box.")
      [{'role': 'user', 'content': '1 + 1 = ?\n\nUse a box.'}]
    """
    messages = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, str):
        messages = [dict(message) for message in prompt]
    if instruction and not any("boxed" in m["content"] for m in messages):
        messages[-1]["content"] += f"\n\n{instruction}"
    return messages


def make_sampler(config: QwenMath, table: Any, eligible: np.ndarray) -> Any:
    """Makes the sampler over all rows of a table.

    Args:
      config: which selector, and its settings.
      table: of N tasks.
      eligible: bool [N].

    Returns:
      A `TaskSampler` with the table's keys.

    Raises:
      ValueError: for pass rates that are missing or no pass rates.
    """
    from bots_jax.tasks.tables import pass_rates

    key, size = jax.random.key(config.seed), len(table)
    if config.selector == "uniform":
        selector = bots_jax.uniform(
            num_tasks=size, batch_size=config.batch_size, eligible=eligible
        )
        state = selector.init()
    else:
        selector = bots_jax.bots(
            num_tasks=size,
            batch_size=config.batch_size,
            group_size=config.group_size,
            forgetting=config.forgetting,
            implicit_weight=config.implicit_weight,
            target_success_prob=config.target_success_prob,
            eligible=eligible,
        )
        state = selector.init()
        if config.references:
            columns = list(config.references)
            known = pass_rates.references(table, columns, missing=config.unevaluated)
            state = selector.init(known)
    return bots_jax.TaskSampler(selector, key, state, task_keys=table.keys)


class StepLog:
    """Writes a line of metrics per training step; for Tunix's external logger."""

    def __init__(self, path: pathlib.Path, done: int, tell: Callable[[str, int], None]):
        """Opens the file; steps that will be done again are taken out."""
        kept = [row for row in read_metrics(path) if row["step"] <= done]
        write_text(path, "".join(f"{json.dumps(row)}\n" for row in kept))
        self._file, self._tell, self._time = path.open("a"), tell, time.monotonic()

    def __call__(self, buffer: Any) -> None:
        """Takes what Tunix has gathered of one step."""
        if buffer.mode != "train":
            return
        said = numbers(buffer.metrics)
        if "rewards/solved" not in said:  # the rest, at the very end
            return
        now, before = time.monotonic(), self._time
        self._time = now
        line = {"step": buffer.global_steps + 1, "seconds": now - before} | said
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        idle = said["bots/zero_advantage_groups"]
        solved = said["rewards/solved"]
        self._tell(f"reward {solved}, groups without advantage {idle:.3f}", 1)


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Sums up what Tunix has buffered; texts are left out.

    Example:
      >>> numbers({"x": ([1.0, 3.0], np.mean), "prompts": (["a"], None)})
      {'x': 2.0}
    """
    found = {}
    for name, (values, summed_up) in metrics.items():
        with contextlib.suppress(TypeError, ValueError):  # texts
            parts = [np.asarray(value, np.float64).reshape(-1) for value in values]
            joined = np.concatenate(parts)
            if summed_up is not None and joined.size:
                value = float(summed_up(joined))
                found[name] = value if np.isfinite(value) else None
    return found


def check_folder(config: QwenMath) -> dict[str, str]:
    """Checks that a run may begin, or go on, in its folder.

    Returns:
      The settings that a run must keep.

    Raises:
      ValueError: if there is a run already, none to resume, or one of other settings.
    """
    path = config.out / "settings.json"
    said = {name: str(x) for name, x in dataclasses.asdict(config).items()}
    said = {name: x for name, x in said.items() if name not in _MAY_CHANGE}
    if not config.resume:
        if path.exists():
            raise ValueError(
                f"{config.out} holds a run already: --resume goes on with it, another "
                "--out begins a new one."
            )
        return said
    if not path.exists():
        raise ValueError(f"there is no run to resume in {config.out}.")
    before = json.loads(path.read_text())
    for name in said:
        if before.get(name) != said[name]:
            raise ValueError(
                f"{name} was {before.get(name)} in this run, got {said[name]}."
            )
    return said


def run(config: QwenMath) -> pathlib.Path:
    """Trains; returns the file of metrics.

    Args:
      config: all settings.

    Raises:
      ModuleNotFoundError: naming what must be installed.
      ValueError: with one sentence, for a model, table or folder that does not fit.
    """
    from bots_jax.tasks.rewards.matching import load_reward
    from bots_jax.tasks.rewards.runner import RewardRunner
    from bots_jax.tasks.tables.table import open_table

    if not config.table:
        raise ValueError("table must name a file.")
    tell_user = (lambda *_: None) if config.quiet else print
    settings = check_folder(config)
    tokenizer = qwen_model.load_tokenizer(config.model_dir)
    table = open_table(config.table)
    rows = PromptRows(table, tokenizer, config.instruction)
    tell_user(f"counting the tokens of {len(table)} prompts")
    eligible = rows.short_enough(config.max_prompt_tokens)
    sampler = make_sampler(config, table, eligible)
    tell_user(f"{eligible.sum()} of {len(table)} prompts are short enough.")
    tell_user(str(table.duplicates()))
    cluster = qwen_model.make_cluster(config, tokenizer, config.out / "model")
    qwen_model.vary_noise(cluster, config.seed, cluster.actor_trainer.train_steps)
    bots = tunix.attach(cluster, sampler, rows, reward="solved")
    write_json(config.out / "settings.json", settings)
    judge = RewardRunner(load_reward("boxed"), time_limit=config.time_limit)
    metrics, done = config.out / "metrics.jsonl", cluster.actor_trainer.train_steps
    with judge, Phase("steps", config.steps, done, config.quiet, 0) as phase:
        learner = make_learner(config, cluster, bots, judge)
        cluster.global_steps = done  # Tunix's last checkpoint does not remember it
        cluster.with_external_metrics_logger(StepLog(metrics, done, phase.tell))
        if done < config.steps:
            learner.train(bots)
    tell_user(judge.report() if judge.num_scored else f"all {done} steps were done.")
    return metrics


def make_learner(config: QwenMath, cluster: Any, bots: Any, judge: Any) -> Any:
    """Makes Tunix's GRPO learner, with mathematics in boxes as its reward."""
    from tunix.rl.grpo import grpo_learner  # pyright: ignore[reportMissingImports]

    def solved(prompts: Any, completions: Any, answer: Any, **_: Any) -> list[float]:
        rows = [{"answer": str(text)} for text in answer]
        return judge.score([str(text) for text in completions], rows).tolist()

    return grpo_learner.GRPOLearner(
        rl_cluster=cluster,
        reward_fns=[solved],
        metric_fns=[bots.metrics],
        algo_config=grpo_learner.GRPOConfig(
            num_generations=config.group_size,
            beta=config.kl_coef,
            reward_manager=bots.reward_manager,
        ),
    )


def run_tiny(config: QwenMath) -> pathlib.Path:
    """Goes through all of it with a tiny random model, in two halves."""
    model_dir, table = tiny_qwen.write(config.out)
    tiny = dataclasses.replace(
        config,
        tiny=False,
        model_dir=model_dir,
        table=(table,),
        steps=3,
        batch_size=4,
        group_size=4,
        micro_batch_size=2,
        rollout_batch_size=4,
        learning_rate=3e-3,
        max_prompt_tokens=192,
        max_response_tokens=16,
        dtype="float32",
        save_every=2,
        out=config.out / "run",
    )
    run(tiny)
    return run(dataclasses.replace(tiny, steps=5, resume=True))


def main() -> None:
    """Runs with options from the command line; bad ones are answered in a sentence."""
    config = tyro.cli(QwenMath, description=__doc__)
    try:
        (run_tiny if config.tiny else run)(config)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
