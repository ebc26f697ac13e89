"""Reference evaluation: pass rates of two models on the whole pool, as columns."""

import pathlib
import zlib

import jax
import numpy as np

from bots_jax.grpo.config import ReferenceConfig
from bots_jax.grpo.data import TaskSet
from bots_jax.grpo.rollouts import Policy, pass_rates
from bots_jax.progress import Phase
from bots_jax.whole_files import writing

COLUMNS = ("weak", "strong")


def evaluate_reference(
    name: str,
    policy: Policy,
    tasks: TaskSet,
    config: ReferenceConfig,
    key: jax.Array,
    *,
    directory: pathlib.Path,
    fingerprint: str,
    quiet: bool = False,
) -> np.ndarray:
    """Rolls a model out over the whole pool, or reads what an earlier run measured.

    Args:
      name: "weak" or "strong"; shown beside the progress.
      policy: the reference model.
      tasks: the pool.
      config: rollouts per task, chunk size.
      key: consumed.
      directory: where the pass rates are kept, written when all are known.
      fingerprint: of what they belong to.
      quiet: True for no progress.

    Returns:
      float32 [N] in [0, 1], mean reward per task.

    Raises:
      ValueError: if the file there belongs to another run.
    """
    path = directory / f"{name}.npz"
    if path.is_file():
        return _read_rates(path, fingerprint)
    with Phase(f"{name} reference", len(tasks.pool), quiet=quiet) as phase:
        rates = pass_rates(
            policy,
            tasks,
            np.arange(len(tasks.pool)),
            config.rollouts,
            jax.random.fold_in(key, zlib.crc32(name.encode())),
            tasks_per_chunk=config.tasks_per_chunk,
            phase=phase,
        ).mean_reward
    with writing(path) as file:
        np.savez(file, rates=rates, fingerprint=np.array(fingerprint))
    return rates


def _read_rates(path: pathlib.Path, fingerprint: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        found = str(file["fingerprint"])
        if found != fingerprint:
            raise ValueError(
                f"{path} holds the pass rates of another run: its fingerprint is "
                f"{found}, this run's is {fingerprint}."
            )
        return file["rates"]


def write_reference_table(
    tasks: TaskSet, references: np.ndarray, rollouts: int, path: pathlib.Path
) -> None:
    """Writes the pool with its pass rates as columns of a parquet file.

    Args:
      tasks: the pool.
      references: float32 [N, 2], weak and strong.
      rollouts: per task and model.
      path: the file; replaced as a whole.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"key": tasks.pool.keys.tolist(), "prompt": tasks.pool.prompts.tolist()}
    for index, name in enumerate(COLUMNS):
        columns[f"{name}_pass_rate"] = references[:, index]
        columns[f"{name}_rollouts"] = np.full(len(references), rollouts, np.int32)
    with writing(path) as file:
        pq.write_table(pa.table(columns), file, compression="zstd")
