"""The official BOTS code of trinity-rft 0.6.0, run unmodified from an unzipped wheel.

Two of its files are executed by path. The four modules that they import, which pull in
Ray, vLLM and datasets, are replaced by stubs of a line each while they load.
"""

import importlib
import importlib.util
import logging
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from . import pool as settings
from .pool import Pool

NAME = "official"
NAME_AS_SHIPPED = "official, as shipped"

GET_WHEEL = (
    "pip download --no-deps trinity-rft==0.6.0 && "
    "python -m zipfile -e trinity_rft-0.6.0-py3-none-any.whl trinity-rft"
)
GET_TORCH = "pip install torch==2.13.0"

_SELECTOR_FOLDER = "trinity/buffer/selector"
_PACKAGES = ("", ".buffer", ".buffer.reader", ".buffer.selector", ".common", ".utils")


class NotAvailable(Exception):
    """The official code cannot run here; the message says why, and the remedy."""


class Official(NamedTuple):
    """The official modules, and torch, which only the selection needs."""

    estimator: Any
    selector: Any
    torch: Any


def load_official(folder: Path | None) -> Official:
    """Executes the official estimator and selector.

    Args:
      folder: the unzipped wheel, which holds `trinity/`; None if there is none.

    Returns:
      Their modules.

    Raises:
      NotAvailable: without a folder, or without torch.
      ValueError: for a folder that does not hold the wheel.
    """
    if folder is None:
        raise NotAvailable(f"no --official folder was given; get it by: {GET_WHEEL}")
    check_folder(folder)
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise NotAvailable(f"torch is not installed; get it by: {GET_TORCH}") from None
    logging.getLogger("trinity").setLevel(logging.ERROR)
    with mock.patch.dict(sys.modules, _stubs()):
        estimator = _run_file(folder, "difficulty_estimator")
        selector = _run_file(folder, "selector")
    return Official(estimator, selector, torch)


def check_folder(folder: Path) -> None:
    """Refuses a folder that does not hold the wheel.

    Raises:
      ValueError: in one sentence, with the way to get it.
    """
    if not (folder / _SELECTOR_FOLDER / "selector.py").is_file():
        raise ValueError(
            f"--official must be the unzipped wheel of trinity-rft 0.6.0, "
            f"got {str(folder)!r} without {_SELECTOR_FOLDER}/selector.py; "
            f"get it by: {GET_WHEEL}"
        )


def _stubs() -> dict[str, types.ModuleType]:
    def stub(name: str, **attributes: Any) -> types.ModuleType:
        module = types.ModuleType(f"trinity{name}")
        vars(module).update(attributes, __path__=[])
        return module

    modules = [stub(name) for name in _PACKAGES] + [
        stub(".utils.log", get_logger=lambda *_, **__: logging.getLogger("trinity")),
        stub(".utils.annotations", Experimental=lambda cls: cls),
        stub(".common.config", DataSelectorConfig=types.SimpleNamespace),
        stub(".buffer.reader.file_reader", _HFBatchReader=object),
    ]
    return {module.__name__: module for module in modules}


def _run_file(folder: Path, name: str) -> types.ModuleType:
    full_name = f"{_SELECTOR_FOLDER.replace('/', '.')}.{name}"
    path = folder / _SELECTOR_FOLDER / f"{name}.py"
    spec = importlib.util.spec_from_file_location(full_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    return module


class OfficialStep:
    """The official estimator's `update` and `predict_pr`, and `torch.topk`.

    These are the calls that the official selector makes, without the debug messages
    that it formats in every step whether they are printed or not: 0.5 ms and more.
    """

    name = NAME

    def __init__(self, official: Official, num_tasks: int, batch_size: int, seed: int):
        del num_tasks
        self._official = official
        self._batch_size = batch_size
        self._seed = seed
        self._index = 0
        self._target = settings.TARGET_SUCCESS_PROB
        self.estimator: Any = None

    def reset(self, pool: Pool, target_success_prob: float) -> None:
        """Sets posterior, references and capability."""
        self._target = target_success_prob
        self.estimator = self._official.estimator.InterpolationBetaPREstimator(
            pool.references.astype(np.float64),
            m=settings.GROUP_SIZE,
            lamb=settings.FORGETTING,
            rho=settings.IMPLICIT_WEIGHT,
            cap_coef_update_discount=settings.CAPABILITY_MOMENTUM,
        )
        self._believe(pool)

    def _believe(self, pool: Pool) -> None:
        self.estimator.set(pool.alpha.copy(), pool.beta.copy())
        self.estimator.cap_coef = pool.capability

    def encode(self, task_ids: np.ndarray, success_rates: np.ndarray) -> Any:
        """Leaves arrays as they are: they are faster here than lists."""
        return task_ids, success_rates

    def step(self, evidence: Any) -> np.ndarray:
        """Updates and chooses."""
        torch = self._official.torch
        self._index += 1
        self.estimator.update(*evidence)
        rng = np.random.default_rng(self._seed + self._index)
        draws = self.estimator.predict_pr(rng=rng, do_sample=True)
        scores = torch.from_numpy(-np.abs(self._target - draws))
        return torch.topk(scores, self._batch_size).indices.numpy()

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies alpha and beta."""
        return self.estimator.alphas.copy(), self.estimator.betas.copy()

    def state_bytes(self) -> int:
        """Counts the bytes of the estimator's arrays."""
        held = {id(x): x for x in vars(self.estimator).values()}
        return sum(x.nbytes for x in held.values() if isinstance(x, np.ndarray))


class _Source(NamedTuple):
    """What the official selector reads of its data source."""

    dataset: dict[str, np.ndarray]
    dataset_size: int


class OfficialSelectorStep(OfficialStep):
    """The official selector object: `feedback`, then `get_indices`."""

    name = NAME_AS_SHIPPED

    def reset(self, pool: Pool, target_success_prob: float) -> None:
        """Sets posterior, references and capability."""
        config = types.SimpleNamespace(
            seed=self._seed + self._index,
            feature_keys=["weak", "strong"],
            kwargs={
                "m": settings.GROUP_SIZE,
                "lamb": settings.FORGETTING,
                "rho": settings.IMPLICIT_WEIGHT,
                "target_reward": target_success_prob,
                "tau": 0,
                "do_sample": True,
            },
        )
        weak, strong = pool.references.astype(np.float64).T
        source = _Source({"weak": weak, "strong": strong}, len(weak))
        selector = self._official.selector.DifficultyBasedSelector(source, config)
        self._selector = selector
        self.estimator = selector.diff_estimator
        self._believe(pool)

    def step(self, evidence: Any) -> np.ndarray:
        """Updates and chooses."""
        self._index += 1
        self._selector.feedback(*evidence)
        return self._selector.get_indices(self._batch_size).numpy()
