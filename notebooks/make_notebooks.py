"""Executes every percent-format source and writes the notebook beside it."""

import pathlib

import jupytext
from nbclient import NotebookClient


def main() -> None:
    """Rewrites the .ipynb beside every .py of this folder that is a notebook."""
    folder = pathlib.Path(__file__).parent
    for source in sorted(folder.glob("[0-9]*.py")):
        notebook = jupytext.read(source)
        NotebookClient(notebook, timeout=180, kernel_name="python3").execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        notebook.metadata["language_info"] = {"name": "python"}
        jupytext.write(notebook, source.with_suffix(".ipynb"))
        print("wrote", source.with_suffix(".ipynb").name)


if __name__ == "__main__":
    main()
