"""The data source over slime's own, by path."""

import importlib
import importlib.util
import json
import pickle
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bots_jax.adapters import slime as adapter
from tests.adapters import by_path

pytestmark = pytest.mark.filterwarnings("default")

NUM_TASKS, BATCH, GROUP = 30, 4, 8
COMMAND = "git clone github.com/THUDM/slime"
HOOK = "bots_jax.adapters.slime.observe_all_samples"


@pytest.fixture
def slime():
    """The real data sources, Dataset and Sample, with stand-ins for Ray and torch."""
    root = by_path.find_root("BOTS_JAX_SLIME", "slime/rollout", COMMAND)
    nothing = lambda *_, **__: None  # noqa: E731
    stand_ins: dict[str, dict[str, Any]] = {
        "ray": {},
        "slime.observability.timer": {"Timer": object},
        "slime.utils.http_utils": {"is_port_available": nothing},
        "slime.utils.processing_utils": {
            "load_processor": nothing,
            "load_tokenizer": nothing,
        },
    }
    if importlib.util.find_spec("torch") is None:
        stand_ins["torch"] = {
            **dict.fromkeys(("Tensor", "dtype", "Size"), object),
            "save": lambda state, path: Path(path).write_bytes(pickle.dumps(state)),
            "load": lambda path: pickle.loads(Path(path).read_bytes()),
        }
    empty = ("slime", "slime.rollout", "slime.utils", "slime.observability")
    with by_path.packages(root, empty, stand_ins, ("bots_jax.adapters.slime",)):
        load = importlib.import_module
        yield types.SimpleNamespace(
            base=load("slime.rollout.data_source"),
            load_function=load("slime.utils.misc").load_function,
            Sample=load("slime.utils.types").Sample,
            ours=load("bots_jax.adapters.slime"),
        )


@pytest.fixture
def args(tmp_path):
    """What of slime's arguments the data sources read."""
    path = tmp_path / "data.jsonl"
    write_rows(path, range(NUM_TASKS))
    return types.SimpleNamespace(
        rollout_global_dataset=True,
        prompt_data=str(path),
        hf_checkpoint=None,
        dump_details=None,
        rollout_max_prompt_len=None,
        input_key="text",
        multimodal_keys=None,
        label_key=None,
        metadata_key="metadata",
        tool_key=None,
        apply_chat_template=False,
        apply_chat_template_kwargs=None,
        rollout_seed=1,
        rollout_shuffle=True,
        rollout_batch_size=BATCH,
        n_samples_per_prompt=GROUP,
        buffer_filter_path=None,
        partial_rollout=False,
        reward_key=None,
        save=str(tmp_path / "run"),
        load=str(tmp_path / "run"),
        rollout_all_samples_process_path=HOOK,
        bots={"forgetting": 0.1},
    )


def write_rows(path: Path, names: Any) -> None:
    rows = [
        {
            "text": f"prompt {i}",
            "metadata": {"id": f"t{i}", "weak": i / 100, "strong": 0.5 + i / 100},
        }
        for i in names
    ]
    path.write_text("\n".join(map(json.dumps, rows)))


def roll_out(groups: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    for group in groups:
        for sample in group:
            sample.reward = float(rng.integers(2))
    return groups


def rollout(source: Any, hook: Any, seed: int) -> list[Any]:
    groups = roll_out(source.get_samples(BATCH), seed)
    hook(source.args, groups, source.get_samples)  # as slime's rollout gives it
    return [group[0].metadata["task_id"] for group in groups]


def test_real_data_source_draws_groups_and_learns(slime, args):
    made = slime.load_function("bots_jax.adapters.slime.BotsDataSource")
    hook = slime.load_function(HOOK)
    source = made(args)
    assert isinstance(source, slime.base.RolloutDataSource)
    assert len(source) == NUM_TASKS
    groups = source.get_samples(BATCH)
    assert [len(group) for group in groups] == [GROUP] * BATCH
    flat = [sample for group in groups for sample in group]
    assert [sample.index for sample in flat] == list(range(BATCH * GROUP))
    assert [group[0].group_index for group in groups] == list(range(BATCH))
    assert all(isinstance(sample, slime.Sample) for sample in flat)
    for group in groups:  # rows are those of the file, whatever the shuffle
        assert {s.prompt for s in group} == {f"prompt {group[0].metadata['task_id']}"}
    assert "task_id" not in source.dataset.origin_samples[0].metadata
    hook(args, roll_out(groups, 0), source.get_samples)
    assert source.sampler.step == 1
    learnt = [group[0].metadata["task_id"] for group in groups]
    alpha, beta = source.sampler.posterior(learnt)
    solved = [sum(sample.reward for sample in group) for group in groups]
    np.testing.assert_allclose(alpha, 1 + np.array(solved))
    np.testing.assert_allclose(alpha + beta, 2 + GROUP)


def test_save_and_load_restore_everything(slime, args):
    made, hook = slime.ours.BotsDataSource, slime.ours.observe_all_samples
    one = made(args)
    for seed in range(3):
        rollout(one, hook, seed)
    one.save(2)
    after = [rollout(one, hook, seed) for seed in range(3, 6)]
    one.save(5)
    one.sampler.close()
    args.bots_seed = 9
    two = made(args)
    two.load(2)
    assert two.sampler.step == 3 and two.sample_group_index == 3 * BATCH
    assert [rollout(two, hook, seed) for seed in range(3, 6)] == after
    three = made(args)
    three.load(77)  # nothing was saved there
    assert three.sampler.step == 0


def test_aborted_groups_go_back_to_the_pool_unless_they_are_kept(slime, args):
    source = slime.ours.BotsDataSource(args)
    groups = roll_out(source.get_samples(2 * BATCH), 0)
    source.observe(groups[:BATCH])  # the others were aborted
    assert source.sampler.metrics()["sampler/in_flight"] == 0
    args.partial_rollout = True
    groups = roll_out(source.get_samples(2 * BATCH), 0)
    source.observe(groups[:BATCH])
    source.add_samples(groups[BATCH:])
    assert source.sampler.metrics()["sampler/in_flight"] == BATCH
    again = source.get_samples(BATCH + 2)
    assert again[:BATCH] == groups[BATCH:]  # from the buffer first
    kept = {group[0].metadata["task_id"] for group in again[:BATCH]}
    assert not kept & {group[0].metadata["task_id"] for group in again[BATCH:]}
    source.observe(roll_out(again, 1))
    assert source.sampler.metrics()["sampler/in_flight"] == 0


def test_rewards_by_key_missing_and_cut_rollouts(slime, args):
    args.reward_key, args.bots_success = "accuracy", 1.0
    args.bots = {"forgetting": 0.0}
    source = slime.ours.BotsDataSource(args)
    (group,) = source.get_samples(1)
    task = group[0].metadata["task_id"]
    for sample, accuracy in zip(group, [1, 1, 0, 0.5, -1, 2], strict=False):
        sample.reward = {"accuracy": accuracy, "format": 0}
    group[6].reward, group[7].reward = None, {"format": 1}
    cut = [[slime.Sample(metadata=group[0].metadata, reward={}), s] for s in group]
    source.observe([cut])
    alpha, beta = source.sampler.posterior([task])
    assert alpha.tolist() == [4] and beta.tolist() == [4]


def test_task_key_and_references_come_from_the_metadata(slime, args, tmp_path):
    args.bots_task_key, args.bots_references = "id", ["weak", "strong"]
    one = slime.ours.BotsDataSource(args)
    learnt = rollout(one, slime.ours.observe_all_samples, 0)
    assert all(name.startswith("t") for name in learnt)
    assert (one.sampler.posterior()[0] > 1).all()  # implied for all others
    one.save(0)
    one.sampler.close()
    write_rows(tmp_path / "data.jsonl", range(NUM_TASKS)[::-1])
    two = slime.ours.BotsDataSource(args)
    two.load(0)
    for a, b in zip(
        one.sampler.posterior(learnt), two.sampler.posterior(learnt), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    group = two.get_samples(1)[0][0]
    assert group.prompt == f"prompt {group.metadata['task_id'][1:]}"
    write_rows(tmp_path / "data.jsonl", range(1, NUM_TASKS + 1))
    with pytest.raises(ValueError, match="not the 30 of this sampler"):
        slime.ours.BotsDataSource(args).load(0)


def test_unusable_arguments_are_refused_in_one_sentence(slime, args):
    made = slime.ours.BotsDataSource
    args.bots_task_key = "name"
    with pytest.raises(ValueError, match="must have 'name', row 0 has"):
        made(args)
    args.bots_task_key = None
    args.bots = {"forgetting": 2}
    with pytest.raises(ValueError, match=r"forgetting must be in \[0, 1\]"):
        made(args)
    args.bots, args.rollout_all_samples_process_path = {}, None
    with pytest.raises(ValueError, match="without it nothing is learnt"):
        made(args)
    args.rollout_all_samples_process_path, args.prompt_data = HOOK, None
    with pytest.raises(ValueError, match="--prompt-data must name a dataset"):
        made(args)
    with pytest.raises(ValueError, match="--data-source-path must be .* got object"):
        slime.ours.observe_all_samples(args, [], object())


def test_rewards_out_of_range_are_refused_and_nothing_is_learnt(slime, args):
    source = slime.ours.BotsDataSource(args)
    groups = roll_out(source.get_samples(BATCH), 0)
    groups[0][0].reward = -1.0
    with pytest.raises(ValueError, match="success= says"):
        source.observe(groups)
    assert source.sampler.step == 0


def test_without_slime_a_sentence_says_what_is_needed(monkeypatch):
    monkeypatch.setattr(adapter, "_MISSING", ImportError("no slime"))
    with pytest.raises(ImportError, match="BotsDataSource needs slime"):
        adapter.BotsDataSource(types.SimpleNamespace())
