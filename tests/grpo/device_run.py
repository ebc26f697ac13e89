"""Takes two steps on a number of devices: device_run.py CORES RUN_DIRECTORY OUT."""

import os
import pathlib
import sys

import jax
import numpy as np

from bots_jax.grpo.data import load_data
from bots_jax.grpo.devices import Devices, use_all_cores
from bots_jax.grpo.loop import grpo_step, make_trainer, start_state
from bots_jax.grpo.rollouts import roll_out
from bots_jax.grpo.run_dir import read_run_config
from bots_jax.grpo.train import prepare


def main() -> None:
    cores, directory, out = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    os.sched_getaffinity = lambda pid: set(range(cores))
    config = read_run_config(directory)
    rollouts = config.grpo.batch_size * config.grpo.group_size
    asked = use_all_cores(rollouts)
    devices = Devices()
    data = load_data(config, quiet=True)
    policy, references = prepare(config, data, devices, directory, quiet=True)
    task_ids = np.arange(0, 200, 25)
    _, completions = roll_out(policy, data.train, task_ids, 4, jax.random.key(5))
    trainer = make_trainer(config, data, policy)
    state = start_state(trainer, references)
    norms = []
    for step in range(2, 4):
        state, row = grpo_step(trainer, state, step)
        norms.append(row["learn/grad_norm"])
    leaves = jax.tree.leaves(jax.device_get(state.learner.params))
    np.savez(
        out,
        asked=asked,
        count=devices.count,
        spread=len(completions.completion_ids.sharding.device_set),
        tokens=np.asarray(completions.completion_ids),
        norms=norms,
        **{f"params_{index}": leaf for index, leaf in enumerate(leaves)},
    )


if __name__ == "__main__":
    main()
