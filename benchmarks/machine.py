"""Which machine, software and moment a result comes from, and what memory is free.

The same code runs from a checkout, as `benchmarks`, and from a wheel, as
`bots_jax.benchmarks`.
"""

import contextlib
import ctypes
import datetime
import gc
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

PACKAGE = __package__ or "benchmarks"
ROOT = Path(__file__).resolve().parents[len(PACKAGE.split("."))]
"""Where this package is imported from: the checkout, or site-packages."""

IN_CHECKOUT = PACKAGE == "benchmarks" and (ROOT / "pyproject.toml").is_file()
RESULTS = ROOT / "benchmarks" / "results" if IN_CHECKOUT else Path("bench-results")

_PACKAGES = ("jax", "jaxlib", "numpy", "torch", "trinity-rft", "bots-jax")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def share_device() -> None:
    """Asks JAX, before it starts, to take memory of a GPU as it needs it.

    Otherwise a process that measures memory finds the device full.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def resident_mib(peak: bool = False) -> float:
    """Reads the memory of this process: resident now, or the peak; Linux only.

    Args:
      peak: the largest since `reset_peak` instead.

    Returns:
      MiB.

    Raises:
      OSError: where the kernel does not tell.
    """
    field = "VmHWM:" if peak else "VmRSS:"
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"the kernel does not report {field[:-1]}.")


def reset_peak() -> None:
    """Starts the peak of `resident_mib` anew; Linux only."""
    _RESET_PEAK.write_text("5")


def give_back() -> None:
    """Frees what nothing refers to, down to the system where the C library can."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def device_bytes(name: str) -> int | None:
    """Reads a memory statistic of the first device; None where it keeps none.

    Example:
      >>> device_bytes("no such statistic") is None
      True
    """
    return (jax.devices()[0].memory_stats() or {}).get(name)


def free_bytes() -> int | None:
    """Tells how many bytes arrays may take here; None where nobody tells.

    Returns:
      What is free on the first device or, on CPU, what the system could give, within
      the limit of its control group.
    """
    limit = device_bytes("bytes_limit")
    if limit is not None:
        return limit - (device_bytes("bytes_in_use") or 0)
    try:
        lines = _MEMINFO.read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError):
        return None
    found = int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError):
        used = int((_CGROUP / "memory.current").read_text())
        found = min(found, int((_CGROUP / "memory.max").read_text()) - used)
    return found


def machine_stamp(seed: int) -> dict[str, Any]:
    """Describes machine, software and moment, without names of hosts or folders."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "backend": jax.default_backend(),
        "jax_devices": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": _is_dirty(".", "--untracked-files=all"),
        "engine_dirty": _is_dirty("bots_jax", "--untracked-files=no"),
        "started_utc": now(),
        "load_average_start": load_average(),
        "seed": seed,
    }


def now() -> str:
    """Returns the moment, in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def load_average() -> list[float]:
    """Returns how many processes ran or waited, over 1, 5 and 15 minutes."""
    return [round(load, 2) for load in os.getloadavg()]


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    return round(pages * size / 2**30, 1)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    if not IN_CHECKOUT:
        return None
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _is_dirty(folder: str, untracked: str) -> bool | None:
    """Tells whether files differ from the commit, the results themselves aside."""
    where = ("--", str(ROOT / folder), ":(exclude)benchmarks/results")
    changed = _git("status", "--porcelain", untracked, *where)
    return None if changed is None else bool(changed)
