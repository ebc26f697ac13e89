"""Imports single modules of large packages, unmodified, without their dependencies."""

import contextlib
import importlib.util
import os
import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest


def find_root(variable: str, folder: str, command: str) -> pathlib.Path:
    """The folder that holds a package; the test is skipped without it.

    Args:
      variable: of the environment, names it; else an installed package is looked for.
      folder: of the package, one that others of the same name have not.
      command: how to get it.
    """
    place, package = os.environ.get(variable), folder.partition("/")[0]
    if place is None:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            place = pathlib.Path(next(iter(spec.submodule_search_locations))).parent
    if place is None or not (pathlib.Path(place) / folder).is_dir():
        pytest.skip(f"needs {package}: {command}; {variable}=FOLDER")
    return pathlib.Path(place)


@contextlib.contextmanager
def packages(
    root: pathlib.Path,
    empty: tuple[str, ...],
    stand_ins: dict[str, dict[str, Any]],
    anew: tuple[str, ...] = (),
) -> Iterator[None]:
    """Makes packages importable from `root` for as long as the block lasts.

    Args:
      root: holds the package's folder.
      empty: packages whose `__init__` is not run; their modules are the real ones.
      stand_ins: modules that are replaced, and what they hold.
      anew: modules of ours that are imported again inside, and put back afterwards.
    """
    tops = {name.partition(".")[0] for name in (*empty, *stand_ins)}

    def ours(name: str) -> bool:
        return name.partition(".")[0] in tops or name in anew

    before = {name: sys.modules.pop(name) for name in list(sys.modules) if ours(name)}
    for name in empty:
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = package
    for name, holds in stand_ins.items():
        module = types.ModuleType(name)
        vars(module).update(holds)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in [name for name in sys.modules if ours(name)]:
            del sys.modules[name]
        sys.modules.update(before)
        for name in anew:  # an import also set it on its package
            parent, _, leaf = name.rpartition(".")
            if name in before and parent in sys.modules:
                setattr(sys.modules[parent], leaf, before[name])
