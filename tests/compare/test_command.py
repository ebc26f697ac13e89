"""`bots-jax compare`: what it leaves behind, going on with it, and what is refused."""

import contextlib
import io
import json
import pathlib
import re
import shutil
from typing import Any

import pytest

from bots_jax import cli
from bots_jax.cli import main
from bots_jax.compare import command, workers
from bots_jax.compare.measures import summarise
from bots_jax.directory_lock import DirectoryLock
from bots_jax.evaluation.intervals import paired_interval
from bots_jax.evaluation.store import write_json
from tests.compare.tiny import ARMS, SETTINGS, TIMED, options, results

WORDS = ["compare", "--arms", *ARMS, "--seeds", "2", "--workers", "1", *options()]


@pytest.fixture
def copy(finished, tmp_path) -> pathlib.Path:
    """The finished comparison, to change."""
    return shutil.copytree(finished[0], tmp_path / "copy")


def quietly(*words: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(list(words)) == 0
    return printed.getvalue()


def refused(capsys, *words: str) -> str:
    assert main(["compare", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bots-jax: error: ")
    return line.removeprefix("bots-jax: error: ")


def counted(monkeypatch) -> list[tuple[str, int]]:
    """Remembers which arm and seed were trained."""
    ran: list[tuple[str, int]] = []
    run = workers._run_and_write

    def record(store, shared, cell):
        ran.append((cell.arm, cell.seed))
        return run(store, shared, cell)

    monkeypatch.setattr(workers, "_run_and_write", record)
    return ran


def test_what_a_comparison_leaves_behind(finished):
    directory, printed = finished
    files = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    made = {name for name in files if not name.startswith("shared/")}
    names = {f"results/300-{arm}-{seed}.json" for arm in ARMS for seed in range(2)}
    names |= {f"figures/{name}.png" for name in ("learning", "lead", "picked", "times")}
    assert made == names | {"options.json", "table.md", "results.json"}
    assert "shared/0/references/strong.npz" in files
    assert str(directory) in printed and "4/4" in printed
    for arm in ARMS:
        told = re.findall(rf"{arm}, seed \d: success 0\.\d{{3}}, effective", printed)
        assert len(told) == 2
    ratios = re.findall(r"effective tasks \d\.\d+( \(coverage \d\.\d+\))?", printed)
    assert len(ratios) == 4 and all(ratios)

    record = json.loads((directory / "results.json").read_text())
    assert record["machine"]["packages"]["jax"] and record["machine"]["seed"] == 0
    assert record["options"]["arms"] == list(ARMS) and record["options"]["seeds"] == 2
    assert record["options"]["settings"]["grpo"]["num_steps"] == 6
    uniform, bots = record["arms"]
    assert (uniform["arm"], bots["arm"]) == ARMS and uniform["end_gain"] is None
    ends = {
        arm: [
            json.loads((directory / f"results/300-{arm}-{seed}.json").read_text())
            for seed in range(2)
        ]
        for arm in ARMS
    }
    points = {a: [100 * r["summary"]["end"] for r in rs] for a, rs in ends.items()}
    gain = paired_interval(points["bots"], points["uniform"], min_pairs=2)
    assert bots["end_gain"] == pytest.approx(gain._asdict())
    one = ends["bots"][1]
    assert (one["arm"], one["seed"], one["num_tasks"]) == ("bots", 1, 300)
    assert one["settings"]["warmup.num_tasks"] == 64
    assert {len(values) for values in one["curves"].values()} == {4}
    told = {k: v for k, v in summarise(one["curves"]).items() if k not in TIMED}
    assert {k: one["summary"][k] for k in told} == pytest.approx(told, rel=1e-4)

    table = (directory / "table.md").read_text()
    assert "### Learning: 300 tasks, 6 steps of 8 tasks and 4 rollouts" in table
    assert "### Costs: " in table and "### What was picked and believed: " in table
    assert "Fewer than 8 seeds" in table and "nan" not in table


def test_results_that_are_there_are_not_run_again(copy, monkeypatch):
    before = results(copy)
    victim = copy / "results" / "300-bots-1.json"
    untouched = (copy / "results" / "300-bots-0.json").read_bytes()
    victim.unlink()
    ran = counted(monkeypatch)
    quietly("compare", "--resume", str(copy), "--workers", "1")
    assert ran == [("bots", 1)]
    assert results(copy) == before  # bit for bit what was lost
    assert (copy / "results" / "300-bots-0.json").read_bytes() == untouched


def test_a_finished_comparison_is_only_reported(copy, monkeypatch, capsys):
    for name in ("table.md", "results.json"):
        (copy / name).unlink()
    shutil.rmtree(copy / "figures")
    shutil.rmtree(copy / "shared")  # is not even looked at
    ran = counted(monkeypatch)
    assert main(["compare", "--resume", str(copy), "--quiet"]) == 0
    assert ran == [] and capsys.readouterr().out == ""
    assert (copy / "table.md").is_file() and len(
        list((copy / "figures").iterdir())
    ) == 4
    assert not (copy / "shared").exists() and not (copy / "writer.lock").exists()


def test_arms_and_seeds_can_be_added(copy, monkeypatch):
    """An arm with options, and a third seed for all; then fewer of both again."""
    before, ran = results(copy), counted(monkeypatch)
    arm = "bots:forgetting=0.5,references=swapped"
    words = ["compare", *options(), "--output", str(copy), "--workers", "1"]
    quietly(*words, "--arms", *ARMS, arm, "--seeds", "3")
    assert sorted(ran) == sorted(
        [("uniform", 2), ("bots", 2), (arm, 0), (arm, 1), (arm, 2)]
    )
    after = results(copy)
    assert {name: after[name] for name in before} == before
    assert f"300-{arm}-2" in after
    record = json.loads((copy / "results.json").read_text())
    assert [row["arm"] for row in record["arms"]] == [*ARMS, arm]
    assert {row["num_seeds"] for row in record["arms"]} == {3}
    assert f"| {arm} |" in (copy / "table.md").read_text()
    swapped, good = (
        after[f"300-{name}-0"]["curves"]["success"] for name in (arm, "bots")
    )
    assert swapped[0] == good[0] and swapped != good

    ran.clear()
    quietly(*words, "--arms", *ARMS, "--seeds", "2")
    assert ran == []
    record = json.loads((copy / "results.json").read_text())
    assert [row["num_seeds"] for row in record["arms"]] == [2, 2]


def test_a_result_that_is_missing_is_named(copy):
    there = command.read_options(copy)
    path = copy / "results" / "300-uniform-1.json"
    path.unlink()
    store = command.ResultStore(copy, command.plain_settings(there.settings))
    with pytest.raises(ValueError) as caught:
        command.report(there, store)
    assert str(caught.value) == f"{path} is not there: the result is missing."


@pytest.mark.parametrize(
    "words, difference",
    [
        (["--grpo.num-steps", "7"], "grpo.num_steps = 6, this comparison has 7"),
        (["--task-seed", "1"], "task_seed = 0, this comparison has 1"),
        (["--starts", "2"], "starts = 1, this comparison has 2"),
        (["--label-sd", "1"], "label_sd = 0.5, this comparison has 1.0"),
        (["--families", "gcd"], f"families = {list(SETTINGS.families)}, this compar"),
    ],
)
def test_results_made_with_other_settings(words, difference, finished, capsys):
    directory = finished[0]
    before = (directory / "options.json").read_bytes()
    said = refused(capsys, *WORDS[1:], *words, "--output", str(directory))
    path = directory / "options.json"
    assert said.startswith(f"{path} was made with {difference}")
    assert said.endswith("; use another output directory.")
    assert path.read_bytes() == before


def test_a_result_from_elsewhere(copy, capsys):
    path = copy / "results" / "300-bots-0.json"
    record = json.loads(path.read_text())
    record["settings"]["grpo.batch_size"] = 4
    write_json(path, record)
    said = refused(capsys, "--resume", str(copy))
    assert said.startswith(f"{path} was made with grpo.batch_size = 4, this comparison")


def test_one_process_at_a_time(copy, capsys):
    """The second one changes nothing, its options included."""
    (copy / "results" / "300-bots-1.json").unlink()
    before = (copy / "options.json").read_bytes()
    more = [*WORDS[1:], "--arms", *ARMS, "greso", "--output", str(copy)]
    with DirectoryLock(copy / "writer.lock"):
        for words in (["--resume", str(copy)], more):
            said = refused(capsys, *words)
            assert f"{copy} is being written by pid " in said
    assert (copy / "options.json").read_bytes() == before
    assert len(list((copy / "results").iterdir())) == 3


BAD: list[tuple[list[str], str]] = [
    (["--arms", "uniform", "best"], "arms must be among uniform, "),
    (["--arms"], "arms must name at least one arm, got none."),
    (["--arms", "uniform", "uniform"], "arms must not repeat, got ['uniform', 'unif"),
    (
        ["--arms", "bots"],
        "arms must hold 'uniform', which the others are compared with; got ['bots'].",
    ),
    (["--arms", "uniform", "bots:rho=1"], "options of 'bots' must be among "),
    (["--arms", "uniform", "bots:forgetting=x"], "forgetting of arm 'bots:forgetting"),
    (
        ["--arms", "uniform", "bots:forgetting=2"],
        "forgetting must be in [0, 1], got 2.",
    ),
    (["--arms", "uniform", "adaptive:references=none"], "references must be given, "),
    (
        ["--arms", "uniform", "adaptive_both:references=none"],
        "references must have shape (num_tasks, models), got ().",
    ),
    (["--arms", "uniform", "bots:references=bad"], "references of arm 'bots:referenc"),
    (["--seeds", "1"], "seeds must be at least 2, for an interval, got 1."),
    (["--seeds", "0"], "seeds must be "),
    (["--workers", "0"], "workers must be an integer in [1, 1024], got 0."),
    (["--workers", "2000"], "workers must be an integer in [1, 1024], got 2000."),
    (["--grpo.batch-size", "301"], "batch_size must be at most num_tasks = 300, got 3"),
    (
        ["--grpo.temperature", "0.5"],
        "grpo.temperature must be 1: success chances are computed for it; got 0.5.",
    ),
    (
        ["--belief-tasks", "301"],
        "belief_tasks must be an integer in [2, 300], got 3",
    ),
    (["--evaluate-every", "0"], "evaluate_every must be an integer in [1, "),
    (["--held-out-tasks", "0"], "held_out_tasks must be an integer in [1, "),
    (["--task-seed=-1"], "task_seed must be an integer in [0, "),
    (["--starts", "0"], "starts must be an integer in [1, 1024], got 0."),
    (["--starts", "1025"], "starts must be an integer in [1, 1024], got 1025."),
    (["--label-sd", "nan"], "label_sd must be in [0, 100], got nan."),
    (["--grpo.learning-rate=-1"], "grpo.learning_rate must be in [0, 1], got -1."),
    (["--warmup.num-tasks=-1"], "warmup.num_tasks must be an integer in [0, "),
    (["--model.num-heads", "3"], "model.width must be an even multiple of num_heads"),
    (["--families", "chess"], "families must be among "),
]


@pytest.mark.parametrize("words, sentence", BAD)
def test_bad_input_is_refused_before_all_work(words, sentence, tmp_path, capsys):
    target = tmp_path / "run"
    said = refused(capsys, *options(), *words, "--output", str(target))
    assert said.startswith(sentence) and not target.exists()


def began_elsewhere(path: pathlib.Path) -> str:
    """Makes a result one of another machine's start."""
    record = json.loads(path.read_text())
    mine, record["start"] = record["start"], "0123456789ab"
    write_json(path, record)
    return (
        f"{path} began at start 0123456789ab, the others of its seed at {mine}: the "
        "same warm-up rounds differently on another machine. Remove it, bring the "
        "folder `shared` that it was made from, or use another output directory."
    )


def test_results_of_another_start_are_not_gone_on_with(copy, monkeypatch, capsys):
    """Another machine's warm-up ends elsewhere: its results are no pairs of ours."""
    sentence = began_elsewhere(copy / "results" / "300-uniform-0.json")
    (copy / "results" / "300-bots-1.json").unlink()
    ran = counted(monkeypatch)
    assert refused(capsys, "--resume", str(copy), "--workers", "1") == sentence
    assert ran == []


def test_results_of_another_start_are_not_compared(copy, capsys):
    sentence = began_elsewhere(copy / "results" / "300-bots-1.json")
    assert refused(capsys, "--resume", str(copy)) == sentence


def test_every_seed_may_have_a_start_of_its_own(copy, tmp_path):
    """The first is that of the comparison with one start, the other is another."""
    target = tmp_path / "run"
    words = ["--arms", "uniform", "--seeds", "2", "--starts", "2", "--workers", "1"]
    shutil.copytree(copy / "shared" / "0", target / "shared" / "0")
    (target / "options.json").write_text(
        (copy / "options.json").read_text().replace('"starts": 1', '"starts": 2')
    )
    printed = quietly("compare", *options(), *words, "--output", str(target))
    assert "starts: 2/2" in printed
    mine, theirs = results(target), results(copy)
    first, second = (mine[f"300-uniform-{seed}"] for seed in range(2))
    assert first["start"] == theirs["300-uniform-0"]["start"] != second["start"]
    assert first["curves"] == theirs["300-uniform-0"]["curves"]
    table = (target / "shared" / "1" / "references.parquet").read_bytes()
    assert table != (target / "shared" / "0" / "references.parquet").read_bytes()


@pytest.mark.parametrize("words", [["--seeds", "many"], ["--colour", "red"]])
def test_what_the_parser_refuses(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["compare", *words, "--output", str(tmp_path / "run")])
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_directories_that_are_refused(copy, tmp_path, capsys):
    nowhere = tmp_path / "nowhere"
    path = nowhere / "options.json"
    said = refused(capsys, "--resume", str(nowhere))
    assert said == f"no comparison at {nowhere}: {path} is not there."
    said = refused(capsys, "--resume", str(copy), "--output", str(nowhere))
    assert said == "--resume goes on where a comparison is; drop --output."
    said = refused(capsys, "--resume", str(copy), "--seeds", "3")
    assert said.startswith("--resume takes its options from ")
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    for taken in (other, other / "letter.txt"):
        said = refused(capsys, *options(), "--output", str(taken))
        assert said == (
            f"output directory must be new, empty or that of a comparison, got {taken}."
        )
    assert [p.name for p in other.iterdir()] == ["letter.txt"]
    said = refused(capsys, *options(), "--output", str(other / "letter.txt" / "run"))
    assert "Not a directory" in said
    for text in ("", "[]", "{", '{"arms": 3}', '{"arms": [], "seeds": 2}'):
        (copy / "options.json").write_text(text)
        said = refused(capsys, "--resume", str(copy))
        assert said.startswith(f"{copy / 'options.json'} cannot be read as options: ")


def test_options_of_a_comparison_are_read_back(finished):
    there = command.read_options(finished[0])
    assert there == command.CompareCommand(ARMS, 2, SETTINGS)


def test_workers_are_the_cores_unless_told(monkeypatch):
    monkeypatch.setattr(command.os, "sched_getaffinity", lambda _: {0, 2, 5})
    assert command._workers(command.CompareCommand()) == 3
    assert command._workers(command.CompareCommand(workers=2)) == 2


def test_an_interrupt_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "prepare_starts", interrupted)
    assert workers.prepare_starts is not interrupted
    target = tmp_path / "run"
    assert main([*WORDS, "--output", str(target), "--quiet"]) == 130
    assert capsys.readouterr().err.endswith("interrupted; go on with --resume.\n")
    assert [path.name for path in target.iterdir()] == ["options.json"]


def test_help_shows_defaults_and_the_command_is_listed(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["compare", "--help"])
    assert caught.value.code == 0
    shown = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    for text in (
        "--arms",
        "(default: uniform bots adaptive adaptive_no_references oracle)",
        "--seeds INT",
        "(default: 8)",
        "--num-tasks INT",
        "(default: 4096)",
        "--grpo.num-steps INT",
        "(default: 200)",
        "--warmup.num-tasks INT",
        "(default: 20000)",
        "--resume",
        "--workers {None}|INT",
    ):
        assert text in shown, text
    assert "compare" in cli.usage()
