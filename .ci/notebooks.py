"""Checks that every notebook is the executed copy of its percent-format source."""

import pathlib
import sys

import jupytext

failures = []
sources = sorted(pathlib.Path("notebooks").glob("[0-9]*.py"))
if not sources:
    sys.exit("no notebook sources found")
for source in sources:
    copy = source.with_suffix(".ipynb")
    if not copy.is_file():
        failures.append(f"{copy} is missing")
        continue
    cells = [
        [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]
        for path in (source, copy)
    ]
    if cells[0] != cells[1]:
        failures.append(f"{copy} differs from {source}: run `make_notebooks.py`")
    executed = [c for c in jupytext.read(copy).cells if c.cell_type == "code"]
    if not all(cell.get("execution_count") for cell in executed):
        failures.append(f"{copy} has cells that were not executed")
print("\n".join(failures) or f"{len(sources)} notebook(s) in step with their sources")
sys.exit(bool(failures))
