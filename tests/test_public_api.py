"""What users may rely on: the exported names, their documentation, a quiet import."""

import inspect
import re
import subprocess
import sys

import pytest

import bots_jax

NAMES = [
    "BotsState",
    "Carried",
    "Coverage",
    "Evidence",
    "LevelEvidence",
    "MomentEvidence",
    "SelectInfo",
    "StepInfo",
    "TaskSampler",
    "TaskSelector",
    "UniformState",
    "UpdateInfo",
    "__version__",
    "adaptive",
    "adarft",
    "allocate_rollouts",
    "arcus",
    "bots",
    "bots_dots",
    "bots_mopps",
    "check_evidence",
    "continuous",
    "coverage",
    "cures",
    "dps",
    "dynamic_sampling",
    "effective_task_ratio",
    "empty_evidence",
    "evidence_from_counts",
    "evidence_from_rewards",
    "evidence_from_scores",
    "flatten_info",
    "graded",
    "greso",
    "insight",
    "level_evidence_from_rewards",
    "make_step",
    "mapp",
    "metrics",
    "moment_evidence_from_rewards",
    "mopps",
    "offline_easy_to_hard",
    "plugins",
    "posterior_means",
    "sample_beta",
    "scores",
    "sec",
    "set_eligible",
    "set_policy_change",
    "set_posterior",
    "shard_selector",
    "share_evidence",
    "target_log_density",
    "thompson_draws",
    "uniform",
]
OBJECTS = [name for name in NAMES if not name.startswith("__")]
FUNCTIONS = [n for n in OBJECTS if inspect.isfunction(getattr(bots_jax, n))]
EXTRAS = [
    "flax",
    "optax",
    "tyro",
    "rich",
    "matplotlib",
    "reasoning_gym",
    "pyarrow",
    "tensorboardX",
    "chex",
    "hypothesis",
    "scipy.stats",
    "torch",
    "orbax",
]


def test_exported_names_are_those_agreed_on():
    assert sorted(bots_jax.__all__) == NAMES


@pytest.mark.parametrize("name", OBJECTS)
def test_public_name_has_a_docstring(name):
    doc = inspect.getdoc(getattr(bots_jax, name))
    assert doc and doc.splitlines()[0].endswith((".", ":"))
    own = getattr(bots_jax, name).__doc__
    assert not (own or "").startswith(f"{name}("), "NamedTuple's default docstring"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_function_has_an_executed_example(name):
    doc = inspect.getdoc(getattr(bots_jax, name)) or ""
    assert "Example" in doc and ">>> " in doc
    assert "Args:" in doc
    source = inspect.getsource(getattr(bots_jax, name))
    assert "Raises:" in doc or not re.search(r"raise |checks\.check", source)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_names_every_argument(name):
    doc = inspect.getdoc(getattr(bots_jax, name)) or ""
    for argument in inspect.signature(getattr(bots_jax, name)).parameters:
        assert f"{argument}:" in doc


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_starts_no_device_sets_nothing_and_takes_no_extras():
    out = run_python(
        "import sys, jax\n"
        "before = dict(jax.config.values)\n"
        "import bots_jax\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, xla_bridge._backends\n"
        "assert jax.config.values == before\n"
        f"print([m for m in {EXTRAS!r} if m in sys.modules])"
    )
    assert out == "[]"


def test_import_check_catches_planted_bug():
    out = run_python(
        "import jax.numpy as jnp\n"
        "jnp.float32(1)\n"
        "from jax._src import xla_bridge\n"
        "print(sorted(xla_bridge._backends))"
    )
    assert "cpu" in out
