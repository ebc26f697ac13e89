"""All argument checks, so that every error message speaks in one voice.

A message says what was wrong, what was received and what is allowed. Numbers and
concrete arrays are range-checked; traced values cannot be, and have the outcome that
the function which takes them documents.
"""

from typing import Any

import jax
import jax.core
import numpy as np

MAX_TASKS = 2**31 - 2
MIN_PRIOR, MAX_PRIOR = 0.01, 1e5


def is_traced(value: Any) -> bool:
    """Tells whether a value is known only when the compiled program runs.

    Example:
      >>> is_traced(1.0)
      False
    """
    return isinstance(value, jax.core.Tracer)


def check_count(
    name: str, value: Any, minimum: int = 1, maximum: int = MAX_TASKS
) -> int:
    """Checks a static size and returns it as an int.

    Example:
      >>> check_count("batch_size", 0)
      Traceback (most recent call last):
      ValueError: batch_size must be an integer in [1, 2147483646], got 0.
    """
    is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_int or not minimum <= value <= maximum:
        raise ValueError(
            f"{name} must be an integer in [{minimum}, {maximum}], got {value!r}."
        )
    return int(value)


def check_batch_fits(num_tasks: int, batch_size: int) -> None:
    """Checks that a batch of distinct tasks exists.

    Example:
      >>> check_batch_fits(num_tasks=4, batch_size=8)
      Traceback (most recent call last):
      ValueError: batch_size must be at most num_tasks = 4, got 8.
    """
    if batch_size > num_tasks:
        raise ValueError(
            f"batch_size must be at most num_tasks = {num_tasks}, got {batch_size}."
        )


def _interval(low: float, high: float) -> str:
    upper = "inf" if np.isinf(high) else f"{high:g}"
    return f"[{low:g}, {upper}" + (")" if np.isinf(high) else "]")


def check_in_range(name: str, value: Any, low: float, high: float) -> Any:
    """Checks a number, or every element of a concrete array; traced values pass.

    Returns:
      The value itself.

    Example:
      >>> check_in_range("forgetting", 1.5, 0.0, 1.0)
      Traceback (most recent call last):
      ValueError: forgetting must be in [0, 1], got 1.5.
      >>> check_in_range("references", np.array([0.5, np.nan]), 0.0, 1.0)
      Traceback (most recent call last):
      ValueError: references must be in [0, 1], got nan at index 1.
    """
    if is_traced(value):
        return value
    array = _numeric(name, value)
    bad = ~((array >= low) & (array <= high) & np.isfinite(array))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        where = (
            "" if not index else f" at index {index[0] if array.ndim == 1 else index}"
        )
        raise ValueError(
            f"{name} must be in {_interval(low, high)}, got {array[index]:g}{where}."
        )
    return value


def _numeric(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" and not jax.numpy.issubdtype(
        array.dtype, np.floating
    ):
        raise ValueError(
            f"{name} must be a real number or an array of them, "
            f"got {value!r:.60} of dtype {array.dtype}."
        )
    return array.astype(np.float64) if array.dtype.kind != "f" else array


def check_number(name: str, value: Any, low: float, high: float) -> Any:
    """Checks a scalar setting: a number, a 0-d array or a traced scalar.

    Example:
      >>> check_number("temperature", [0.0, 1.0], 0.0, 1.0)
      Traceback (most recent call last):
      ValueError: temperature must be a scalar, got shape (2,).
    """
    check_shape(name, value, ((),))
    if isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be a number, got {value!r}.")
    return check_in_range(name, value, low, high)


def check_setting(
    name: str, value: Any, num_tasks: int, low: float, high: float
) -> Any:
    """Checks a setting that is one number, or one number per task.

    Example:
      >>> check_setting("prior_alpha", np.ones(3), 4, 0.01, 1e5)
      Traceback (most recent call last):
      ValueError: prior_alpha must have shape () or (4,), got (3,).
    """
    check_shape(name, value, ((), (num_tasks,)))
    return check_in_range(name, value, low, high)


def check_shape(name: str, value: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Checks a shape against those allowed.

    Example:
      >>> check_shape("references", np.ones((4, 3)), ((4, 2),))
      Traceback (most recent call last):
      ValueError: references must have shape (4, 2), got (4, 3).
    """
    shape = np.shape(value)
    if shape in shapes:
        return
    if shapes == ((),):
        raise ValueError(f"{name} must be a scalar, got shape {shape}.")
    allowed = " or ".join(str(s) for s in shapes)
    raise ValueError(f"{name} must have shape {allowed}, got {shape}.")


def check_dtype(name: str, value: Any, kinds: tuple[Any, ...], allowed: str) -> None:
    """Checks a dtype against abstract ones, such as `np.floating`.

    Example:
      >>> check_dtype("task_ids", np.ones(2), (np.integer,), "integers")
      Traceback (most recent call last):
      ValueError: task_ids must be integers, got dtype float64.
    """
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    if not any(jax.numpy.issubdtype(dtype, kind) for kind in kinds):
        raise ValueError(f"{name} must be {allowed}, got dtype {dtype}.")


def check_callable(name: str, value: Any) -> None:
    """Checks that a rule was given as a function, not by its name.

    Example:
      >>> check_callable("estimate", "posterior_means")
      Traceback (most recent call last):
      ValueError: estimate must be a function, got 'posterior_means'.
    """
    if not callable(value):
        raise ValueError(f"{name} must be a function, got {value!r:.60}.")


def check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Checks a word against those allowed.

    Example:
      >>> check_choice("engine", "fast", ("dense", "lazy"))
      Traceback (most recent call last):
      ValueError: engine must be one of 'dense', 'lazy', got 'fast'.
    """
    if not isinstance(value, str) or value not in allowed:
        words = ", ".join(repr(word) for word in allowed)
        raise ValueError(f"{name} must be one of {words}, got {value!r:.60}.")


def check_references(references: Any, num_tasks: int) -> None:
    """Checks the pass rates of a weak and a strong model, floating, in [0, 1].

    They come as one array [N, 2], or as a tuple of two [N], which needs no copy.

    Example:
      >>> check_references(np.ones((4, 2), np.int32), 4)
      Traceback (most recent call last):
      ValueError: references must be floating point, got dtype int32.
    """
    if isinstance(references, tuple):
        if len(references) != 2:
            raise ValueError(
                f"references must hold 2 arrays in a tuple, got {len(references)}."
            )
        named = zip(("weak references", "strong references"), references, strict=True)
        shape = (num_tasks,)
    else:
        named, shape = [("references", references)], (num_tasks, 2)
    for name, values in named:
        check_shape(name, values, (shape,))
        check_dtype(name, values, (np.floating,), "floating point")
        check_in_range(name, values, 0.0, 1.0)


def check_eligible(eligible: Any, num_tasks: int, batch_size: int) -> None:
    """Checks an eligibility mask, and that it leaves a full batch to choose from.

    Example:
      >>> check_eligible(np.array([True, False, False]), 3, 2)
      Traceback (most recent call last):
      ValueError: eligible must leave at least batch_size = 2 tasks, got 1.
    """
    check_shape("eligible", eligible, ((), (num_tasks,)))
    check_dtype("eligible", eligible, (np.bool_,), "booleans")
    if is_traced(eligible):
        return
    mask = np.asarray(eligible)
    left = int(mask.sum()) if mask.ndim else num_tasks * int(mask)
    if left < batch_size:
        raise ValueError(
            f"eligible must leave at least batch_size = {batch_size} tasks, got {left}."
        )


def check_key(name: str, key: Any) -> None:
    """Checks a typed key, one and not a batch of them.

    Example:
      >>> check_key("key", 0)
      Traceback (most recent call last):
      ValueError: key must be a typed key, such as jax.random.key(0), got 0.
    """
    is_key = hasattr(key, "dtype") and jax.numpy.issubdtype(
        key.dtype, jax.dtypes.prng_key
    )
    if not is_key or key.shape != ():
        raise ValueError(
            f"{name} must be a typed key, such as jax.random.key(0), got {key!r:.60}."
        )
