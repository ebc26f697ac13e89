"""Two processes, one selector: each sees half of the evidence, both choose the same.

    python -m tests.two_processes            # starts both on this machine, over gloo

On a cluster the same program runs on every host; `bots_jax/distributed.md` says what
changes. Each process prints one line of JSON; they must be equal.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

NUM_TASKS, BATCH_SIZE, GROUP_SIZE, NUM_STEPS = 10_007, 16, 8, 12
SETTINGS: Any = {"engine": "lazy", "selection": "race"}


def references() -> np.ndarray:
    return np.random.default_rng(0).random((NUM_TASKS, 2))


def rewards_of(tasks: np.ndarray, step: int) -> np.ndarray:
    """What rollouts would earn, the same whoever rolls them out."""
    chance = np.random.default_rng(1).random(NUM_TASKS)[tasks]
    rng = np.random.default_rng(step)
    return (rng.random((NUM_TASKS, GROUP_SIZE))[tasks] < chance[:, None]) * 1.0


def train(sampler, mine: slice, num_steps: int = NUM_STEPS) -> list[list[int]]:
    """The loop of a trainer: this process rolls out its share of every batch."""
    batches = []
    for _ in range(num_steps):
        batch = sampler.select()
        batches.append(batch.tolist())
        share = batch[mine]
        sampler.observe(share, rewards_of(share, sampler.step))
        sampler.advance()
    return batches


def work(process: int, address: str, folder: str) -> None:
    """What one process does."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=2, process_id=process)

    import bots_jax

    mesh = jax.make_mesh((jax.device_count(),), ("tasks",))
    selector = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=BATCH_SIZE, **SETTINGS)
    selector = bots_jax.shard_selector(selector, mesh)

    def start() -> bots_jax.TaskSampler:
        state = selector.init(references())
        return bots_jax.TaskSampler(selector, jax.random.key(7), state)

    sampler = start()
    batches = train(sampler, slice(process, None, 2))
    sampler.save(folder)
    going_on = train(sampler, slice(process, None, 2), 2)
    again = start()
    kept = again.restore(folder).kept
    resumed = train(again, slice(process, None, 2), 2)
    new = sampler.add_tasks(num_tasks=9, references=np.full((9, 2), 0.5))
    grown = train_new(sampler, new[process::2])
    said = {
        "devices": [jax.local_device_count(), jax.device_count()],
        "batches": batches,
        "alpha": sampler.posterior()[0].astype(float).sum(),
        "kept": kept,
        "resumed": resumed == going_on,
        "capacity": grown,
        "step": own_step(mesh, process),
        "refused": refusal(mesh, process),
    }
    print(json.dumps(said), flush=True)


def train_new(sampler, new: np.ndarray) -> int:
    """One step on tasks that have just come."""
    sampler.observe(new, np.ones((len(new), 2)))
    sampler.advance()
    return sampler.selector.num_tasks


def own_step(mesh, process: int) -> list[int]:
    """The jitted step of one's own, with evidence that is shared before it."""
    import jax

    import bots_jax

    selector = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=BATCH_SIZE, engine="dense")
    selector = bots_jax.shard_selector(selector, mesh)
    step = jax.jit(bots_jax.make_step(selector), donate_argnames="state")
    state, evidence = selector.init(references()), bots_jax.empty_evidence(BATCH_SIZE)
    task_ids = None
    for number in range(3):
        state, task_ids, _ = step(jax.random.key(number), state, evidence)
        mine = np.asarray(task_ids)[process::2]
        local = bots_jax.evidence_from_rewards(mine, rewards_of(mine, number))
        evidence = bots_jax.share_evidence(local)
    return np.asarray(task_ids).tolist()


def refusal(mesh, process: int) -> str:
    """What is said when the processes disagree on the number of tasks."""
    import bots_jax

    selector = bots_jax.uniform(num_tasks=100 + process, batch_size=2)
    selector = bots_jax.shard_selector(selector, mesh)
    import jax

    try:
        bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
    except ValueError as error:
        return str(error)
    return "nothing"


def start_both(timeout: float = 240) -> list[dict]:
    """Runs the program twice on this machine and returns what each says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = "--xla_force_host_platform_device_count=2"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        both = [
            subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(p), address, folder],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for p in (0, 1)
        ]
        last = time.monotonic() + timeout
        try:  # one that fails leaves the other waiting for ever
            while any(process.poll() is None for process in both):
                if any(process.poll() for process in both) or time.monotonic() > last:
                    break
                time.sleep(0.1)
        finally:
            for process in both:
                process.kill()
        said = [process.communicate() for process in both]
    if any(process.returncode for process in both):
        raise RuntimeError("\n".join(error[-3000:] for _, error in said))
    return [json.loads(out.strip().splitlines()[-1]) for out, _ in said]


if __name__ == "__main__":
    if len(sys.argv) == 1:
        one, other = start_both()
        assert one == other, "the processes differ"
        print("both processes say the same:", one["alpha"], one["step"])
    else:
        work(int(sys.argv[1]), sys.argv[2], sys.argv[3])
