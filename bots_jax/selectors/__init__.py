"""Selectors: factories that compose evidence, posterior and selection."""

from bots_jax.selectors.bots import bots
from bots_jax.selectors.common import set_eligible
from bots_jax.selectors.state import BotsState, set_posterior
from bots_jax.selectors.uniform import UniformState, uniform

__all__ = [
    "BotsState",
    "UniformState",
    "bots",
    "set_eligible",
    "set_posterior",
    "uniform",
]
