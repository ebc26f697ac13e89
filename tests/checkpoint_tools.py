"""What the tests of checkpoints share: trees, saving, reading, damage."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bots_jax.checkpoint import Checkpoints
from bots_jax.checkpoint_tree import Saved

TREE = {"w": jnp.arange(6, dtype=jnp.float32).reshape(2, 3), "n": jnp.int32(4)}


class Pair(NamedTuple):
    one: Any
    two: Any


def save(directory: pathlib.Path, *steps: int, keep: int | None = 3) -> None:
    with Checkpoints(directory, "run", keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, moved(step))


def moved(step: int) -> dict[str, jax.Array]:
    return {name: leaf + step for name, leaf in TREE.items()}


def restore(
    directory: pathlib.Path, fingerprint: str = "run", template: Any = TREE
) -> tuple[int, Any]:
    found = Checkpoints(directory, fingerprint).restore_latest(template)
    assert found is not None
    return found


def read(directory: pathlib.Path, **options: Any) -> Saved:
    saved = Checkpoints(directory, "run").read_latest(**options)
    assert saved is not None
    return saved


def assert_same(found: Any, expected: Any) -> None:
    """Compares trees bit for bit, dtypes and structure included."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        if jnp.issubdtype(getattr(other, "dtype", np.int8), jax.dtypes.prng_key):
            assert one.dtype == other.dtype
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        one, other = np.asarray(one), np.asarray(other)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


def damage(directory: pathlib.Path, step: int, pattern: str = "*") -> None:
    """Cuts files to half their length, as a disk may that was switched off."""
    paths = [path for path in (directory / str(step)).rglob(pattern) if path.is_file()]
    assert paths
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
