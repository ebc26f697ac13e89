"""The command line: help, and one sentence for each kind of bad input."""

import dataclasses
import json
import math
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from bots_jax.cli import main
from bots_jax.grpo.config import SelectorConfig, TrainConfig
from bots_jax.grpo.config_checks import _COUNTS, _RANGES
from bots_jax.version import __version__

MAX = 2**31 - 2
DEFAULT = TrainConfig()
BATCH = DEFAULT.grpo.batch_size
WIDTH, HEADS = DEFAULT.model.width, DEFAULT.model.num_heads
ROLLOUTS = BATCH * DEFAULT.grpo.group_size


@pytest.fixture
def target(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "run"


def refused(capsys: pytest.CaptureFixture[str], *words: str, status: int = 1) -> str:
    """Runs a command that fails, and returns its one sentence."""
    assert main(list(words)) == status
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("bots-jax: error: ") and printed.out == ""
    return line.removeprefix("bots-jax: error: ")


def option(path: str) -> str:
    return "--" + path.replace("_", "-")


def nearly_all_numbers() -> list[tuple[str, Any, str]]:
    """Settings with a value out of range, and the interval that must be named."""
    cases: list[tuple[str, Any, str]] = [("seed", -1, f"[0, {MAX}]")]
    for path, minimum in _COUNTS:
        interval = f"[{minimum}, {MAX}]"
        cases += [(path, value, interval) for value in (minimum - 1, MAX + 1)]
    ranges = list(_RANGES)
    for field in dataclasses.fields(SelectorConfig):
        if field.name != "name":
            high = 1e6 if field.name == "temperature" else 1.0
            ranges.append((f"selector.{field.name}", 0.0, high))
    for path, low, high in ranges:
        values = (low - 1e-3, 1.001 * high, math.nan, math.inf)
        cases += [(path, value, f"[{low:g}, {high:g}]") for value in values]
    return cases


@pytest.mark.parametrize("path, value, interval", nearly_all_numbers())
def test_each_number_out_of_range(path, value, interval, target, capsys):
    said = refused(capsys, "train", f"{option(path)}={value}", "--run-dir", str(target))
    name = path.removeprefix("selector.")
    assert said.startswith(f"{name} must be ") and f"in {interval}, got " in said
    assert not target.exists()


def numbers_of(config: Any, prefix: str = "") -> list[str]:
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names += numbers_of(value, f"{prefix}{field.name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            names.append(prefix + field.name)
    return names


def test_every_number_has_a_check():
    """A setting that is added without a range fails here."""
    checked = {path for path, _, _ in nearly_all_numbers()}
    left = [path for path in numbers_of(DEFAULT) if path not in checked]
    sizes = ["num_layers", "width", "num_heads", "num_kv_heads", "mlp_width"]
    assert left == [f"model.{name}" for name in sizes]  # see the next test


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--model.width", "0"], "model.width must be at least 1, got 0."),
        (["--model.num-layers", "0"], "model.num_layers must be at least 1, got 0."),
        (["--model.num-heads", "0"], "model.num_heads must be at least 1, got 0."),
        (["--model.num-kv-heads=-1"], "model.num_kv_heads must be at least 1, got -1."),
        (["--model.mlp-width", "0"], "model.mlp_width must be at least 1, got 0."),
        (
            ["--model.num-heads", f"{WIDTH - 1}"],
            f"model.width must be an even multiple of num_heads = {WIDTH - 1}, "
            f"got {WIDTH}.",
        ),
        (
            ["--model.num-kv-heads", f"{HEADS + 1}"],
            f"model.num_kv_heads must divide num_heads = {HEADS}, got {HEADS + 1}.",
        ),
        (
            ["--warmup.wrong-rates", "0", "0.5", "1.5", "1"],
            "warmup.wrong_rates[2] must be in [0, 1], got 1.5.",
        ),
        (
            ["--grpo.num-microbatches", f"{ROLLOUTS + 1}"],
            f"grpo.num_microbatches must divide batch_size * group_size = {ROLLOUTS}, "
            f"got {ROLLOUTS + 1}.",
        ),
        (
            ["--num-tasks", f"{BATCH - 1}"],
            f"batch_size must be at most num_tasks = {BATCH - 1}, got {BATCH}.",
        ),
        (["--families", "gcd", "gcd"], "families must not repeat, got ['gcd', 'gcd']"),
        (["--families"], "families must be a non-empty list of names, got ()"),
    ],
)
def test_settings_that_do_not_fit(words, sentence, target, capsys):
    assert refused(capsys, "train", *words, "--run-dir", str(target)) == sentence
    assert not target.exists()


def test_an_unknown_family(target, capsys):
    words = ["--families", "gcd", "sudoku", "--run-dir", str(target)]
    said = refused(capsys, "train", *words)
    assert said.startswith("families must be among ") and "got 'sudoku'" in said
    assert "spell_backward" in said
    assert not target.exists()


@pytest.mark.parametrize("words", [["--selector.name", "best"], ["--colour", "red"]])
def test_what_the_parser_refuses_itself(words, target, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", *words, "--run-dir", str(target)])
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert words[-1] in printed or words[0] in printed
    assert "Traceback" not in printed and not target.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "run"])
def test_a_run_directory_that_is_taken(kind, target, capsys):
    if kind == "file":
        target.write_text("here")
    else:
        target.mkdir()
        (target / ("config.json" if kind == "run" else ".hidden")).write_text("{}")
    said = refused(capsys, "train", "--run-dir", str(target))
    assert said == (
        f"run directory must be new or empty, got {target}; to go on with a run that "
        f"is there, use --resume {target}."
    )


def test_a_run_directory_below_a_file(target, capsys):
    target.write_text("here")
    said = refused(capsys, "train", "--run-dir", str(target / "run"))
    assert "Not a directory" in said and str(target) in said


@pytest.mark.parametrize("flag", ["--resume", "--warmup-from"])
def test_a_run_that_is_not_there(flag, tmp_path, target, capsys):
    missing = tmp_path / "missing"
    words = ["--run-dir", str(target)] if flag == "--warmup-from" else []
    said = refused(capsys, "train", flag, str(missing), *words)
    assert said == f"no run at {missing}: {missing}/config.json is not there."
    assert not target.exists() and not missing.exists()


@pytest.mark.parametrize("flag", ["--run-dir", "--warmup-from"])
def test_resume_takes_no_other_directory(flag, tmp_path, capsys):
    said = refused(capsys, "train", "--resume", str(tmp_path), flag, "other")
    assert said == f"--resume goes on where a run is; drop {flag}."


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"seed": 1, "sed": 2}', '{"model": []}', '{"model": 3}'],
)
def test_settings_on_disk_that_cannot_be_read(text, target, capsys):
    target.mkdir()
    (target / "config.json").write_text(text)
    said = refused(capsys, "train", "--resume", str(target))
    assert str(target) in said or "has no field 'sed'" in said


@pytest.mark.parametrize("seed", [-1, "one", None, 1.5])
def test_settings_on_disk_out_of_range(seed, target, capsys):
    target.mkdir()
    (target / "config.json").write_text(json.dumps({"seed": seed}))
    said = refused(capsys, "train", "--quiet", "--resume", str(target))
    assert said == f"seed must be an integer in [0, {MAX}], got {seed!r}."


def test_an_unknown_command(capsys):
    said = refused(capsys, "trian", status=2)
    commands = "train, compare, reference-eval, replay, simulate, bench"
    assert said == f"command must be one of: {commands}; got 'trian'."


def test_help_names_the_commands(capsys):
    assert main(["--help"]) == 0
    asked = capsys.readouterr().out
    assert "usage: bots-jax COMMAND" in asked and "train" in asked
    listed = [x for x in asked.splitlines() if x.startswith("  ")]
    names = [line.split()[0] for line in listed]
    order = ["train", "compare", "reference-eval", "replay", "simulate", "bench"]
    assert names == order
    assert len({line.index(line.split()[1]) for line in listed}) == 1  # aligned
    assert main([]) == 2
    assert capsys.readouterr().out == asked


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_of_train_prints_defaults(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in (
        "--num-tasks INT",
        f"(default: {DEFAULT.num_tasks})",
        "--grpo.num-steps INT",
        f"(default: {DEFAULT.grpo.num_steps})",
        "--selector.name {bots,uniform}",
        "(default: bots)",
        "--resume",
        "--warmup-from",
        "--tensorboard",
    ):
        assert text in shown, text


def test_help_of_bench_prints_defaults(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bench", "--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in (
        "--quick",
        "--official {None}|PATH",
        "--fetch-official",
        "--results {None}|PATH",
        "--num-tasks {None}|{[INT [INT ...]]}",
        "--batch-sizes",
        "(default: None)",
    ):
        assert text in shown, text


@pytest.mark.parametrize(
    "words, sentence",
    [
        (
            ["--num-tasks", f"{2**31}"],
            f"num_tasks must be an integer in [1, {MAX}], got {2**31}.",
        ),
        (
            ["--num-tasks", "0"],
            f"num_tasks must be an integer in [1, {MAX}], got 0.",
        ),
        (
            ["--num-tasks", "100", "--batch-sizes", "200"],
            "batch_size must be at most num_tasks = 100, got 200.",
        ),
        (
            ["--num-tasks", "100", "--batch-sizes", "50"],
            "batch_size must be at most an eighth of num_tasks = 100, got 50.",
        ),
        (
            ["--batch-sizes", "-1"],
            f"batch_size must be an integer in [1, {MAX}], got -1.",
        ),
        (["--repetitions", "0"], "repetitions must be at least 1, got 0."),
        (["--seed", "-1"], "seed must be at least 0, got -1."),
    ],
)
def test_sizes_that_bench_cannot_measure(words, sentence, target, capsys):
    assert refused(capsys, "bench", *words, "--results", str(target)) == sentence
    assert not target.exists()


def test_bench_without_the_official_code(tmp_path, target, capsys):
    words = ["--official", str(tmp_path), "--results", str(target)]
    said = refused(capsys, "bench", *words)
    assert said.startswith("--official must be the unzipped wheel of trinity-rft 0.6.0")
    assert str(tmp_path) in said and "pip download" in said
    said = refused(capsys, "bench", *words, "--fetch-official")
    assert said == "--official and --fetch-official must not both be given."
    assert not target.exists()


@pytest.mark.parametrize("words", [["--num-tasks", "many"], ["--engine", "best"]])
def test_what_the_parser_of_bench_refuses(words, target, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bench", *words, "--results", str(target)])
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err and not target.exists()


def test_bench_into_a_file(target, capsys):
    target.write_text("here")
    assert "exists" in refused(capsys, "bench", "--quick", "--results", str(target))


def test_a_missing_extra_is_named(monkeypatch, capsys):
    def without_tyro(arguments: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'tyro'", name="tyro")

    monkeypatch.setitem(main.__globals__["COMMANDS"], "train", without_tyro)
    said = refused(capsys, "train")
    assert said == "bots-jax train needs tyro: pip install 'bots-jax[train]'."


def test_an_interrupt_tells_how_to_go_on(monkeypatch, capsys):
    def interrupted(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(main.__globals__["COMMANDS"], "train", interrupted)
    assert refused(capsys, "train", status=130) == "interrupted; go on with --resume."
    monkeypatch.setitem(main.__globals__["COMMANDS"], "bench", interrupted)
    said = refused(capsys, "bench", status=130)
    assert said == "interrupted; results that were written are kept."


def test_help_does_not_import_jax():
    """The first thing a newcomer types answers at once."""
    program = (
        "import sys; from bots_jax.cli import main; main(['--help']); "
        "print(sorted({'flax', 'optax', 'reasoning_gym'} & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines()[-1] == "[]"
