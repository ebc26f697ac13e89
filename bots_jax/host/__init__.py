"""What lives on the host: the sampler around a selector, and what it remembers."""

from bots_jax.host.carry import Carried
from bots_jax.host.task_sampler import TaskSampler

__all__ = ["Carried", "TaskSampler"]
