"""The smallest comparison that still learns something."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from bots_jax.compare.settings import CompareSettings
from bots_jax.grpo.config import GrpoConfig, ReferenceConfig, WarmupConfig
from tests.grpo.tiny import MODEL, options_of

ARMS = ("uniform", "bots")

# 8 tasks by 4 rollouts and 16 by 2 are 32 rows: one program generates both.
SETTINGS = CompareSettings(
    num_tasks=300,
    families=("ab", "count_bits", "gcd", "spell_backward"),
    held_out_tasks=40,
    evaluate_every=2,
    belief_tasks=60,
    model=MODEL,
    warmup=WarmupConfig(
        num_steps=60,
        num_tasks=64,
        batch_size=64,
        learning_rate=3e-2,
        strong_steps=4,
        checkpoint_every=40,
        wrong_rates=(0.0, 0.0, 0.2, 0.5),
    ),
    reference=ReferenceConfig(rollouts=2, tasks_per_chunk=16),
    grpo=GrpoConfig(
        num_steps=6, batch_size=8, group_size=4, warmup_steps=2, learning_rate=3e-3
    ),
)

TIMED = {"seconds", "selector_seconds", "selector_share", "selector_ms"}
"""Numbers that a clock decides."""


def options(settings: CompareSettings = SETTINGS) -> list[str]:
    """Spells settings as command-line options; defaults are left out."""
    return options_of("", settings, CompareSettings())


def changed(**values: Any) -> CompareSettings:
    """The tiny settings with some changed; `group=dict(...)` within a group."""
    for name, value in values.items():
        if isinstance(value, dict):
            group = getattr(SETTINGS, name)
            values[name] = dataclasses.replace(group, **value)
    return dataclasses.replace(SETTINGS, **values)


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what a clock decides."""
    return {name: value for name, value in record.items() if name not in TIMED}


def assert_nearly_equal(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Compares results of `results`, all but the last digits of their numbers.

    XLA adds in another order where it has one thread, as workers have.
    """
    assert set(one) == set(two)
    for name, record in one.items():
        other = two[name]
        assert record["settings"] == other["settings"]
        for part in ("summary", "curves"):
            assert set(record[part]) == set(other[part])
            for key, value in record[part].items():
                numbers = (np.array(x, float) for x in (value, other[part][key]))
                np.testing.assert_allclose(*numbers, rtol=1e-4, err_msg=f"{name} {key}")


def results(directory: pathlib.Path) -> dict[str, Any]:
    """Reads every result, without what a clock decides."""
    found = {}
    for path in sorted((directory / "results").glob("*.json")):
        record = json.loads(path.read_text())
        for part in ("summary", "curves"):
            record[part] = untimed(record[part])
        found[path.stem] = record
    return found
