"""The reference names what is public, once; its hooks read our docstrings rightly."""

import collections
import importlib
import importlib.util
import inspect
import pathlib
import re
import types
from typing import Any

import pytest

import bots_jax

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "bots_jax" / "docs"
PAGES = {path.name: path.read_text() for path in DOCS.glob("reference/*.md")}
WITH_ALL = ["bots_jax"] + [
    f"bots_jax.{name}" for name in ("plugins", "scores", "metrics", "tasks")
]
COMPARE = "settings arms shared run gains measures report"
EVALUATION = "matrix replay student_settings students oracle loop arms simulate"
WHOLE = [
    "bots_jax.checkpoint",
    "bots_jax.grpo.config",
    "bots_jax.grpo.train",
    "bots_jax.grpo.success",
    *(f"bots_jax.compare.{name}" for name in COMPARE.split()),
    *(f"bots_jax.evaluation.{name}" for name in EVALUATION.split()),
    *("bots_jax.evaluation.summary", "bots_jax.evaluation.intervals"),
    *(
        f"bots_jax.adapters.{path.stem}"
        for path in (ROOT / "bots_jax" / "adapters").glob("*.py")
        if path.stem != "__init__"
    ),
]

_DIRECTIVE = re.compile(
    r"^\.\. (currentmodule|automodule|autofunction|autoclass|autodata|py:data):: (\S+)"
    r"((?:\n   :.*)*)",
    re.M,
)


def entries(text: str) -> list[str]:
    """What a page of the reference documents, by full names; a whole module as X.*."""
    module, found = "", []
    for kind, name, options in _DIRECTIVE.findall(text):
        if kind == "currentmodule":
            module = name
        elif kind == "automodule":
            found.append(f"{name}.*" if ":members:" in options else name)
        else:
            found.append(name if name.startswith("bots_jax.") else f"{module}.{name}")
    return found


def identity(full_name: str) -> Any:
    """The object behind a name, or the name where equal values are one object."""
    module, _, name = full_name.rpartition(".")
    if name == "*":
        return full_name
    if not module or full_name in WITH_ALL:
        return importlib.import_module(full_name)
    value = getattr(importlib.import_module(module), name)
    return value if callable(value) else full_name


def not_once(pages: dict[str, str]) -> set[str]:
    """Public names that are not documented exactly once."""
    documented = [name for text in pages.values() for name in entries(text)]
    is_light = [name for name in documented if not name.startswith(tuple(WHOLE))]
    count = collections.Counter(identity(name) for name in is_light)
    wanted = set(WITH_ALL)
    for module in WITH_ALL:
        names = importlib.import_module(module).__all__
        wanted |= {f"{module}.{name}" for name in names}
    wrong = {name for name in wanted if count[identity(name)] != 1}
    return wrong | {name for name in WHOLE if documented.count(f"{name}.*") != 1}


def test_every_public_name_stands_in_one_page():
    assert not not_once(PAGES)


@pytest.mark.parametrize(
    ("page", "line", "name"),
    [
        ("metrics.md", ".. autofunction:: auc\n", "bots_jax.metrics.auc"),
        ("metrics.md", ".. autofunction:: coverage\n", "bots_jax.coverage"),
        ("bots_jax.md", ".. autoclass:: TaskSampler\n", "bots_jax.TaskSampler"),
        ("tasks.md", ".. py:data:: ALPHABET\n", "bots_jax.tasks.ALPHABET"),
        ("plugins.md", ".. automodule:: bots_jax.plugins\n", "bots_jax.plugins"),
        (
            "adapters.md",
            ".. automodule:: bots_jax.adapters.trl\n",
            "bots_jax.adapters.trl",
        ),
    ],
)
def test_check_catches_a_planted_omission_and_a_repetition(page, line, name):
    assert line in PAGES[page]
    assert name in not_once(PAGES | {page: PAGES[page].replace(line, "")})
    options = "   :members:\n" if name in WHOLE else ""
    again = PAGES["scores.md"] + f"\n.. currentmodule:: {name.rpartition('.')[0]}\n"
    assert name in not_once(PAGES | {"scores.md": again + line + options})


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text()
    for page in (*PAGES, *load_conf().PAGES):
        place = f"reference/{page}" if page in PAGES else f"copied/{page}"
        assert re.search(rf"[\n<]{re.escape(place.rpartition('.')[0])}[\n>]", index)


def test_every_method_of_the_sampler_is_listed():
    block = PAGES["bots_jax.md"].split(".. autoclass:: TaskSampler")[1]
    listed = re.findall(r"   \.\. auto(?:method|property):: (\w+)", block)
    public = [name for name in dir(bots_jax.TaskSampler) if not name.startswith("_")]
    assert sorted(listed) == public


def lacks_an_example(name: str, module: types.ModuleType) -> bool:
    """Records need none; a class may point to a function that makes it."""
    value = getattr(module, name)
    doc = inspect.getdoc(value) or ""
    if ">>> " in doc:
        return False
    if not inspect.isclass(value):
        return True
    named = [getattr(module, word, None) for word in re.findall(r"`(\w+)`", doc)]
    is_record = "Attributes:" in doc and not doc.startswith(f"{name}(")
    return not is_record and not any(">>> " in (inspect.getdoc(x) or "") for x in named)


@pytest.mark.parametrize("module", WITH_ALL[1:])
def test_public_names_of_modules_have_examples(module):
    found = importlib.import_module(module)
    names = [name for name in found.__all__ if callable(getattr(found, name))]
    assert names
    assert [name for name in names if lacks_an_example(name, found)] == []


def load_conf() -> Any:
    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    assert spec is not None and spec.loader is not None
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    return conf


def rst(text: str) -> str:
    lines = inspect.cleandoc(text).split("\n")
    load_conf().plain_text(None, "function", "f", None, None, lines)
    return "\n".join(lines).rstrip("\n")


def test_equations_and_code_become_literal_blocks():
    assert rst("Moves.\n\n  x = 1\n\n  y = 2\n\nSo |x| < `|y|`.") == (
        "Moves.\n\n::\n\n      x = 1\n\n      y = 2\n\nSo \\|x\\| < `|y|`."
    )
    assert "::\n\n    alpha' = alpha + s" in rst("Moves.\n\nalpha' = alpha + s\n\nEnd.")
    assert "::\n\n    select  a\n    update  b" in rst("Makes.\n\nselect  a\nupdate  b")
    assert "::" not in rst("Makes.\n\nIn each step x = 1 holds.\n\n  - one\n  - two")


def test_sections_stay_sections():
    doc = (
        "Makes.\n\nArgs:\n  x: a |y|.\n\n    more\n\nReturns: z.\n\nSource: this,\nthat"
    )
    assert rst(doc) == (
        "Makes.\n\nArgs:\n  x: a \\|y\\|.\n\n    more\n\nReturns:\n  z.\n\n"
        "Source:\n  this,\n  that"
    )
    doctest = "Makes.\n\nExample:\n  >>> f(1) | 2\n  3"
    assert rst(doctest) == doctest
    assert rst("A pair.\n\nCreate new instance of Pair(x, y)") == "A pair."


def test_the_command_is_the_one_that_installs_and_builds():
    assert 'docs = [\n    "bots-jax[train]",' in (ROOT / "pyproject.toml").read_text()
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"build/", "/bots_jax/docs/copied/"} <= set(ignored)
