"""How the reference is built: `sphinx-build -W bots_jax/docs build/docs`.

Docstrings are plain text for readers of the source: `plain_text` turns what they show
as it stands into literal blocks. The README, the notebooks, the guides of this
folder and the pages that lie beside the code are copied into `copied/`, which git
ignores.
"""

import inspect
import os
import pathlib
import re
import shutil
import sys
import textwrap
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the checkout is documented, not an older install

from bots_jax.version import __version__  # noqa: E402

project = "bots_jax"
author = copyright = "The bots_jax authors"
release = __version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
extensions += ["myst_nb"]
html_theme = "furo"
html_title = f"bots_jax {release}"
html_copy_source = False
smartquotes = False  # docstrings quote values: "sweep" is not “sweep”
default_role = "py:obj"  # `bots` is code, and a link where the name is known

nb_execution_mode = "off"  # notebooks are committed as they ran
autoclass_content = "both"  # the arguments stand in the docstring of __init__
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_custom_sections = ["Source", ("Attributes", "params_style")]
napoleon_use_rtype = False

COPIED = ROOT / "bots_jax" / "docs" / "copied"
GUIDES = ("engine.md", "evidence.md", "lasting.md", "data.md")
PAGES = (
    "README.md",
    "benchmarks/README.md",
    "benchmarks/study/README.md",
    "bots_jax/adapters/README.md",
    "bots_jax/distributed.md",
    *(f"bots_jax/docs/{name}" for name in GUIDES),
    *sorted(f"notebooks/{path.name}" for path in ROOT.glob("notebooks/*.ipynb")),
)
exclude_patterns = list(GUIDES)  # read as copies, whose links lead to other copies
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:)([^)#\s]+)\)")


def copy_pages(app: Any) -> None:
    """Copies pages, and the images that they show, to the same places under `copied`.

    Args:
      app: Sphinx, which is about to read.
    """
    shutil.rmtree(COPIED, ignore_errors=True)
    for page in PAGES:
        place = COPIED / page
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(relinked((ROOT / page).read_text("utf-8"), page), "utf-8")


def relinked(text: str, page: str) -> str:
    """Names the files that a page links to and that are no pages; copies its images.

    Args:
      text: of the page, Markdown or a notebook.
      page: its path in the repository.

    Example:
      >>> relinked("see [the module](version.py)", "bots_jax/distributed.md")
      'see the module (`bots_jax/version.py`)'
    """

    def relink(link: re.Match[str]) -> str:
        is_image, words, target = link.groups()
        path = os.path.normpath(os.path.join(os.path.dirname(page), target))
        if path in PAGES or not (ROOT / path).exists():
            return link[0]
        if is_image:
            (COPIED / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, COPIED / path)
            return link[0]
        return f"`{path}`" if path.endswith(words) else f"{words} (`{path}`)"

    return _LINK.sub(relink, text)


def plain_text(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Turns a docstring into reStructuredText, before napoleon reads its sections.

    Equations and code become literal blocks, |x| stays |x|, and `Source: ...` becomes a
    section like the others. What NamedTuple says of itself is left out.
    """
    out, in_section, as_it_stands = [], False, False
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if block.startswith("Create new instance of "):
            continue
        rows = block.split("\n")
        if short := re.match(r"(Source|Returns): ", block):  # one paragraph
            words = [row.strip() for row in block[short.end() :].split("\n")]
            rows = [f"{short[1]}:", *(f"  {row}" for row in words)]
        if re.fullmatch(r"\w+:", rows[0]):
            in_section = True
        elif not rows[0].startswith(" "):
            in_section = False
        continued = as_it_stands
        if as_it_stands := not in_section and _is_shown_as_it_stands(rows):
            rows = [*([] if continued else ["::", ""]), *(f"    {row}" for row in rows)]
        elif ">>> " not in block:
            text = "\n".join(rows) if in_section else textwrap.dedent(block)
            rows = re.sub(r"(`[^`]*`)|\|", lambda m: m[1] or r"\|", text).split("\n")
        out += [*rows, ""]
    lines[:] = out


def _is_shown_as_it_stands(rows: list[str]) -> bool:
    """Whether a paragraph is indented, has columns, or is an equation."""
    if re.match(r"\s*(- |>>> )", rows[0]):
        return False
    aligned = any(re.match(r" |.*\S {2,}\S", row) for row in rows)
    return aligned or re.match(r"[\w'\[\]~]+ \+?= ", rows[0]) is not None


def shorten_signature(*event: Any) -> tuple[str | None, str | None]:
    """Names arrays and functions in signatures as users know them.

    That of a Protocol says nothing and is left out.
    """
    signature, returned = (_short(part) for part in event[-2:])
    return "" if signature == "(*args, **kwargs)" else signature, returned


def _short(part: str | None) -> str | None:
    if part is None:
        return None
    part = re.sub(r"<function (\w*)[^,)]*>", lambda match: match[1] or "...", part)
    return part.replace("jaxlib._jax.Array", "Array")


def skip_fields(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves fields to the docstring of their class: a NamedTuple's, or a function."""
    is_default = inspect.isfunction(obj) and obj.__name__ != name
    return True if is_default or type(obj).__name__ == "_tuplegetter" else None


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("builder-inited", copy_pages)
    app.connect("autodoc-process-docstring", plain_text, priority=100)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-skip-member", skip_fields)
