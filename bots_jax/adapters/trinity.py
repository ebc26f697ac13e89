"""Trinity-RFT: a task selector named by dotted path in the yaml, no fork.

    buffer:
      explorer_input:
        tasksets:
          - name: train
            data_selector:
              selector_type: bots_jax.adapters.trinity.JaxBotsSelector
              feature_keys: [weak_pass_rate, strong_pass_rate]
              kwargs: {m: 16, lamb: 0.1, rho: 0.1, target_reward: 0.5, tau: 0,
                       do_sample: true, state_dir: checkpoints/selector}
    data_processor:
      experience_pipeline:
        operators: [{name: pass_rate_calculator}]

A yaml for `difficulty_based` needs another `selector_type` and nothing else: names and
defaults of its kwargs are the official ones. In the environment of Ray's workers set
JAX_PLATFORMS=cpu, so that this selector leaves the accelerators to the rollouts.

Differences: the posterior is saved; a task is not drawn again while its rollouts are on
the way, unless the pool is too small for that; indices that repeat in one feedback add
up; a batch whose references are equal says nothing about the capability; values are
checked.

Run against the selector classes, the registry and the task scheduler of Trinity-RFT
0.6.0, unmodified, by path. A whole training run, which needs GPUs, was not run.
"""

import base64
import binascii
import hashlib
import warnings
from typing import Any

import jax
import numpy as np

from bots_jax import checks
from bots_jax.adapters.common import to_success
from bots_jax.adapters.full_batch import select_full
from bots_jax.adapters.packed import pack, read_file, unpack, write_file
from bots_jax.host.task_sampler import TaskSampler
from bots_jax.selection import posterior_means
from bots_jax.selectors.bots import bots

try:
    from trinity.buffer.selector.selector import (  # pyright: ignore[reportMissingImports]
        BaseSelector,
    )
except ImportError:  # the same two attributes, so that it can be tried without Trinity
    BaseSelector = object

OFFICIAL = {
    "m": 16,
    "lamb": 0.2,
    "rho": 0.2,
    "target_reward": 1.0,
    "tau": 1.0,
    "do_sample": False,
    "adaptive_rho": False,
}
"""Kwargs of the official selector, and their defaults."""

OURS = {
    "batch_size": 32,
    "reward_range": (0.0, 1.0),
    "key_column": None,
    "remap": False,
    "state_dir": None,
    "prior_alpha": 1.0,
    "prior_beta": 1.0,
    "engine": "auto",
    "max_delay": 64,
}
"""Kwargs of this one, and their defaults."""


class JaxBotsSelector(BaseSelector):  # pyright: ignore[reportGeneralTypeIssues]
    """BOTS for Trinity-RFT, from the official kwargs.

    Example:
      >>> import types
      >>> config = types.SimpleNamespace(
      ...     seed=42, feature_keys=["weak", "strong"], kwargs={"m": 8, "tau": 0}
      ... )
      >>> rates = {"weak": np.linspace(0, 0.4, 50), "strong": np.linspace(0.5, 0.9, 50)}
      >>> source = types.SimpleNamespace(dataset=rates, dataset_size=50, name="train")
      >>> selector = JaxBotsSelector(source, config)
      >>> batch = selector.get_indices(4)
      >>> selector.feedback(batch, [1.0, 0.75, 0.5, 0.0])
      >>> selector.sampler.step, selector.state_dict()["current_index"]
      (1, 4)

    Source: arXiv 2510.26374.
    """

    def __init__(self, data_source: Any, config: Any):
        """Reads the columns and checks the settings.

        Args:
          data_source: with `dataset`, columns by name, and `dataset_size`.
          config: with `seed`; `feature_keys`, the columns of the weak and of the strong
            model's pass rates, or none of them with a rho of 0; and `kwargs`.

        Of `kwargs`, `m`, `lamb`, `rho`, `target_reward`, `tau` and `do_sample` are the
        official ones: rollouts per task, which are the counts that a mean reward stands
        for, forgetting, weight of implicit evidence, wanted success chance,
        temperature, and Thompson draws instead of posterior means. `adaptive_rho` must
        be false. The others:

          batch_size: tasks per step; another one is compiled when more are asked for.
          reward_range: rewards of a failure and of a success; mean rewards are placed
            between them.
          key_column: names the tasks, so that a saved state finds them in any order.
          remap: carry a saved state over to a dataset that has other tasks, too; with
            `key_column`.
          state_dir: where states are saved, and the checkpoint says which file; by
            default the checkpoint holds all of it.
          prior_alpha, prior_beta: the prior.
          engine, max_delay: as in `bots` and `TaskSampler`.

        Raises:
          ValueError: naming what was wrong, received and allowed.
        """
        if BaseSelector is not object:
            super().__init__(data_source, config)
        self.data_source, self.config = data_source, config
        self._settings = _checked_kwargs(config.kwargs)
        self._num_tasks = int(data_source.dataset_size)
        self._references = _read_references(
            data_source.dataset, list(config.feature_keys), self._settings["rho"]
        )
        column, self._keys = self._settings["key_column"], None
        if column is not None:
            self._keys = _column(data_source.dataset, column)
            self._places = {key: i for i, key in enumerate(self._keys)}
        self.current_index = 0
        self.sampler = self._make(min(self._settings["batch_size"], self._num_tasks))

    def _make(self, batch_size: int) -> TaskSampler:
        s = self._settings
        selector = bots(
            num_tasks=self._num_tasks,
            batch_size=batch_size,
            group_size=s["m"],
            forgetting=s["lamb"],
            implicit_weight=s["rho"],
            target_success_prob=s["target_reward"],
            temperature=s["tau"],
            prior_alpha=s["prior_alpha"],
            prior_beta=s["prior_beta"],
            estimate=None if s["do_sample"] else posterior_means,
            engine=s["engine"],
        )
        return TaskSampler(
            selector,
            jax.random.key(int(self.config.seed)),
            selector.init(self._references),
            task_keys=self._keys,
            max_delay=s["max_delay"],
        )

    def get_indices(self, batch_size: int, return_extra_info: bool = False) -> Any:
        """Chooses rows of the dataset.

        Args:
          batch_size: how many; another number in every call, if need be.
          return_extra_info: also give a dict of lists: "indices", and their posterior,
            "alphas", "betas" and its mean, "point".

        Returns:
          A list of distinct indices, or that and the dict.

        Raises:
          ValueError: if the dataset has fewer rows.
        """
        checks.check_count("batch_size", batch_size, 1, self._num_tasks)
        if batch_size > self.sampler.selector.batch_size:
            fits = min(1 << (batch_size - 1).bit_length(), self._num_tasks)
            larger = self._make(fits)
            larger.load_state_dict(self.sampler.state_dict())
            self.sampler = larger
        chosen = select_full(self.sampler, batch_size, self.current_index)
        self.current_index += batch_size
        indices = chosen.tolist()
        if self._keys is not None:
            indices = [self._places[key] for key in indices]
        if not return_extra_info:
            return indices
        alpha, beta = (x.tolist() for x in self.sampler.posterior(chosen))
        point = [a / (a + b) for a, b in zip(alpha, beta, strict=True)]
        info = {"indices": indices, "alphas": alpha, "betas": beta, "point": point}
        return indices, info

    def feedback(self, indices: Any, values: Any) -> None:
        """Learns from the mean rewards of a step.

        Args:
          indices: B rows of the dataset.
          values: their mean rewards, in `reward_range`; NaN was not evaluated.

        Raises:
          ValueError: naming what was wrong; then nothing was learnt.
        """
        low, high = self._settings["reward_range"]
        means = np.asarray(values, np.float64)
        rates, mask = to_success((means - low) / (high - low))
        rows = np.asarray(indices, np.int64)
        checks.check_shape("values", rates, (rows.shape,))
        checks.check_in_range("indices", rows, 0, self._num_tasks - 1)
        if len(rows):
            keys = rows if self._keys is None else [self._keys[row] for row in rows]
            rollouts = self._settings["m"]
            repeat = lambda x: np.repeat(x[:, None], rollouts, axis=1)  # noqa: E731
            self.sampler.observe(keys, repeat(rates), mask=repeat(mask))
        self.sampler.advance()

    def state_dict(self) -> dict[str, Any]:
        """Gives everything that the next call needs, as JSON can hold it.

        By default all of it is in there, the posterior as a string of at most 20 bytes
        per task, 31 with `key_column`: 11 to 19 MB at 10^6 tasks. Above 10^5 tasks set
        `state_dir`, since Trinity writes what it loads to its log.
        """
        blob = pack(self.sampler.state_dict())
        saved: dict[str, Any] = {
            "current_index": self.current_index,
            "batch_size": self.sampler.selector.batch_size,
            "columns": self._fingerprint(),
        }
        directory = self._settings["state_dir"]
        if directory is None:
            return {**saved, "state": base64.b64encode(blob).decode("ascii")}
        name = getattr(self.data_source, "name", "tasks")
        path = write_file(directory, name, self.current_index, blob)
        return {**saved, "state_file": path}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave.

        The official selector's state, which is its position and no posterior, is taken
        with a warning.

        Raises:
          FileNotFoundError: if the file that the state names is gone.
          ValueError: if it is of other tasks or settings, or broken. Then nothing is
            changed.
        """
        position = int(state_dict.get("current_index", 0))
        if "state" not in state_dict and "state_file" not in state_dict:
            if position:
                warnings.warn(
                    "the state loaded is that of another selector, which saves no "
                    f"posterior: {position} draws are counted, and what was learnt "
                    "from them is lost; the posterior starts from the prior.",
                    stacklevel=2,
                )
            self.current_index = position
            return
        wanted = {"columns": str, "batch_size": int}
        if not all(isinstance(state_dict.get(n), t) for n, t in wanted.items()):
            raise ValueError("the state saved is broken, or not one of this selector.")
        if self._keys is None and state_dict["columns"] != self._fingerprint():
            raise ValueError(
                f"feature_keys {list(self.config.feature_keys)} must hold what they "
                "held when the state was saved, got other values; key_column= names "
                "tasks whose order has changed."
            )
        if "state" in state_dict:
            try:
                blob = base64.b64decode(state_dict["state"], validate=True)
            except (binascii.Error, TypeError, ValueError):
                raise ValueError(
                    "the state saved is broken, or not one of this selector."
                ) from None
        else:
            blob = read_file(state_dict["state_file"])
        sampler = self._make(min(state_dict["batch_size"], self._num_tasks))
        sampler.load_state_dict(unpack(blob), remap=self._settings["remap"])
        self.sampler, self.current_index = sampler, position

    def _fingerprint(self) -> str:
        """Hashes the references, in order."""
        digest = hashlib.blake2b(str(self._num_tasks).encode(), digest_size=16)
        for column in self._references or ():
            digest.update(column.tobytes())
        return digest.hexdigest()


def _checked_kwargs(kwargs: Any) -> dict[str, Any]:
    given = dict(kwargs or {})
    unknown = [name for name in given if name not in OFFICIAL | OURS]
    if unknown:
        raise ValueError(
            f"kwargs must be among {', '.join(OFFICIAL | OURS)}, got {unknown[0]!r}."
        )
    settings = {**OFFICIAL, **OURS, **given}
    if settings["adaptive_rho"]:
        raise ValueError("adaptive_rho must be false, got true; rho stays as it is.")
    checks.check_count("m", settings["m"], 1, 4096)
    checks.check_count("batch_size", settings["batch_size"])
    for name in ("lamb", "rho", "target_reward"):
        checks.check_number(name, settings[name], 0, 1)
    checks.check_number("tau", settings["tau"], 0, 1e6)
    for name in ("do_sample", "remap"):
        if not isinstance(settings[name], bool):
            raise ValueError(f"{name} must be true or false, got {settings[name]!r}.")
    checks.check_shape("reward_range", settings["reward_range"], ((2,),))
    low, high = settings["reward_range"]
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"reward_range must be [low, high], got [{low}, {high}].")
    if settings["remap"] and settings["key_column"] is None:
        raise ValueError("remap must be false without key_column, got true.")
    return settings


def _column(dataset: Any, name: str) -> list[Any]:
    names = list(getattr(dataset, "column_names", None) or dataset)
    if name not in names:
        raise ValueError(f"the dataset has no column {name!r}; it has {names}.")
    return list(dataset[name])


def _read_references(dataset: Any, names: list[str], rho: float) -> Any:
    """The weak and the strong model's pass rates, float32 [N] each, or None."""
    if not names and not rho:
        return None
    if len(names) != 2:
        raise ValueError(
            "feature_keys must name 2 columns, pass rates of a weak and a strong model"
            f" (or none, with rho: 0), got {names}."
        )
    rates = []
    for name in names:
        values = _column(dataset, name)
        try:
            rate = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            wrong = next(v for v in values if not isinstance(v, (int, float)))
            raise ValueError(
                f"column {name!r} must hold numbers, got {wrong!r:.60}."
            ) from None
        nulls = int(np.isnan(rate).sum())
        if nulls:
            raise ValueError(
                f"column {name!r} must hold a pass rate for every task, got {nulls} "
                f"nulls in {len(rate)} rows; evaluate these tasks or leave them out."
            )
        checks.check_in_range(f"column {name!r}", rate, 0.0, 1.0)
        rates.append(rate.astype(np.float32))
    return tuple(rates)
