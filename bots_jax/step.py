"""One step for a training loop: learn from the last batch, choose the next."""

from jax import Array

from bots_jax.types import AnyEvidence, State, Step, StepInfo, TaskSelector


def make_step(selector: TaskSelector) -> Step:
    """Makes step(key, state, evidence) -> state, task_ids, info.

    The step updates, then selects. It is pure and has no array of length N inside, so
    it compiles once and can be jitted with its state donated, scanned and vmapped:

        step = jax.jit(make_step(selector), donate_argnames="state")

    A donated state is gone after the call; keep the returned one. Start a loop with
    `empty_evidence`, or with `selector.select`.

    Args:
      selector: any selector.

    Returns:
      The step; its key is consumed by the selection.

    Example:
      >>> import bots_jax, jax
      >>> selector = bots_jax.bots(num_tasks=8, batch_size=2)
      >>> step = jax.jit(make_step(selector), donate_argnames="state")
      >>> evidence = bots_jax.evidence_from_counts([0, 1], [16, 8], 16)
      >>> state, task_ids, info = step(jax.random.key(0), selector.init(), evidence)
      >>> float(info.update.success_rate), task_ids.shape
      (0.75, (2,))
    """

    def step(
        key: Array, state: State, evidence: AnyEvidence
    ) -> tuple[State, Array, StepInfo]:
        state, update_info = selector.update(state, evidence)
        task_ids, select_info = selector.select(key, state)
        return state, task_ids, StepInfo(update_info, select_info)

    return step
