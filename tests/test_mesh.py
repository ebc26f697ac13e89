"""Runs `tests/mesh` with eight devices, and what needs no devices at all."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import pytest

import bots_jax
from bots_jax.distributed import share_evidence
from tests.selector_cases import CASES

ROOT = pathlib.Path(__file__).parent.parent


def run_on_eight_devices(*arguments: str) -> str:
    flags = "--xla_force_host_platform_device_count=8"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *arguments]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "tests/mesh"],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_on_eight_devices():
    said = run_on_eight_devices("-m", "not nightly")
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed[1]) >= 20 and "skipped" not in said


@pytest.mark.nightly
def test_all_cases_on_all_meshes():
    said = run_on_eight_devices("-m", "nightly")
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed[1]) >= 8 * len(CASES)


def test_a_mesh_without_the_axis_is_refused():
    mesh = jax.make_mesh((1,), ("data",))
    selector = bots_jax.bots(num_tasks=4, batch_size=2)
    with pytest.raises(ValueError, match=r"^mesh must have an axis 'tasks', got the "):
        bots_jax.shard_selector(selector, mesh)
    sharded = bots_jax.shard_selector(selector, mesh, "data")
    assert sharded.select(jax.random.key(0), sharded.init())[0].shape == (2,)
    with pytest.raises(ValueError, match="^selector must not be divided already"):
        bots_jax.shard_selector(sharded, mesh, "data")


def test_what_is_not_a_mesh_is_refused():
    selector = bots_jax.bots(num_tasks=4, batch_size=2)
    wrong: object = jax.devices()
    with pytest.raises(ValueError, match="^mesh must be a jax.sharding.Mesh, got"):
        bots_jax.shard_selector(selector, wrong)  # pyright: ignore[reportArgumentType]


def test_a_selector_that_cannot_be_remade_is_refused():
    selector = bots_jax.bots(num_tasks=4, batch_size=2)._replace(remake=None)
    with pytest.raises(ValueError, match="remake=None"):
        bots_jax.shard_selector(selector, jax.make_mesh((1,), ("tasks",)))


def test_one_process_shares_with_nobody():
    evidence = bots_jax.evidence_from_counts([1], [2], 4)
    assert share_evidence(evidence) is evidence
