"""What the tests of faults share: processes to kill, bytes to damage."""

import os
import pathlib
import subprocess
import sys

import numpy as np

REPOSITORY = pathlib.Path(__file__).parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts Python in the repository, its output readable line by line."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
    )


def kill(process: subprocess.Popen[str]) -> str:
    """Ends a process by SIGKILL and returns what it printed that was not yet read."""
    process.kill()
    assert process.stdout is not None
    with process.stdout:
        rest = process.stdout.read()
    process.wait()
    return rest


def flip(data: bytes, bit: int) -> bytes:
    """Flips one bit.

    Example:
      >>> flip(b"a", 1)
      b'c'
    """
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def mutate(data: bytes, rng: np.random.Generator, words: tuple[bytes, ...]) -> bytes:
    """Changes data at one to four places, each in one of five ways.

    Args:
      data: not empty.
      rng: decides where and how.
      words: inserted now and then.
    """
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(changed) + 1))
        length = int(rng.integers(1, 9))
        way = rng.integers(5)
        if way == 0 and at < len(changed):
            changed[at] ^= 1 << int(rng.integers(8))
        elif way == 1:
            changed[at : at + length] = rng.bytes(length)
        elif way == 2:
            del changed[at : at + length]
        elif way == 3:
            changed[at:at] = words[rng.integers(len(words))]
        else:
            changed[at:at] = changed[at : at + 40 * length]
    return bytes(changed)
