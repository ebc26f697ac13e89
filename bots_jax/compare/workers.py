"""Runs what is missing of a comparison, in this process or in several."""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from bots_jax.compare.arms import parse_arm
from bots_jax.compare.measures import summarise
from bots_jax.compare.settings import CompareSettings
from bots_jax.compare.shared import Shared, prepare_shared
from bots_jax.evaluation.store import Cell, ResultStore
from bots_jax.grpo.devices import keep_freed_memory
from bots_jax.progress import TellFn

SHARED = "shared"
"""Folder of what arms share, one folder in it per start."""

_PROGRAMS = "programs"
_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def prepare_starts(
    store: ResultStore,
    settings: CompareSettings,
    starts: Sequence[int],
    workers: int,
    tell: TellFn,
    quiet: bool = False,
) -> dict[int, str]:
    """Makes or reads the starts of a comparison.

    One start alone is made by this process and all cores, several are made side by
    side.

    Args:
      store: they are kept in its directory.
      settings: what decides them.
      starts: which.
      workers: processes, as for `run_cells`.
      tell: called after every start.
      quiet: True for no progress within one start.

    Returns:
      start -> its fingerprint.

    Raises:
      ChildProcessError: if a worker dies.
    """
    prints: dict[int, str] = {}
    if workers == 1 or len(starts) == 1:
        for start in starts:
            shared = _read_start(store.directory, settings, start, quiet)
            prints[start] = shared.fingerprint
            tell(f"start {start}", 1)
        return prints
    with _workers(store, min(workers, len(starts))) as pool:
        futures = {
            pool.submit(_prepare_in_worker, store, settings, start): start
            for start in starts
        }
        for future in concurrent.futures.as_completed(futures):
            prints[futures[future]] = future.result()
            tell(f"start {futures[future]}", 1)
    return prints


def run_cells(
    store: ResultStore,
    settings: CompareSettings,
    cells: Sequence[Cell],
    workers: int,
    tell: TellFn,
) -> None:
    """Runs results and writes each when it is there.

    Args:
      store: where they go; their starts must have been prepared.
      settings: what decides them.
      cells: which, in the order in which they are wanted.
      workers: processes, each on a core of its own; 1 for this process and all cores.
      tell: called after every result.

    Raises:
      ChildProcessError: if a worker dies.
    """
    if workers == 1:
        read = functools.lru_cache(maxsize=1)(_read_start)
        for cell in cells:
            tell(f"{cell.arm}, seed {cell.seed}", 0)
            shared = read(store.directory, settings, settings.start_of(cell.seed))
            tell(_run_and_write(store, shared, cell), 1)
        return
    with _workers(store, workers) as pool:
        futures = [pool.submit(_run_in_worker, store, settings, c) for c in cells]
        for future in concurrent.futures.as_completed(futures):
            tell(future.result(), 1)


def _read_start(
    directory: pathlib.Path, settings: CompareSettings, start: int, quiet: bool = True
) -> Shared:
    folder = directory / SHARED / str(start)
    return prepare_shared(settings.at_start(start), folder, quiet)


_start_of_worker = functools.lru_cache(maxsize=1)(_read_start)
"""The start that a worker has read last: its cells come start by start."""


@contextlib.contextmanager
def _workers(
    store: ResultStore, count: int
) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Some processes, each on a core of its own, that end with this one."""
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    for core in sorted(os.sched_getaffinity(0)) * count:
        cores.put(core)
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} {_ONE_THREAD}".strip()
    programs = store.directory / SHARED / _PROGRAMS
    pool = concurrent.futures.ProcessPoolExecutor(
        count, context, _begin, (cores, programs)
    )
    try:
        yield pool
    except concurrent.futures.process.BrokenProcessPool:
        raise ChildProcessError(
            "a worker died, for want of memory perhaps; results that were written are "
            "kept, and --resume goes on (with fewer --workers)."
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        os.environ["XLA_FLAGS"] = flags


def _run_and_write(store: ResultStore, shared: Shared, cell: Cell) -> str:
    # Imported late: a worker chooses its core before JAX starts.
    from bots_jax.compare.run import run_arm

    curve = run_arm(shared, parse_arm(cell.arm), cell.seed)
    summary = summarise(curve)
    record = {"start": shared.fingerprint, "summary": summary, "curves": rounded(curve)}
    store.write(cell, record)
    ratio = summary["effective_task_ratio"] or 0.0
    return (
        f"{cell.arm}, seed {cell.seed}: success {summary['end']:.3f}, "
        f"effective tasks {ratio:.2f} (coverage {summary['coverage']:.2f})"
    )


def rounded(curve: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Shortens the numbers of a curve to six digits.

    Example:
      >>> rounded({"success": [0.12345678, None], "steps": [10, 20]})
      {'success': [0.123457, None], 'steps': [10, 20]}
    """
    short = lambda x: float(f"{x:.6g}") if isinstance(x, float) else x  # noqa: E731
    return {name: [short(x) for x in values] for name, values in curve.items()}


def _begin(cores: Any, programs: pathlib.Path) -> None:
    """Starts a worker: one core, one thread, and an end together with its parent.

    Every run compiles the selector anew; what a core has compiled once, it finds again.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    core = cores.get()
    os.sched_setaffinity(0, {core})
    keep_freed_memory()
    import jax

    jax.config.update("jax_compilation_cache_dir", str(programs / str(core)))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _prepare_in_worker(
    store: ResultStore, settings: CompareSettings, start: int
) -> str:
    return _start_of_worker(store.directory, settings, start).fingerprint


def _run_in_worker(store: ResultStore, settings: CompareSettings, cell: Cell) -> str:
    shared = _start_of_worker(store.directory, settings, settings.start_of(cell.seed))
    return _run_and_write(store, shared, cell)
