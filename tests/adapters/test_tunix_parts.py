"""The adapter for Tunix in parts: what it draws, hears, saves and refuses."""

import json
import pathlib
import sys
from typing import Any

import numpy as np
import pytest

from bots_jax.adapters import tunix, tunix_rewards
from tests.adapters import tunix_tiny as tiny
from tests.adapters.tunix_tiny import BATCH_SIZE, GROUP_SIZE, NUM_TASKS

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Tunix


@pytest.fixture
def config() -> Any:
    pytest.importorskip("tunix.rl.rl_cluster", reason="needs google-tunix")
    from tunix.rl.grpo.grpo_learner import GRPOConfig  # pyright: ignore[reportMissingImports]

    return GRPOConfig(num_generations=GROUP_SIZE)


class Cluster:
    """As much of Tunix's as `attach` reads."""

    def __init__(self, root: Any = None, iter_steps: int = 0, micro: int | None = None):
        self.global_steps = 0
        self.cluster_config = self.actor_trainer = self
        self.training_config = self.config = self
        self.checkpoint_root_directory = root
        self.train_micro_batch_size, self.mini_batch_size = micro, None
        self.iter_steps = self.train_steps = iter_steps
        self.checkpoint_manager = self
        self.saves, self.answer, self.foretold = [], True, True
        self._checkpointer = self

    def should_save(self, step: int) -> bool:
        return self.foretold

    def save(self, step: int, *_: Any, **__: Any) -> bool:
        self.saves.append(step)
        return self.answer


def make_manager(bots: Any, reward_fns: Any, config: Any) -> Any:
    from tunix.rl import function_registry  # pyright: ignore[reportMissingImports]

    make = function_registry.get_reward_manager(bots.reward_manager)
    return make(reward_fns=reward_fns, algo_config=config)


def test_success_is_what_the_user_says_and_nan_is_not_evaluated(config: Any) -> None:
    def right(prompts: Any, **_: Any) -> list[float]:
        return [1.0, 0.0, float("nan"), 1.0]

    def bonus(prompts: Any, num_generations: int, **_: Any) -> list[float]:
        assert num_generations == GROUP_SIZE  # Tunix fills it in from the config
        return [0.5, 0.5, 0.5, float("nan")]

    columns = {"prompts": ["say 1"] * 4, "completions": ["1"] * 4, "mode": "train"}
    counts = []
    hows: Any = ({"reward": "right"}, {"success": 1.2})
    for how in hows:
        sampler = tiny.make_sampler()
        bots = tunix.attach(Cluster(), sampler, tiny.make_rows(), **how)
        manager = make_manager(bots, [right, bonus], config)
        task = int(next(iter(bots))["task_id"][0])
        said = manager(task_id=np.full(4, task), **columns)
        assert said["rewards"].tolist() == [1.5, 0.5, 0.5, 1.0]
        feedback = sampler.state_dict()["arrays"]
        counts.append(
            (feedback["feedback/successes"][0], feedback["feedback/failures"][0])
        )
        manager(task_id=np.full(4, task), **columns | {"mode": "eval"})
        assert len(sampler.state_dict()["arrays"]["feedback/rows"]) == 1
    assert counts == [(2.0, 1.0), (1.0, 1.0)]


def test_two_in_one_process_share_nothing(config: Any) -> None:
    samplers = [tiny.make_sampler(), tiny.make_sampler()]
    both = [tunix.attach(Cluster(), s, tiny.make_rows()) for s in samplers]
    assert both[0].reward_manager != both[1].reward_manager
    make_manager(both[0], tiny.Heard(), config)
    manager = make_manager(both[1], tiny.Heard(), config)
    drawn = next(iter(both[1]))
    task_id = np.repeat(drawn["task_id"], GROUP_SIZE)
    texts = ["1"] * len(task_id)
    manager(prompts=texts, completions=texts, task_id=task_id, mode="train")
    assert [s.step for s in samplers] == [0, 1]


def test_what_can_go_wrong_is_said_in_a_sentence(config: Any) -> None:
    bots = tunix.attach(Cluster(), tiny.make_sampler(), tiny.make_rows(), reward="x")
    with pytest.raises(ValueError, match="reward must be the name of one of"):
        make_manager(bots, [tiny.Heard()], config)
    bots = tunix.attach(Cluster(), tiny.make_sampler(), tiny.make_rows())
    with pytest.raises(ValueError, match="no learner has been made"):
        iter(bots)
    manager = make_manager(bots, [lambda **_: [7.0]], config)
    with pytest.raises(ValueError, match="without the column 'task_id'"):
        manager(prompts=["a"], completions=["b"], mode="train")
    with pytest.raises(ValueError, match="success= says from which reward"):
        manager(prompts=["a"], completions=["b"], mode="train", task_id=[0])
    with pytest.raises(ValueError, match="missing must be one of"):
        tunix.attach(Cluster(), tiny.make_sampler(), {}, missing="guess")


def test_without_tunix_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tunix.rl", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'bots-jax\[tunix\]'"):
        tunix.attach(Cluster(), tiny.make_sampler(), tiny.make_rows())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda ids: {"answer": ids}, "a dict with 'prompts', got \\['answer'\\]"),
        (lambda ids: ["a"] * len(ids), "a dict with 'prompts', got list"),
        (lambda ids: {"prompts": ids, "mode": ids}, "column 'mode'"),
        (lambda ids: {"prompts": [["a", "b"]] * len(ids)}, "given as JSON"),
        (lambda ids: {"prompts": [["a"], []] * 2}, "given as JSON"),
        (lambda ids: {"prompts": ["a"]}, "got shape \\(1,\\)"),
        ({"prompts": ["a"]}, "for each of 40 tasks, got shape \\(1,\\)"),
        (7, "a dict of columns or a table with rows_of, texts and answers, got 7"),
    ],
)
def test_rows_that_do_not_fit(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(iter(tunix.TunixTasks(tiny.make_sampler(), rows)))


class Table:
    """What `open_table` gives, as far as it is read."""

    fingerprint = "one"

    def __init__(self, keys: list[str]):
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def rows_of(self, keys: Any) -> np.ndarray:
        return np.array([self.keys.index(key) for key in keys])

    def texts(self, rows: np.ndarray) -> list[str]:
        return [f"prompt of {self.keys[row]}" for row in rows]

    def answers(self, rows: np.ndarray) -> list[str]:
        return [self.keys[row] for row in rows]


def test_rows_come_by_key_from_a_table_or_columns() -> None:
    sampler = tiny.make_sampler(names=True)
    table = Table([f"task-{number}" for number in reversed(range(NUM_TASKS))])
    batch = next(iter(tunix.TunixTasks(sampler, table)))
    assert batch["task_id"].dtype.kind == "U"
    assert batch["answer"].tolist() == batch["task_id"].tolist()
    tasks = tunix.TunixTasks(sampler, {"prompts": [f"{n}" for n in range(NUM_TASKS)]})
    batch = next(iter(tasks))
    ids = [f"task-{number}" for number in batch["prompts"]]
    assert ids == batch["task_id"].tolist()
    with pytest.raises(ValueError, match="one row per task, 40, got 1"):
        tunix.TunixTasks(tiny.make_sampler(), Table(["a"]))


def test_more_in_flight_than_tasks_is_said() -> None:
    batches = iter(tunix.TunixTasks(tiny.make_sampler(), tiny.make_rows()))
    for _ in range(NUM_TASKS // BATCH_SIZE):
        next(batches)
    with pytest.raises(ValueError, match="only 0 of the 40 are eligible"):
        next(batches)


def test_thrown_away_batches_are_not_drawn_and_open_ones_come_again() -> None:
    tasks = tunix.TunixTasks(tiny.make_sampler(), tiny.make_rows())
    batches = iter(tasks)
    first, second = (next(batches)["task_id"] for _ in range(2))
    answered = np.repeat(first, GROUP_SIZE)
    tasks.observe(answered, tiny.settled(answered))
    half = np.repeat(second[:2], GROUP_SIZE)
    tasks.observe(half, tiny.settled(half))
    saved = json.loads(json.dumps(tasks.state_dict()["extra"]))
    assert saved["open"] == second[2:].tolist() and saved["num_answered"] == 2

    other = tunix.TunixTasks(tiny.make_sampler(), tiny.make_rows())
    other.load_state_dict({**tasks.state_dict(), "extra": saved})
    other.skip_like(Cluster(iter_steps=3), 2)  # 3 micro-batches of 2
    again = iter(other)
    next(again)
    assert other.sampler.metrics()["sampler/drawn"] == 2 * BATCH_SIZE
    cut = next(again)
    assert cut["task_id"][2:].tolist() == second[2:].tolist()
    assert other.state_dict()["extra"]["open"] == second[2:].tolist()
    rest = np.repeat(second[2:], GROUP_SIZE)
    for each in (tasks, other):
        each.observe(rest, tiny.settled(rest))
        assert each.sampler.step == 2
    assert next(again)["task_id"].tolist() == next(batches)["task_id"].tolist()


class AdvancesPerCall(tunix.TunixTasks):
    """A planted bug: forgets once per micro-batch."""

    def observe(self, task_ids: Any, rewards: Any) -> None:
        super().observe(task_ids, rewards)
        if self._num_answered:
            self.sampler.advance()


@pytest.mark.parametrize("kind", [tunix.TunixTasks, AdvancesPerCall])
def test_the_comparison_of_steps_finds_a_planted_bug(kind: Any) -> None:
    tasks, answered = kind(tiny.make_sampler(), tiny.make_rows()), []
    batches = iter(tasks)
    for _ in range(3):
        drawn = next(batches)["task_id"]
        for half in (drawn[:2], drawn[2:]):
            task_ids = np.repeat(half, GROUP_SIZE)
            tasks.observe(task_ids, tiny.settled(task_ids))
        answered += drawn.tolist()
    same = True
    try:
        expected = tiny.replayed(answered).posterior()
        np.testing.assert_array_equal(tasks.sampler.posterior(), expected)
    except AssertionError:
        same = False
    assert same == (kind is tunix.TunixTasks)


def test_checkpoints_go_with_those_of_tunix(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunix_rewards, "register", lambda tasks, base: "name")
    root = tmp_path / "actor"
    cluster = Cluster(root)
    sampler = tiny.make_sampler()
    tunix.attach(cluster, sampler, tiny.make_rows(), directory=str(tmp_path / "bots"))
    ours = lambda: sorted(int(x.name) for x in (tmp_path / "bots").iterdir())  # noqa: E731
    assert cluster.save(1)
    (root / "1").mkdir(parents=True)
    cluster.answer = False  # foretold, but not made
    assert not cluster.save(2) and ours() == [1, 2]
    cluster.foretold = False  # neither foretold nor made
    assert not cluster.save(3) and ours() == [1, 2]
    cluster.answer = True  # not foretold, and made
    assert cluster.save(4) and ours() == [1, 4]
    assert cluster.saves == [1, 2, 3, 4]

    for step, message in ((2, r"no checkpoint in .* those of \[1, 4\]"),):
        late = Cluster(root, iter_steps=step)
        with pytest.raises(FileNotFoundError, match=message):
            tunix.attach(
                late, sampler, tiny.make_rows(), directory=str(tmp_path / "bots")
            )
    late = Cluster("gs://bucket/run")
    with pytest.raises(ValueError, match="need a local folder"):
        tunix.attach(late, sampler, tiny.make_rows())


def test_rows_that_changed_since_the_checkpoint_are_refused() -> None:
    names = [f"task-{number}" for number in range(NUM_TASKS)]
    saved = tunix.TunixTasks(tiny.make_sampler(names=True), Table(names)).state_dict()
    changed = Table(names)
    changed.fingerprint = "two"
    tasks = tunix.TunixTasks(tiny.make_sampler(names=True), changed)
    with pytest.raises(ValueError, match="fingerprint was one, now it is two"):
        tasks.load_state_dict(saved)
