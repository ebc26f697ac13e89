"""Runs what is missing of a comparison, in this process or in several."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

from bots_jax.compare.arms import parse_arm
from bots_jax.compare.measures import summarise
from bots_jax.compare.settings import CompareSettings
from bots_jax.compare.shared import Shared, prepare_shared
from bots_jax.evaluation.store import Cell, ResultStore
from bots_jax.grpo.devices import keep_freed_memory
from bots_jax.progress import TellFn

SHARED = "shared"
"""Folder of what all arms share."""

_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
_shared: Shared | None = None


def run_cells(
    store: ResultStore,
    settings: CompareSettings,
    cells: Sequence[Cell],
    workers: int,
    tell: TellFn,
) -> None:
    """Runs results and writes each when it is there.

    Args:
      store: where they go; what is shared must have been prepared in its directory.
      settings: what decides them.
      cells: which, in the order in which they are wanted.
      workers: processes, each on a core of its own; 1 for this process and all cores.
      tell: called after every result.

    Raises:
      ChildProcessError: if a worker dies.
    """
    if workers == 1:
        shared = prepare_shared(settings, store.directory / SHARED, quiet=True)
        for cell in cells:
            tell(f"{cell.arm}, seed {cell.seed}", 0)
            tell(_run_and_write(store, shared, cell), 1)
        return
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    for core in sorted(os.sched_getaffinity(0)) * workers:
        cores.put(core)
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} {_ONE_THREAD}".strip()
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, context, _begin, (store.directory, settings, cores)
    )
    try:
        futures = [pool.submit(_run_in_worker, store, cell) for cell in cells]
        for future in concurrent.futures.as_completed(futures):
            tell(future.result(), 1)
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
    store.write(cell, {"summary": summary, "curves": rounded(curve)})
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


def _begin(directory: pathlib.Path, settings: CompareSettings, cores: Any) -> None:
    """Starts a worker: one core, one thread, and an end together with its parent."""
    global _shared
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    os.sched_setaffinity(0, {cores.get()})
    keep_freed_memory()
    _shared = prepare_shared(settings, directory / SHARED, quiet=True)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _run_in_worker(store: ResultStore, cell: Cell) -> str:
    assert _shared is not None
    return _run_and_write(store, _shared, cell)
