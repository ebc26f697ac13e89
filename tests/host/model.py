"""What a TaskSampler has to do, as dicts and loops in float64."""

from collections import Counter
from typing import Any

PRIOR = 1.0


class Model:
    """The documented meaning of the calls, for bots without references.

    Which tasks are drawn is not foretold: `drew` is told, and checks what it is told.
    """

    def __init__(self, keys: list[str], forgetting: float, delay: int, undrawn: str):
        self.keep, self.delay, self.undrawn = 1 - forgetting, delay, undrawn
        self.alpha = dict.fromkeys(keys, PRIOR)
        self.beta = dict.fromkeys(keys, PRIOR)
        self.retired: set[str] = set()
        self.in_flight: set[str] = set()
        self.drawn_at: dict[str, int] = {}
        self.waiting: list[tuple[str, float, float, int, Any]] = []
        self.applied_groups: dict[Any, int] = {}
        self.step = 0
        self.counts = Counter()

    def may_be_drawn(self) -> set[str]:
        return set(self.alpha) - self.retired - self.in_flight

    def drew(self, keys: list[str], wanted: int) -> None:
        allowed = self.may_be_drawn()
        assert len(keys) == len(set(keys)) == min(wanted, len(allowed))
        assert set(keys) <= allowed
        self.in_flight |= set(keys)
        self.drawn_at.update(dict.fromkeys(keys, self.step))
        self.counts["drawn"] += len(keys)

    def observe(self, rows: list[tuple[str, list[float], int | None, Any]]) -> int:
        """Takes (key, rewards, step of the draw or None, group or None)."""
        taken = 0
        for key, rewards, drawn_at, group in rows:
            if drawn_at is None:
                drawn_at = self.drawn_at.get(key)
            if drawn_at is None:
                self.counts["undrawn"] += 1
                if self.undrawn == "drop":
                    continue
                drawn_at = self.step
            if self.step - drawn_at > self.delay:
                self.counts["too_late"] += 1
                continue
            waits = {row[4] for row in self.waiting}
            if group is not None and (group in waits or group in self.applied_groups):
                self.counts["duplicates"] += 1
                continue
            self.counts["observed"] += 1
            self.counts["late"] += drawn_at < self.step
            successes = sum(rewards)
            failures = len(rewards) - successes
            self.waiting.append((key, successes, failures, drawn_at, group))
            taken += 1
        return taken

    def advance(self) -> None:
        for key in self.alpha:
            self.alpha[key] = PRIOR + self.keep * (self.alpha[key] - PRIOR)
            self.beta[key] = PRIOR + self.keep * (self.beta[key] - PRIOR)
        for key, successes, failures, drawn_at, group in self.waiting:
            weight = self.keep ** (self.step - drawn_at)
            self.alpha[key] += weight * successes
            self.beta[key] += weight * failures
            if self.drawn_at.get(key) == drawn_at:
                self.in_flight.discard(key)
            if group is not None:
                self.applied_groups[group] = self.step
        self.waiting = []
        self.step += 1
        is_old = lambda step: self.step - step > self.delay  # noqa: E731
        for group, step in list(self.applied_groups.items()):
            if is_old(step):
                del self.applied_groups[group]
        for key, step in list(self.drawn_at.items()):
            if is_old(step):
                self.counts["expired"] += key in self.in_flight
                self.in_flight.discard(key)
                del self.drawn_at[key]

    def add(self, key: str) -> None:
        self.alpha[key] = self.beta[key] = PRIOR

    def remove(self, key: str) -> None:
        del self.alpha[key], self.beta[key]
        self.drawn_at.pop(key, None)
        self.in_flight.discard(key)
        self.retired.discard(key)
        self.waiting = [row for row in self.waiting if row[0] != key]
