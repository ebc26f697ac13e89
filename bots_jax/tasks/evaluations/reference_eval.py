"""Reference evaluation: how often a model solves the tasks of a table, as columns.

A model is rolled out G times per task, or an evaluation that somebody has logged is
read. The result is a new parquet file: the table, with the columns `NAME_pass_rate`
(float32, over the rollouts that were evaluated) and `NAME_num_rollouts` (int32, how
many those were). Both are null where nothing was evaluated.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bots_jax.tasks.evaluations.log import EvaluationLog, LogHeader, Tally
from bots_jax.tasks.evaluations.log_import import read_log
from bots_jax.tasks.evaluations.new_file import check_new, new_parquet
from bots_jax.tasks.rewards.runner import RewardRunner
from bots_jax.tasks.tables.pass_rates import COUNT_ENDING, RATE_ENDING
from bots_jax.tasks.tables.table import TaskTable

Generate = Callable[[list[Any], int, list[int]], Sequence[Sequence[str]]]
"""generate(n prompts, group_size, n seeds) -> n lists of group_size completions."""


class EvaluationReport(NamedTuple):
    """What a reference evaluation came to.

    Attributes:
      num_tasks: N.
      num_evaluated: tasks with a pass rate.
      num_failed: tasks that were rolled out, or logged, without one reward known.
      num_failed_rollouts: rollouts without a reward, of all tasks.
      mean_pass_rate: of the evaluated tasks; NaN without any.
      notes: one sentence each for what there is to say besides.
      out: the file.
    """

    num_tasks: int
    num_evaluated: int
    num_failed: int
    num_failed_rollouts: int
    mean_pass_rate: float
    notes: tuple[str, ...]
    out: Path

    def __str__(self) -> str:
        left = self.num_tasks - self.num_evaluated - self.num_failed
        lines = [
            f"{self.num_evaluated} of {self.num_tasks} tasks evaluated, "
            f"mean pass rate {self.mean_pass_rate:.3f}"
        ]
        if self.num_failed or left:
            lines.append(
                f"not evaluated, so null: {self.num_failed + left} tasks, {left} never "
                f"rolled out and {self.num_failed} without a rollout that has a reward"
            )
        if self.num_failed_rollouts:
            lines.append(f"rollouts without a reward: {self.num_failed_rollouts}")
        return "\n".join([*lines, *self.notes, f"written to {self.out}"])


def reference_eval(
    table: TaskTable,
    generate: Generate,
    runner: RewardRunner,
    *,
    group_size: int,
    batch_size: int,
    out: str | Path,
    name: str,
    seed: int = 0,
    limit: int | None = None,
    model: str | None = None,
    reward: str | None = None,
    quiet: bool = False,
) -> EvaluationReport:
    """Rolls a model out over a table, and writes pass rates beside the tasks.

    Every batch is brought to the disk in a log beside the output, OUT.log.jsonl. After
    a kill at any moment the same call goes on behind the last whole batch. A task's
    seed depends on `seed` and its key only, so the result is the same, if `generate`
    gives the same completions for the same prompt and seed. The log stays.

    Args:
      table: N tasks.
      generate: generate(prompts, group_size, seeds) -> for every prompt, as it stands
        in the table, a list of group_size texts.
      runner: scores completions; rows have the table's columns, `prompt` and `answer`.
      group_size: rollouts per task, G.
      batch_size: tasks per call of `generate`; the last call has fewer.
      out: the new file, .parquet.
      name: of the model, for the columns.
      seed: of the rollouts, in [0, 2^31).
      limit: only the first so many tasks; None for all.
      model: what is rolled out, for the log; the function's name if not given.
      reward: what judges, for the log; its name if not given.
      quiet: show no progress.

    Returns:
      What it came to.

    Raises:
      ValueError: with one sentence, for sizes out of range, a file that is there, a
        column that is there, a log of other settings or of another table, and
        completions that are not as many as asked for.
      BlockingIOError: if another process is writing that log.

    Example:
      >>> import tempfile
      >>> from bots_jax.tasks.rewards.matching import exact_match
      >>> from bots_jax.tasks.tables.table import open_table
      >>> folder = tempfile.TemporaryDirectory()
      >>> tasks = Path(folder.name, "tasks.jsonl")
      >>> _ = tasks.write_text('{"prompt": "1 + 1", "answer": "2"}')
      >>> def generate(prompts, group_size, seeds):
      ...     return [["2", "3"] for _ in prompts]
      >>> report = reference_eval(
      ...     open_table(tasks, cache_dir=folder.name), generate,
      ...     RewardRunner(exact_match(), time_limit=None), group_size=2, batch_size=8,
      ...     out=Path(folder.name, "evaluated.parquet"), name="weak", quiet=True)
      >>> report.num_evaluated, report.mean_pass_rate
      (1, 0.5)
      >>> folder.cleanup()
    """
    group_size = _checked_count("group_size", group_size)
    batch_size = _checked_count("batch_size", batch_size)
    limit = None if limit is None else _checked_count("limit", limit)
    seed = _checked_count("seed", seed, minimum=0)
    out = Path(out)
    _check_target(table, out, name)
    header = LogHeader(
        table=table.fingerprint,
        group_size=group_size,
        name=name,
        model=model or _name_of(generate),
        reward=reward or _name_of(runner.reward),
        seed=seed,
    )
    runner.start()
    with EvaluationLog(log_path(out), header, table) as log:
        wanted = min(limit or len(table), len(table))
        _roll_out(table, generate, runner, log, header, batch_size, wanted, quiet)
        write_evaluated(table, log.tally, out, name)
        notes = [runner.report()] if runner.num_scored else []
        if log.num_dropped:
            notes.append(f"a torn last line of {log.path} was dropped and done again")
        return _report(table, log.tally, notes, out)


def import_evaluation(
    table: TaskTable,
    log: str | Path,
    *,
    out: str | Path,
    name: str,
    model_version: int | str | None = None,
) -> EvaluationReport:
    r"""Writes pass rates beside the tasks that somebody else has logged.

    Args:
      table: N tasks.
      log: JSON lines; see `evaluation_import`.
      out: the new file, .parquet.
      name: of the model, for the columns.
      model_version: which model's lines, in a log of several.

    Returns:
      What it came to.

    Raises:
      ValueError: with one sentence, for a file or a column that is there, and a log
        that cannot be used.

    Example:
      >>> import tempfile
      >>> from bots_jax.tasks.tables.table import open_table
      >>> folder = tempfile.TemporaryDirectory()
      >>> tasks, log = Path(folder.name, "tasks.jsonl"), Path(folder.name, "log.jsonl")
      >>> _ = tasks.write_text('{"prompt": "a"}\n{"prompt": "b"}')
      >>> table = open_table(tasks, cache_dir=folder.name)
      >>> _ = log.write_text('{"prompt": "b", "rewards": [1, 0]}')
      >>> out = Path(folder.name, "evaluated.parquet")
      >>> report = import_evaluation(table, log, out=out, name="weak")
      >>> open_table(out, cache_dir=folder.name).numbers("weak_pass_rate")
      array([nan, 0.5])
      >>> folder.cleanup()
    """
    out = Path(out)
    _check_target(table, out, name)
    tally, notes = read_log(Path(log), table, model_version)
    write_evaluated(table, tally, out, name)
    return _report(table, tally, notes, out)


def log_path(out: Path) -> Path:
    """Names the log of an output.

    >>> log_path(Path("guru/weak.parquet")).name
    'weak.parquet.log.jsonl'
    """
    return out.with_name(f"{out.name}.log.jsonl")


def task_seed(seed: int, key: int | str) -> int:
    """Derives the seed of a task, in [0, 2^31), whatever its place in the table.

    >>> task_seed(0, "a") == task_seed(0, "a"), task_seed(0, "a") == task_seed(1, "a")
    (True, False)
    """
    content = f"{seed}/{key}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(content, digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def write_evaluated(table: TaskTable, tally: Tally, out: Path, name: str) -> None:
    r"""Writes a table with the two columns of an evaluation as a new parquet file.

    Args:
      table: N tasks.
      tally: of its rows.
      out: the file.
      name: of the model.

    Raises:
      ValueError: if there is such a file.

    Example:
      >>> import tempfile
      >>> from bots_jax.tasks.tables.table import open_table
      >>> folder = tempfile.TemporaryDirectory()
      >>> tasks = Path(folder.name, "tasks.jsonl")
      >>> _ = tasks.write_text('{"prompt": "a"}\n{"prompt": "b"}')
      >>> table = open_table(tasks, cache_dir=folder.name)
      >>> tally, out = Tally(2), Path(folder.name, "evaluated.parquet")
      >>> tally.add(0, [1.0, 0.0, 0.0])
      >>> write_evaluated(table, tally, out, "weak")
      >>> open_table(out, cache_dir=folder.name).read([0, 1], ["weak_num_rollouts"])
      {'weak_num_rollouts': [3, None]}
      >>> folder.cleanup()
    """
    import pyarrow as pa

    schema = table.schema
    for ending, type_ in ((RATE_ENDING, pa.float32()), (COUNT_ENDING, pa.int32())):
        schema = schema.append(pa.field(name + ending, type_))
    rates, counts = tally.pass_rates, tally.num_rollouts
    start = 0
    with new_parquet(out, schema) as write:
        for batch in table.batches():
            here = slice(start, start + batch.num_rows)
            is_null = counts[here] == 0
            added = (
                pa.array(rates[here], pa.float32(), mask=is_null),
                pa.array(counts[here], pa.int32(), mask=is_null),
            )
            write(pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema))
            start += batch.num_rows


def _roll_out(
    table: TaskTable,
    generate: Generate,
    runner: RewardRunner,
    log: EvaluationLog,
    header: LogHeader,
    batch_size: int,
    wanted: int,
    quiet: bool,
) -> None:
    from bots_jax.progress import Phase

    pending = np.flatnonzero(~log.tally.is_done[:wanted])
    done = wanted - len(pending)
    with Phase(f"evaluating {header.name}", wanted, done, quiet) as phase:
        for start in range(0, len(pending), batch_size):
            ids = pending[start : start + batch_size]
            prompts = table.prompts(ids)
            seeds = [task_seed(header.seed, key) for key in table.keys[ids].tolist()]
            groups = generate(prompts, header.group_size, seeds)
            texts = _flat(groups, len(ids), header.group_size)
            rows = [
                {**row, "prompt": prompt, "answer": answer}
                for row, prompt, answer in zip(
                    table.rows(ids), prompts, table.answers(ids), strict=True
                )
                for _ in range(header.group_size)
            ]
            rewards = runner.score(texts, rows).reshape(len(ids), -1)
            log.append(ids.tolist(), rewards)
            known = rewards[np.isfinite(rewards)]
            phase.advance(
                len(ids),
                pass_rate=float(known.mean()) if len(known) else float("nan"),
                not_evaluated=rewards.size - len(known),
            )


def _flat(groups: Any, num_prompts: int, group_size: int) -> list[str]:
    """Lists all completions, after a check that they are what was asked for."""
    want = f"generate must return {group_size} texts for each of {num_prompts} prompts"
    if not isinstance(groups, (list, tuple)):
        raise ValueError(f"{want}, got {groups!r:.60}.")
    if len(groups) != num_prompts:
        raise ValueError(f"{want}, got {len(groups)} groups.")
    for number, group in enumerate(groups):
        if not isinstance(group, (list, tuple)):
            raise ValueError(f"{want}, got {group!r:.60} for prompt {number}.")
        if len(group) != group_size:
            raise ValueError(f"{want}, got {len(group)} for prompt {number}.")
        for text in group:
            if not isinstance(text, str):
                raise ValueError(f"{want}, got {text!r:.60} for prompt {number}.")
    return [text for group in groups for text in group]


def _report(
    table: TaskTable, tally: Tally, notes: Sequence[str], out: Path
) -> EvaluationReport:
    known = tally.num_rollouts > 0
    duplicates = table.duplicates()
    if duplicates.num_prompts:
        notes = [*notes, str(duplicates)]
    rates = tally.pass_rates[known]
    return EvaluationReport(
        num_tasks=len(table),
        num_evaluated=int(known.sum()),
        num_failed=int((tally.is_done & ~known).sum()),
        num_failed_rollouts=int(tally.num_failed.sum()),
        mean_pass_rate=float(rates.mean(dtype=np.float64)) if len(rates) else np.nan,
        notes=tuple(notes),
        out=out,
    )


def _check_target(table: TaskTable, out: Path, name: str) -> None:
    if not re.fullmatch(r"[\w.@+-]+", name):
        raise ValueError(
            f"name must be of letters, digits and any of _ . @ + -, got {name!r:.60}."
        )
    for column in (name + RATE_ENDING, name + COUNT_ENDING):
        if column in table.column_names:
            raise ValueError(
                f"name must be a new one, and {name!r} is not: the table has a column "
                f"{column!r}."
            )
    try:
        check_new(out)
    except ValueError as error:
        log = log_path(out)
        if not log.exists():
            raise
        raise ValueError(
            f"{error} Its log is {log}: remove the output alone to go on with that, "
            "or choose another output."
        ) from None


def _checked_count(what: str, value: Any, minimum: int = 1) -> int:
    is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_int or not minimum <= value < 2**31:
        raise ValueError(
            f"{what} must be an integer in [{minimum}, 2147483647], got {value!r}."
        )
    return int(value)


def _name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}:{name}" if name else repr(function)[:200]
