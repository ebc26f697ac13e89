"""How the tests run: on CPU, ranks never promoted, dtypes strict for the engine."""

import gc
import os
import pathlib
import tempfile
from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import chex
import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# Many tests compile the same program anew: let them, and all workers, find it on disk.
_PROGRAMS = "BOTS_JAX_TEST_PROGRAMS"
if _PROGRAMS not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="bots_jax_tests_")
    os.environ[_PROGRAMS] = _compiled.name
jax.config.update("jax_compilation_cache_dir", os.environ[_PROGRAMS])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

hypothesis.settings.register_profile(
    "engine", deadline=None, derandomize=True, max_examples=60, database=None
)
hypothesis.settings.load_profile("engine")

_HERE = pathlib.Path(__file__).parent
_NOT_ENGINE = {"grpo", "compare", "tasks", "evaluation", "adapters"}
_LONG = ("test_mesh.py", "test_distributed.py")


def _is_engine_test(path: pathlib.Path) -> bool:
    if not path.is_relative_to(_HERE):
        return False
    return path.relative_to(_HERE).parts[0] not in _NOT_ENGINE


@pytest.fixture(autouse=True)
def _strict_dtypes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Engine tests refuse implicit dtype promotion; optax's Adam does not pass it."""
    if not _is_engine_test(request.path):
        yield
        return
    chex.clear_trace_counter()
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(autouse=True, scope="module")
def _forget_programs() -> Iterator[None]:
    """Frees what a module has compiled: thousands of programs exhaust a process.

    Each maps its code anew, and Linux allows 65,530 maps; the disk keeps slow ones.
    """
    yield
    jax.clear_caches()
    gc.collect()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leaves nightly tests out unless a marker expression asks for them.

    That a check catches a planted bug is shown every night, not in every run. Tests
    that start processes and wait for them come first, so that no worker ends on one.
    """
    items.sort(key=lambda item: item.path.name not in _LONG)
    for item in items:
        if "planted" in item.name or "_catches_" in item.name:
            item.add_marker(pytest.mark.nightly)
    if config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="nightly: run with -m nightly")
    for item in items:
        if "nightly" in item.keywords:
            item.add_marker(skip)
