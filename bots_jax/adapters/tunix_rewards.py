"""A reward manager for Tunix that lets a sampler see the rewards of training."""

import functools
import itertools
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

TRAJECTORY = "trajectory_rewards"
_NUMBERS = itertools.count()


def register(tasks: Any, base: str | None = None) -> str:
    """Registers a reward manager of its own for these tasks.

    Args:
      tasks: a `TunixTasks`; the registry does not keep it alive.
      base: name of the reward manager that makes the rewards; by default Tunix's own,
        for sequences or for agents, as the learner's config asks for it.

    Returns:
      The name, one that nobody else has in this process.

    Raises:
      ModuleNotFoundError: where Tunix is not installed.
    """
    try:
        from tunix.rl import (  # pyright: ignore[reportMissingImports]
            function_registry,
            reward_manager,  # noqa: F401  # registers those of Tunix
        )
    except ImportError as error:
        raise ModuleNotFoundError(
            "attach needs Tunix: pip install 'bots-jax[tunix]'."
        ) from error
    name = f"bots-{next(_NUMBERS)}"
    held = weakref.ref(tasks)

    def make(reward_fns: Any, algo_config: Any, **how: Any) -> ObservedRewards:
        tasks = held()
        if tasks is None:
            raise ValueError(f"the tasks of reward manager {name!r} are gone.")
        tasks.is_agentic = hasattr(algo_config, "off_policy_steps")
        tasks.num_managers += 1
        own = "agentic-sequence-level" if tasks.is_agentic else "sequence-level"
        kind = function_registry.get_reward_manager(base or own)
        return ObservedRewards(tasks, kind, reward_fns, algo_config, **how)

    function_registry.register_reward_manager(name)(make)
    return name


class ObservedRewards:
    """Makes rewards as another reward manager does, and passes on those of training."""

    def __init__(
        self,
        tasks: Any,
        kind: Callable[..., Any],
        reward_fns: Any,
        algo_config: Any,
        **how: Any,
    ):
        """Makes a reward manager of a kind; reward functions are heard on the way.

        Raises:
          ValueError: if no reward function has the name that says what is solved.
        """
        functions = [] if reward_fns is None else reward_fns
        functions = (
            list(functions) if isinstance(functions, list | tuple) else [functions]
        )
        names = [getattr(function, "__name__", "") for function in functions]
        if tasks.reward not in (None, TRAJECTORY, *names):
            raise ValueError(
                f"reward must be the name of one of the reward functions, {names}, or "
                f"{TRAJECTORY!r}, got {tasks.reward!r}."
            )
        self._tasks = tasks
        self._names = names
        self._heard = threading.local()
        heard = [self._listen(n, function) for n, function in enumerate(functions)]
        given = None if reward_fns is None else heard
        self._inner = kind(reward_fns=given, algo_config=algo_config, **how)

    def _listen(self, number: int, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def heard(*args: Any, **columns: Any) -> Any:
            rewards = function(*args, **columns)
            self._heard.rewards[number] = rewards
            return rewards

        return heard

    def __call__(
        self, prompts: Any, completions: Any, **columns: Any
    ) -> dict[str, Any]:
        """Makes the rewards, and lets the sampler see them in training.

        Args:
          prompts: of R rollouts.
          completions: of R rollouts.
          **columns: of R rollouts, and "mode".

        Returns:
          What the reward manager beneath says.
        """
        self._heard.rewards = {}
        given = columns.get(TRAJECTORY)
        trajectory = None if given is None else np.array(given, np.float64)
        said = self._inner(prompts=prompts, completions=completions, **columns)
        if columns.get("mode") != "train":
            return said
        if "task_id" not in columns:
            raise ValueError(
                "Tunix trains on rows without the column 'task_id': what `attach` gave "
                "must be the data set, learner.train(bots)."
            )
        self._tasks.observe(
            np.asarray(columns["task_id"]), self._solved(said["rewards"], trajectory)
        )
        return said

    def __getattr__(self, name: str) -> Any:
        """Everything else is that of the reward manager beneath."""
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    def _solved(self, total: Any, trajectory: np.ndarray | None) -> np.ndarray:
        """What says whether a rollout was a success; NaN where it was not evaluated."""
        wanted = self._tasks.reward
        heard = {
            number: np.asarray(rewards, np.float64).reshape(-1)
            for number, rewards in self._heard.rewards.items()
        }
        if wanted == TRAJECTORY:
            if trajectory is None:
                raise ValueError("there are no trajectory_rewards: that is for agents.")
            return trajectory
        if wanted is not None:
            return heard[self._names.index(wanted)]
        total = np.array(total, np.float64)
        for rewards in heard.values():
            total[np.isnan(rewards)] = np.nan  # Tunix adds it as if it were 0
        return total
