"""A whole run: tasks, warm-up, references, GRPO with a selector, report."""

import pathlib
import time
import zlib
from typing import NamedTuple

import jax
import numpy as np

from bots_jax.checkpoint import Checkpoints
from bots_jax.directory_lock import DirectoryLock
from bots_jax.grpo.config import TrainConfig
from bots_jax.grpo.config_checks import check_config
from bots_jax.grpo.data import RunData, load_data
from bots_jax.grpo.devices import Devices
from bots_jax.grpo.loop import (
    RunState,
    Trainer,
    evaluate,
    grpo_step,
    make_trainer,
    start_state,
)
from bots_jax.grpo.metrics_log import MetricsLog
from bots_jax.grpo.model import make_model
from bots_jax.grpo.references import evaluate_reference, write_reference_table
from bots_jax.grpo.report import (
    measure_beliefs,
    print_closing_table,
    save_figures,
    spearman,
    summarise,
    write_summary,
)
from bots_jax.grpo.rollouts import Policy
from bots_jax.grpo.run_dir import base_fingerprint, run_fingerprint
from bots_jax.grpo.warmup import warm_up
from bots_jax.progress import Phase


class RunOptions(NamedTuple):
    """What does not change a run's results.

    Attributes:
      tensorboard: write event files too.
      quiet: show no progress and no table.
    """

    tensorboard: bool = False
    quiet: bool = False


_DEFAULT = RunOptions()


def train(
    config: TrainConfig, directory: pathlib.Path, options: RunOptions = _DEFAULT
) -> dict[str, float]:
    """Runs from wherever the directory stands to the end.

    Every phase finds what an earlier, killed run has finished and goes on from there,
    with the numbers that it would have had: nothing random depends on time.

    Args:
      config: the settings, which must be those in the directory's config.json.
      directory: made by `create_run`.
      options: what does not change results.

    Returns:
      The summary, which is also in summary.json.

    Raises:
      ValueError: for settings that do not fit together, or files of another run.
      BlockingIOError: naming the other writer, if the run is going on.
      OSError: with one sentence, if the disk is full.
    """
    with DirectoryLock(directory / "writer.lock"):
        return _train(config, directory, options)


def _train(
    config: TrainConfig, directory: pathlib.Path, options: RunOptions
) -> dict[str, float]:
    started = time.monotonic()
    check_config(config)
    devices = Devices()
    data = load_data(config, options.quiet)
    policy, references = prepare(config, data, devices, directory, options.quiet)
    trainer = make_trainer(config, data, policy)
    state, rows = optimise(trainer, references, directory, options)
    beliefs = measure_beliefs(trainer, state)
    summary = summarise(rows)
    summary["reference_rollouts"] = 2 * config.reference.rollouts * config.num_tasks
    summary["spearman"] = spearman(*beliefs)
    summary["seconds_total"] = time.monotonic() - started
    write_summary(directory / "summary.json", summary)
    target = config.selector.target_success_prob
    is_aimed = config.selector.name != "uniform"
    figures = save_figures(
        directory / "figures", rows, beliefs, target if is_aimed else None
    )
    if not options.quiet:
        print_closing_table(config.selector.name, summary)
        print("figures:", *figures, sep="\n  ")
    return summary


def prepare(
    config: TrainConfig,
    data: RunData,
    devices: Devices,
    directory: pathlib.Path,
    quiet: bool,
) -> tuple[Policy, np.ndarray]:
    """Warms the policy up and measures two references on the whole pool.

    The warm-up may begin with correct demonstrations, and ends with those of mixed
    quality. The weak reference is the policy as GRPO finds it, the strong one the same
    model after further steps on correct demonstrations.

    Returns:
      The policy, and pass rates float32 [N, 2].
    """
    fingerprint = base_fingerprint(config, data.train.pool.fingerprint)
    model, initial = make_model(config.model, data.tokenizer.vocab_size, config.seed)
    steps = config.warmup
    phases = [
        ("warmup", "warm-up", data.mixed, steps.num_steps),
        ("strong", "strong reference model", data.correct, steps.strong_steps),
    ]
    if steps.correct_steps:
        first = ("correct", "correct warm-up", data.correct, steps.correct_steps)
        phases.insert(0, first)
    params = initial
    policies = []
    for folder, shown, demonstrations, num_steps in phases:
        params = warm_up(
            shown,
            model,
            params,
            demonstrations,
            config.warmup,
            num_steps,
            seed=(config.seed, zlib.crc32(folder.encode())),
            devices=devices,
            directory=directory / folder,
            fingerprint=fingerprint,
            quiet=quiet,
        )
        policies.append(Policy(model, params, data.tokenizer, devices))
    rates = [
        evaluate_reference(
            name,
            policy,
            data.train,
            config.reference,
            jax.random.key(config.seed),
            directory=directory / "references",
            fingerprint=fingerprint,
            quiet=quiet,
        )
        for name, policy in zip(("weak", "strong"), policies[-2:], strict=True)
    ]
    references = np.stack(rates, axis=1)
    table = directory / "references.parquet"
    if not table.is_file():  # several processes may read what one has made
        write_reference_table(data.train, references, config.reference.rollouts, table)
    return policies[-2], references


def optimise(
    trainer: Trainer,
    references: np.ndarray,
    directory: pathlib.Path,
    options: RunOptions,
) -> tuple[RunState, list[dict]]:
    """Trains with GRPO, going on from the newest checkpoint there is.

    Returns:
      The final state, and all lines of metrics.jsonl.
    """
    config = trainer.config
    fingerprint = run_fingerprint(config, trainer.data.train.pool.fingerprint)
    folder, keep = directory / "checkpoints", config.keep_checkpoints
    events = directory / "tensorboard" if options.tensorboard else None
    last, first = config.grpo.num_steps, 0
    state = start_state(trainer, references)
    with Checkpoints(folder, fingerprint, keep) as checkpoints:
        found = checkpoints.read_latest()
        if found is not None:
            first, state = found.step, state.restored(found, trainer.policy.devices)
        with MetricsLog(directory / "metrics.jsonl", first, events) as log:
            with Phase("GRPO", last, first, options.quiet) as phase:
                for step in range(first, last):
                    held_out = {}
                    if step % config.evaluation.every == 0:
                        held_out = evaluate(trainer, state.learner.params)
                    state, row = grpo_step(trainer, state, step)
                    log.write(row | held_out)
                    done = step + 1
                    if done % config.checkpoint_every == 0 or done == last:
                        checkpoints.save(done, *state.to_save())
                    shown = {"effective": row["effective_task_ratio"]}
                    phase.advance(reward=row["reward"], **shown)
            if not log.rows or log.rows[-1]["step"] != last:
                log.write({"step": last, **evaluate(trainer, state.learner.params)})
    return state, log.rows
