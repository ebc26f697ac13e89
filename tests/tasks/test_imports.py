import ast
import subprocess
import sys
from pathlib import Path

import bots_jax.tasks as tasks

ROOM = Path(tasks.__file__).parent


def test_no_file_of_the_room_imports_jax():
    for path in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", [])]
            names.append(getattr(node, "module", None) or "")
            tops = {name.split(".")[0] for name in names}
            assert not tops & {"jax", "flax", "optax"}, path


def test_importing_the_room_is_cheap():
    program = (
        "import sys, bots_jax.tasks; "
        "print({'reasoning_gym', 'pyarrow', 'sympy', 'flax'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "set()"


def test_exported_names_exist():
    assert sorted(tasks.__all__) == sorted(set(tasks.__all__))
    for name in tasks.__all__:
        assert hasattr(tasks, name)
