"""One common start, and one finished comparison, looked at by many tests."""

import contextlib
import io
import pathlib
from collections.abc import Iterator

import jax
import pytest

from bots_jax.cli import main
from bots_jax.compare.shared import Shared, prepare_shared
from tests.compare.tiny import ARMS, SETTINGS, options


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache; JAX starts before a run does."""
    assert jax.local_device_count() >= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOTS_JAX_CACHE", str(tmp_path_factory.mktemp("pools")))
        yield


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def shared(shared_directory: pathlib.Path) -> Shared:
    """The common start; donate nothing of it."""
    return prepare_shared(SETTINGS, shared_directory, quiet=True)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, str]:
    """Two arms by two seeds, and what was printed; tests must not change it."""
    directory = tmp_path_factory.mktemp("runs") / "finished"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        words = ["compare", "--arms", *ARMS, "--seeds", "2", "--workers", "1"]
        assert main([*words, *options(), "--output", str(directory)]) == 0
    return directory, printed.getvalue()
