"""Reads the protocol: every number of the study, stated before arms are compared."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from bots_jax.compare.arms import check_specs
from bots_jax.compare.settings import CompareSettings, check_settings
from bots_jax.grpo.config import from_dict

FOLDER = Path(__file__).parent
PROTOCOL = FOLDER / "protocol.json"


@dataclasses.dataclass(frozen=True)
class Part:
    """Arms that are compared in one setting.

    Attributes:
      name: of the part; names its folder of results.
      setting: name of the setting.
      arms: as `bots-jax compare` takes them.
      seeds: runs per arm.
    """

    name: str
    setting: str
    arms: tuple[str, ...]
    seeds: int


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The study.

    Attributes:
      admission_gain: points of held-out success that the uniform arm must gain, on
        average over its seeds, for a setting to be admitted.
      settings: name -> all that decides a result besides its arm and seed.
      parts: what is run, in this order.
    """

    admission_gain: float
    settings: dict[str, CompareSettings]
    parts: tuple[Part, ...]


def read_protocol(path: Path = PROTOCOL) -> Protocol:
    """Reads and checks a protocol.

    Args:
      path: of the JSON file.

    Returns:
      The protocol.

    Raises:
      ValueError: if it cannot be read, or names what there is not.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        settings = {
            name: from_dict(CompareSettings, fields)
            for name, fields in values["settings"].items()
        }
        parts = tuple(
            Part(part["name"], part["setting"], tuple(part["arms"]), part["seeds"])
            for part in values["parts"]
        )
        protocol = Protocol(float(values["admission_gain"]), settings, parts)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a protocol: {error!r}.") from None
    for setting in settings.values():
        check_settings(setting)
    for part in protocol.parts:
        check_specs(part.arms)
        if part.setting not in settings:
            raise ValueError(
                f"setting of part {part.name!r} must be one of {sorted(settings)}, "
                f"got {part.setting!r}."
            )
    return protocol
