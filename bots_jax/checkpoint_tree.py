"""Pytrees as arrays with readable names, and back: what a checkpoint holds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bots_jax.checkpoint_format import DTYPES, FORMAT, KEY_SHAPES


class HostArray(NamedTuple):
    """An array on the host, ready to be written.

    Attributes:
      array: C order, native byte order; the key data, for random keys.
      key: the implementation of random keys; None for plain numbers.
    """

    array: np.ndarray
    key: str | None


class Saved(NamedTuple):
    """What a checkpoint holds, readable without knowing the tree it came from.

    Attributes:
      step: its number.
      arrays: by name, as "selector/posterior/alpha"; NumPy arrays that own their
        memory, or typed random keys. A tree that was one array is named "".
      extra: the dict that was saved beside them.
      fingerprint: of what it belongs to.
      format: of the files; in format 1, arrays have numbers for names.

    Example:
      >>> saved = Saved(3, {"a/x": np.zeros(2), "b": np.ones(1)}, {}, "run")
      >>> saved.part("a")
      {'x': array([0., 0.])}
      >>> saved.tree({"x": np.zeros(2)}, prefix="a")
      {'x': array([0., 0.])}
    """

    step: int
    arrays: dict[str, Any]
    extra: dict[str, Any]
    fingerprint: str
    format: int = FORMAT

    def part(self, prefix: str) -> dict[str, Any]:
        """Returns the arrays below a prefix, which their names lose.

        Args:
          prefix: "" for all; an array of exactly this name is named "".

        Example:
          >>> Saved(0, {"ab/x": 1, "a": 2}, {}, "run").part("a")
          {'': 2}
        """
        if not prefix:
            return dict(self.arrays)
        found = {
            name.removeprefix(f"{prefix}/"): array
            for name, array in self.arrays.items()
            if name.startswith(f"{prefix}/")
        }
        return found | ({"": self.arrays[prefix]} if prefix in self.arrays else {})

    def tree(self, template: Any, prefix: str = "") -> Any:
        """Builds a pytree from the arrays below a prefix.

        Args:
          template: of the structure, shapes and dtypes that are wanted; its leaves may
            be `jax.ShapeDtypeStruct`.
          prefix: "" for all of them.

        Raises:
          ValueError: naming the first array that is missing, superfluous or of another
            shape or dtype.

        Example:
          >>> saved = Saved(3, {"x": np.zeros(2), "y": np.ones(1)}, {}, "run")
          >>> saved.tree({"x": np.zeros(2)})
          Traceback (most recent call last):
          ValueError: array 'y' is not in the template.
        """
        names, wanted, structure = _flatten(template)
        found = self.part(prefix)
        if self.format == 1:  # numbered in the order of the leaves
            found = dict(zip(names, _in_order(found, len(names)), strict=True))
        for name, leaf in zip(names, wanted, strict=True):
            full = "/".join(filter(None, (prefix, name)))
            if name not in found:
                raise ValueError(f"array {full!r} of the template is not there.")
            has, wants = describe(found[name]), describe(leaf)
            if has != wants:
                raise ValueError(f"array {full!r} is {has}, the template has {wants}.")
        for name in found:
            if name not in set(names):
                full = "/".join(filter(None, (prefix, name)))
                raise ValueError(f"array {full!r} is not in the template.")
        return jax.tree.unflatten(structure, [found[name] for name in names])


def _in_order(found: dict[str, Any], count: int) -> list[Any]:
    if len(found) != count:
        raise ValueError(
            f"there are {len(found)} arrays, and the template has {count}."
        )
    return [found[name] for name in sorted(found, key=int)]


def _flatten(tree: Any) -> tuple[list[str], list[Any], Any]:
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in paths]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f"the tree has two leaves named {name!r}; names of leaves, joined by "
                "'/', must differ."
            )
        seen.add(name)
    return names, [leaf for _, leaf in paths], structure


def describe(leaf: Any) -> str:
    """Names dtype and shape of an array, a number or random keys.

    Example:
      >>> describe(np.zeros((2, 3), np.int8)), describe(jax.random.key(0))
      ('int8[2, 3]', 'key<fry>[]')
    """
    dtype = getattr(leaf, "dtype", None)
    dtype = np.asarray(leaf).dtype if dtype is None else dtype
    return f"{dtype}{list(np.shape(leaf))}"


def to_host(tree: Any, copy: bool) -> dict[str, HostArray]:
    """Brings a pytree to the host, by name.

    Args:
      tree: of arrays and numbers, on whatever local devices.
      copy: True for arrays that nobody else changes; False where they are written
        before their owner goes on, since on a CPU the host already has them.

    Raises:
      ValueError: for two leaves of one name, or a leaf that is not numbers.

    Example:
      >>> to_host({"a": [np.int8(1), None], "key": jax.random.key(0)}, copy=False)
      {'a/0': HostArray(array=array(1, dtype=int8), key=None),
       'key': HostArray(array=array([0, 0], dtype=uint32), key='threefry2x32')}
    """
    names, leaves, _ = _flatten(tree)
    keys = [_key_of(leaf) for leaf in leaves]
    numbers = [
        leaf if key is None else jax.random.key_data(leaf)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    arrays = jax.device_get(numbers)
    return {
        name: HostArray(_plain(name, array, copy), key)
        for name, array, key in zip(names, arrays, keys, strict=True)
    }


def _key_of(leaf: Any) -> str | None:
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return None
    name = str(jax.random.key_impl(leaf))
    if name not in KEY_SHAPES:
        raise ValueError(
            f"random keys must be one of {sorted(KEY_SHAPES)}, got {name!r}."
        )
    return name


def _plain(name: str, leaf: Any, copy: bool) -> np.ndarray:
    array = np.asarray(leaf)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("="))
    if DTYPES.get(str(array.dtype)) != array.dtype:
        raise ValueError(
            f"leaf {name!r} must be an array of {', '.join(DTYPES)}, got dtype "
            f"{array.dtype}."
        )
    return np.array(array, order="C", copy=True if copy else None)


def from_host(stored: HostArray) -> Any:
    """Gives back what `to_host` has taken: an array, or typed random keys.

    Example:
      >>> from_host(HostArray(np.zeros(2, np.uint32), "threefry2x32")).dtype
      key<fry>
    """
    if stored.key is None:
        return stored.array
    return jax.random.wrap_key_data(jnp.asarray(stored.array), impl=stored.key)
