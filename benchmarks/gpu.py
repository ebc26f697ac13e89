"""Whether the targets are met on this device: one command for a GPU or TPU.

Runs step, update, sampler and memory with sizes for a device of 16 GB or more, and
writes the results, with the machine's stamp, into a folder named after the device.
Without one it runs small sizes on the CPU, to see that it works:

    python -m benchmarks.gpu
"""

import dataclasses
import re
from pathlib import Path
from typing import Annotated

import jax
import tyro

from . import bench, cases, harness, machine, official
from .bench import Sizes
from .cases import Limits
from .harness import CONSOLE

ON_DEVICE = Sizes(
    num_tasks=(10**5, 10**6, 10**7, 10**8, 10**9),
    batch_sizes=(32, 1024, 4096),
    limits=Limits(dense=10**9),
    repetitions=21,
    budget_s=4.0,
    num_choices=100,
    phases=True,
    num_updated=(10**6, 10**7, 10**8),
    num_draws=(10**5, 10**6, 10**7),
    num_measured=(10**6, 10**7),
)
ON_CPU = dataclasses.replace(
    ON_DEVICE,
    num_tasks=(2000,),
    batch_sizes=(32,),
    repetitions=2,
    budget_s=1.0,
    num_choices=30,
    phases=False,
    num_updated=(2000,),
    num_draws=(2000,),
    num_measured=(2000,),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Whether the targets are met on this device.

    Attributes:
      official: folder of the unzipped trinity-rft 0.6.0 wheel; without it the official
        code, which runs on the host, is recorded as not run.
      num_tasks: N of steps, instead of the usual sizes.
      seed: of pools, evidence, keys and order.
      results: folder in which one for the device is made.
      quick: small sizes on any device.
    """

    official: Path | None = None
    num_tasks: tuple[int, ...] | None = None
    seed: int = 0
    results: Path = machine.RESULTS
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


def folder_name(device_kind: str) -> str:
    """Makes a folder's name of a device's.

    Example:
      >>> folder_name("NVIDIA H200")
      'nvidia-h200'
    """
    return re.sub(r"[^a-z0-9]+", "-", device_kind.lower()).strip("-")


def main(config: Config) -> Path:
    """Runs everything; returns the summary's file."""
    machine.share_device()
    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    sizes = ON_CPU if on_cpu or config.quick else ON_DEVICE
    if config.num_tasks is not None:
        sizes = dataclasses.replace(sizes, num_tasks=config.num_tasks)
    cases.check_sizes(sizes.num_tasks, sizes.batch_sizes)
    if config.official is not None:
        official.check_folder(config.official)
    if on_cpu:
        CONSOLE.print("no accelerator is here: small sizes on the CPU")
    is_local = on_cpu or config.quick
    name = "local" if is_local else folder_name(device.device_kind)
    results = config.results / name
    results.mkdir(parents=True, exist_ok=True)
    return bench.run_all(sizes, config.official, results, 0.0, config.seed)


if __name__ == "__main__":
    harness.run_script(main, Config)
