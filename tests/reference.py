"""The oracle: BOTS in float64 NumPy, one task at a time, from the paper's equations.

It imports nothing of ours, and is slow and obvious on purpose. Equation numbers are
those of arXiv 2510.26374; the deliberate differences from the official code are the
ones that DESIGN.md, law 1, names.
"""

import dataclasses
import math

import numpy as np

MIN_REFERENCE_GAP = 0.01
OFFICIAL_EPSILON = 1e-6
MAX_COUNT = 2.0**24


@dataclasses.dataclass
class Counts:
    """What a step's evidence comes down to: totals per task, and what was dropped."""

    successes: dict[int, float]
    failures: dict[int, float]
    num_applied_rows: int = 0
    num_masked: int = 0
    num_out_of_range: int = 0
    num_invalid: int = 0

    @property
    def num_repeated(self) -> int:
        return self.num_applied_rows - len(self.successes)


def count_rewards(rewards, mask):
    """Successes and failures of each row: sums over the rollouts that are real."""
    successes, failures = [], []
    for row, kept in zip(rewards, mask, strict=True):
        total, trials = 0.0, 0
        for reward, is_real in zip(row, kept, strict=True):
            if is_real:
                total += float(reward)
                trials += 1
        successes.append(total)
        failures.append(trials - total)
    return np.array(successes), np.array(failures)


def collect(task_ids, successes, failures, num_tasks) -> Counts:
    """Adds up rows of the same task; drops and counts rows that are not valid."""
    counts = Counts({}, {})
    for task, good, bad in zip(task_ids, successes, failures, strict=True):
        task, good, bad = int(task), float(good), float(bad)
        if task == -1 or (good == 0 and bad == 0):
            counts.num_masked += 1
        elif task < 0 or task >= num_tasks:
            counts.num_out_of_range += 1
        elif not (good >= 0 and bad >= 0 and good + bad <= MAX_COUNT):
            counts.num_invalid += 1
        else:
            counts.num_applied_rows += 1
            counts.successes[task] = counts.successes.get(task, 0.0) + good
            counts.failures[task] = counts.failures.get(task, 0.0) + bad
    return counts


def batch_capability(counts: Counts, references) -> float | None:
    """mu_t: where the batch stands between its references; None if they do not say."""
    observed, weak, strong = [], [], []
    for task, good in counts.successes.items():
        observed.append(good / (good + counts.failures[task]))
        weak.append(float(references[task][0]))
        strong.append(float(references[task][1]))
    if not observed:
        return None
    gap = float(np.mean(strong) - np.mean(weak)) + OFFICIAL_EPSILON
    if abs(gap) < MIN_REFERENCE_GAP:
        return None
    return float(np.mean(observed) - np.mean(weak)) / gap


def blend_capability(old: float | None, estimate: float | None, momentum: float):
    """The first estimate as it is, later ones by momentum; no estimate, no change."""
    if estimate is None:
        return old
    return estimate if old is None else momentum * old + (1 - momentum) * estimate


def predict(weak: float, strong: float, capability: float) -> float:
    """p~: the task's success chance, read off the line between the references."""
    return min(max(weak + capability * (strong - weak), 0.0), 1.0)


@dataclasses.dataclass
class Model:
    """The whole of BOTS but the random draws: equation 1 for every task."""

    prior_alpha: np.ndarray
    prior_beta: np.ndarray
    references: np.ndarray | None
    forgetting: float
    implicit_weight: float
    group_size: float
    momentum: float
    capability: float | None = None

    def __post_init__(self):
        self.alpha = np.array(self.prior_alpha, np.float64)
        self.beta = np.array(self.prior_beta, np.float64)

    def update(self, task_ids, successes, failures) -> Counts:
        counts = collect(task_ids, successes, failures, len(self.alpha))
        if self.references is not None:
            estimate = batch_capability(counts, self.references)
            self.capability = blend_capability(self.capability, estimate, self.momentum)
        for task in range(len(self.alpha)):
            self._update_task(task, counts)
        return counts

    def _update_task(self, task: int, counts: Counts) -> None:
        rho, lam = self.implicit_weight, self.forgetting
        s, f, s_tilde, f_tilde = 0.0, 0.0, 0.0, 0.0
        if task in counts.successes:
            s, f = counts.successes[task], counts.failures[task]
            s_tilde, f_tilde = s, f
        elif self.references is not None and self.capability is not None:
            weak, strong = (float(p) for p in self.references[task])
            p_tilde = predict(weak, strong, self.capability)
            s_tilde = self.group_size * p_tilde
            f_tilde = self.group_size * (1 - p_tilde)
        self.alpha[task] = (
            (1 - lam) * self.alpha[task]
            + lam * self.prior_alpha[task]
            + (1 - rho) * s
            + rho * s_tilde
        )
        self.beta[task] = (
            (1 - lam) * self.beta[task]
            + lam * self.prior_beta[task]
            + (1 - rho) * f
            + rho * f_tilde
        )


def select(draws, targets, eligible, batch_size) -> list[int]:
    """The B eligible tasks nearest their target; ties to the lower id."""
    distance = {
        task: abs(float(draws[task]) - float(targets[task]))
        for task in range(len(draws))
        if eligible[task]
    }
    ranked = sorted(distance, key=lambda task: (distance[task], task))[:batch_size]
    return ranked + [-1] * (batch_size - len(ranked))


def softmax(scores, temperature) -> np.ndarray:
    weights = np.exp((scores - np.max(scores)) / temperature)
    return weights / weights.sum()


def sample_without_replacement(rng, chances, batch_size) -> list[int]:
    """One task after the other, each by its chance among those that are left."""
    left, picked = np.array(chances, np.float64), []
    for _ in range(batch_size):
        picked.append(int(rng.choice(len(left), p=left / left.sum())))
        left[picked[-1]] = 0.0
    return picked


def pair_probabilities(chances) -> np.ndarray:
    """Chance that i is drawn first and j second, without replacement."""
    n = len(chances)
    table = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                table[i, j] = chances[i] * chances[j] / (1 - chances[i])
    return table


def threefry2x32(key, counter) -> tuple[int, int]:
    """Threefry-2x32, 20 rounds, on Python integers (Salmon et al., SC 2011)."""
    rotations = (13, 15, 26, 6, 17, 29, 16, 24)
    keys = (key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA)
    x = [(counter[0] + keys[0]) % 2**32, (counter[1] + keys[1]) % 2**32]
    for i in range(20):
        x[0] = (x[0] + x[1]) % 2**32
        turned = x[1] << rotations[i % 8]
        x[1] = ((turned | turned >> 32) % 2**32) ^ x[0]
        if i % 4 == 3:
            block = i // 4 + 1
            x[0] = (x[0] + keys[block % 3]) % 2**32
            x[1] = (x[1] + keys[(block + 1) % 3] + block) % 2**32
    return x[0], x[1]


def is_close(got: float, want: float, rtol: float = 1e-5) -> bool:
    """Equal to float32 rounding, NaN equal to None and to NaN."""
    if math.isnan(want):
        return math.isnan(got)
    return math.isclose(got, want, rel_tol=rtol, abs_tol=1e-6)
