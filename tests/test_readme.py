"""The README keeps its promises: its code runs, its tree is the tree on disk."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_two_commands_are_the_ones_that_are_tested():
    ci = (ROOT / ".ci" / "run").read_text()
    assert ".venv/bin/pip install '.[train]' && .venv/bin/bots-jax train" in README
    assert ".venv/bin/pip install '.[dev]' && .venv/bin/pytest" in README
    assert "pip install --quiet '.[dev]'" in ci
    assert "\n.venv/bin/pytest\n" in ci


def test_tree_is_the_tree_on_disk():
    listed = set(re.findall(r"^\s*([\w./]+)\s{2,}\S", _tree(), re.M))
    files = _tracked()
    if files is None:
        pytest.skip("not a git checkout")
    on_disk = {file for file in files if file.startswith("bots_jax/")}
    on_disk = {file for file in on_disk if file.endswith(".py")}
    on_disk = {file for file in on_disk if not file.endswith("__init__.py")}
    on_disk = {file for file in on_disk if not file.startswith("bots_jax/tasks/")}
    assert {path for path in listed if path.endswith(".py")} >= on_disk
    for path in listed:
        assert (ROOT / path).exists(), path


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_named_test_is_there():
    names = set(re.findall(r"`(test_\w+)`", README))
    assert len(names) >= 8
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in names:
        assert f"def {name}(" in source, name


def _tree() -> str:
    return README.split("## The house")[1].split("## ")[0]


def _tracked() -> list[str] | None:
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.split() if done.returncode == 0 else None
