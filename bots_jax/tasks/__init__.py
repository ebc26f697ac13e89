"""Real tasks from reasoning-gym in a spelling short enough for a tiny net.

Nothing here imports jax; reasoning-gym and pyarrow are imported when first needed.
"""

from bots_jax.tasks.cache import build_pool
from bots_jax.tasks.demonstrations import (
    RATES_BY_LEVEL,
    DemonstrationBatch,
    Demonstrations,
    TokenisedPool,
    tokenise,
    wrong_rates,
)
from bots_jax.tasks.families import (
    FAMILIES,
    FAMILY_NAMES,
    MAX_ANSWER_CHARS,
    MAX_PROMPT_CHARS,
    NUM_LEVELS,
    Family,
)
from bots_jax.tasks.generation import generate_pool
from bots_jax.tasks.pool import TaskPool, split_pool
from bots_jax.tasks.scoring import Scorer
from bots_jax.tasks.tokenizer import ALPHABET, CharTokenizer

__all__ = [
    "ALPHABET",
    "FAMILIES",
    "FAMILY_NAMES",
    "MAX_ANSWER_CHARS",
    "MAX_PROMPT_CHARS",
    "NUM_LEVELS",
    "RATES_BY_LEVEL",
    "CharTokenizer",
    "DemonstrationBatch",
    "Demonstrations",
    "Family",
    "Scorer",
    "TaskPool",
    "TokenisedPool",
    "build_pool",
    "generate_pool",
    "split_pool",
    "tokenise",
    "wrong_rates",
]
