"""The tasks of a run: the pool, the held-out tasks and the demonstrations."""

from typing import NamedTuple

import numpy as np

from bots_jax.grpo.config import TrainConfig
from bots_jax.progress import Phase
from bots_jax.tasks import (
    CharTokenizer,
    Demonstrations,
    Scorer,
    TaskPool,
    TokenisedPool,
    build_pool,
    split_pool,
    tokenise,
    wrong_rates,
)


class TaskSet(NamedTuple):
    """A pool with its token ids and its scorer.

    Attributes:
      pool: M tasks.
      tokens: of its texts.
      scorer: gives a completion its marks.
      exact_answers_only: whether only the pool's own answer earns anything.
    """

    pool: TaskPool
    tokens: TokenisedPool
    scorer: Scorer
    exact_answers_only: bool = False


class RunData(NamedTuple):
    """What a run trains and is measured on.

    Attributes:
      train: the pool that the selector chooses from, N tasks.
      held_out: tasks of the same mix that are never trained on.
      mixed: demonstrations of mixed quality, for the warm-up.
      correct: correct demonstrations, for the strong reference.
      tokenizer: characters to ids.
    """

    train: TaskSet
    held_out: TaskSet
    mixed: Demonstrations
    correct: Demonstrations
    tokenizer: CharTokenizer


def load_data(config: TrainConfig, quiet: bool = False) -> RunData:
    """Builds or reads the pools of a run.

    One table of tasks is drawn and split: N tasks for the pool, the held-out tasks in
    the same mix. Demonstrations show the pool's tasks, as pretraining data show much
    of what a model is later trained on, or `warmup.num_tasks` tasks of their own; the
    held-out tasks are never shown.

    Args:
      config: seed, sizes and families.
      quiet: True for no progress.

    Returns:
      Pools with their tokens and scorers, and demonstrations.

    Raises:
      ValueError: for an unknown family, or more tasks than exist.
    """
    held_out, only_shown = config.evaluation.num_tasks, config.warmup.num_tasks
    total = config.num_tasks + held_out + only_shown
    tokenizer = CharTokenizer()
    with Phase("building tasks", total, quiet=quiet) as phase:
        everything = build_pool(
            total,
            seed=config.seed,
            families=config.families,
            progress=lambda done, _: phase.advance(done - phase.done),
        )
    rest, held = split_pool(everything, held_out, seed=config.seed)
    shown, train = rest, rest
    if only_shown:
        shown, train = split_pool(rest, config.num_tasks, seed=config.seed)
    rates = wrong_rates(config.warmup.wrong_rates)
    mixed = Demonstrations.from_pool(shown, rates, tokenizer)
    correct = Demonstrations(mixed.tokens, np.zeros_like(mixed.wrong_rate))
    task_set = lambda pool: TaskSet(  # noqa: E731
        pool, tokenise(pool, tokenizer), Scorer(pool), config.exact_answers_only
    )
    return RunData(
        train=task_set(train),
        held_out=task_set(held),
        mixed=mixed,
        correct=correct,
        tokenizer=tokenizer,
    )
