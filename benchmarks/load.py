"""How busy other processes keep the machine, which no timing here should hide."""

import os
import time
from pathlib import Path

QUIET_CORES = 0.2
"""Others that use less than this do not disturb."""

_STAT = Path("/proc/stat")
_WINDOW_S = 0.2


def _busy_seconds() -> tuple[float, float] | None:
    """Reads CPU seconds since boot of all processes, and of this one."""
    try:
        fields = _STAT.read_text().splitlines()[0].split()[1:]
    except (OSError, IndexError):
        return None
    user, nice, system, _, _, irq, soft_irq, steal = map(int, fields[:8])
    ticks = user + nice + system + irq + soft_irq + steal
    return ticks / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


class OtherLoad:
    """Counts the cores that others keep busy, from its making on; Linux only."""

    def __init__(self) -> None:
        self._start = _busy_seconds()
        self._start_s = time.perf_counter()

    def cores(self) -> float | None:
        """Returns the mean number of cores; None where the system does not tell.

        Clocks tick in hundredths of a second, so that a short time may give a little
        less than 0.
        """
        now = _busy_seconds()
        if now is None or self._start is None:
            return None
        others = (now[0] - self._start[0]) - (now[1] - self._start[1])
        elapsed = time.perf_counter() - self._start_s
        return others / max(elapsed, 1e-3)


def wait_until_quiet(patience_s: float) -> float:
    """Waits until others leave the machine alone, or patience ends.

    Args:
      patience_s: seconds at most; 0 does not even look.

    Returns:
      Seconds waited.
    """
    start = time.perf_counter()
    while (waited := time.perf_counter() - start) < patience_s:
        load = OtherLoad()
        time.sleep(min(_WINDOW_S, patience_s - waited))
        cores = load.cores()
        if cores is None or cores < QUIET_CORES:
            break
    return time.perf_counter() - start
