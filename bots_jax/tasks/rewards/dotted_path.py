"""Functions of the user's own, named on a command line as `package.module:function`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any


def load_function(what: str, path: str, arguments: tuple[str, ...]) -> Callable:
    """Imports a function by its dotted path, and checks that it can be called.

    Args:
      what: the name of the option, for messages.
      path: "package.module:function"; the function may lie in a class or an object
        of the module, as "module:thing.function".
      arguments: what it will be called with, by position.

    Raises:
      ValueError: with one sentence, if the path has another form, the module or the
        function is not there, importing raises, what is there cannot be called, or
        takes other arguments.

    >>> load_function("reward", "math:fmod", ("completion", "row"))(5.0, 3.0)
    2.0
    >>> load_function("reward", "math:sqr", ("completion", "row"))
    Traceback (most recent call last):
    ValueError: reward 'math:sqr' cannot be loaded: module 'math' has no 'sqr'.
    """
    module_name, _, name = path.partition(":")
    if not all(part.isidentifier() for part in f"{module_name}.{name}".split(".")):
        raise ValueError(
            f"{what} must be of the form 'package.module:function', got {path!r}."
        )
    found: Any = _import(what, path, module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(
                f"{what} {path!r} cannot be loaded: "
                f"module {module_name!r} has no {name!r}."
            )
        found = getattr(found, part)
    check_arguments(what, path, found, arguments)
    return found


def check_arguments(
    what: str, name: str, function: Any, arguments: tuple[str, ...]
) -> None:
    """Checks that something can be called with so many positional arguments.

    Raises:
      ValueError: if it cannot.

    >>> check_arguments("reward", "f", lambda text: 1.0, ("completion", "row"))
    Traceback (most recent call last):
    ValueError: reward 'f' must be a function of (completion, row), got one of (text).
    """
    if not callable(function):
        raise ValueError(f"{what} {name!r} must be a function, got {function!r:.60}.")
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # some functions written in C do not say
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        raise ValueError(
            f"{what} {name!r} must be a function of ({', '.join(arguments)}), "
            f"got one of ({', '.join(signature.parameters)})."
        ) from None


def _import(what: str, path: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(
                f"{what} {path!r} cannot be loaded: there is no module {error.name!r}."
            ) from None
        why = str(error)
    except Exception as error:  # whatever the user's module raises
        why = f"{type(error).__name__}: {error}"
    raise ValueError(
        f"{what} {path!r} cannot be loaded: importing {name!r} failed with {why!r:.300}"
    )
