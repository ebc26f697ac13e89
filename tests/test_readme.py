"""The README and the guides that it links to keep their promises.

Their code runs, their links lead somewhere, the tests they name are there, numbers are
those of committed results, and the tree is the tree on disk.
"""

import json
import pathlib
import re
import subprocess

import pytest

from tests.adapters import readme_page

ROOT = pathlib.Path(__file__).parent.parent
GUIDES = ("engine", "evidence", "lasting", "data")
PAGES = {
    page: (ROOT / page).read_text()
    for page in ("README.md", *(f"bots_jax/docs/{name}.md" for name in GUIDES))
}
README = PAGES["README.md"]
_PYTHON = re.compile(r"(?:<!-- lines of (\S+) -->\n)?```python\n(.*?)```", re.S)
_RESULTS = ROOT / "benchmarks" / "results"


def executed(page: str) -> list[str]:
    """The Python blocks of a page that tests run as they stand."""
    if ROOT / page == readme_page.PAGE:
        blocks = readme_page.FENCED.findall(readme_page.TEXT)
        return [code for mark, _, code in blocks if mark.startswith("executed")]
    return [code for source, code in _PYTHON.findall(PAGES[page]) if not source]


def is_excerpt(code: str, blocks: list[str]) -> bool:
    """Whether one of the blocks has these lines, in their order."""
    wanted = [line.strip() for line in code.splitlines() if line.strip()]
    for block in blocks:
        lines = iter([line.strip() for line in block.splitlines()])
        if wanted and all(line in lines for line in wanted):
            return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page):
    blocks = executed(page)
    blocks_of = {"engine.md": 0, "evidence.md": 2}
    assert len(blocks) == blocks_of.get(page.rpartition("/")[2], 1)
    names: dict[str, object] = {}
    for block in blocks:  # a page is read from top to bottom
        exec(compile(block, page, "exec"), names)


def test_excerpts_are_lines_of_blocks_that_run():
    excerpts = [found for found in _PYTHON.findall(README) if found[0]]
    assert len(excerpts) == 3
    for source, code in excerpts:
        assert is_excerpt(code, executed(source)), code
        for planted in (code.replace("(", "[", 1), "\n".join(code.split("\n")[::-1])):
            assert not is_excerpt(planted, executed(source)), planted


def test_first_block_is_short_and_near_the_top():
    first = re.search(r"```python\n(.*?)```", README, re.S)
    assert first is not None
    assert sum(map(bool, first[1].splitlines())) <= 15
    assert README[: README.index("## The house")].count("\n") <= 330


def test_the_commands_are_the_ones_that_are_tested():
    ci = (ROOT / ".ci" / "run").read_text()
    assert ".venv/bin/pip install '.[train]' && .venv/bin/bots-jax train" in README
    assert ".venv/bin/pip install '.[dev]' && .venv/bin/pytest" in README
    assert "pip install --quiet '.[dev]'" in ci
    assert "\n.venv/bin/pytest\n" in ci
    docs = "sphinx-build -W bots_jax/docs build/docs"
    assert f".venv/bin/pip install '.[docs]' && .venv/bin/{docs}" in README


def test_the_table_of_one_seed_is_that_of_the_committed_run():
    rows = json.loads((_RESULTS / "effective_tasks.json").read_text())["rows"]
    shown = ["held_out_start", "held_out_end", "selector_share"]
    shown += ["effective_task_ratio_first_third", "effective_task_ratio"]
    table = README.split("## Does it help?")[1].split("\n## ")[0]
    assert [row["seed"] for row in rows] == [0, 0]
    for row in rows:
        for name in shown:
            assert f" {100 * row[name]:.1f} %" in table, name
        for name in ("coverage_first_third", "coverage"):
            assert f"({100 * row[name]:.0f} %)" in table, name
        assert f" {row['rollouts']:,}" in table
    assert f"/ {rows[0]['reference_rollouts']:,} " in table


def test_step_times_are_those_of_the_committed_run():
    rows = json.loads((_RESULTS / "step.json").read_text())["rows"]
    times = {
        (row["num_tasks"], row["batch_size"], row["candidate"]): 1e3 * row["median_s"]
        for row in rows
        if row["status"] == "ok"
    }
    small, large = times[10**4, 32, "dense, race"], times[10**7, 32, "lazy, race"]
    top = README.split("## Start")[0]
    assert f": {small:.2f} ms at 10^4 tasks\nand {large:.2f} ms at 10^7" in top
    speed = PAGES["bots_jax/docs/engine.md"].split("## Speed")[1]
    found = re.findall(r"\| 10\^(\d+) \| (\d+) \| ([\d.]+) ms \| (\w+, \w+) \|", speed)
    assert len(found) == 9
    for power, batch_size, shown, candidate in found:
        median = times[10 ** int(power), int(batch_size), candidate]
        assert shown == f"{median:.2f}", (power, batch_size)


def test_tree_is_the_tree_on_disk():
    listed = set(re.findall(r"^\s*([\w./]+)\s{2,}\S", _tree(), re.M))
    files = _tracked()
    if files is None:
        pytest.skip("not a git checkout")
    on_disk = {file for file in files if file.startswith(("bots_jax/", "notebooks/0"))}
    on_disk |= {file for file in files if file.startswith("benchmarks/study/")}
    on_disk = {file for file in on_disk if file.endswith(".py")}
    on_disk = {file for file in on_disk if not file.endswith("__init__.py")}
    on_disk = {file for file in on_disk if not file.startswith("bots_jax/tasks/")}
    assert {path for path in listed if path.endswith(".py")} >= on_disk
    for path in listed:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", PAGES[page])
    assert links
    for target in links:
        assert ((ROOT / page).parent / target).exists(), target


def test_readme_links_to_every_guide():
    for page in PAGES:
        assert page == "README.md" or f"]({page})" in README


def test_every_named_test_is_there():
    names = set(re.findall(r"`(test_\w+)`", "".join(PAGES.values())))
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
