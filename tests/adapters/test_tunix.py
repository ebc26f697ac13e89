"""Tunix's own learners, on a tiny model, train on what the sampler selects."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from bots_jax.adapters import tunix
from tests.adapters import tunix_tiny as tiny
from tests.adapters.tunix_tiny import BATCH_SIZE, GROUP_SIZE

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Tunix


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Tunix promotes ranks, and would log to the network."""
    before, os.environ["WANDB_MODE"] = os.environ.get("WANDB_MODE"), "disabled"
    jax.config.update("jax_numpy_rank_promotion", "allow")
    yield
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if before is None:
        del os.environ["WANDB_MODE"]


@pytest.fixture
def _tunix() -> None:
    pytest.importorskip("tunix.rl.rl_cluster", reason="needs google-tunix")


@pytest.mark.usefixtures("_tunix")
def test_the_documented_lines_train_and_learn_from_the_named_reward() -> None:
    from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner  # pyright: ignore[reportMissingImports]

    lines = (tunix.__doc__ or "").split("\n\n")[1]
    lines = textwrap.dedent(lines).replace("num_generations=16", "num_generations=4")
    buffers: list[Any] = []
    cluster = tiny.make_cluster(max_steps=3, reference=True)
    cluster.with_external_metrics_logger(buffers.append)
    sampler = tiny.make_sampler()

    def correct(*texts: Any, **columns: Any) -> list[float]:
        return tiny.said_digit(*texts, **columns)

    def well_formed(prompts: Any, completions: Any, **_: Any) -> list[float]:
        return [0.25] * len(prompts)

    names = {
        "tunix": tunix,
        "GRPOLearner": GRPOLearner,
        "GRPOConfig": GRPOConfig,
        "cluster": cluster,
        "sampler": sampler,
        "rows": tiny.make_rows(),
        "correct": correct,
        "well_formed": well_formed,
    }
    exec(lines, names)
    assert sampler.step == 3
    counters = sampler.metrics()
    assert counters["sampler/drawn"] == counters["sampler/observed"] == 3 * BATCH_SIZE
    logged = {name for buffer in buffers for name in buffer.metrics}
    assert "bots/zero_advantage_groups" in logged
    assert {"bots/sampler/in_flight", "bots/update/success_rate"} <= logged


@pytest.mark.usefixtures("_tunix")
@pytest.mark.parametrize(
    ("micro", "mini", "iterations"), [(2, None, 1), (1, 2, 2)], ids=str
)
def test_one_step_per_batch_however_it_is_cut(
    micro: int, mini: int | None, iterations: int
) -> None:
    steps, heard = 3, tiny.Heard()
    updates = steps * (BATCH_SIZE // (mini or BATCH_SIZE)) * iterations
    cluster = tiny.make_cluster(
        max_steps=updates, micro=micro, mini=mini, logprobs=iterations > 1
    )
    sampler = tiny.make_sampler(names=True)
    bots = tunix.attach(cluster, sampler, tiny.make_rows())
    learner = tiny.make_learner(bots, cluster, heard, num_iterations=iterations)
    learner.train(bots)
    assert cluster.actor_trainer.train_steps == updates
    assert sampler.step == steps and len(heard.train) == steps * BATCH_SIZE
    expected = tiny.replayed(heard.train, names=True)
    for mine, wanted in zip(sampler.posterior(), expected.posterior(), strict=True):
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.usefixtures("_tunix")
def test_evaluation_is_never_learnt_from() -> None:
    heard = tiny.Heard()
    cluster = tiny.make_cluster(max_steps=2, eval_every=1)
    sampler = tiny.make_sampler()
    bots = tunix.attach(cluster, sampler, tiny.make_rows())
    task_ids = np.arange(BATCH_SIZE, dtype=np.int32)
    prompts = np.array([f"say {number}" for number in task_ids])
    held_out = [{"prompts": prompts, "task_id": task_ids}] * 2
    tiny.make_learner(bots, cluster, heard).train(bots, held_out)
    assert heard.evaluation == 2 * 2 * BATCH_SIZE * GROUP_SIZE
    assert sampler.metrics()["sampler/observed"] == 2 * BATCH_SIZE
    expected = tiny.replayed(heard.train)
    np.testing.assert_array_equal(sampler.posterior()[0], expected.posterior()[0])


@pytest.mark.usefixtures("_tunix")
def test_agents_draw_ahead_and_answer_group_by_group() -> None:
    heard, ahead, steps = tiny.Heard(), 1, 4
    cluster = tiny.make_cluster(max_steps=steps, logprobs=True)
    sampler = tiny.make_sampler()
    bots = tunix.attach(cluster, sampler, tiny.make_rows())
    learner = tiny.make_agentic_learner(bots, cluster, heard, off_policy_steps=ahead)
    learner.train(bots)
    counters = sampler.metrics()
    assert bots.is_agentic
    assert sampler.step == len(heard.train) // BATCH_SIZE >= steps
    assert counters["sampler/observed"] == len(heard.train)
    assert counters["sampler/undrawn"] == 0
    unanswered = counters["sampler/drawn"] - counters["sampler/observed"]
    assert unanswered == len(bots.state_dict()["extra"]["open"]) <= 2 * BATCH_SIZE


def start(folder: pathlib.Path, *options: str) -> int:
    """Runs the tiny training in a process of its own."""
    folder.mkdir(exist_ok=True)
    cache = os.environ["BOTS_JAX_TEST_PROGRAMS"]
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-m", "tests.adapters.tunix_tiny", str(folder)]
    done = subprocess.run(
        [*command, *options],
        env=environment,
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        timeout=300,
    )
    if done.returncode not in (0, -9):
        raise AssertionError(done.stderr.decode()[-2000:])
    return done.returncode


def compare(
    undisturbed: pathlib.Path,
    resumed: pathlib.Path,
    from_step: int,
    groups_per_step: int = BATCH_SIZE,
) -> None:
    """Asserts that a resumed run did what the undisturbed one did from there on."""

    def lines(folder: pathlib.Path) -> list[dict[str, Any]]:
        return [json.loads(x) for x in (folder / "log.jsonl").read_text().splitlines()]

    def ids(found: list[dict[str, Any]]) -> list[int]:
        tasks = [task for line in found for task in line["task_ids"]]
        size = groups_per_step  # groups of one step come in any order with agents
        steps = [tasks[at : at + size] for at in range(0, len(tasks), size)]
        return [task for step in steps for task in sorted(step)]

    again = [line for line in lines(resumed) if line["from"]]
    assert {line["from"] for line in again} == {from_step}
    rest = ids(lines(undisturbed))[from_step * groups_per_step :]
    assert rest and ids(again)[: len(rest)] == rest
    mine, theirs = (np.load(f / "posterior.npz") for f in (resumed, undisturbed))
    for name in theirs:
        np.testing.assert_array_equal(mine[name], theirs[name])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    pytest.importorskip("tunix.rl.rl_cluster", reason="needs google-tunix")
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(folder) == 0
    return folder


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_killed_at_a_checkpoint_it_goes_on_as_if_nothing_was(
    undisturbed: pathlib.Path, tmp_path: pathlib.Path, moment: str
) -> None:
    assert start(tmp_path / "run", "--kill", f"{moment}:4") == -9
    model = tmp_path / "run" / "model"
    whole = sorted(int(x.name) for x in (model / "actor").glob("[0-9]"))
    assert {int(x.name) for x in (model / "bots").glob("*")} >= set(whole)
    assert (whole[-1] == 4) == (moment == "after")
    assert start(tmp_path / "run") == 0
    compare(undisturbed, tmp_path / "run", whole[-1])
    kept = {int(x.name) for x in (model / "bots").glob("*")}
    assert kept <= {4, 5, 6}


@pytest.mark.usefixtures("_tunix")
@pytest.mark.parametrize("how", [["--mini", "2"], ["--agentic"]], ids=["mini", "agent"])
def test_killed_in_the_middle_of_a_batch_or_with_agents(
    tmp_path: pathlib.Path, how: list[str]
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole, *how, "--steps", "4") == 0
    assert start(cut, *how, "--steps", "4", "--kill", "after:3") == -9
    assert start(cut, *how, "--steps", "4") == 0
    compare(whole, cut, 3, groups_per_step=2 if "--mini" in how else BATCH_SIZE)
