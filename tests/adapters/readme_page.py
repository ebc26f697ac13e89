"""The page about trainers, its blocks, and what they are run with."""

import importlib.metadata
import pathlib
import re
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import bots_jax

PAGE = pathlib.Path(bots_jax.__file__).parent / "adapters" / "README.md"
TEXT = PAGE.read_text()
EXECUTED = r"executed with (?:the classes of )?(\S+) ([\d.]+) by test_readme_blocks"
FENCED = re.compile(r"<!-- ([^\n]*) -->\n```(\w+)\n(.*?)```\n", re.S)


class Block(NamedTuple):
    mark: str
    language: str
    code: str


def blocks(title: str) -> list[Block]:
    """The blocks of one section, as they stand on the page."""
    section = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [Block(*found) for found in FENCED.findall(section)]


def run(title: str, **names: Any) -> dict[str, Any]:
    """Runs the one block of a section among these names."""
    ((mark, language, code),) = blocks(title)
    assert re.fullmatch(EXECUTED, mark) and language == "python"
    exec(compile(code, f"{PAGE.name}: {title}", "exec"), names)
    return names


def needs(distribution: str, module: str, title: str) -> None:
    """Skips, if this is not installed in the version that the page names, or later."""
    pytest.importorskip(module, reason=f"needs {distribution}")
    found = importlib.metadata.version(distribution).partition("+")[0]
    match = re.fullmatch(EXECUTED, blocks(title)[0].mark)
    assert match is not None
    numbers = [[int(x) for x in re.findall(r"\d+", v)] for v in (found, match[2])]
    if numbers[0] < numbers[1]:
        pytest.skip(f"needs {distribution} {match[2]}, found {found}")


def has_moved(sampler: Any, rollouts: float) -> bool:
    """Whether the posterior holds evidence, less than was rolled out."""
    alpha, beta = sampler.posterior()
    return 0 < float((alpha + beta - 2).sum()) <= rollouts


def learnt_all(sampler: Any, steps: int) -> bool:
    """Whether that many steps were made, and no task that was drawn is missing."""
    counts = sampler.metrics()
    names = ("drawn", "observed", "late", "undrawn", "in_flight")
    drawn, observed, *others = (counts[f"sampler/{name}"] for name in names)
    return sampler.step == steps and drawn == observed > 0 and others == [0, 0, 0]


def make_sampler(num_tasks: int = 200, batch_size: int = 32) -> Any:
    selector = bots_jax.bots(num_tasks=num_tasks, batch_size=batch_size)
    return bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())


def settled(task_ids: Any) -> np.ndarray:
    """Rollouts of a made-up policy, [B, 8]."""
    solved = np.asarray(task_ids)[:, None] % 9
    return (np.arange(8) < solved).astype(np.float32)
