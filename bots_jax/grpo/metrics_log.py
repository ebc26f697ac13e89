"""metrics.jsonl: one line per training step, cut back to a step on resume."""

import json
import math
import pathlib
from types import TracebackType
from typing import Any

from bots_jax.whole_files import write_text


class MetricsLog:
    """Appends dicts of numbers to a JSON Lines file, and to TensorBoard if asked.

    Example:
      >>> import tempfile
      >>> folder = tempfile.TemporaryDirectory()
      >>> log = MetricsLog(pathlib.Path(folder.name) / "metrics.jsonl", from_step=0)
      >>> log.write({"step": 0, "loss": float("nan")}); log.close()
      >>> read_metrics(pathlib.Path(folder.name) / "metrics.jsonl")
      [{'step': 0, 'loss': None}]
      >>> folder.cleanup()
    """

    def __init__(
        self,
        path: pathlib.Path,
        from_step: int,
        tensorboard: pathlib.Path | None = None,
    ):
        """Opens the file and drops the lines of steps >= from_step.

        Args:
          path: the file.
          from_step: the step that the run goes on with.
          tensorboard: folder for event files; None for none.
        """
        self.rows = [row for row in read_metrics(path) if row["step"] < from_step]
        if path.is_file():
            write_text(path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._path, self._file = path, path.open("a")
        self._writer = None
        if tensorboard is not None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(tensorboard), purge_step=from_step)

    def write(self, row: dict[str, Any]) -> None:
        """Writes one line, which holds at least "step", and flushes it.

        Raises:
          OSError: naming the file, if the disk is full.
        """
        clean = {name: _plain(value) for name, value in row.items()}
        self.rows.append(clean)
        try:
            self._file.write(json.dumps(clean) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        if self._writer is not None:
            for name, value in clean.items():
                if isinstance(value, (int, float)):
                    self._writer.add_scalar(name, value, int(row["step"]))

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except OSError:
            if error is None:  # else the first failure is the one to hear of
                raise

    def close(self) -> None:
        """Closes the file and the event files."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads a metrics file; a line that is damaged or cut short is left out.

    Example:
      >>> read_metrics(pathlib.Path("no-such-file"))
      []
    """
    if not path.is_file():
        return []
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and type(row.get("step")) is int:
            rows.append(row)
    return rows
