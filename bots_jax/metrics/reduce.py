"""What all metrics share: which items count, means, and ranks with ties.

Sums are XLA's, which adds in blocks: of 10^7 float32 they are right to 1e-6.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float32, Int32

from bots_jax import checks

PerItem = Float32[Array, "items"]
"""One number per item: float32 [M]."""

IntPerItem = Int32[Array, "items"]
"""One whole number per item: int32 [M]."""

ItemMask = Bool[Array, "items"]
"""One flag per item: bool [M], True = use it."""


def used(like: Array, where: Array | None, *others: Array) -> Array:
    """Returns a mask of the items that count; all of them by default.

    Args:
      like: the items, [M].
      where: bool [M], or None.
      *others: further arrays that must be [M] as well.

    Returns:
      bool [M].

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> used(jnp.zeros(2), None)
      Array([ True,  True], dtype=bool)
    """
    if like.ndim != 1:
        raise ValueError(f"items must have shape (M,), got {like.shape}.")
    for other in others:
        checks.check_shape("items", other, (like.shape,))
    if where is None:
        return jnp.ones(like.shape, jnp.bool_)
    checks.check_shape("where", where, (like.shape,))
    return where


def item_weights(like: Array, weights: Array | None, where: Array) -> Array:
    """Returns the items' weights, 0 where they are left out.

    Example:
      >>> item_weights(jnp.zeros(2), None, jnp.array([True, False]))
      Array([1., 0.], dtype=float32)
    """
    if weights is None:
        return where.astype(jnp.float32)
    checks.check_shape("weights", weights, (like.shape,))
    return jnp.where(where, weights, np.float32(0))


def mean(x: Array, weights: Array) -> Array:
    """Weighted mean; NaN where the weights are all 0.

    Args:
      x: float32 [M]; anything where the weight is 0.
      weights: float32 [M], >= 0.

    Returns:
      float32 scalar.

    Example:
      >>> mean(jnp.float32([1, 2, jnp.nan]), jnp.float32([3, 1, 0]))
      Array(1.25, dtype=float32)
    """
    x = jnp.where(weights == 0, np.float32(0), x)
    return jnp.sum(x * weights) / jnp.sum(weights)


class Groups(NamedTuple):
    """Items in the order of a value; equal ones make a group.

    Attributes:
      order: int32 [M], the items, lowest value first.
      is_first: bool [M], True where a group begins, in that order.
      is_last: bool [M], True where a group ends.
    """

    order: Array
    is_first: Array
    is_last: Array


def sort_into_groups(values: Array) -> Groups:
    """Sorts items and finds those of equal value. Each NaN is a group of its own.

    Example:
      >>> sort_into_groups(jnp.float32([3, 1, 3])).is_first
      Array([ True,  True, False], dtype=bool)
    """
    items = lax.iota(jnp.int32, values.shape[0])
    ordered, order = lax.sort((values, items), num_keys=1, is_stable=True)
    differs = ordered[1:] != ordered[:-1]
    end = jnp.ones((min(1, values.shape[0]),), jnp.bool_)
    is_first, is_last = jnp.concatenate([end, differs]), jnp.concatenate([differs, end])
    return Groups(order, is_first, is_last)


def below_and_up_to(groups: Groups, weights: Array) -> tuple[Array, Array]:
    """Adds up weights below each item's group, and up to its end.

    Args:
      groups: of M items.
      weights: int32 or float32 [M], >= 0, in the groups' order.

    Returns:
      Two arrays as the weights, in the groups' order. Whole numbers are exact.

    Example:
      >>> groups = sort_into_groups(jnp.float32([1, 3, 3]))
      >>> below, up_to = below_and_up_to(groups, jnp.ones(3, jnp.int32))
      >>> below.tolist(), up_to.tolist()
      ([0, 1, 1], [1, 3, 3])
    """
    if weights.shape[0] == 0:
        return weights, weights
    up_to = jnp.cumsum(weights, dtype=weights.dtype)
    zero = jnp.zeros((), weights.dtype)
    below = lax.cummax(jnp.where(groups.is_first, up_to - weights, zero))
    most = jnp.where(groups.is_last, up_to, up_to[-1])
    return below, lax.cummin(most, reverse=True)


def centred_midranks(values: Array, where: Array) -> Array:
    """Twice the midrank of each item, less twice the mean rank; exact.

    The items with smaller values, less those with larger ones.

    Args:
      values: float32 or int32 [M], M < 2^30.
      where: bool [M]; the others neither count nor have a rank of their own.

    Returns:
      int32 [M], 0 on average; in the items' own order.

    Example:
      >>> centred_midranks(jnp.float32([5, 7, 7, 9]), jnp.ones(4, jnp.bool_))
      Array([-3,  0,  0,  3], dtype=int32)
    """
    values = jnp.where(where, values, jnp.zeros((), values.dtype))
    groups = sort_into_groups(values)
    counts = where.astype(jnp.int32)
    below, up_to = below_and_up_to(groups, counts[groups.order])
    ranks = below + up_to - jnp.sum(counts, dtype=jnp.int32)
    return jnp.zeros_like(counts).at[groups.order].set(ranks, unique_indices=True)
