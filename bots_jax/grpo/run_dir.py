"""The directory of a run: its settings, its fingerprints, and who may write there."""

import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import shutil

from bots_jax.grpo.config import TrainConfig, from_dict, to_dict
from bots_jax.whole_files import write_text

_SHARED = (
    "seed",
    "num_tasks",
    "families",
    "exact_answers_only",
    "model",
    "warmup",
    "reference",
)
_BASE_ENTRIES = ("correct", "warmup", "strong", "references")


def default_run_dir(config: TrainConfig) -> pathlib.Path:
    """Names a new directory by selector and time: runs/bots-20261120-155900.

    Example:
      >>> default_run_dir(TrainConfig()).parent.name
      'runs'
    """
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / f"{config.selector.name}-{now}"


def create_run(config: TrainConfig, directory: pathlib.Path) -> None:
    """Makes the directory of a new run and writes its settings.

    Raises:
      ValueError: if something is there already.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(
            f"run directory must be new or empty, got {directory}; "
            f"to go on with a run that is there, use --resume {directory}."
        )
    settings = json.dumps(to_dict(config), indent=2)
    write_text(directory / "config.json", settings + "\n")


def read_run_config(directory: pathlib.Path) -> TrainConfig:
    """Reads the settings of a run.

    Raises:
      ValueError: if the directory holds no run, or its settings are damaged.

    Example:
      >>> read_run_config(pathlib.Path("no-such-run"))
      Traceback (most recent call last):
      ValueError: no run at no-such-run: no-such-run/config.json is not there.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise ValueError(f"no run at {directory}: {path} is not there.")
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as settings: {error}.") from None
    try:
        return from_dict(TrainConfig, values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as settings: {error}.") from None


def _hash(values: object) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def base_fingerprint(config: TrainConfig, pool_fingerprint: str) -> str:
    """Hashes what decides warm-up and references; runs that share it may share those.

    Example:
      >>> base_fingerprint(TrainConfig(), "p") == base_fingerprint(TrainConfig(), "q")
      False
    """
    values = to_dict(config)
    return _hash([{name: values[name] for name in _SHARED}, pool_fingerprint])


def run_fingerprint(config: TrainConfig, pool_fingerprint: str) -> str:
    """Hashes all that decides a run's results.

    Example:
      >>> one, two = TrainConfig(), TrainConfig(seed=1)
      >>> run_fingerprint(one, "p") == run_fingerprint(two, "p")
      False
    """
    return _hash([to_dict(config), pool_fingerprint])


def check_base(config: TrainConfig, source: pathlib.Path) -> None:
    """Checks that a run can take warm-up and references from another one.

    Raises:
      ValueError: if that run differs in what decides them, or has not finished them.
    """
    other = read_run_config(source)
    pairs = {name: (getattr(config, name), getattr(other, name)) for name in _SHARED}
    held_out = (config.evaluation.num_tasks, other.evaluation.num_tasks)
    pairs["evaluation.num_tasks"] = held_out  # decides which tasks are left to train on
    for name, (mine, theirs) in pairs.items():
        if mine != theirs:
            show = lambda v: to_dict(v) if dataclasses.is_dataclass(v) else v  # noqa: E731
            raise ValueError(
                f"--warmup-from needs a run with the same {name}: "
                f"{source} has {show(theirs)}, this run {show(mine)}."
            )
    if not (source / "references" / "strong.npz").is_file():
        raise ValueError(
            f"--warmup-from needs a run that has measured its references, got {source}."
        )


def adopt_base(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies the warm-up and the references of a run that passed `check_base`."""
    for name in _BASE_ENTRIES:
        if (source / name).exists() and not (target / name).exists():
            partial = target / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source / name, partial)
            os.replace(partial, target / name)
