"""Results on disk: one JSON file each, whole or not at all, made with one setting."""

import dataclasses
import json
import math
import pathlib
from typing import Any, NamedTuple

from bots_jax.whole_files import write_text


class Cell(NamedTuple):
    """Which result: a size of pool, an arm and a seed.

    Example:
      >>> Cell(2000, "bots", 3).file_name
      '2000-bots-3.json'
    """

    num_tasks: int
    arm: str
    seed: int

    @property
    def file_name(self) -> str:
        """Where the result lies in its folder."""
        return f"{self.num_tasks}-{self.arm}-{self.seed}.json"


class ResultStore(NamedTuple):
    """A folder of results that were all made with the same settings.

    Attributes:
      directory: of the comparison; results lie in its folder `results`.
      settings: names to numbers, all that decides a result besides its cell.
    """

    directory: pathlib.Path
    settings: dict[str, Any]

    def path(self, cell: Cell) -> pathlib.Path:
        """The file of one result."""
        return self.directory / "results" / cell.file_name

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """Reads one result; None if it is not there yet.

        Raises:
          ValueError: if it was made with other settings, or cannot be read.
        """
        path = self.path(cell)
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text())
            made_with = record["settings"]
            check_same_settings(path, made_with, self.settings)
            complete = isinstance(record["summary"], dict) and "curves" in record
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            complete, record = False, None
        if not complete:
            raise ValueError(f"{path} cannot be read as a result; remove it.")
        return record

    def write(self, cell: Cell, record: dict[str, Any]) -> None:
        """Writes one result with its settings."""
        write_json(
            self.path(cell), {**cell._asdict(), "settings": self.settings, **record}
        )


def check_same_settings(
    path: pathlib.Path, theirs: dict[str, Any], mine: dict[str, Any]
) -> None:
    """Refuses a result that was made with other settings, and says which.

    Raises:
      ValueError: naming the first setting that differs, and both values.

    Example:
      >>> path = pathlib.Path("runs/a.json")
      >>> check_same_settings(path, {"batch_size": 64}, {"batch_size": 32})
      Traceback (most recent call last):
      ValueError: runs/a.json was made with batch_size = 64, this comparison has 32;
        use another output directory.
    """
    for name in dict.fromkeys([*mine, *theirs]):
        one, two = theirs.get(name), mine.get(name)
        if one != two:
            raise ValueError(
                f"{path} was made with {name} = {one}, this comparison has {two}; "
                "use another output directory."
            )


def flat_settings(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens a dataclass of numbers to dotted names, as the command line has them.

    Example:
      >>> from bots_jax.evaluation.students import StudentSettings
      >>> flat_settings(StudentSettings(), "student.")["student.drift"]
      4.0
    """
    flat = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flat_settings(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = value
    return flat


def write_json(path: pathlib.Path, record: Any) -> None:
    """Writes JSON, NaN as null, the file replaced as a whole; makes the folder."""
    write_text(path, json.dumps(_clean(record), indent=1) + "\n")


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _clean(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(inner) for inner in value]
    if isinstance(value, pathlib.PurePath):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
