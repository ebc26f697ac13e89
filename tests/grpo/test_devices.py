"""Data parallelism: one device and four give the same tokens and the same policy."""

import re
import shutil

import jax
import numpy as np
import pytest

from bots_jax.grpo.devices import Devices, use_all_cores
from tests.grpo.tiny import run_python


@pytest.mark.nightly
def test_one_device_and_four_agree(finished_run, tmp_path):
    one, four = (run_on(cores, finished_run.directory, tmp_path) for cores in (1, 4))
    assert (one["asked"], one["count"], one["spread"]) == (1, 1, 1)
    assert (four["asked"], four["count"], four["spread"]) == (4, 4, 4)
    np.testing.assert_array_equal(one["tokens"], four["tokens"])
    assert (one["norms"] > 0.01).all()  # something was learnt
    for name in (name for name in one if name.startswith("params")):
        np.testing.assert_allclose(one[name], four[name], atol=1e-5)


def run_on(cores: int, directory, folder) -> dict[str, np.ndarray]:
    copy, out = folder / f"run-{cores}", folder / f"{cores}.npz"
    shutil.copytree(directory, copy)
    words = (str(cores), str(copy), str(out))
    run_python("-m", "tests.grpo.device_run", *words, devices=0)
    with np.load(out) as file:
        return dict(file)


def test_nothing_changes_once_jax_has_started(monkeypatch):
    before = jax.local_device_count()
    cores = set(range(before + 1))  # a number that JAX was not started with
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: cores, raising=False)
    for _ in range(2):
        assert use_all_cores(len(cores)) == 0
    assert jax.local_device_count() == before


def test_an_explicit_number_of_devices_is_respected(monkeypatch):
    flags = "--xla_force_host_platform_device_count=3"
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert use_all_cores(256) == 0


def test_rows_that_cannot_be_split(monkeypatch):
    devices = Devices()
    monkeypatch.setattr(devices, "count", 4)
    sentence = "rollouts must be a multiple of the 4 local devices, got 6."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        devices.split({"x": np.zeros((8, 2)), "y": np.zeros(6)})
