"""Comparisons that are killed, that use several processes, or lose one of them."""

import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from bots_jax.cli import main
from tests.compare.tiny import ARMS, assert_nearly_equal, options, results
from tests.grpo.tiny import REPOSITORY, environment, run_python

WORDS = ["compare", "--arms", *ARMS, *options(), "--quiet"]
TIMEOUT = 240.0


def killed_before(path: str, *words: str) -> None:
    """Runs a command that SIGKILL ends just before `path` gets its name."""
    module = "tests.grpo.killed_run"
    done = run_python("-m", module, path, *words, devices=0, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def test_killed_in_the_middle_and_resumed(finished, tmp_path):
    """It loses what was being written, and nothing else."""
    directory = tmp_path / "killed"
    words = [*WORDS, "--seeds", "2", "--workers", "1", "--output", str(directory)]
    killed_before("results/300-uniform-1.json", *words)
    there = results(directory)
    assert set(there) == {"300-uniform-0", "300-bots-0"}
    assert (directory / "results" / "300-uniform-1.json.partial").is_file()
    words = ["compare", "--resume", str(directory), "--quiet", "--workers", "1"]
    assert main(words) == 0
    assert results(directory) == results(finished[0])
    assert (directory / "table.md").is_file()
    assert not list(directory.rglob("*.partial"))


@pytest.mark.nightly
@pytest.mark.parametrize(
    "path",
    [
        "compare/options.json",
        "warmup/60",
        "references/weak.npz",
        "references/strong.npz",
        "results/300-uniform-0.json",
        "results/300-bots-1.json",
        "compare/table.md",
        "compare/results.json",
    ],
)
def test_killed_before_each_file(path, finished, tmp_path):
    directory = tmp_path / "compare"
    words = [*WORDS, "--seeds", "2", "--workers", "1", "--output", str(directory)]
    killed_before(path, *words)
    if path == "compare/options.json":  # what is left behind is not a comparison yet
        shutil.rmtree(directory)
        assert main(words) == 0
    else:
        resume = ["compare", "--resume", str(directory), "--quiet", "--workers", "1"]
        assert main(resume) == 0
    assert results(directory) == results(finished[0])


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bots_jax.cli", *words],
        env=environment(devices=0),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the workers that a command has started."""
    found = []
    for children in pathlib.Path(f"/proc/{process.pid}/task").glob("*/children"):
        for pid in children.read_text().split():
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"spawn_main" in command:
                found.append(int(pid))
    return found


def is_running(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.split()[0] not in "ZX"


def wait_until(is_so, process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not is_so():
        assert time.monotonic() < deadline
        if process is not None:
            assert process.poll() is None, "it ended before it could be disturbed"
        time.sleep(0.01)


@pytest.fixture
def copy(finished, tmp_path) -> pathlib.Path:
    """The common start of the finished comparison, and none of its results."""
    directory = shutil.copytree(finished[0], tmp_path / "copy")
    shutil.rmtree(directory / "results")
    return directory


@pytest.mark.nightly
def test_two_workers_find_what_one_does(finished, copy):
    words = [*WORDS, "--arms", "uniform", "--seeds", "2", "--output", str(copy)]
    process = start(*words, "--workers", "2")
    wait_until(lambda: len(workers_of(process)) == 2, process)
    workers = workers_of(process)
    printed, said = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, printed) == (0, ""), said
    whole = results(finished[0])
    uniform = {name: whole[name] for name in ("300-uniform-0", "300-uniform-1")}
    assert_nearly_equal(results(copy), uniform)
    assert not any(map(is_running, workers))
    assert not (copy / "writer.lock").exists()


@pytest.mark.nightly
def test_starts_are_made_side_by_side(finished, tmp_path):
    """Two workers make two starts; arms of a seed share one, seeds do not."""
    directory = tmp_path / "run"
    words = [*WORDS, "--seeds", "2", "--starts", "2", "--output", str(directory)]
    process = start(*words, "--workers", "2")
    printed, said = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, printed) == (0, ""), said
    found = results(directory)
    assert set(found) == set(results(finished[0]))
    began = {name: record["start"] for name, record in found.items()}
    for seed in range(2):
        assert len({began[f"300-{arm}-{seed}"] for arm in ARMS}) == 1
        assert (directory / "shared" / str(seed) / "references.parquet").is_file()
    assert len(set(began.values())) == 2
    compiled = sorted((directory / "shared" / "programs").iterdir())
    assert len(compiled) == 2 and all(list(core.iterdir()) for core in compiled)


def disturbed(copy: pathlib.Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A long comparison of two workers that has written its first result."""
    process = start(*WORDS, "--seeds", "40", "--workers", "2", "--output", str(copy))
    wait_until(lambda: list((copy / "results").glob("*.json")), process)
    workers = workers_of(process)
    assert len(workers) == 2 and all(map(is_running, workers))
    return process, workers


@pytest.mark.nightly
def test_a_worker_that_dies(finished, copy):
    """One sentence; what was written is kept, and a resumed comparison goes on."""
    process, workers = disturbed(copy)
    subprocess.run(["kill", "-KILL", str(workers[0])], check=True)
    printed, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1 and printed == ""
    assert said.splitlines() == [
        "bots-jax: error: a worker died, for want of memory perhaps; results that were "
        "written are kept, and --resume goes on (with fewer --workers)."
    ]
    wait_until(lambda: not any(map(is_running, workers)))
    kept = results(copy)
    assert 1 <= len(kept) < 80
    words = [*WORDS, "--seeds", "2", "--workers", "1", "--output", str(copy)]
    assert main(words) == 0
    after = results(copy)
    assert {name: after[name] for name in kept} == kept
    whole = results(finished[0])
    assert_nearly_equal({name: after[name] for name in whole}, whole)


@pytest.mark.nightly
def test_workers_end_with_a_parent_that_is_killed(copy):
    process, workers = disturbed(copy)
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_running, workers)))
    count = len(results(copy))
    time.sleep(1)
    assert len(results(copy)) == count < 80
    words = [*WORDS, "--seeds", "2", "--workers", "1", "--output", str(copy)]
    assert main(words) == 0
    process.communicate()
