"""What a saved sampler must look like, checked before any of it is used."""

from typing import Any

import numpy as np

from bots_jax import checks
from bots_jax.checkpoint_format import KEY_SHAPES
from bots_jax.host.feedback import Observed
from bots_jax.host.keys import set_fingerprint
from bots_jax.host.sampler import COUNTERS

FORMAT = 1

_EXTRA = {
    "selector": str,
    "key_impl": str,
    "task_set": str,
    "capacity": int,
    "num_rows": int,
    "step": int,
    "num_draws": int,
    "counters": dict,
}
_ROWS = {
    "rows/exists": np.bool_,
    "rows/retired": np.bool_,
    "rows/drawn": np.int32,
    "rows/drawn_at": np.int32,
    "rows/drawn_in_flight": np.bool_,
    "feedback/rows": np.int32,
    "feedback/successes": np.float64,
    "feedback/failures": np.float64,
    "feedback/drawn_at": np.int32,
    "feedback/groups": np.uint64,
    "feedback/seen_groups": np.uint64,
    "feedback/seen_at": np.int32,
}
_LENGTHS = (
    ("rows/exists", "rows/retired"),
    ("rows/drawn", "rows/drawn_at", "rows/drawn_in_flight"),
    tuple(f"feedback/{name}" for name in Observed._fields),
    ("feedback/seen_groups", "feedback/seen_at"),
)


def checked(saved: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Checks that a dict is one that `state_dict` may have given.

    Returns:
      Its arrays, of which those of the selector are not checked, and its extra.

    Raises:
      ValueError: with one sentence.

    Example:
      >>> checked({})
      Traceback (most recent call last):
      ValueError: the state saved is not one of a TaskSampler: it must hold 'arrays'
          and 'extra'.
    """
    wrong = "the state saved is not one of a TaskSampler"
    if not isinstance(saved, dict) or not {"arrays", "extra"} <= set(saved):
        raise ValueError(f"{wrong}: it must hold 'arrays' and 'extra'.")
    arrays, extra = saved["arrays"], saved["extra"]
    if not isinstance(arrays, dict) or not isinstance(extra, dict):
        raise ValueError(f"{wrong}: 'arrays' and 'extra' must be dicts.")
    if extra.get("format") != FORMAT:
        raise ValueError(
            f"the state saved has format {extra.get('format')!r:.20}, this code reads "
            f"{FORMAT}."
        )
    for name, kind in _EXTRA.items():
        value = extra.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{wrong}: {name} is {value!r:.40}.")
        if kind is int:
            checks.check_count(f"{name} of the state saved", value, 0)
    counters = extra["counters"]
    if not all(isinstance(counters.get(name), int) for name in COUNTERS):
        raise ValueError(f"{wrong}: its counters are {counters!r:.60}.")
    labels = extra.get("groups", [])
    if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise ValueError(f"{wrong}: groups is {labels!r:.40}.")
    _check_arrays(arrays, extra, wrong)
    return arrays, extra


def _check_arrays(arrays: dict[str, Any], extra: dict[str, Any], wrong: str) -> None:
    """Checks what is not the selector's."""
    kinds = dict(_ROWS)
    if "keys" in arrays:
        kinds["keys"] = np.uint64
    for name, kind in kinds.items():
        array = arrays.get(name)
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
            raise ValueError(f"{wrong}: array {name!r} is {type(array).__name__}.")
    capacity = extra["capacity"]
    lengths = [(*_LENGTHS[0], "keys") if "keys" in arrays else _LENGTHS[0]]
    for names in (*lengths, *_LENGTHS[1:]):
        found = [len(arrays[name]) for name in names]
        if len(set(found)) > 1 or (names[0] == "rows/exists" and found[0] != capacity):
            raise ValueError(f"{wrong}: arrays {names} have lengths {found}.")
    most = {
        "rows/drawn": capacity - 1,
        "rows/drawn_at": extra["step"],
        "feedback/rows": capacity - 1,
        "feedback/drawn_at": extra["step"],
        "feedback/successes": np.finfo(np.float32).max,
        "feedback/failures": np.finfo(np.float32).max,
        "feedback/seen_at": extra["step"],
    }
    for name, limit in most.items():
        array = arrays[name]
        if len(array) and not (0 <= array.min() and array.max() <= limit):
            raise ValueError(f"{wrong}: {name} leave [0, {limit}].")
    exists = np.flatnonzero(arrays["rows/exists"])
    if not exists[-1:].max(initial=-1) < extra["num_rows"] <= capacity:
        raise ValueError(f"{wrong}: num_rows is {extra['num_rows']}.")
    labelled = len(extra.get("groups", exists))
    if not len(exists) <= labelled <= capacity:
        raise ValueError(f"{wrong}: groups label {labelled} rows.")
    hashes = arrays["keys"][exists] if "keys" in arrays else exists
    if set_fingerprint(hashes, "keys" in arrays) != extra["task_set"]:
        raise ValueError(f"{wrong}: task_set is not the hash of its tasks.")
    key = arrays.get("key")
    if not isinstance(key, np.ndarray) or key.dtype != np.uint32:
        raise ValueError(f"{wrong}: array 'key' is {type(key).__name__}.")
    if KEY_SHAPES.get(extra["key_impl"]) != key.shape:
        raise ValueError(f"{wrong}: array 'key' has shape {key.shape}.")
