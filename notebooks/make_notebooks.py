"""Executes percent-format sources and writes the notebook beside each.

python make_notebooks.py [SOURCE ...]
"""

import pathlib
import sys

import jupytext
from nbclient import NotebookClient


def main() -> None:
    """Rewrites the .ipynb beside the sources given, or beside all of this folder."""
    folder = pathlib.Path(__file__).parent
    given = [pathlib.Path(name) for name in sys.argv[1:]]
    for source in given or sorted(folder.glob("[0-9]*.py")):
        notebook = jupytext.read(source)
        NotebookClient(notebook, timeout=180, kernel_name="python3").execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":  # without the progress bars of others
                cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        notebook.metadata["language_info"] = {"name": "python"}
        jupytext.write(notebook, source.with_suffix(".ipynb"))
        print("wrote", source.with_suffix(".ipynb").name)


if __name__ == "__main__":
    main()
