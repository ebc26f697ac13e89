"""Runs a reward on many completions; what fails is counted, and is not a failure.

A model that solved nothing and a reward that could not tell are different things. Time
limits, exceptions, deaths of a process and values that are no reward give NaN here,
"not evaluated", and are counted by kind.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import pickle
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from bots_jax.tasks.arrays import PerRollout
from bots_jax.tasks.rewards.matching import check_reward
from bots_jax.tasks.rewards.rows import Reward, Row

_PRELOADED = ("bots_jax.tasks.rewards.runner",)
_MAX_TRIES = 2
_MAX_MESSAGE = 200

_Verdict = tuple[float, str, str]
"""A value, or NaN with the kind of failure and its message."""


class RewardRunner:
    """Scores completions under a time limit, in processes that can be killed.

    The processes are started by a fork server, which knows nothing of the devices and
    threads of this one. A reward that hangs is killed, in C code as well, and one that
    takes its process with it costs that completion only. Scripts need the usual
    `if __name__ == "__main__":` guard.

    Attributes:
      errors: how many completions were not evaluated, by kind.
      first_messages: what the first of each kind said.
      num_scored: completions that were asked for, evaluated or not.

    >>> from bots_jax.tasks.rewards.matching import exact_match
    >>> with RewardRunner(exact_match(), time_limit=None) as runner:
    ...     runner.score(["4", "5", "6"], [{"answer": "4"}, {"answer": "4"}, {}])
    ...     print(runner.report())
    array([ 1.,  0., nan], dtype=float32)
    1 of 3 completions not evaluated: 1 raised ValueError (the row has no answer.)
    """

    def __init__(
        self,
        reward: Reward,
        *,
        time_limit: float | None = 10.0,
        num_workers: int | None = None,
    ):
        """Starts nothing yet; processes start with the first score.

        Args:
          reward: reward(completion, row) -> number in [0, 1].
          time_limit: seconds for one completion, > 0. None runs the reward in this
            process, without a limit and without protection: then a reward that hangs
            hangs, and one that ends its process ends this one.
          num_workers: processes, > 0; None for one per core, at most 8.

        Raises:
          ValueError: for a reward that is not a function of (completion, row), or
            cannot be sent to another process; for a limit or number out of range.
          ModuleNotFoundError: without the extra `rewards`, if there is a limit.
        """
        check_reward(reward)
        if time_limit is not None and not 0 < time_limit < float("inf"):
            raise ValueError(f"time_limit must be > 0, or None, got {time_limit!r}.")
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"num_workers must be > 0, or None, got {num_workers!r}.")
        self.reward = reward
        self.time_limit = time_limit
        self.num_workers = num_workers or min(_cores(), 8)
        self.errors: dict[str, int] = {}
        self.first_messages: dict[str, str] = {}
        self.num_scored = 0
        self._pool: Any = None
        if time_limit is not None:
            self._payload = _pickled(reward)
            if importlib.util.find_spec("pebble") is None:
                raise ModuleNotFoundError(
                    "RewardRunner with a time limit needs pebble: "
                    "pip install 'bots-jax[rewards]'.",
                    name="pebble",
                )

    def start(self) -> None:
        """Starts the processes now rather than with the first score.

        Raises:
          ValueError: if the reward cannot be loaded in another process.
        """
        if self.time_limit is not None:
            self._started()

    def score(self, completions: Sequence[str], rows: Sequence[Row]) -> PerRollout:
        """Scores one completion per row.

        Args:
          completions: R texts.
          rows: R rows, repeats allowed.

        Returns: float32 [R] in [0, 1]; NaN where not evaluated.

        Raises:
          ValueError: if the lengths differ, or if the reward cannot be loaded in
            another process.
        """
        if len(completions) != len(rows):
            raise ValueError(
                f"rows must be one per completion, got {len(rows)} for "
                f"{len(completions)} completions."
            )
        if self.time_limit is None:
            pairs = zip(completions, rows, strict=True)
            verdicts = [_judge(self.reward, *pair) for pair in pairs]
        else:
            verdicts = self._score_apart(completions, rows)
        values = np.array([value for value, _, _ in verdicts], np.float32)
        counts = Counter(self.errors)
        for _, kind, message in verdicts:
            if kind:
                counts[kind] += 1
                self.first_messages.setdefault(kind, message)
        self.errors = dict(counts)
        self.num_scored += len(values)
        return values

    def report(self) -> str:
        """Says in one sentence how many completions were not evaluated, and why."""
        failed = sum(self.errors.values())
        if not failed:
            return f"all {self.num_scored} completions evaluated"
        kinds = ", ".join(
            f"{count} {kind}"
            + (f" ({said})" if (said := self.first_messages.get(kind)) else "")
            for kind, count in sorted(self.errors.items(), key=lambda item: -item[1])
        )
        return f"{failed} of {self.num_scored} completions not evaluated: {kinds}"

    def close(self) -> None:
        """Ends the processes; the next score starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    def __enter__(self) -> RewardRunner:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _score_apart(
        self, completions: Sequence[str], rows: Sequence[Row]
    ) -> list[_Verdict]:
        verdicts: dict[int, _Verdict] = {}
        left = list(range(len(completions)))
        for _ in range(_MAX_TRIES):
            pool = self._started()
            try:
                futures = {
                    i: pool.schedule(
                        _score_here, (completions[i], rows[i]), timeout=self.time_limit
                    )
                    for i in left
                }
                for i, future in futures.items():
                    verdict = self._verdict(future)
                    if verdict is not None:
                        verdicts[i] = verdict
            except (BrokenProcessPool, RuntimeError):  # refuses what is not yet sent
                pass
            except BaseException:
                self.close()
                raise
            left = [i for i in left if i not in verdicts]
            if not left:
                break
            self.close()  # the pool has lost count of its processes
        died = (float("nan"), "died", "the process ended before it was done")
        return [verdicts.get(i, died) for i in range(len(completions))]

    def _verdict(self, future: Any) -> _Verdict | None:
        """Waits for a verdict; None if the pool broke before there was one."""
        from pebble import ProcessExpired

        try:
            return future.result()
        except FutureTimeout:
            return float("nan"), f"took longer than {self.time_limit:g} s", ""
        except ProcessExpired as error:
            return float("nan"), "died", f"the process ended with code {error.exitcode}"
        except BrokenProcessPool:
            return None
        except Exception as error:  # a row that cannot be sent to another process
            return _failure(error)

    def _started(self) -> Any:
        if self._pool is None:
            from pebble import ProcessPool

            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(list(_PRELOADED))
            pool = ProcessPool(
                max_workers=self.num_workers,
                initializer=_load,
                initargs=(self._payload,),
                context=context,  # pyright: ignore[reportArgumentType]: pipes
            )
            try:
                failure = pool.schedule(_loading_failure).result()
            except BaseException:
                pool.stop()
                pool.join()
                raise
            if failure:
                pool.stop()
                pool.join()
                raise ValueError(
                    f"reward cannot be loaded in another process: {failure}; "
                    "functions of a notebook or a console need time_limit=None."
                )
            self._pool = pool
        return self._pool


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pickled(reward: Reward) -> bytes:
    try:
        return pickle.dumps(reward)
    except Exception as error:  # pickle raises many kinds
        raise ValueError(
            f"reward must be a function that another process can import, got "
            f"{reward!r:.80}, which cannot be sent there ({error}); use a function of "
            "a module, or time_limit=None."
        ) from None


# What follows runs in the processes.

_loaded: dict[str, Reward] = {}
_failed: dict[str, str] = {}


def _load(payload: bytes) -> None:
    try:
        reward = pickle.loads(payload)
        prepare = getattr(reward, "prepare", None)
        if prepare is not None:
            prepare()
        _loaded["reward"] = reward
    except Exception as error:
        _failed["reward"] = f"{type(error).__name__}: {error}"


def _loading_failure() -> str:
    return _failed.get("reward", "")


def _score_here(completion: str, row: Row) -> _Verdict:
    if "reward" not in _loaded:  # a process that was started later than the first
        return float("nan"), "not loaded", _loading_failure()
    return _judge(_loaded["reward"], completion, row)


def _judge(reward: Reward, completion: str, row: Row) -> _Verdict:
    try:
        value = reward(completion, row)
        if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
            return float("nan"), "returned no number", repr(value)[:_MAX_MESSAGE]
        number = float(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a reward raises, SystemExit included
        return _failure(error)
    if not 0 <= number <= 1:
        return float("nan"), "returned a value outside [0, 1]", f"{number:g}"
    return number, "", ""


def _failure(error: BaseException) -> _Verdict:
    try:
        message = " ".join(str(error).split())[:_MAX_MESSAGE]
    except Exception:  # an exception that cannot be printed
        message = ""
    return float("nan"), f"raised {type(error).__name__}", message
