"""Trinity-RFT's selectors, registry, reader and scheduler, without Ray and vLLM."""

import contextlib
import dataclasses
import importlib
import importlib.util
import logging
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from bots_jax.adapters import trinity as adapter
from tests.adapters import by_path

VARIABLE = "BOTS_JAX_TRINITY"
COMMAND = "pip download --no-deps trinity-rft==0.6.0 and unzip it"
BOTS = {
    "m": 16,
    "lamb": 0.1,
    "rho": 0.1,
    "target_reward": 0.5,
    "tau": 0,
    "do_sample": False,
}
PATH = "bots_jax.adapters.trinity.JaxBotsSelector"


@dataclasses.dataclass
class DataSelectorConfig:
    """Fields and defaults of the one in `trinity.common.config`."""

    selector_type: str | None = "sequential"
    seed: int = 42
    feature_keys: list[str] = dataclasses.field(default_factory=list)
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)


class Columns:
    """What is used of a `datasets.Dataset`."""

    def __init__(self, columns: dict[str, Any]):
        self.columns = columns
        self.column_names = list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            return self.columns[item]
        return {name: column[item] for name, column in self.columns.items()}


def taskset(columns: dict[str, Any], selector: DataSelectorConfig, **more: Any) -> Any:
    """What `TasksetConfig` holds for a file; `path` are the columns themselves."""
    return types.SimpleNamespace(
        path=Columns(columns),
        name="train",
        data_selector=selector,
        schema_type=None,
        subset_name=None,
        split="train",
        is_eval=False,
        index=0,
        enable_progress_bar=False,
        total_epochs=1000,
        total_steps=None,
        **more,
    )


class _Formatter:
    def __init__(self, config: Any):
        pass

    def format(self, sample: Any) -> Any:
        return types.SimpleNamespace(sample=sample, index={})


def _get_buffer_reader(config: Any) -> Any:
    return importlib.import_module("trinity.buffer.reader.file_reader").FileReader(
        config
    )


@contextlib.contextmanager
def trinity() -> Iterator[Any]:
    """Gives a namespace of the real modules, ours bound to the real BaseSelector."""
    root = by_path.find_root(VARIABLE, "trinity/buffer/selector", COMMAND)
    logger = logging.getLogger("trinity")
    stand_ins: dict[str, dict[str, Any]] = {
        "trinity.utils.log": {"get_logger": lambda *_, **__: logger},
        "trinity.common.config": {
            name: object
            for name in ("Config", "StorageConfig", "FormatConfig", "OperatorConfig")
        }
        | {"DataSelectorConfig": DataSelectorConfig},
        "trinity.common.experience": {"Experience": object},
        "trinity.buffer.buffer": {"get_buffer_reader": _get_buffer_reader},
        "trinity.buffer.schema": {
            "FORMATTER": types.SimpleNamespace(get=lambda name: _Formatter)
        },
        "datasets": {
            "Dataset": Columns,
            "load_dataset": lambda path, **_: path,
            "disable_caching": lambda: None,
        },
    }
    if importlib.util.find_spec("torch") is None:
        stand_ins["torch"] = {}  # only its top-k and multinomial are used
    empty = (
        "trinity",
        "trinity.buffer",
        "trinity.buffer.reader",
        "trinity.buffer.operators",
        "trinity.buffer.operators.mappers",
        "trinity.common",
        "trinity.utils",
    )
    anew = ("bots_jax.adapters.trinity",)
    with by_path.packages(root, empty, stand_ins, anew):
        load = importlib.import_module
        yield types.SimpleNamespace(
            has_torch="torch" not in stand_ins,
            registry=load("trinity.buffer.selector").SELECTORS,
            selector=load("trinity.buffer.selector.selector"),
            scheduler=load("trinity.buffer.task_scheduler"),
            pass_rates=load("trinity.buffer.operators.mappers.pass_rate_calculator"),
            ours=load("bots_jax.adapters.trinity"),
        )


def source(columns: dict[str, Any]) -> Any:
    """What selectors read of `_HFBatchReader`."""
    return types.SimpleNamespace(
        dataset=Columns(columns), dataset_size=len(Columns(columns)), name="train"
    )


def references(num_tasks: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Pass rates of a weak and of a strong model."""
    rng = np.random.default_rng(seed)
    weak = rng.uniform(0, 0.7, num_tasks)
    strong = np.clip(weak + rng.uniform(0.1, 0.5, num_tasks), 0, 1)
    return {"weak": weak, "strong": strong}


def config(seed: int = 7, keys: Any = ("weak", "strong"), **kwargs: Any):
    return DataSelectorConfig(PATH, seed, list(keys), {**BOTS, **kwargs})


def make(num_tasks: int = 200, seed: int = 7, columns: Any = None, **kwargs: Any):
    columns = columns or references(num_tasks)
    return adapter.JaxBotsSelector(source(columns), config(seed, **kwargs))
