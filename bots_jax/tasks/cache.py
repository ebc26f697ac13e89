"""Keeps generated pools on disk: one parquet file each, checked before it is used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

from bots_jax.tasks.families import FAMILIES
from bots_jax.tasks.generation import (
    Progress,
    check_request,
    generate_pool,
    pool_from_columns,
)
from bots_jax.tasks.pool import TaskPool, digest
from bots_jax.whole_files import writing

FORMAT_VERSION = 1
"""Raise it when a spelling, a wrong procedure or the columns change."""

_COLUMNS = tuple(field.name for field in fields(TaskPool))
_DIGEST = b"bots_jax_digest"


def build_pool(
    num_tasks: int = 20_000,
    seed: int = 0,
    families: Sequence[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> TaskPool:
    """Reads the pool from the cache, or generates and caches it.

    Args:
      num_tasks: how many tasks, > 0.
      seed: decides every task.
      families: names of the families to draw from; None for all.
      cache_dir: where the file goes; None for `default_cache_dir()`.
      progress: called as progress(done, num_tasks) while generating.

    Returns: the same pool as `generate_pool`.

    Raises:
      ValueError: as `generate_pool` does.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = build_pool(12, families=["gcd"], cache_dir=folder)
    ...     again = build_pool(12, families=["gcd"], cache_dir=folder)
    >>> first.fingerprint == again.fingerprint
    True
    """
    names = check_request(num_tasks, seed, families)
    folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    path = folder / f"pool-{request_fingerprint(num_tasks, seed, names)}.parquet"
    pool = read_pool(path)
    if pool is None or len(pool) != num_tasks:
        pool = generate_pool(num_tasks, seed, names, progress)
        write_pool(pool, path)
    elif progress is not None:
        progress(num_tasks, num_tasks)
    return pool


def default_cache_dir() -> Path:
    """Returns $BOTS_JAX_CACHE, or ~/.cache/bots_jax where that is unset or empty.

    >>> default_cache_dir().is_absolute()
    True
    """
    chosen = os.environ.get("BOTS_JAX_CACHE")
    return Path(chosen or "~/.cache/bots_jax").expanduser().absolute()


def request_fingerprint(num_tasks: int, seed: int, names: Sequence[str]) -> str:
    """Hashes everything that decides a pool's content, versions included.

    >>> request_fingerprint(9, 0, ["gcd"]) == request_fingerprint(9, 1, ["gcd"])
    False
    """
    families = [
        (name, FAMILIES[name].symbol, FAMILIES[name].template, FAMILIES[name].levels)
        for name in names
    ]
    versions = (FORMAT_VERSION, version("reasoning-gym"))
    request = json.dumps([num_tasks, seed, families, versions])
    return hashlib.sha256(request.encode()).hexdigest()[:16]


def write_pool(pool: TaskPool, path: Path) -> None:
    """Writes a pool so that a reader sees the whole file or none.

    >>> from bots_jax.tasks.generation import generate_pool
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_pool(generate_pool(4, families=["gcd"]), Path(folder, "pool"))
    ...     len(read_pool(Path(folder, "pool")))
    4
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: getattr(pool, name).tolist() for name in _COLUMNS})
    table = table.replace_schema_metadata({_DIGEST: _content_digest(pool).encode()})
    with writing(path, alone=False) as file:
        pq.write_table(table, file, compression="zstd")


def read_pool(path: Path) -> TaskPool | None:
    """Reads a pool; None where the file is missing, damaged or of another layout.

    >>> read_pool(Path("/nowhere/pool.parquet")) is None
    True
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        pool = pool_from_columns(*(table[name].to_pylist() for name in _COLUMNS))
        is_intact = (table.schema.metadata or {})[_DIGEST].decode() == _content_digest(
            pool
        )
    # A damaged file may fail in any of these ways, or read as other values.
    except (OSError, ValueError, KeyError, TypeError, OverflowError, pa.ArrowException):
        return None
    return pool if is_intact else None


def _content_digest(pool: TaskPool) -> str:
    return digest(*(getattr(pool, name) for name in _COLUMNS))
