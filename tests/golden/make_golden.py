"""Writes golden.npz: what the unmodified official estimator makes of random evidence.

    pip download --no-deps trinity-rft==0.6.0     (then unzip the wheel into a folder)
    python tests/golden/make_golden.py --root FOLDER

Only `trinity/buffer/selector/difficulty_estimator.py` runs, by path, its logger
stubbed; it needs NumPy alone. The fixture holds numbers, no official code. Every
batch holds distinct tasks whose references differ by more than 0.02 on average: what
happens otherwise is a deliberate difference, tested elsewhere.
"""

import argparse
import importlib.util
import logging
import pathlib
import sys
import types

import numpy as np

NUM_TASKS, NUM_STEPS, NUM_STORED = 48, 240, 6
# name: lambda, rho, batch size, m, capability discount, fractional rewards
SETTINGS = {
    "paper": (0.1, 0.1, 16, 16, 0.9, False),
    "code_defaults": (0.2, 0.2, 8, 16, 0.9, False),
    "keep_all_explicit": (0.0, 0.0, 8, 8, 0.9, False),
    "keep_all_implicit": (0.0, 1.0, 4, 8, 0.9, False),
    "reset_explicit": (1.0, 0.0, 8, 8, 0.9, False),
    "reset_implicit": (1.0, 1.0, 8, 8, 0.9, False),
    "large_groups": (0.05, 0.5, 4, 64, 0.9, False),
    "one_task": (0.3, 0.05, 1, 4, 0.9, False),
    "whole_pool": (0.02, 0.1, 48, 16, 0.5, False),
    "fractional": (0.1, 0.3, 12, 10, 0.0, True),
}


def load_estimator(root: pathlib.Path) -> type:
    """Executes the official file as it is and returns its estimator class."""
    stub = types.ModuleType("trinity.utils.log")
    vars(stub)["get_logger"] = lambda *args, **kwargs: logging.getLogger("trinity")
    for name in ("trinity", "trinity.utils"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["trinity.utils.log"] = stub
    path = root / "trinity/buffer/selector/difficulty_estimator.py"
    spec = importlib.util.spec_from_file_location("official_estimator", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.InterpolationBetaPREstimator


def simulate(estimator: type, rng: np.random.Generator, setting: tuple) -> dict:
    """Runs the estimator; the true capability goes from -1 to 2.5."""
    forgetting, implicit_weight, batch_size, m, discount, fractional = setting
    weak = rng.uniform(0, 0.6, NUM_TASKS)
    strong = np.clip(weak + rng.uniform(0.05, 0.4, NUM_TASKS), 0, 1)
    references = np.stack([weak, strong], 1).astype(np.float32)
    official = estimator(
        references.astype(np.float64), m, forgetting, implicit_weight, discount
    )
    stored_steps = np.linspace(0, NUM_STEPS - 1, NUM_STORED).astype(int)
    ids, rates, alphas, betas, capabilities = [], [], [], [], []
    for step in range(NUM_STEPS):
        batch = rng.choice(NUM_TASKS, batch_size, replace=False)
        assert np.ptp(references[batch].mean(0)) > 0.02
        capability = -1 + 3.5 * step / NUM_STEPS
        chance = np.clip(weak + capability * (strong - weak), 0, 1)[batch]
        rate = rng.binomial(m, chance) / m
        if fractional:
            rate = np.clip(chance + rng.normal(0, 0.1, batch_size), 0, 1)
        rate = rate.astype(np.float32).astype(np.float64)
        official.update(batch.tolist(), rate.tolist())
        ids.append(batch.astype(np.uint8))
        rates.append(rate.astype(np.float32))
        capabilities.append(official.cap_coef)
        if step in stored_steps:
            alphas.append(official.alphas.copy())
            betas.append(official.betas.copy())
    return {
        "setting": np.array(setting[:5], np.float64),
        "references": references,
        "task_ids": np.array(ids),
        "pass_rates": np.array(rates),
        "stored_steps": stored_steps,
        "alpha": np.array(alphas),
        "beta": np.array(betas),
        "capability": np.array(capabilities, np.float64),
    }


def main() -> None:
    """Reads --root, writes golden.npz beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    estimator = load_estimator(parser.parse_args().root)
    rng = np.random.default_rng(20260)
    arrays = {}
    for name, setting in SETTINGS.items():
        run = simulate(estimator, rng, setting)
        arrays |= {f"{name}/{field}": value for field, value in run.items()}
        span = run["capability"]
        print(f"{name}: capability from {span.min():.2f} to {span.max():.2f}")
    out = pathlib.Path(__file__).with_name("golden.npz")
    np.savez_compressed(out, allow_pickle=False, **arrays)
    print(f"wrote {out}, {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
