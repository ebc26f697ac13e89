"""Settings on disk, and the fingerprints that tell runs apart."""

import dataclasses
import json
from typing import Any

import pytest

from bots_jax.grpo.config import TrainConfig, from_dict, to_dict
from bots_jax.grpo.config_checks import check_config
from bots_jax.grpo.run_dir import base_fingerprint, run_fingerprint
from tests.grpo.tiny import TINY

SHARED = ("seed", "num_tasks", "families", "exact_answers_only")
SHARED += ("model.", "warmup.", "reference.")


def paths(config: Any, prefix: str = "") -> list[str]:
    """Names of all settings, such as "grpo.batch_size"."""
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = prefix + field.name
        is_group = dataclasses.is_dataclass(value)
        found += paths(value, f"{name}.") if is_group else [name]
    return found


def changed(config: Any, path: str) -> Any:
    """The config with one setting changed to another value of its type."""
    head, _, rest = path.partition(".")
    value = getattr(config, head)
    if rest:
        return dataclasses.replace(config, **{head: changed(value, rest)})
    if head == "name":
        other = "uniform" if value == "bots" else "bots"
    elif isinstance(value, bool):
        other = not value
    elif isinstance(value, tuple):
        other = value[:-1]
    else:
        other = value + 1
    return dataclasses.replace(config, **{head: other})


@pytest.mark.parametrize("config", [TrainConfig(), TINY], ids=["default", "tiny"])
def test_settings_survive_a_round_trip_through_json(config):
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config
    check_config(config)


@pytest.mark.parametrize("path", paths(TINY))
def test_every_setting_decides_the_run(path):
    other = changed(TINY, path)
    assert other != TINY
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(other)))) == other
    assert run_fingerprint(other, "pool") != run_fingerprint(TINY, "pool")
    is_shared = base_fingerprint(other, "pool") == base_fingerprint(TINY, "pool")
    assert is_shared != path.startswith(SHARED)


@pytest.mark.parametrize("fingerprint", [base_fingerprint, run_fingerprint])
def test_the_tasks_decide_the_run(fingerprint):
    assert fingerprint(TINY, "one") != fingerprint(TINY, "other")
    same = from_dict(TrainConfig, to_dict(TINY))
    assert fingerprint(TINY, "one") == fingerprint(same, "one")


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"sed": 1}, "TrainConfig has no field 'sed', allowed: .*'seed'"),
        ({"grpo": {"beta": 1}}, "GrpoConfig has no field 'beta', allowed: .*'kl_coef'"),
    ],
)
def test_a_setting_that_does_not_exist(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_dict(TrainConfig, values)
