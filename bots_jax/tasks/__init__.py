"""Tasks, what solves them, and how well other models did: tables and reasoning-gym.

Nothing here imports jax; pyarrow, reasoning-gym and what rewards need are imported when
first needed.
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
from bots_jax.tasks.evaluations.log_import import LoggedEvaluation, read_log
from bots_jax.tasks.evaluations.pool_table import pool_table
from bots_jax.tasks.evaluations.reference_eval import (
    EvaluationReport,
    import_evaluation,
    reference_eval,
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
from bots_jax.tasks.rewards.library import boxed_math, pool_reward, reasoning_gym
from bots_jax.tasks.rewards.matching import exact_match, load_reward, numeric_match
from bots_jax.tasks.rewards.runner import RewardRunner
from bots_jax.tasks.scoring import Scorer
from bots_jax.tasks.tables.pass_rates import evaluated, pass_rate_columns, references
from bots_jax.tasks.tables.table import TaskTable, check_unchanged, open_table
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
    "EvaluationReport",
    "Family",
    "LoggedEvaluation",
    "RewardRunner",
    "Scorer",
    "TaskPool",
    "TaskTable",
    "TokenisedPool",
    "boxed_math",
    "build_pool",
    "check_unchanged",
    "evaluated",
    "exact_match",
    "generate_pool",
    "import_evaluation",
    "load_reward",
    "numeric_match",
    "open_table",
    "pass_rate_columns",
    "pool_reward",
    "pool_table",
    "read_log",
    "reasoning_gym",
    "reference_eval",
    "references",
    "split_pool",
    "tokenise",
    "wrong_rates",
]
