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

MAIN, LARGE, ABLATION = "main-", "large-", "ablation-"
"""How names of parts begin: main tables; larger models; those that change an arm."""


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
class Goal:
    """What we set out to reach, in the main parts.

    Attributes:
      arms: that have to find out what they choose by.
      time_to_baseline: rollouts until the baseline's final score, over the
        baseline's: at most this for one of the arms,
      below: with an interval that ends below this,
      settings: in at least so many settings.
    """

    arms: tuple[str, ...]
    time_to_baseline: float
    below: float
    settings: int


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The study.

    Attributes:
      admission_gain: points of held-out success that the uniform arm must gain, on
        average over its seeds, for a setting to be admitted.
      goal: what we set out to reach.
      settings: name -> all that decides a result besides its arm and seed.
      parts: what is run, in this order.
      gains: settings in which it is measured what tasks of each difficulty teach.
      trial_task_seed: of the start on which that is measured; all that was tried out
        before the arms were compared was tried on this start, and on no other.
    """

    admission_gain: float
    goal: Goal
    settings: dict[str, CompareSettings]
    parts: tuple[Part, ...]
    gains: tuple[str, ...]
    trial_task_seed: int

    def trial_settings(self, name: str) -> CompareSettings:
        """The settings of the start on which things were tried out."""
        told = {"task_seed": self.trial_task_seed, "starts": 1}
        return dataclasses.replace(self.settings[name], **told)


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
        protocol = Protocol(
            float(values["admission_gain"]),
            from_dict(Goal, values["goal"]),
            settings,
            parts,
            tuple(values["gains"]),
            int(values["trial_task_seed"]),
        )
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a protocol: {error!r}.") from None
    for setting in settings.values():
        check_settings(setting)
    for name, setting in settings.items():
        mine = range(setting.task_seed, setting.task_seed + setting.starts)
        if protocol.trial_task_seed in mine:
            raise ValueError(
                f"setting {name!r} must not compare on the start of the trials, of "
                f"trial_task_seed = {protocol.trial_task_seed}."
            )
    for name in protocol.gains:
        if name not in settings:
            raise ValueError(f"gains must be among {sorted(settings)}, got {name!r}.")
    for part in protocol.parts:
        check_specs(part.arms)
        is_main = part.name.startswith(MAIN)
        for arm in protocol.goal.arms:
            if is_main and arm not in part.arms:
                raise ValueError(
                    f"part {part.name!r} must have all arms of the goal, got none of "
                    f"{arm!r}."
                )
        if part.setting not in settings:
            raise ValueError(
                f"setting of part {part.name!r} must be one of {sorted(settings)}, "
                f"got {part.setting!r}."
            )
    return protocol
