"""Exact draws from Beta(alpha, beta) for millions of tasks at once.

theta = x / (x + y) with x ~ Gamma(alpha), y ~ Gamma(beta), both by Marsaglia and
Tsang's rejection from a cubed normal. A try for a pair is kept only if both halves
are, which is rejection on the product space and so exact.

One dense round makes the first try of every task with 64 random bits and a squeeze, a
cheap test that keeps about 99 tries of 100 (of shapes near 10; 88 where both are 1) and
never a wrong one. The tasks it leaves open are found by bit masks, packed, and settled
by the exact test, round by round, until none is left, so no loop runs once per draw, as
it does in `jax.random.beta`.

A draw depends on (key, task id, alpha, beta) alone: the try of a task is numbered by
its own earlier tries, not by a shared clock. Chunks, padding, shards and neighbours
do not move it.

Source: Marsaglia and Tsang, "A simple method for generating gamma variables", ACM
TOMS 26 (2000), with their section 6 for shapes below 1; Box and Muller (1958).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import counter_bits
from bots_jax.types import PerTask

_OPEN = np.float32(-1.0)  # stands in for a draw that no try has settled yet
_LANES = 32  # tasks per word and words per group: one bit each in a uint32
_COARSE_BITS = 9  # of the uniform that decides a try; the rest is drawn when needed
_SMALLEST_SHAPE = np.float32(1e-37)  # log(uniform) / shape stays finite above it
_COUNTERS_PER_TRY = 3  # of the pair, of the fine part of the uniform, of the boosts
_LOWEST_SQUEEZED = np.float32(-0.8)  # z from which the squeeze's bound holds


class _Key(NamedTuple):
    word0: Array
    word1: Array


class _Some(NamedTuple):
    """Some of the tasks; their draws must be farther than radius from the centre."""

    ids: Array
    alpha: Array
    beta: Array
    centre: Array | None
    radius: Array | None


class _Tasks(NamedTuple):
    """All tasks of a call. Without ids, a task is known by its position."""

    alpha: Array
    beta: Array
    ids: Array | None
    centre: Array | None
    radius: Array | None

    def _with_ids(self, ids: Array, select: Callable[[Array], Array]) -> _Some:
        centre = self.centre
        if centre is not None and centre.ndim:
            centre = select(centre)
        ids = ids.astype(jnp.uint32)
        return _Some(ids, select(self.alpha), select(self.beta), centre, self.radius)

    def cut(self, start: int, stop: int) -> _Some:
        """Takes neighbouring tasks."""
        if self.ids is None:
            ids = lax.iota(jnp.uint32, stop - start) + np.uint32(start)
        else:
            ids = self.ids[start:stop]
        return self._with_ids(ids, lambda x: x[start:stop])

    def take(self, positions: Array) -> _Some:
        """Takes the tasks at some positions, uint32, all in range."""
        ids = positions if self.ids is None else _take(self.ids, positions)
        return self._with_ids(ids, lambda x: _take(x, positions))


class _Gamma(NamedTuple):
    """A proposal for Gamma(shape): value = d (1 + z)**3, z = normal / sqrt(9 d)."""

    value: Array
    d: Array
    z: Array
    normal: Array


def _take(x: Array, positions: Array) -> Array:
    return x.at[positions].get(mode="promise_in_bounds")


def _signed(value: Array, bits: Array, position: int) -> Array:
    """Gives a float the sign that sits at one bit position of `bits`."""
    sign = (bits << np.uint32(31 - position)) & np.uint32(2**31)
    return lax.bitcast_convert_type(
        lax.bitcast_convert_type(value, jnp.uint32) ^ sign, jnp.float32
    )


def _unit_circle(bits: Array) -> tuple[Array, Array]:
    """A uniform point on the unit circle from the bits 0 to 2 and 12 to 31.

    Three bits choose the octant, twenty an angle in (0, pi/4), where two short
    polynomials (Cephes sinf and cosf, error below 1 ulp) need no range reduction.
    """
    steps = (bits >> np.uint32(3 + _COARSE_BITS)).astype(jnp.float32)
    step = np.float32(np.pi / 4 * 2.0 ** (3 + _COARSE_BITS - 32))
    x = steps * step + step / 2
    z = x * x
    sine = x * (
        1 + z * (-1.6666654611e-1 + z * (8.3321608736e-3 + z * -1.9515295891e-4))
    )
    cosine = (
        1
        - 0.5 * z
        + z * z * (4.166664568e-2 + z * (-1.388731625e-3 + z * 2.443315711e-5))
    )
    swap = (bits & np.uint32(1)) != 0
    first, second = jnp.where(swap, sine, cosine), jnp.where(swap, cosine, sine)
    return _signed(first, bits, 1), _signed(second, bits, 2)


def _gamma_proposal(shape: Array, normal: Array) -> _Gamma:
    """Marsaglia and Tsang's proposal for Gamma(shape), shape >= 1."""
    d = shape - np.float32(1 / 3)
    z = normal * jnp.sqrt(np.float32(1 / 9) / d)
    t = 1 + z
    return _Gamma(d * (t * t * t), d, z, normal)


def _log_acceptance(proposal: _Gamma) -> Array:
    """Log of the chance to keep a proposal; NaN where z < -1, never kept.

    Their 0.5 normal**2 + d (1 - v + log v), v = (1 + z)**3, in a form that does not
    cancel: what log1p(z) leaves beyond its third order.
    """
    z = proposal.z
    return 3 * proposal.d * (jnp.log1p(z) - z * (1 - z * (0.5 - z * np.float32(1 / 3))))


def _squeeze(proposal: _Gamma) -> Array:
    """An upper bound on 1 - (chance to keep a proposal), for z >= -0.8.

    The log of the chance is -(normal z)**2 (1/4 - z/5 + z**2/6 - ...) / 3, the
    polynomial below exceeds the series, and 1 - exp(-s) <= s.
    """
    z = proposal.z
    series = 0.25 + z * (-0.2 + z * (0.25 + z * (-0.3 + z * 0.15)))
    product = proposal.normal * z
    return np.float32(1 / 3) * (product * product) * series


def _log_boost(shape: Array, uniform: Array) -> Array:
    """Log of the factor that turns Gamma(shape + 1) into Gamma(shape), shape < 1."""
    log_factor = jnp.log(uniform) / jnp.maximum(shape, _SMALLEST_SHAPE)
    return jnp.where(shape < 1, log_factor, np.float32(0))


def _at_least_one(shape: Array, above_one: bool) -> Array:
    """The shape to propose for: one more where it is below 1, and to be boosted."""
    if above_one:
        return jnp.maximum(shape, 1)
    return jnp.where(shape < 1, shape + 1, shape)


def _are_positive_and_finite(alpha: Array, beta: Array) -> Array:
    """Both at once: such float32 are 1 to 0x7f7fffff when read as integers."""
    from_zero = lambda x: lax.bitcast_convert_type(x, jnp.uint32) - np.uint32(1)  # noqa: E731
    return jnp.maximum(from_zero(alpha), from_zero(beta)) < np.uint32(0x7F7FFFFF)


def _is_kept(x: _Gamma, y: _Gamma, coarse: Array, fine: Array | None) -> Array:
    """Whether a try is kept; without `fine`, whether that is already sure.

    One uniform decides both halves: it is below the product of their chances as often
    as two uniforms are below one each. `coarse` holds its first bits as an integer,
    `fine` is the part of (0, 1] behind them.
    """
    scale = np.float32(2.0**-_COARSE_BITS)
    if fine is not None:
        log_uniform = jnp.log((coarse + fine) * scale)
        return log_uniform < _log_acceptance(x) + _log_acceptance(y)
    surely_below = (coarse + 1) * scale <= 1 - (_squeeze(x) + _squeeze(y))
    return surely_below & (jnp.minimum(x.z, y.z) > _LOWEST_SQUEEZED)


def _propose(
    key: _Key, attempt: Array, tasks: _Some, above_one: bool, exact: bool
) -> Array:
    """Draws theta in try number `attempt` of each task, by the exact test or squeeze.

    Returns theta, or -1 where this try is rejected (exact) or left open (squeeze); NaN
    where a shape is not positive and finite.
    """
    ids, alpha, beta, centre, radius_outside = tasks

    def words(use: int) -> tuple[Array, Array]:
        counter = attempt * np.uint32(_COUNTERS_PER_TRY) + np.uint32(use)
        return counter_bits.threefry2x32(*key, ids, counter)

    radius_bits, bits = words(0)
    radius = jnp.sqrt(-2 * jnp.log(counter_bits.unit_interval(radius_bits)))
    cosine, sine = _unit_circle(bits)
    x = _gamma_proposal(_at_least_one(alpha, above_one), radius * cosine)
    y = _gamma_proposal(_at_least_one(beta, above_one), radius * sine)
    coarse = (bits >> np.uint32(3)) & np.uint32(2**_COARSE_BITS - 1)
    fine = counter_bits.unit_interval(words(1)[0]) if exact else None
    kept = _is_kept(x, y, coarse.astype(jnp.float32), fine)

    if above_one:
        theta = x.value / (x.value + y.value)
    else:
        boost_x, boost_y = map(counter_bits.unit_interval, words(2))
        # The root of the odds' factor, used twice: its square may leave float32.
        root = jnp.exp(0.5 * (_log_boost(beta, boost_y) - _log_boost(alpha, boost_x)))
        theta = 1 / (1 + y.value * root / x.value * root)
    if centre is not None and radius_outside is not None:
        kept &= ~(jnp.abs(theta - centre) <= radius_outside)  # NaN excludes nothing
    theta = jnp.where(kept, theta, _OPEN)
    return jnp.where(_are_positive_and_finite(alpha, beta), theta, np.float32(np.nan))


def _materialise(draws: Array) -> Array:
    """Forces draws into memory, so that XLA does not compute them in every consumer.

    XLA on CPU duplicates an expensive producer into each fusion that reads it and
    drops optimisation barriers first. A loop whose end depends on data is the fence
    that it respects. This one never runs, since draws are at most 1, but XLA cannot
    know that; a loop that hands its carry on unchanged is one that it removes.
    """
    never = lambda x: x[0] > 2  # noqa: E731
    fence = lambda x: lax.while_loop(never, lambda x: x * np.float32(0.5), x)  # noqa: E731
    return lax.platform_dependent(draws, cpu=fence, default=lambda x: x)


def _first_round(key: _Key, tasks: _Tasks, above_one: bool) -> Array:
    """The first try of every task by the squeeze: theta, -1 where open, or NaN."""
    draw = lambda start, stop: _materialise(  # noqa: E731
        _propose(key, jnp.uint32(0), tasks.cut(start, stop), above_one, exact=False)
    )
    n = tasks.alpha.shape[0]
    if n % 2 == 0 or n == 1:
        return draw(0, n)
    # XLA halves a loop between two cores; one of odd length is then not vectorised
    # and takes nine times as long.
    return _materialise(jnp.concatenate([draw(0, n - 1), draw(n - 1, n)]))


def _retry(
    key: _Key,
    tasks: _Tasks,
    draws: Array,
    positions: Array,
    attempt: Array,
    needed: Array,
    above_one: bool,
) -> tuple[Array, Array]:
    """One more round for one task per slot; `needed` where a slot holds one at all.

    The try left open, number `attempt`, is settled by the exact test and, if that
    rejects it, the next one goes through the squeeze.

    Returns draws with what was settled, and where that was, bool [slots].
    """
    n = draws.shape[0]
    taken = tasks.take(jnp.minimum(positions, np.uint32(n - 1)))
    settled = _propose(key, attempt, taken, above_one, exact=True)
    following = _propose(key, attempt + 1, taken, above_one, exact=False)
    draw = _materialise(jnp.where(settled < 0, following, settled))
    done = needed & ~(draw < 0)
    positions = jnp.where(done, positions, np.uint32(n))
    return draws.at[positions].set(draw, mode="drop"), done


def _pack(flags: Array) -> Array:
    """Turns 32 neighbouring flags into the bits of one uint32."""
    bits = flags.reshape(-1, _LANES).astype(jnp.uint32)
    bits <<= lax.iota(jnp.uint32, _LANES)[None, :]
    return jnp.sum(bits, axis=1, dtype=jnp.uint32)


def _lowest_set_bit(mask: Array) -> Array:
    """Index of the lowest set bit; 0 for 0."""
    below = (mask & (~mask + np.uint32(1))) - np.uint32(1)
    return lax.population_count(below) & np.uint32(_LANES - 1)


def _settle_words(
    key: _Key, tasks: _Tasks, draws: Array, above_one: bool
) -> tuple[Array, Array]:
    """Settles one open task per word of 32 and round until few words have any left.

    Returns draws, and uint32 [words] with a bit for each task still open.
    """
    n = draws.shape[0]
    whole = n - n % (2 * _LANES)  # an even number of words: see _first_round
    open_tasks = _pack(draws[:whole] < 0)
    if whole < n:
        tail = jnp.pad(draws[whole:], (0, whole + 2 * _LANES - n))
        open_tasks = jnp.concatenate([open_tasks, _pack(tail < 0)])
    word = lax.iota(jnp.uint32, open_tasks.shape[0])

    def many_open(carry: tuple[Array, Array, Array]) -> Array:
        return jnp.sum(carry[1] != 0, dtype=jnp.int32) > word.shape[0] // 4

    def settle(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        draws, open_tasks, attempt = carry
        positions = word * np.uint32(_LANES) + _lowest_set_bit(open_tasks)
        draws, done = _retry(
            key, tasks, draws, positions, attempt, open_tasks != 0, above_one
        )
        open_tasks = jnp.where(done, open_tasks & (open_tasks - 1), open_tasks)
        return draws, open_tasks, jnp.where(done, np.uint32(0), attempt + 1)

    carry = lax.while_loop(many_open, settle, (draws, open_tasks, word * 0))
    return carry[0], carry[1]


def _settle_groups(
    key: _Key, tasks: _Tasks, draws: Array, open_tasks: Array, above_one: bool
) -> Array:
    """Settles one open task per group of 32 words and round until none is left.

    A task begins again at its first try, which gives what it gave before.
    """
    open_tasks = jnp.pad(open_tasks, (0, -open_tasks.shape[0] % (2 * _LANES)))
    open_words = _pack(open_tasks != 0)
    group = lax.iota(jnp.uint32, open_words.shape[0])

    def settle(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        draws, open_tasks, open_words, attempt = carry
        word = group * np.uint32(_LANES) + _lowest_set_bit(open_words)
        mask = _take(open_tasks, word)
        positions = word * np.uint32(_LANES) + _lowest_set_bit(mask)
        draws, done = _retry(
            key, tasks, draws, positions, attempt, mask != 0, above_one
        )
        mask = jnp.where(done, mask & (mask - 1), mask)
        open_tasks = open_tasks.at[word].set(mask, mode="promise_in_bounds")
        open_words = jnp.where(mask == 0, open_words & (open_words - 1), open_words)
        return draws, open_tasks, open_words, jnp.where(done, 0, attempt + 1)

    start = (draws, open_tasks, open_words, group * 0)
    return lax.while_loop(lambda carry: jnp.any(carry[2] != 0), settle, start)[0]


@functools.partial(jax.jit, static_argnames="shapes_above_one")
def sample_beta(
    key: Array,
    alpha: PerTask,
    beta: PerTask,
    task_ids: Array | None = None,
    *,
    shapes_above_one: bool = False,
    outside: tuple[Array, Array] | None = None,
) -> PerTask:
    """Draws theta ~ Beta(alpha, beta) for every task, exactly.

    Args:
      key: typed key of any implementation; consumed.
      alpha: float32 [n], in [0.01, 1e5], the range that the law is tested on.
      beta: float32 [n], likewise.
      task_ids: integers [n], the identity that the draw is keyed by; 0 to n - 1 by
        default. Give the global ids when drawing for a part of the tasks.
      shapes_above_one: promise that alpha and beta are >= 1, which saves a third of
        the time. Smaller shapes are then drawn as 1.
      outside: a centre, float32 [] or [n], and a radius, float32 []: draws are taken
        given that they are farther from the centre than the radius, by rejection, so
        at a cost of 1 / (chance of being there). A negative radius excludes nothing.

    Returns:
      float32 [n] in [0, 1]. Draws below 1e-38 flush to 0 and those within 3e-8 of 1
      round to 1. NaN where alpha or beta is not a positive finite number.

    Example:
      >>> import jax
      >>> draws = sample_beta(jax.random.key(0), jnp.full(4, 2.0), jnp.full(4, 3.0))
      >>> bool(((draws > 0) & (draws < 1)).all())
      True
      >>> part = sample_beta(
      ...     jax.random.key(0), jnp.full(1, 2.0), jnp.full(1, 3.0), jnp.array([2]))
      >>> bool(part[0] == draws[2])
      True
    """
    if alpha.shape[0] == 0:
        return jnp.zeros((0,), jnp.float32)
    words = _Key(*counter_bits.key_words(key))
    centre, radius = (None, None) if outside is None else outside
    tasks = _Tasks(alpha, beta, task_ids, centre, radius)
    draws = _first_round(words, tasks, shapes_above_one)
    draws, open_tasks = _settle_words(words, tasks, draws, shapes_above_one)
    return _settle_groups(words, tasks, draws, open_tasks, shapes_above_one)
