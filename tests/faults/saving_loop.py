"""Saves until it is killed: saving_loop.py DIRECTORY (sync | async | again).

Goes on from the newest checkpoint and prints the number of each save that is complete:
when `save` has returned or, with async, when the next one has. With again, every step
is saved twice, so that each second save replaces one that is whole.
"""

import pathlib
import sys
from typing import Any

import jax
import numpy as np

from bots_jax.checkpoint import Checkpoints

FINGERPRINT = "loop"


def make_tree(number: int) -> dict[str, Any]:
    """Makes what the save of this number holds; 300 kB."""
    rng = np.random.default_rng(number)
    return {
        "number": np.int64(number),
        "table": rng.random((36_000, 2), dtype=np.float32),
        "key": jax.random.key(number),
        "small": [rng.integers(0, 9, 3) for _ in range(4)],
    }


def main(directory: pathlib.Path, mode: str) -> None:
    """Goes on saving."""
    with Checkpoints(directory, FINGERPRINT, asynchronous=mode == "async") as saving:
        saved = saving.read_latest()
        number = -1 if saved is None else int(saved.arrays["number"])
        while True:
            number += 1
            step = number // 2 if mode == "again" else number
            saving.save(step, make_tree(number), extra={"number": number})
            done = number - 1 if mode == "async" else number
            print(done, flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
