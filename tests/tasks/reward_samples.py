"""Rewards of every kind of badness, importable by other processes; and generators."""

import os
import signal
import sys
import time
from typing import Any


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def by_name(completion: str, row: Any) -> Any:
    """Does what the completion says."""
    if completion == "hang":
        time.sleep(100)
    if completion == "hang deaf":  # as C code that never looks at signals
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(100)
    if completion == "die":
        os._exit(3)
    if completion == "die by signal":
        os.kill(os.getpid(), signal.SIGKILL)
    if completion == "raise":
        raise ZeroDivisionError("no\nmore")
    if completion == "unprintable":
        raise Unprintable
    if completion == "exit":
        sys.exit(1)
    values = {"seven": 7, "minus": -0.1, "none": None, "nan": float("nan")}
    values |= {"text": "1", "complex": 1j, "true": True, "half": 0.5, "zero": 0}
    return values.get(completion, 1.0)


class Slow:
    """Takes longer to load than the time limit of a completion."""

    def __setstate__(self, state: Any) -> None:
        time.sleep(1.5)

    def __getstate__(self) -> int:
        return 1

    def __call__(self, completion: str, row: Any) -> float:
        return 1.0


def of_three(completion: str, row: Any, more: Any) -> float:
    return 1.0


not_callable = 3


def generate(prompts: Any, group_size: int, seeds: list[int]) -> list[list[str]]:
    """Answers with digits of the seed, of 0 to 2: depends on nothing else."""
    return [[str(seed // 3**i % 3) for i in range(group_size)] for seed in seeds]
