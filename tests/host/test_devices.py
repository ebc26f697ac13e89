"""Saved on some devices, restored on others: one process runs all the checks."""

import json
import os
import pathlib
import subprocess
import sys

import pytest


def test_any_number_of_devices_gives_the_same(tmp_path):
    run_and_check(tmp_path)


@pytest.mark.nightly
def test_any_number_of_devices_gives_the_same_for_the_lazy_engine(tmp_path):
    run_and_check(tmp_path, "all")


def run_and_check(tmp_path: pathlib.Path, *words: str) -> None:
    flags = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    out = str(tmp_path / "out")
    command = [sys.executable, "-m", "tests.host.device_run", out, *words]
    done = subprocess.run(
        command, env=os.environ | flags, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "out").read_text())
    assert found.pop("devices") == 8
    for name, checks in found.items():
        wrong = [check for check, is_so in checks.items() if not is_so]
        assert not wrong, name
