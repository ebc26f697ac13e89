"""The implicit plug-ins, for `adaptive(plugin=...)`."""

from bots_jax.evidence.ability import ability
from bots_jax.evidence.group_prior import group_prior
from bots_jax.evidence.interpolation_plugin import interpolation
from bots_jax.evidence.nearest import nearest_neighbours
from bots_jax.evidence.neighbours import neighbours
from bots_jax.evidence.plugin import Plugin, Prediction
from bots_jax.evidence.reference_groups import reference_groups
from bots_jax.evidence.references import references

__all__ = [
    "Plugin",
    "Prediction",
    "ability",
    "group_prior",
    "interpolation",
    "nearest_neighbours",
    "neighbours",
    "reference_groups",
    "references",
]
