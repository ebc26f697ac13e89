"""The page about trainers keeps its promises: its blocks are marked, and run."""

import importlib
import inspect
import json
import os
import pathlib
import re
import shlex
import types
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
import tyro

import bots_jax
from bots_jax.adapters import prime_rl as prime_rl_adapter
from bots_jax.adapters import slime as slime_adapter
from bots_jax.adapters import trinity, verl
from bots_jax.adapters.batches import DrawnBatches
from bots_jax.recipes.qwen_math import QwenMath
from tests.adapters import test_slime as slime_cases
from tests.adapters import test_verl as verl_cases
from tests.adapters import trinity_by_path, trl_tiny
from tests.adapters import tunix_tiny as tiny
from tests.adapters.readme_page import (
    EXECUTED,
    FENCED,
    PAGE,
    TEXT,
    blocks,
    has_moved,
    learnt_all,
    make_sampler,
    needs,
    run,
    settled,
)
from tests.adapters.test_slime import args, slime  # noqa: F401  # fixtures
from tests.adapters.test_verl import verl as real_verl  # noqa: F401  # a fixture

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the trainers

# The page as a whole.


def test_every_block_is_marked_and_short():
    assert TEXT.count("\n```") == 2 * len(FENCED.findall(TEXT)) > 20
    for mark, _, code in FENCED.findall(TEXT):
        assert mark == "read, not run" or re.fullmatch(EXECUTED, mark), mark
        assert sum(map(bool, code.splitlines())) <= 10, code


def test_every_block_that_is_marked_executed_has_a_test_that_runs_it():
    names = {title for title in re.findall(r"\n## (.*)\n", TEXT) if blocks(title)}
    executed = {x for x in names if all(b.mark != "read, not run" for b in blocks(x))}
    assert names - executed == {"MaxText", "prime-rl", "A large model"}
    source = pathlib.Path(__file__).read_text()
    for title in executed:
        test = f"def test_{re.sub(r'[^a-z]+', '_', title.lower())}("
        body = source.partition(test)[2].partition("\ndef ")[0]
        assert re.search(rf'(run|blocks)\(\s*"{re.escape(title)}"', body), title


def test_a_block_without_a_mark_or_of_an_unknown_kind_is_found():
    """Planted: each must fail the patterns above."""
    assert not FENCED.findall("words\n```python\nx = 1\n```\n")
    assert not re.fullmatch(EXECUTED, "executed with Tunix by test_readme_blocks")
    assert not re.fullmatch(EXECUTED, "executed with Tunix 0.1.7")


def test_table_names_every_adapter_and_links_lead_somewhere():
    named = set(re.findall(r"`adapters\.(\w+)`", TEXT))
    public = {"tunix", "trinity", "trl", "verl", "prime_rl", "slime", "grain", "torch"}
    assert named == public
    for name in named:
        module = importlib.import_module(f"bots_jax.adapters.{name}")
        assert pathlib.Path(str(module.__file__)).parent == PAGE.parent
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert links
    for target in links:
        assert (PAGE.parent / target).exists(), target


def test_extras_are_those_that_can_be_installed():
    project = (PAGE.parents[2] / "pyproject.toml").read_text()
    for line in re.findall(r"^\| .*`adapters.*", TEXT, re.M):
        extra = line.rstrip(" |").rpartition("| ")[2]
        assert extra == "none" or f"\n{extra.strip('`')} = [" in project, extra


# The blocks.


def test_first_a_sampler():
    keys = [f"task-{number}" for number in range(100)]
    references = np.random.default_rng(0).random((100, 2))
    sampler = run("First, a sampler", keys=keys, references=references)["sampler"]
    drawn = sampler.select()
    assert len(drawn) == 32 and set(drawn) <= set(keys)
    sampler.observe(drawn, np.ones((32, 16)))
    sampler.advance()
    assert sampler.step == 1 and (sampler.posterior(drawn)[0] > 1).all()


@pytest.fixture
def _tunix(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tunix promotes ranks, and would log to the network."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    jax.config.update("jax_numpy_rank_promotion", "allow")
    yield
    jax.config.update("jax_numpy_rank_promotion", "raise")


def some_succeed(prompts: Any, task_id: Any, **_: Any) -> list[float]:
    return tiny.settled(task_id).tolist()


def well_formed(prompts: Any, completions: Any, **_: Any) -> list[float]:
    return [2.0] * len(prompts)


some_succeed.__name__ = "correct"  # as a user's is called
TUNIX: dict[str, Any] = {
    "rows": tiny.make_rows(),
    "correct": some_succeed,
    "well_formed": well_formed,
    "settings": {"num_generations": tiny.GROUP_SIZE, "beta": 0.0},
}


@pytest.mark.usefixtures("_tunix")
def test_tunix():
    needs("google-tunix", "tunix.rl.rl_cluster", "Tunix")
    cluster = tiny.make_cluster(max_steps=3)
    sampler = tiny.make_sampler()
    run("Tunix", cluster=cluster, sampler=sampler, **TUNIX)
    assert learnt_all(sampler, steps=3)
    assert has_moved(sampler, 3 * tiny.BATCH_SIZE * tiny.GROUP_SIZE)
    # `well_formed` alone would have solved all of them
    assert 0 < sampler.metrics()["update/success_rate"] < 1


@pytest.mark.usefixtures("_tunix")
def test_tunix_agentic():
    needs("google-tunix", "tunix.rl.rl_cluster", "Tunix, agentic")
    cluster = tiny.make_cluster(max_steps=3, logprobs=True)
    sampler = tiny.make_sampler()
    settings = TUNIX["settings"] | {"max_response_length": 2}
    names = TUNIX | {"chat_parser": tiny.ChatParser(), "settings": settings}
    run("Tunix, agentic", cluster=cluster, sampler=sampler, **names)
    counts = sampler.metrics()
    assert sampler.step >= 3 and counts["sampler/undrawn"] == 0
    assert counts["sampler/observed"] >= 3 * tiny.BATCH_SIZE
    assert has_moved(sampler, counts["sampler/observed"] * tiny.GROUP_SIZE)


def test_trl(tmp_path):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    needs("trl", "trl", "TRL")
    trl = importlib.import_module("trl")
    datasets = pytest.importorskip("datasets")
    config = trl.GRPOConfig(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=trl_tiny.BATCH * trl_tiny.GROUP,
        num_generations=trl_tiny.GROUP,
        max_completion_length=4,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        seed=3,
    )
    sampler = trl_tiny.make_sampler()
    made = run(
        "TRL",
        model=trl_tiny.make_model(),
        reward_funcs=[trl_tiny.contains, trl_tiny.brief],
        config=config,
        dataset=datasets.Dataset.from_dict(trl_tiny.rows(range(trl_tiny.NUM_TASKS))),
        settings={"processing_class": trl_tiny.make_tokenizer()},
        sampler=sampler,
    )
    assert made["trainer"].state.global_step == sampler.step == 3
    counts = sampler.metrics()
    assert counts["sampler/observed"] == 3 * trl_tiny.BATCH
    assert counts["sampler/in_flight"] == trl_tiny.BATCH  # read ahead
    assert has_moved(sampler, 3 * trl_tiny.BATCH * trl_tiny.GROUP)


def test_grain():
    needs("grain", "grain", "grain")
    source = [{"prompt": f"prompt {number}"} for number in range(200)]
    sampler = make_sampler()
    made = run(
        "grain",
        source=source,
        sampler=sampler,
        num_steps=3,
        roll_out=lambda batch: settled(batch["task_id"]),
    )
    prompts = [f"prompt {number}" for number in made["batch"]["task_id"]]
    assert list(made["batch"]["prompt"]) == prompts and len(prompts) == 32
    assert learnt_all(sampler, steps=3) and has_moved(sampler, 3 * 32 * 8)


def test_torch_and_torchdata(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    needs("torchdata", "torchdata.stateful_dataloader", "torch and torchdata")
    sampler, path = make_sampler(batch_size=4), tmp_path / "loader.pt"
    made = run(
        "torch and torchdata",
        torch=torch,
        rows=[{"task_id": number} for number in range(200)],
        sampler=sampler,
        roll_out=lambda batch: settled(batch["task_id"]),
        path=path,
    )
    assert learnt_all(sampler, steps=100) and has_moved(sampler, 100 * 4 * 8)
    other = make_sampler(batch_size=4)
    again = DrawnBatches(other)
    again.load_state_dict(made["batches"].state_dict()["drawn"])
    np.testing.assert_array_equal(other.posterior(), sampler.posterior())
    saved = torch.load(path, weights_only=False)
    assert saved.keys() == made["loader"].state_dict().keys()


def test_a_trainer_of_your_own(tmp_path):
    def play(until: int) -> Any:
        sampler = make_sampler(batch_size=4)
        if any(tmp_path.iterdir()):
            sampler.restore(tmp_path)
        names = {"num_steps": until, "directory": tmp_path, "roll_out": settled}
        run("A trainer of your own", sampler=sampler, **names)
        sampler.close()
        return sampler

    assert play(20).step == 20
    resumed = play(25)
    assert learnt_all(resumed, steps=25) and has_moved(resumed, 25 * 4 * 8)


def test_plain_jax():
    selector = bots_jax.bots(num_tasks=50, batch_size=4, group_size=8)

    def train_on(params: Any, task_ids: Any, key: Any) -> Any:
        return params + 1, jax.random.bernoulli(key, 0.5, (4, 8)).astype(np.float32)

    made = run(
        "Plain JAX",
        jax=jax,
        bots_jax=bots_jax,
        selector=selector,
        params=np.int32(0),
        train_on=train_on,
        keys=jax.random.split(jax.random.key(0), 7),
    )
    assert made["params"] == 7 and made["rates"].shape == (7,)
    assert 0.2 < made["rates"].mean() < 0.8
    alpha, beta = selector.posterior(made["state"])
    assert 0 < (alpha + beta - 2).sum() <= 7 * 4 * 8


def test_trinity_rft(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    ((_, _, code),) = blocks("Trinity-RFT")
    said = yaml.safe_load(code)
    (taskset,) = said["buffer"]["explorer_input"]["tasksets"]
    config = trinity_by_path.DataSelectorConfig(**taskset["data_selector"])
    weak, strong = trinity_by_path.references(60).values()
    columns = dict(zip(config.feature_keys, (weak, strong), strict=True))
    assert config.selector_type == trinity_by_path.PATH
    assert trinity.OFFICIAL.keys() - config.kwargs.keys() == {"adaptive_rho"}

    def play(made: Any) -> None:
        selector = made(trinity_by_path.source(columns), config)
        for step in range(3):
            indices = selector.get_indices(4)
            selector.feedback(indices, [0.25 * step] * 4)
        assert selector.sampler.step == 3 and has_moved(selector.sampler, np.inf)
        saved = selector.state_dict()
        file = pathlib.Path(saved["state_file"])
        assert file.parent == tmp_path / "checkpoints" / "selector"
        other = made(trinity_by_path.source(columns), config)
        other.load_state_dict(saved)
        assert other.get_indices(4) == selector.get_indices(4)

    play(trinity.JaxBotsSelector)
    with trinity_by_path.trinity() as real:  # skips where it is not
        (operator,) = said["data_processor"]["experience_pipeline"]["operators"]
        assert operator["name"] == "pass_rate_calculator" and real.pass_rates
        play(real.registry.get(config.selector_type))


def test_verl(request):
    ((_, _, code),) = blocks("verl")
    said = dict(line.removeprefix("+").split("=", 1) for line in code.splitlines())
    path, name = (said.pop(f"data.sampler.class_{x}") for x in ("path", "name"))
    module = importlib.import_module(path.removeprefix("pkg://"))
    assert issubclass(getattr(module, name), verl.Curriculum)
    assert said.pop("data.dataloader_num_workers") == "0"
    settings: dict[str, Any] = {"bots": {}}
    for key, value in said.items():
        where, _, leaf = key.removeprefix("data.sampler.").rpartition(".")
        into = settings[where] if where else settings
        into[leaf] = value.strip("[]").split(",") if "[" in value else float(value)
    settings["bots"]["group_size"] = int(settings["bots"]["group_size"])
    assert settings.keys() == {"success", "bots", "references"}
    weak = np.linspace(0, 0.4, verl_cases.NUM_TASKS)
    columns = dict(zip(settings["references"], (weak, weak + 0.5), strict=True))
    dataset = verl_cases.Dataset(**columns)
    config = {"train_batch_size": 4, "seed": 1, "sampler": settings}

    def play(curriculum: Any) -> None:
        rows = [next(iter(curriculum)) for _ in range(4)]
        scores = np.array([[1.0] * 3 + [-1.0] * 5] * 4)
        curriculum.update(verl_cases.batch_of([100 + row for row in rows], scores))
        assert curriculum.sampler.step == 1
        assert has_moved(curriculum.sampler, np.inf)
        assert curriculum.metrics()["update/success_rate"] == pytest.approx(3 / 8)

    play(verl.Curriculum(dataset, config))
    real = request.getfixturevalue("real_verl")  # skips where it is not
    play(real.load_extern_object(path, name)(dataset, config))


def test_slime(request, args):  # noqa: F811
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    options, settings = blocks("slime")
    words = shlex.split(options.code)
    said = dict(zip(words[::2], words[1::2], strict=True))
    source = said.pop("--data-source-path")
    hook = said.pop("--rollout-all-samples-process-path")
    assert said == {"--custom-config-path": "bots.yaml"}
    for path in (source, hook):
        module, _, name = path.rpartition(".")
        assert module == slime_adapter.__name__ and hasattr(slime_adapter, name)
    given = yaml.safe_load(settings.code)
    text = inspect.getsource(slime_adapter)
    assert all(f'"{name}"' in text for name in given)
    assert bots_jax.bots(num_tasks=9, batch_size=2, **given["bots"]).num_tasks == 9
    real = request.getfixturevalue("slime")  # skips where it is not
    for name, value in given.items():
        setattr(args, name, value)
    args.rollout_all_samples_process_path = hook
    rates = [{"weak_pass_rate": n / 99, "strong_pass_rate": 0.9} for n in range(30)]
    rows = [
        {"text": f"prompt {n}", "metadata": {"task_id": f"t{n}", **both}}
        for n, both in enumerate(rates)
    ]
    pathlib.Path(args.prompt_data).write_text("\n".join(map(json.dumps, rows)))
    made, observe = (real.load_function(path) for path in (source, hook))
    data = made(args)
    learnt = [slime_cases.rollout(data, observe, seed) for seed in range(3)]
    assert data.sampler.step == 3 and all(x[0].startswith("t") for x in learnt)
    assert has_moved(data.sampler, np.inf)


def test_the_command_for_a_large_model_has_options_that_are_known():
    ((_, _, code),) = blocks("A large model")
    words = shlex.split(code.replace("\\\n", ""), comments=True)
    module = words.index("bots_jax.recipes.qwen_math")
    options = words[module + 1 :]
    config = tyro.cli(QwenMath, args=options)
    assert (config.selector, config.out) == ("bots", pathlib.Path("runs/bots"))
    with pytest.raises(SystemExit):  # planted
        tyro.cli(QwenMath, args=["--no-such-option", *options])


def test_blocks_that_are_read_are_python_and_fit_what_they_call():
    ((_, _, maxtext),) = blocks("MaxText")
    compile(maxtext, "MaxText", "exec")
    attached: dict[str, Any] = {}

    def attach(*given: Any, **how: Any) -> Any:
        attached["call"] = inspect.signature(real.attach).bind(*given, **how)
        return types.SimpleNamespace(reward_manager="bots-0")

    real = importlib.import_module("bots_jax.adapters.tunix")
    rows = [{"prompts": f"{n}", "question": "?", "answer": n} for n in range(40)]
    names: dict[str, Any] = {"rows": rows, "solved": 1.5}
    names["grpo_config"] = types.SimpleNamespace()
    names |= {"tunix": types.SimpleNamespace(attach=attach), "rl_cluster": None}
    sampler = tiny.make_sampler()
    exec(maxtext, names | {"sampler": sampler})
    assert names["grpo_config"].reward_manager == "bots-0"
    columns = attached["call"].arguments["rows"]
    batch = next(iter(real.TunixTasks(sampler, columns)))
    assert batch["prompts"].shape == batch["answer"].shape == (tiny.BATCH_SIZE,)

    ((_, _, prime),) = blocks("prime-rl")
    compile(prime, "prime-rl", "exec")
    how = re.search(r"install\((.*)\)", prime)
    assert how is not None and callable(prime_rl_adapter.install)
    tasks = [types.SimpleNamespace(key=f"task-{n}") for n in range(64)]
    made = prime_rl_adapter.BotsTaskSampler(tasks, **eval(f"dict({how[1]})"))
    task = next(made)
    trace = types.SimpleNamespace(
        reward=0.75, has_error=False, agent=types.SimpleNamespace(trainable=True)
    )
    for _ in range(32):
        made.observe([types.SimpleNamespace(task=task, traces=[trace])] * 8)
        task = next(made)
    assert made.sampler.step == 1 and has_moved(made.sampler, 32 * 8)
