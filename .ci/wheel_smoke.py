"""Runs a few steps with the installed wheel, away from the checkout."""

import importlib.util
import pathlib
import sys
import tempfile

import jax
import numpy as np

import bots_jax
from bots_jax.cli import main

checkout = pathlib.Path(sys.argv[1]).resolve()
installed = pathlib.Path(bots_jax.__file__).resolve()
assert checkout not in installed.parents, f"imported the checkout: {installed}"
assert (installed.parent / "py.typed").is_file(), "the wheel lacks py.typed"
for extra in ("flax", "optax", "matplotlib", "reasoning_gym", "pyarrow"):
    assert extra not in sys.modules, f"importing the engine imported {extra}"

selector = bots_jax.bots(num_tasks=1000, batch_size=8)
references = np.random.default_rng(0).random((1000, 2))
state = selector.init(references)
step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
evidence = bots_jax.empty_evidence(8)
for number in range(3):
    state, task_ids, info = step(jax.random.key(number), state, evidence)
    assert len(set(task_ids.tolist())) == 8, task_ids
    rewards = np.ones((8, 4)) * (np.arange(4) < 2)
    evidence = bots_jax.evidence_from_rewards(task_ids, rewards)
assert float(info.update.success_rate) == 0.5, info
print("wheel:", bots_jax.__version__, "selected", task_ids.tolist())

samplers = [
    bots_jax.TaskSampler(selector, jax.random.key(0), selector.init(references))
    for _ in range(2)
]
with tempfile.TemporaryDirectory() as folder, samplers[0] as sampler:
    sampler.observe(sampler.select(), np.ones((8, 4)))
    sampler.advance()
    sampler.save(folder)
    assert samplers[1].restore(folder).kept == 1000
assert samplers[0].select().tolist() == samplers[1].select().tolist()
print("wheel: a sampler was saved and restored")

shipped = installed.parent / "benchmarks"
assert (shipped / "bench.py").is_file(), "the wheel lacks the benchmarks"
assert not [*shipped.rglob("*.json"), *shipped.rglob("*.png")], "it ships results"
if importlib.util.find_spec("tyro") is None:  # the engine alone
    assert main(["bench", "--quick"]) == 1, "bench must name the extra it needs"
else:
    with tempfile.TemporaryDirectory() as results:
        words = ["bench", "--quick", "--num-tasks", "2000", "--batch-sizes", "32"]
        assert main([*words, "--repetitions", "2", "--results", results]) == 0
        assert (pathlib.Path(results) / "bench.json").is_file()
print("wheel: benchmarks are there")
