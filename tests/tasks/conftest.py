import pytest

from bots_jax.tasks import generate_pool


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("BOTS_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def full_pool():
    """The pool of the default size; tests must not change it."""
    return generate_pool(20_000)


@pytest.fixture(scope="session")
def small_pool():
    """Every family and level, a few tasks each."""
    return generate_pool(800)
