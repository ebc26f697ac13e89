"""One tiny run, finished once and looked at by many tests."""

import contextlib
import io
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
import pytest

from bots_jax.cli import main
from bots_jax.grpo.data import RunData, load_data
from bots_jax.grpo.devices import Devices
from bots_jax.grpo.loop import Trainer, make_trainer
from bots_jax.grpo.model import make_model
from bots_jax.grpo.rollouts import Policy
from tests.grpo.tiny import TINY, arguments


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache; JAX starts before a run does."""
    assert jax.local_device_count() >= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOTS_JAX_CACHE", str(tmp_path_factory.mktemp("pools")))
        yield


class FinishedRun(NamedTuple):
    directory: pathlib.Path
    printed: str


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run from nothing to its figures; tests must not change its directory."""
    directory = tmp_path_factory.mktemp("runs") / "undisturbed"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = main(
            ["train", *arguments(), "--run-dir", str(directory), "--tensorboard"]
        )
    assert status == 0
    return FinishedRun(directory, printed.getvalue())


@pytest.fixture(scope="session")
def data() -> RunData:
    return load_data(TINY, quiet=True)


@pytest.fixture(scope="session")
def trainer(data: RunData) -> Trainer:
    """The tiny run's trainer, its model not warmed up."""
    model, params = make_model(TINY.model, data.tokenizer.vocab_size, TINY.seed)
    devices = Devices()
    policy = Policy(model, devices.copy(params), data.tokenizer, devices)
    return make_trainer(TINY, data, policy)
