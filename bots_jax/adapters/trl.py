"""Task selection for TRL's GRPOTrainer, and trainers built like it.

    from bots_jax.adapters.trl import ChoosesTasks

    class Trainer(ChoosesTasks, GRPOTrainer):
        pass

    trainer = Trainer(
        model, reward_funcs, args=config, train_dataset=dataset,  # a column "task_id"
        task_sampler=sampler, success=0.5, eval_dataset=held_out,
    )
    trainer.train()  # or, to go on, trainer.train(resume_from_checkpoint=True)

The dataset has a column with the sampler's task keys. The sampler draws where TRL
shuffles; every task is repeated as TRL repeats it. One batch of generations is one
step of the posterior, however many optimizer steps use it. The rewards of evaluation
never enter it.

Accelerate reads one batch ahead, and loader workers read further: what was read ahead
is in flight, is not drawn twice, and its evidence counts as what it is, a step late.
A pool must hold more than all batches that are read ahead.

The sampler is saved inside of TRL's own checkpoints, as `task_sampler`, and goes on
with `resume_from_checkpoint`. Batches that the trainer skips are answered without
drawing, and those that it had read ahead come again. The sampler is saved before the
model and moved into the checkpoint after it, so a process may die at any moment: what
TRL takes for a checkpoint has its sampler.

In several processes the sampler lives in the first one; pass `task_sampler=None` in
the others. Draws go to all of them, rewards come from all of them.

Run against GRPOTrainer and RLOOTrainer of TRL 1.16 (transformers 5.23, accelerate
1.15, torch 2.13, CPU, one process and two).
"""

import importlib
import math
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bots_jax import checks
from bots_jax.adapters.batches import DrawnBatches
from bots_jax.adapters.common import Success, observe_rows
from bots_jax.host.task_sampler import TaskSampler

FOLDER = "task_sampler"
"""Where the sampler lies in one of TRL's checkpoints."""

_HOOKS = (
    "_get_train_sampler",
    "_calculate_rewards",
    "_save_checkpoint",
    "_load_optimizer_and_scheduler",
)


class ChoosesTasks:
    """Stands before a trainer's class: `class T(ChoosesTasks, GRPOTrainer): pass`."""

    def __init__(
        self,
        *args: Any,
        task_sampler: TaskSampler | None,
        success: Success = None,
        reward_name: str | None = None,
        task_column: str = "task_id",
        **kwargs: Any,
    ):
        """Makes the trainer.

        Args:
          *args: of the trainer's class.
          task_sampler: over the rows of `train_dataset`; nobody else should draw from
            it. None in all processes but the first.
          success: what counts as solved, as in `common.to_success`.
          reward_name: the reward function that says so, by its name; the weighted sum
            that TRL trains on by default.
          task_column: column of the task keys, strings or integers; evaluation data
            need none.
          **kwargs: of the trainer's class.

        Raises:
          ValueError: for a dataset or settings that this cannot work with.
        """
        base: Any = super()
        missing = [name for name in _HOOKS if not hasattr(base, name)]
        if missing:
            raise ValueError(
                "ChoosesTasks must stand before a TRL trainer that has "
                f"{', '.join(missing)}; it was written for GRPOTrainer of TRL 1.16."
            )
        self._task_column, self._success = task_column, success
        self._task_sampler, self._drawn_batches = task_sampler, None
        base.__init__(*args, **kwargs)
        trainer: Any = self
        self._check_settings(trainer.args, trainer.train_dataset)
        names = list(trainer.reward_func_names)
        if reward_name is not None:
            checks.check_choice("reward_name", reward_name, tuple(names))
        self._reward_index = None if reward_name is None else names.index(reward_name)
        if trainer.accelerator.is_main_process:
            if task_sampler is None:
                raise ValueError("task_sampler must be given in the first process.")
            self._drawn_batches = DrawnBatches(
                task_sampler,
                trainer.args.generation_batch_size // trainer.num_generations,
                row_keys=list(trainer.train_dataset[task_column]),
                keep=max(64, 4 * _read_ahead(trainer.args)),
                whole=True,
            )

    def _check_settings(self, args: Any, dataset: Any) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "column_names"):
            raise ValueError(
                "train_dataset must have rows that can be picked, got a stream "
                f"({type(dataset).__name__})."
            )
        if self._task_column not in dataset.column_names:
            raise ValueError(
                f"task_column must be one of {', '.join(dataset.column_names)}, "
                f"got {self._task_column!r}."
            )
        if args.remove_unused_columns:
            raise ValueError(
                "remove_unused_columns must be False, got True: the rewards of a task "
                "are known by its task_column."
            )
        if args.ignore_data_skip:
            raise ValueError(
                "ignore_data_skip must be False, got True: batches that were trained "
                "on are skipped without drawing, so nothing is saved by it."
            )

    @property
    def task_sampler(self) -> TaskSampler | None:
        """The sampler; None in all processes but the first."""
        return self._task_sampler

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        trainer: Any = self
        size = trainer.args.generation_batch_size // trainer.num_generations
        data = trainer.train_dataset if dataset is None else dataset
        num_batches = len(data) // size
        if not num_batches:
            raise ValueError(
                f"train_dataset must have at least {size} rows, one batch of "
                f"generations, got {len(data)}."
            )
        return _RowSampler(
            self._rows,
            lambda: self._first_batch(num_batches),
            num_batches,
            size,
            trainer.num_generations,
            _uses(trainer),
        )

    def _first_batch(self, num_batches: int) -> int:
        """Number of the first batch of the epoch that begins now."""
        trainer: Any = self
        steps = math.ceil(
            num_batches * _uses(trainer) / trainer.args.gradient_accumulation_steps
        )
        return trainer.state.global_step // steps * num_batches

    def _rows(self, number: int) -> list[int]:
        """The same rows in all processes; any rows for a batch that is skipped."""
        trainer: Any = self
        if trainer.accelerator.num_processes == 1:
            return self._own_rows(number)
        answer: list[Any] = [None, None]
        if trainer.accelerator.is_main_process:
            try:
                answer[0] = self._own_rows(number)
            except Exception as error:  # the others wait for an answer
                answer[1] = error
        _accelerate().broadcast_object_list(answer)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def _own_rows(self, number: int) -> list[int]:
        batches = self._drawn_batches
        assert batches is not None
        if batches.is_forgotten(number):
            return [0] * batches.batch_size
        return batches.rows(number)

    def _calculate_rewards(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        trainer: Any = self
        base: Any = super()
        rewards = base._calculate_rewards(inputs, *args, **kwargs)
        if trainer.model.training:
            keys = [row[self._task_column] for row in inputs]
            if trainer.accelerator.num_processes > 1:
                keys = _accelerate().gather_object(keys)
            if self._task_sampler is not None and trainer.accelerator.is_main_process:
                values = self._combined(rewards.detach().cpu().numpy())
                observe_rows(self._task_sampler, keys, values, self._success)
                self._task_sampler.advance()
        return rewards

    def _combined(self, rewards: np.ndarray) -> np.ndarray:
        """One reward per rollout, as TRL sums them up; NaN if no function gave one."""
        if self._reward_index is not None:
            return rewards[:, self._reward_index]
        trainer: Any = self
        weights = np.asarray(trainer.reward_weights.cpu())
        total = np.nansum(rewards * weights, axis=1)
        return np.where(np.isnan(rewards).all(axis=1), np.nan, total)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds `bots/...` to what is logged of a training step."""
        trainer: Any = self
        base: Any = super()
        is_step = "loss" in logs and trainer.model.training
        if self._drawn_batches is not None and is_step:
            found = self._drawn_batches.sampler.metrics()
            known = {n: x for n, x in found.items() if not math.isnan(x)}
            logs.update({f"bots/{name}": value for name, value in known.items()})
        base.log(logs, *args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any, *args: Any) -> None:
        trainer: Any = self
        base: Any = super()
        if self._drawn_batches is None or not trainer.args.should_save:
            return base._save_checkpoint(model, trial, *args)
        run = pathlib.Path(trainer._get_output_dir(trial=trial))
        checkpoint = run / f"checkpoint-{trainer.state.global_step}"
        waiting = _waiting_place(checkpoint)
        shutil.rmtree(waiting, ignore_errors=True)
        self._drawn_batches.save(waiting, keep=1)
        self._drawn_batches.sampler.close()
        base._save_checkpoint(model, trial, *args)
        shutil.rmtree(checkpoint / FOLDER, ignore_errors=True)
        waiting.rename(checkpoint / FOLDER)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        base: Any = super()
        if checkpoint is not None and self._drawn_batches is not None:
            place = pathlib.Path(checkpoint) / FOLDER
            if not place.is_dir():
                place = _waiting_place(pathlib.Path(checkpoint))
            if not place.is_dir():
                raise FileNotFoundError(
                    f"no state of the task sampler in {checkpoint}: it was saved by a "
                    "trainer without one. Start from its model instead."
                )
            self._drawn_batches.restore(place)
        base._load_optimizer_and_scheduler(checkpoint)


class _RowSampler:
    """Row numbers, as TRL's RepeatSampler orders them."""

    def __init__(
        self,
        rows: Callable[[int], list[int]],
        first: Callable[[], int],
        num_batches: int,
        batch_size: int,
        repeats: int,
        batch_repeats: int,
    ):
        self._rows, self._first, self._num_batches = rows, first, num_batches
        self._repeats, self._batch_repeats = repeats, batch_repeats
        self._length = num_batches * batch_size * repeats * batch_repeats

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        first = self._first()
        for number in range(first, first + self._num_batches):
            rows = self._rows(number)
            for _ in range(self._batch_repeats):
                for row in rows:
                    for _ in range(self._repeats):
                        yield row


def _accelerate() -> Any:
    return importlib.import_module("accelerate.utils")


def _waiting_place(checkpoint: pathlib.Path) -> pathlib.Path:
    """Where the sampler lies until TRL has saved the rest of the checkpoint."""
    return checkpoint.with_name(f"{FOLDER}-of-{checkpoint.name}")


def _uses(trainer: Any) -> int:
    """How often the loader gives out one batch of generations."""
    return trainer.num_iterations * trainer.args.steps_per_generation


def _read_ahead(args: Any) -> int:
    return 2 + args.dataloader_num_workers * (args.dataloader_prefetch_factor or 2)
