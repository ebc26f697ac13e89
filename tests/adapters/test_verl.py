"""The curriculum against verl 0.7.1's classes and torchdata's loader, and by itself."""

import importlib
import sys
import types
from typing import Any

import numpy as np
import pytest

from bots_jax.adapters import verl as adapter
from tests.adapters import by_path

pytestmark = pytest.mark.filterwarnings("default")

NUM_TASKS, BATCH, GROUP = 22, 4, 8
COMMAND = "pip download --no-deps verl==0.7.1 and unzip it"


class Dataset:
    """What is used of verl's RLHFDataset."""

    def __init__(self, order: Any = range(NUM_TASKS), **columns: Any):
        info = [{"index": 100 + row} for row in order]
        self.dataframe = {"extra_info": info, **columns}

    def __len__(self) -> int:
        return len(self.dataframe["extra_info"])

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"index": self.dataframe["extra_info"][row]["index"], "row": row}


def settings(**sampler: Any) -> dict[str, Any]:
    own = {"bots": {"group_size": GROUP, "forgetting": 0.1}, **sampler}
    return {"train_batch_size": BATCH, "seed": 3, "sampler": own}


def batch_of(keys: Any, scores: Any, uids: Any = None, tokens: int = 3) -> Any:
    """A batch of GROUP rollouts per task, their rows shuffled."""
    order = np.random.default_rng(0).permutation(len(keys) * GROUP)
    spread = np.zeros((len(order), tokens))
    spread[:, -1] = np.ravel(scores)
    named = {"index": np.repeat(np.array(keys, object), GROUP)[order]}
    if uids is not None:
        named["uid"] = np.repeat(np.array(uids, object), GROUP)[order]
    return types.SimpleNamespace(
        non_tensor_batch=named, batch={"token_level_scores": spread[order]}
    )


def test_an_epoch_is_full_batches_of_distinct_rows_drawn_as_they_are_asked_for():
    curriculum = adapter.Curriculum(Dataset(), settings())
    assert len(curriculum) == 20
    rows = iter(curriculum)
    first = [next(rows) for _ in range(BATCH)]
    assert curriculum.metrics()["sampler/drawn"] == BATCH
    assert len({*first, *(next(rows) for _ in range(BATCH))}) == 2 * BATCH
    assert len(list(rows)) == 12
    assert len(list(curriculum)) == 20


def test_scores_are_counted_for_their_tasks():
    curriculum = adapter.Curriculum(
        Dataset(), settings(success=1.0, bots={"forgetting": 0.0})
    )
    scores = np.array([[1.0] * 3 + [0.2] * 5, [-1.0] * 8])
    curriculum.update(batch_of([105, 117], scores, ["a", "b"]))
    alpha, beta = curriculum.sampler.posterior([105, 117])
    assert alpha.tolist() == [4, 1] and beta.tolist() == [6, 9]
    assert curriculum.sampler.step == 1
    curriculum.update(batch_of([105, 117], scores, ["a", "b"]))  # the same again
    assert curriculum.sampler.posterior([105, 117])[0].tolist() == [4, 1]


def test_resume_goes_on_within_the_epoch():
    def play(curriculum, rows, steps):
        seen = []
        for step in range(steps):
            batch = [next(rows) for _ in range(BATCH)]
            scores = np.random.default_rng(step).integers(0, 2, (BATCH, GROUP))
            curriculum.update(batch_of([100 + row for row in batch], scores))
            seen.append(batch)
        return seen

    one = adapter.Curriculum(Dataset(), settings())
    rows = iter(one)
    play(one, rows, 2)
    next(rows)  # in the middle of a batch
    saved = one.state_dict()
    two = adapter.Curriculum(Dataset(), {**settings(), "seed": 9})
    two.load_state_dict(saved)
    rest = iter(two)
    assert [next(rest) for _ in range(3)] == [next(rows) for _ in range(3)]
    assert play(two, rest, 2) == play(one, rows, 2)
    assert list(rest) == list(rows) == []


def test_tasks_are_known_by_their_index_in_any_order():
    one = adapter.Curriculum(Dataset(), settings())
    one.update(batch_of([103], np.ones(GROUP)))
    two = adapter.Curriculum(Dataset(order=range(NUM_TASKS)[::-1]), settings())
    two.load_state_dict(one.state_dict())
    assert two.sampler.posterior([103])[0] > 8
    assert sorted(two) != [] and two._place[103] == NUM_TASKS - 4
    other = adapter.Curriculum(Dataset(order=range(5, 5 + NUM_TASKS)), settings())
    with pytest.raises(ValueError, match="not the 22 of this sampler"):
        other.load_state_dict(one.state_dict())


def test_references_and_index_key_come_from_columns():
    weak = np.linspace(0, 0.4, NUM_TASKS)
    columns = {"weak": weak, "strong": weak + 0.5, "name": [f"t{i}" for i in range(22)]}
    curriculum = adapter.Curriculum(
        Dataset(**columns),
        settings(references=["weak", "strong"], index_key="name"),
    )
    batch = batch_of(["t3", "t4"], np.ones((2, GROUP)))
    batch.non_tensor_batch["name"] = batch.non_tensor_batch.pop("index")
    curriculum.update(batch)
    assert (curriculum.sampler.posterior()[0] > 1).all()  # implied for all others


@pytest.mark.parametrize(
    ("dataset", "config", "message"),
    [
        (Dataset(order=[1, 2, 1, 4]), settings(), "101 names 2; number"),
        (
            types.SimpleNamespace(dataframe={"extra_info": [{"index": 1}, None]}),
            settings(),
            "row 1 has none",
        ),
        (
            types.SimpleNamespace(dataframe={"prompt": [1]}),
            settings(),
            "no column 'extra_info'; it has",
        ),
        (Dataset(), settings(index_key="name"), "no column 'name'; it has"),
        (Dataset(order=range(3)), settings(), r"train_batch_size must be .* got 4"),
        (
            Dataset(weak=[2.0] * 22, strong=[1.0] * 22),
            settings(references=["weak", "strong"]),
            r"references must be in \[0, 1\], got 2",
        ),
    ],
)
def test_unusable_data_are_refused_in_one_sentence(dataset, config, message):
    with pytest.raises(ValueError, match=message):
        adapter.Curriculum(dataset, config)


def test_unusable_batches_are_refused_and_nothing_is_learnt():
    curriculum = adapter.Curriculum(Dataset(), settings())
    batch = batch_of([101], np.full(GROUP, 2.0))
    with pytest.raises(ValueError, match="success= says"):
        curriculum.update(batch)
    with pytest.raises(ValueError, match="got 999 at index 0"):
        curriculum.update(batch_of([999], np.ones(GROUP)))
    del batch.non_tensor_batch["index"]
    with pytest.raises(ValueError, match="the batch must have 'index'"):
        curriculum.update(batch)
    assert curriculum.sampler.step == 0


def test_without_verl_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(adapter, "_MISSING", ImportError("no verl"))
    with pytest.raises(ImportError, match="pip install 'verl<=0.7.1'"):
        adapter.BotsSampler(Dataset(), settings())


@pytest.fixture
def verl():
    """The real abstract class, DataProto and class loader."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install torch")
    pytest.importorskip("tensordict", reason="needs tensordict")
    root = by_path.find_root("BOTS_JAX_VERL", "verl/experimental/dataset", COMMAND)
    nothing = lambda *_, **__: None  # noqa: E731
    stand_ins: dict[str, dict[str, Any]] = {
        "ray": {"ObjectRef": object},
        "omegaconf": {"DictConfig": dict},
        "verl.utils.device": {"get_device_id": nothing, "get_torch_device": nothing},
        "verl.utils.py_functional": {
            "list_of_dict_to_dict_of_list": nothing,
            "union_two_dict": nothing,
        },
        "verl.utils.torch_functional": {"allgather_dict_tensors": nothing},
    }
    empty = ("verl", "verl.utils", "verl.experimental", "verl.experimental.dataset")
    anew = ("bots_jax.adapters.verl",)
    with by_path.packages(root, empty, stand_ins, anew):
        load = importlib.import_module
        proto = load("verl.protocol").DataProto
        vars(sys.modules["verl"])["DataProto"] = proto
        yield types.SimpleNamespace(
            torch=torch,
            DataProto=proto,
            sampler=load("verl.experimental.dataset.sampler"),
            load_extern_object=load("verl.utils.import_utils").load_extern_object,
        )


@pytest.mark.parametrize("stop", [7, 10])  # within the second epoch, and at its end
def test_real_classes_take_it_and_the_stateful_loader_resumes(verl, stop):
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    made = verl.load_extern_object("pkg://bots_jax.adapters.verl", "BotsSampler")
    dataset = Dataset()

    def loader() -> Any:
        sampler = made(data_source=dataset, data_config=settings(success=0.5))
        assert isinstance(sampler, verl.sampler.AbstractCurriculumSampler)
        return stateful.StatefulDataLoader(
            dataset=dataset,
            batch_size=BATCH,
            num_workers=0,
            drop_last=True,
            sampler=sampler,
        )

    def learn(sampler: Any, keys: list[int], step: int) -> None:
        columns = {
            "index": np.array(keys, object),
            "uid": np.array([f"{step}-{key}" for key in keys], object),
        }
        scores = verl.torch.zeros(BATCH, 3, dtype=verl.torch.bfloat16)
        batch = verl.DataProto.from_dict({"token_level_scores": scores}, columns)
        batch = batch.repeat(GROUP, interleave=True)
        random = verl.torch.Generator().manual_seed(step)
        solved = verl.torch.rand(BATCH * GROUP, generator=random) < 0.5
        batch.batch["token_level_scores"][:, -1] = solved.to(scores.dtype)
        batch.reorder(verl.torch.randperm(BATCH * GROUP))  # as balance_batch does
        sampler.update(batch=batch)

    def train(data: Any, step: int, epochs: int) -> tuple[list[Any], Any]:
        seen, saved = [], None
        for _ in range(epochs):
            for rows in data:
                step += 1
                learn(data.sampler, rows["index"].tolist(), step)
                seen.append(rows["index"].tolist())
                if step == stop:
                    saved = data.state_dict()
        return seen, saved

    whole = loader()
    assert len(whole) == 5
    seen, saved = train(whole, 0, epochs=3)
    assert len(seen) == 15
    resumed = loader()
    resumed.load_state_dict(saved)
    # a state from an epoch's very end gives an empty epoch first
    rest, _ = train(resumed, stop, epochs=2)
    assert rest == seen[stop:]
    for a, b in zip(
        whole.sampler.sampler.posterior(),
        resumed.sampler.sampler.posterior(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
