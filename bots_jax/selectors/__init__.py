"""Selectors: factories that compose evidence, posterior and selection."""

from bots_jax.selectors.ablations import bots_dots, bots_mopps
from bots_jax.selectors.adaptive import adaptive, set_policy_change
from bots_jax.selectors.adarft import adarft
from bots_jax.selectors.arcus import arcus
from bots_jax.selectors.bots import bots
from bots_jax.selectors.common import set_eligible
from bots_jax.selectors.continuous import continuous
from bots_jax.selectors.cures import cures
from bots_jax.selectors.dps import dps
from bots_jax.selectors.dynamic_sampling import dynamic_sampling
from bots_jax.selectors.graded import graded
from bots_jax.selectors.greso import greso
from bots_jax.selectors.insight import insight
from bots_jax.selectors.mapp import mapp
from bots_jax.selectors.mopps import mopps
from bots_jax.selectors.offline import offline_easy_to_hard
from bots_jax.selectors.sec import sec
from bots_jax.selectors.state import BotsState, set_posterior
from bots_jax.selectors.uniform import UniformState, uniform

__all__ = [
    "BotsState",
    "UniformState",
    "adaptive",
    "adarft",
    "arcus",
    "bots",
    "bots_dots",
    "bots_mopps",
    "continuous",
    "cures",
    "dps",
    "dynamic_sampling",
    "graded",
    "greso",
    "insight",
    "mapp",
    "mopps",
    "offline_easy_to_hard",
    "sec",
    "set_eligible",
    "set_policy_change",
    "set_posterior",
    "uniform",
]
