"""Models of a run as something that completes prompts, for a reference evaluation."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bots_jax.checkpoint import Checkpoints
from bots_jax.checkpoint_files import read_step
from bots_jax.checkpoint_tree import Saved
from bots_jax.grpo.generate import generate
from bots_jax.grpo.model import make_model
from bots_jax.grpo.run_dir import read_run_config
from bots_jax.tasks import (
    FAMILIES,
    MAX_ANSWER_CHARS,
    MAX_PROMPT_CHARS,
    CharTokenizer,
)
from bots_jax.tasks.tables.columns import joined_text

_PREFIXES = {"checkpoints": "learner/params", "warmup": "params", "strong": "params"}
_SYMBOLS = {family.symbol for family in FAMILIES.values()}
PHASES = tuple(_PREFIXES)
"""Where a run keeps models: of GRPO, after the warm-up, and its strong reference."""


class RunModel:
    """A model of a run: called with prompts, it returns completions.

    Attributes:
      name: of run, phase, step and the run's fingerprint; equal for equal models.
      step: of the checkpoint.

    Example:
      >>> RunModel(pathlib.Path("no-such-run"))
      Traceback (most recent call last):
      ValueError: no run at no-such-run: no-such-run/config.json is not there.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        step: int | None = None,
        phase: str = "checkpoints",
        temperature: float = 1.0,
    ):
        """Loads a model.

        Args:
          directory: of the run.
          step: which checkpoint; None for the newest.
          phase: one of `PHASES`.
          temperature: of the sampling; 0 is greedy.

        Raises:
          ValueError: with one sentence, if there is no such run or checkpoint, or it
            cannot be read.
        """
        if phase not in _PREFIXES:
            raise ValueError(f"phase must be one of {PHASES}, got {phase!r}.")
        config = read_run_config(directory)
        saved = _read(directory / phase, step)
        self._tokenizer = CharTokenizer()
        self._model, template = make_model(
            config.model, self._tokenizer.vocab_size, config.seed
        )
        try:
            self._params = jax.device_put(saved.tree(template, _PREFIXES[phase]))
        except ValueError as error:
            raise ValueError(
                f"{directory / phase} holds a model of another shape: {error}"
            ) from None
        self._directory, self._temperature, self._size = directory, temperature, 1
        self.step = saved.step
        self.name = (
            f"{directory.resolve().name}/{phase}/{saved.step} of {saved.fingerprint}"
        )

    def __call__(
        self, prompts: Sequence[Any], group_size: int, seeds: Sequence[int]
    ) -> list[list[str]]:
        """Samples completions; a prompt's depend on its seed, not on its neighbours.

        Args:
          prompts: n prompts in the short spelling, as `pool_table` writes them.
          group_size: completions per prompt.
          seeds: n numbers in [0, 2^32).

        Raises:
          ValueError: giving the first prompt that is not in the short spelling.
        """
        if not prompts:
            return []
        ids = self._encode(prompts)
        numbers = np.resize(np.asarray(seeds, np.uint32), len(ids))
        sampled = _sample(
            self._model,
            self._params,
            jnp.asarray(ids),
            jnp.asarray(numbers),
            group_size,
            self._temperature,
        )
        flat = np.asarray(sampled)[: len(prompts)].reshape(-1, sampled.shape[-1])
        texts = self._tokenizer.decode_batch(flat)
        starts = range(0, len(texts), group_size)
        return [texts[start : start + group_size] for start in starts]

    def _encode(self, prompts: Sequence[Any]) -> np.ndarray:
        """Encodes prompts; the batch grows to a power of two, and never shrinks again.

        So few shapes are compiled.
        """
        texts = [joined_text(prompt) for prompt in prompts]
        for text in texts:
            try:
                is_short = text[:1] in _SYMBOLS and text[-1:] == "="
                self._tokenizer.encode_batch([text], MAX_PROMPT_CHARS)
            except ValueError:
                is_short = False
            if not is_short:
                raise ValueError(
                    f"the model of {self._directory} reads the short spelling of its "
                    f"own tasks only, as pool_table writes them, got {text!r:.60}."
                )
        self._size = max(self._size, 1 << (len(texts) - 1).bit_length())
        ids = self._tokenizer.encode_batch(texts, MAX_PROMPT_CHARS, side="left")
        return np.resize(ids, (self._size, MAX_PROMPT_CHARS))


@functools.partial(jax.jit, static_argnames=("model", "group_size", "temperature"))
def _sample(
    model: nnx.GraphDef,
    params: nnx.State,
    prompt_ids: jax.Array,
    seeds: jax.Array,
    group_size: int,
    temperature: float,
) -> jax.Array:
    """Samples int32 [n, G, C]; every prompt is a batch of its own, with its own key."""

    def group(ids: jax.Array, seed: jax.Array) -> jax.Array:
        return generate(
            model,
            params,
            jnp.tile(ids, (group_size, 1)),
            jax.random.key(seed),
            num_tokens=MAX_ANSWER_CHARS + 1,
            pad_id=CharTokenizer.pad_id,
            eos_id=CharTokenizer.eos_id,
            temperature=temperature,
        ).completion_ids

    return jax.vmap(group)(prompt_ids, seeds)


def _read(folder: pathlib.Path, step: int | None) -> Saved:
    if step is None:
        saved = None
        if folder.is_dir():
            with Checkpoints(folder, "") as checkpoints:
                saved = checkpoints.read_latest(any_fingerprint=True)
        if saved is None:
            raise ValueError(f"there is no checkpoint in {folder} yet.")
        return saved
    steps = sorted(
        int(path.name)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name.isdecimal()
    )
    if step not in steps:
        there = ", ".join(map(str, steps)) or "none"
        raise ValueError(f"step must be one of those in {folder}, {there}; got {step}.")
    try:
        return read_step(folder / str(step), step)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"checkpoint {folder / str(step)} cannot be read: {error}."
        ) from None
