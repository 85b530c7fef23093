"""The torchtune adapter: what it renders and refuses, and real training in its environment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate import environments, preview
from lockgate.config.training import Parameters
from lockgate.documents import RECIPE_VERSION
from lockgate.errors import LockgateError
from lockgate.files import digest, write_json, write_yaml
from lockgate.launch import World
from lockgate.tools import get
from lockgate.tools.torchtune import architectures, command, options
from tiny_model import make_tiny_model

TUNE = get("training", "torchtune", "training.tool")
TRL = get("training", "trl", "training.tool")
WORDS = ("billing", "shipping", "account", "technical")


def rendered(tool: Any = TUNE, seed: int = 0, **parameters: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "epochs": 3,
        "learning_rate": 0.01,
        "max_length": 128,
        "lora_rank": 4,
        "lora_alpha": 8,
        "precision": "float32",
        **parameters,
    }
    run = {"parameters": Parameters(**settings).model_dump(), "seed": seed, "system_prompt": None}
    return yaml.safe_load(yaml.safe_dump(tool.render(run)))  # as it comes from the built file


def write_rows(path: Path, count: int) -> Path:
    rows = [
        {"id": f"r{n}", "prompt": f"Which team answers ticket {n}?", "completion": WORDS[n % 4]}
        for n in range(count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def losses(result: dict[str, Any]) -> list[float]:
    return [entry["loss"] for entry in result["losses"]]


# --- what needs no environment


def test_rendering_imports_nothing_heavy() -> None:
    code = "import sys; from lockgate.tools import names; names('training'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "lockgate.tools.torchtune" in loaded
    assert not {"torch", "transformers", "torchtune"} & set(loaded)


def test_an_adapter_is_saved_alone_and_all_weights_are_not() -> None:
    lora, full = rendered()["settings"], rendered(method="full")["settings"]
    assert lora["save_adapter_weights_only"] is True
    assert "save_adapter_weights_only" not in full and "model" not in full
    assert lora["model"] == {
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "lora_attn_modules": ["q_proj", "k_proj", "v_proj", "output_proj"],
        "apply_lora_to_mlp": True,
        "apply_lora_to_output": False,
    }


def test_the_users_options_go_over_ours_key_by_key() -> None:
    extra = {"optimizer": {"betas": [0.9, 0.95]}, "clip_grad_norm": None, "compile": True}
    settings = rendered(extra=extra, weight_decay=0.1)["settings"]
    assert settings["optimizer"] == {
        "_component_": "torch.optim.AdamW",
        "lr": 0.01,
        "weight_decay": 0.1,
        "betas": [0.9, 0.95],
    }
    assert settings["clip_grad_norm"] is None and settings["compile"] is True


@pytest.mark.parametrize(
    ("targets", "switches"),
    [
        (["q_proj", "v_proj"], (["q_proj", "v_proj"], False, False)),
        (["o_proj", "lm_head"], (["output_proj"], False, True)),
        (["up_proj", "gate_proj", "down_proj", "q_proj"], (["q_proj"], True, False)),
    ],
)
def test_targets_become_switches(targets: list[str], switches: tuple[Any, ...]) -> None:
    model = rendered(lora_targets=targets)["settings"]["model"]
    keys = ("lora_attn_modules", "apply_lora_to_mlp", "apply_lora_to_output")
    assert tuple(model[key] for key in keys) == switches


@pytest.mark.parametrize(
    ("parameters", "key", "message"),
    [
        ({"extra": {"dtype": "bf16"}}, "extra.dtype", "use precision"),
        ({"extra": {"optimizer": {"lr": 1}}}, "extra.optimizer.lr", "use learning_rate"),
        ({"extra": {"model": {"lora_rank": 1}}}, "extra.model.lora_rank", "use lora_rank"),
        ({"extra": {"checkpointer": {}}}, "extra.checkpointer", "set by the pipeline"),
        ({"extra": {"dataset": {"packed": True}}}, "extra.dataset.packed", "set by the pipeline"),
        ({"extra": {"dataset": {"split": "train"}}}, "extra.dataset._component_", "no component"),
        (
            {"extra": {"recipe": "lora_finetune_single"}},
            "extra.recipe",
            "use lora_finetune",
        ),
        ({"extra": {"recipe": "full_finetune_single_device"}}, "extra.recipe", "method lora"),
        ({"extra": {"recipe": "own/recipe.py"}}, "extra.recipe", "no file own/recipe.py"),
        ({"extra": {"nproc_per_node": 0}}, "extra.nproc_per_node", "not a number of processes"),
        ({"lora_targets": ["c_attn"]}, "lora_targets", "no adapter on 'c_attn'"),
        ({"lora_targets": ["up_proj"]}, "lora_targets", "name all three"),
    ],
)
def test_what_does_not_fit_is_named(parameters: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(LockgateError, match=message) as caught:
        rendered(**parameters)
    assert caught.value.where == f"training.parameters.{key}"


def test_several_processes_take_the_distributed_recipe() -> None:
    recipe = rendered(extra={"nproc_per_node": 2})["recipe"]
    assert (recipe["name"], recipe["processes"]) == ("lora_finetune_distributed", 2)
    named = rendered(method="full", extra={"recipe": "full_finetune_distributed"})["recipe"]
    assert named["processes"] == 1
    single = {"recipe": "lora_finetune_single_device", "nproc_per_node": 2}
    with pytest.raises(LockgateError, match="runs in one process"):
        rendered(extra=single)


def test_own_files_shape_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "recipe.py").write_text("x = 1\n")
    (tmp_path / "own" / "rows.py").write_text("y = 1\n")
    extra = {"recipe": "own.recipe", "dataset": {"_component_": "own.rows.Some", "n": 3}}
    before = rendered(extra=extra)
    assert sorted(before["recipe"]["files"]) == ["own/recipe.py", "own/rows.py"]
    (tmp_path / "own" / "rows.py").write_text("y = 2\n")
    assert rendered(extra=extra) != before
    with pytest.raises(LockgateError, match="own/rows.py changed"):
        TUNE.train(before, tmp_path, tmp_path, None, tmp_path / "out")


def test_every_component_and_what_it_imports_shape_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "own/__init__.py": "",
        "own/loss.py": "from own.parts import weight\n",
        "own/parts.py": "weight = 1\n",
        "own/inner.py": "",
        "recipes/train.py": "import helper\n",
        "recipes/helper.py": "",
        "helper.py": "",
        "unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    extra = {
        "recipe": "recipes/train.py",
        "loss": {"_component_": "own.loss.Loss"},
        "optimizer": {"parts": [{"_component_": "own.inner.Part"}]},
    }
    before = rendered(extra=extra)
    found = ["own/__init__.py", "own/inner.py", "own/loss.py", "own/parts.py"]
    # beside the recipe comes first, as where Python runs a file
    assert list(before["recipe"]["files"]) == [*found, "recipes/helper.py", "recipes/train.py"]
    (tmp_path / "own" / "parts.py").write_text("weight = 2\n")
    assert rendered(extra=extra) != before
    (tmp_path / "own" / "parts.py").write_text("weight = (\n")
    with pytest.raises(LockgateError, match="line 1") as caught:
        rendered(extra=extra)
    assert caught.value.where == "own/parts.py"


def test_another_environment_makes_another_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rendered()
    shutil.copytree(environments.REQUIREMENTS, tmp_path / "envs")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path / "envs")
    assert rendered() == before
    with open(tmp_path / "envs" / "torchtune.txt", "a") as file:
        file.write("colorama==0.4.6\n")
    assert rendered() != before


def test_it_saves_once_an_epoch() -> None:
    parameters = Parameters(epochs=3, checkpoint_steps=10).model_dump()
    assert TUNE.saves(100, parameters) == 3


def test_only_a_dataset_of_ones_own_is_not_measured() -> None:
    assert TUNE.caveat({"extra": None}) == TUNE.caveat({"extra": {"compile": True}}) == ""
    assert "are not measured" in TUNE.caveat({"extra": {"dataset": {"_component_": "a.B"}}})


def test_steps_leave_out_rows_that_do_not_fill_one() -> None:
    parameters = Parameters(epochs=2, batch_size=4, gradient_accumulation=2).model_dump()
    assert [TUNE.steps(rows, parameters) for rows in (7, 8, 17)] == [0, 2, 4]
    parameters["extra"] = {"nproc_per_node": 2}
    assert TUNE.steps(17, parameters) == 2


def test_options_are_read_from_a_recipes_source(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text('cfg.a; cfg.get("b", 1); self._cfg["c"]; other.d; config.get("e"); cfg.f.g')
    assert options.options_of(recipe) == {"a", "b", "c", "f"}
    with pytest.raises(LockgateError, match="no option 'bb'") as caught:
        options.refuse_unknown({"a": 1, "bb": 1}, {"a", "bbb"}, "mine")
    assert caught.value.hint == "did you mean 'bbb'?"
    recipe.write_text("def (")
    with pytest.raises(LockgateError, match="line 1"):
        options.options_of(recipe)


LLAMA = {
    "model_type": "llama",
    "vocab_size": 10,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}


def test_dimensions_come_from_the_models_own_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "rope_theta": 5e5}))
    found = architectures.builder(tmp_path, adapters=True, max_length=64)
    assert found["checkpoint"] == {"model_type": "LLAMA3_2", "permute": True}
    assert found["model"] == {
        "_component_": "torchtune.models.llama3_2.lora_llama3_2",
        "vocab_size": 10,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "embed_dim": 32,
        "intermediate_dim": 64,
        "max_seq_len": 128,
        "norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "rope_base": 500_000,
        "scale_factor": 1,
    }
    longer = architectures.builder(tmp_path, adapters=False, max_length=256)
    assert longer["model"]["_component_"] == "torchtune.models.llama3_2.llama3_2"
    assert longer["model"]["max_seq_len"] == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "no builder for models of type 'gpt2'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"head_dim": 16}, "head_dim is 16, torchtune's builder has 8"),
        ({"vocab_size": None}, "vocab_size is missing"),
        ({"rope_scaling": {"type": "yarn", "factor": 4}}, "of type 'yarn'"),
        (
            {"rope_parameters": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 2}},
            "low_freq_factor is 2",
        ),
    ],
)
def test_a_model_without_a_builder_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **change}))
    with pytest.raises(LockgateError, match=message) as caught:
        architectures.builder(tmp_path, adapters=True, max_length=64)
    assert caught.value.where == str(tmp_path / "config.json")


def test_a_missing_environment_is_told_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_CACHE", str(tmp_path))
    for call in (TUNE.versions, lambda: TUNE.validate(rendered())):
        with pytest.raises(LockgateError, match="the environment 'torchtune' is missing") as caught:
            call()
        assert caught.value.where == "training.tool"
        assert caught.value.hint == "lockgate env create torchtune"


def test_the_processes_of_a_job_share_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_source", lambda name: None)
    config = rendered(batch_size=4, gradient_accumulation=2)
    shared, world = command.shared(config, World(2, 2))
    assert (shared["recipe"]["name"], world) == ("lora_finetune_distributed", World(2, 2))
    assert shared["settings"]["batch_size"] == 2
    assert shared["settings"]["gradient_accumulation_steps"] == 1
    assert config["settings"]["batch_size"] == 4 and config["recipe"]["processes"] is None
    halved, _ = command.shared(config, World(divide=2))
    assert halved["settings"]["gradient_accumulation_steps"] == 4
    assert halved["recipe"] == config["recipe"]
    with pytest.raises(LockgateError, match="3 processes .* cannot share equally"):
        command.shared(config, World(1, 3))


def test_nproc_per_node_keeps_its_own_meaning() -> None:
    config = rendered(batch_size=4, extra={"nproc_per_node": 2})
    for world in (World(), World(1, 2)):
        shared, started = command.shared(config, world)
        assert shared == {**config, "batch_size": 4} and started == World(1, 2)
    with pytest.raises(LockgateError, match="nproc_per_node is 2, and the job has 2 nodes x 2"):
        command.shared(config, World(2, 2))


def test_a_recipe_for_one_process_is_not_started_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("x = 1\n")
    config = rendered(batch_size=4, extra={"recipe": "mine.py"})
    with pytest.raises(LockgateError, match="mine.py runs in one process, .* has 2 GPUs"):
        command.shared(config, World(1, 2))
    (tmp_path / "mine.py").write_text("import torch.distributed\n")
    assert command.shared(config, World(1, 2))[0]["recipe"]["name"] == "mine.py"


def test_progress_is_read_from_the_recipes_own_metrics(tmp_path: Path) -> None:
    assert TUNE.progress(tmp_path) is None
    write_json(tmp_path / "work" / "steps.json", 8)
    assert TUNE.progress(tmp_path) is None
    lines = [
        {"step": n, "loss": 5 - n, "seconds": seconds, "time": 100.0 + n}
        for n, seconds in enumerate((9.0, 2.0, 3.0), 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"saving": 1.0}\n{"step": 4, "lo'
    (tmp_path / "work" / "metrics.jsonl").write_text(text)
    assert TUNE.progress(tmp_path) == {
        "step": 3,
        "steps": 8,
        "seconds_per_step": 3.0,
        "loss": 2,
        "updated": 103.0,
    }


# --- what runs in the environment


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(path, chat_template=True)
    return path


def of_family(base: Path, path: Path, kind: str, **changes: Any) -> Path:
    """A tiny untrained model of another kind, with the tokenizer of `base`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(base, path)
    dimensions = json.loads((base / "config.json").read_text())
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    names += ("num_attention_heads", "num_key_value_heads", "max_position_embeddings")
    kept = {name: dimensions[name] for name in names}
    config = AutoConfig.for_model(kind, initializer_range=0.2, **kept, **changes)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    return path


def measured(base: Path, adapter: Path, rows: Path) -> float:
    """Loss over the completions of all rows, by transformers and PEFT."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from lockgate.prompts import read_rows, tokenize

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter))
    total = count = 0.0
    for row in read_rows(rows):
        ids, prompt = tokenize(tokenizer, row["prompt"], row["completion"], None)
        labels = torch.tensor([[-100] * prompt + ids[prompt:]])
        with torch.no_grad():
            loss = float(model(torch.tensor([ids]), labels=labels).loss)
        total, count = total + loss * (len(ids) - prompt), count + len(ids) - prompt
    return total / count


def test_only_the_last_answer_of_a_conversation_has_labels(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from lockgate.prompts import asked
    from lockgate.tools.torchtune.run import _tokens

    history = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    row = {"id": "a", "prompt": "Which team?", "completion": "billing", "history": history}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    ((made,), _, _) = _tokens(path, base, {"max_length": 200, "system_prompt": "Be brief."})
    tokenizer = AutoTokenizer.from_pretrained(base)
    shown = asked(tokenizer, "Which team?", "Be brief.", history)
    assert made["tokens"][: len(shown)] == shown
    assert made["labels"] == [-100] * len(shown) + made["tokens"][len(shown) :]
    learned = tokenizer.decode(made["tokens"][len(shown) :], skip_special_tokens=True)
    assert learned.strip() == "billing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"clip_grad_nrom": 1.0}, "did you mean 'clip_grad_norm'"),
        ({"optimizer": {"beta": 0.9}}, "unexpected keyword argument 'beta'"),
        ({"loss": {"_component_": "torchtune.modules.loss.NoSuchLoss"}}, "NoSuchLoss"),
    ],
)
def test_validation_names_what_the_recipe_does_not_know(
    tune_environment: Path, extra: dict[str, Any], message: str
) -> None:
    with pytest.raises(LockgateError, match=message) as caught:
        TUNE.validate(rendered(extra=extra))
    assert caught.value.where.startswith("training.parameters.extra")


@pytest.mark.slow
def test_validation_accepts_what_the_recipe_knows(tune_environment: Path) -> None:
    TUNE.validate(rendered(extra={"optimizer": {"betas": [0.9, 0.95]}, "low_cpu_ram": True}))
    TUNE.validate(rendered(method="full", lr_scheduler="cosine", learning_rate=1e-5))
    TUNE.validate(rendered(extra={"nproc_per_node": 2, "fsdp_cpu_offload": True}))


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["linear", "cosine"])
def test_all_weights_learn_exactly_as_with_the_other_trainer(
    tune_environment: Path, base: Path, tmp_path: Path, scheduler: str
) -> None:
    """One batch holds all rows, so that the order of the rows decides nothing."""
    rows, held_out = write_rows(tmp_path / "train.jsonl", 12), write_rows(tmp_path / "v.jsonl", 4)
    same: dict[str, Any] = {"method": "full", "learning_rate": 1e-3, "batch_size": 12}
    same |= {"epochs": 4, "lr_scheduler": scheduler, "warmup_steps": 1}
    ours = TUNE.train(rendered(**same), base, rows, held_out, tmp_path / "ours")
    theirs = TRL.train(rendered(TRL, **same), base, rows, held_out, tmp_path / "theirs")
    assert losses(ours) == pytest.approx(losses(theirs), abs=1e-3)
    assert losses(ours)[-1] < losses(ours)[0] - 1
    validation = [[entry["validation"] for entry in one["losses"]] for one in (ours, theirs)]
    assert validation[0] == pytest.approx(validation[1], abs=1e-3)
    for key in ("tokens", "steps", "parameters", "trainable_parameters", "truncated_rows"):
        assert ours[key] == theirs[key]


@pytest.mark.slow
def test_an_adapter_learns_like_that_of_the_other_trainer(
    tune_environment: Path, base: Path, tmp_path: Path
) -> None:
    """The first loss is the same; then the adapters differ by their random beginnings."""
    rows = write_rows(tmp_path / "train.jsonl", 12)
    same: dict[str, Any] = {"batch_size": 12, "epochs": 6, "lr_scheduler": "constant"}
    ours = TUNE.train(rendered(**same), base, rows, None, tmp_path / "ours")
    theirs = TRL.train(rendered(TRL, **same), base, rows, None, tmp_path / "theirs")
    assert losses(ours)[0] == pytest.approx(losses(theirs)[0], abs=1e-3)
    assert losses(ours)[-1] == pytest.approx(losses(theirs)[-1], rel=0.25)
    assert losses(ours)[-1] < losses(ours)[0] / 2
    for key in ("tokens", "steps", "parameters", "trainable_parameters"):
        assert ours[key] == theirs[key]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"tie_word_embeddings": False}),
        ("mistral", {"tie_word_embeddings": False}),
        ("qwen2", {"tie_word_embeddings": True}),
    ],
)
def test_an_adapter_gives_with_peft_the_loss_that_torchtune_logged(
    tune_environment: Path, base: Path, tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    model = of_family(base, tmp_path / "model", kind, **changes)
    rows = write_rows(tmp_path / "train.jsonl", 12)
    config = rendered(batch_size=12, epochs=3)
    result = TUNE.train(config, model, rows, None, tmp_path / "out")
    after = [measured(model, tmp_path / "out" / f"epoch-{epoch}", rows) for epoch in (0, 1)]
    assert after == pytest.approx(losses(result)[1:], abs=1e-3)
    note = json.loads((tmp_path / "out/epoch-0/adapter_config.json").read_text())
    assert note["base_model_name_or_path"] == str(model)
    assert (note["r"], note["lora_alpha"], note["peft_type"]) == (4, 8, "LORA")
    assert not (tmp_path / "out/epoch-0/config.json").exists()
    assert (tmp_path / "out/epoch-0/tokenizer.json").exists()


@pytest.mark.slow
def test_full_training_in_bfloat16_writes_whole_models(
    tune_environment: Path, base: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from lockgate.weights import inspect_weights

    rows = write_rows(tmp_path / "train.jsonl", 9)
    config = rendered(method="full", precision="bfloat16", batch_size=4, epochs=2)
    result = TUNE.train(config, base, rows, None, tmp_path / "out")
    assert result["steps"] == 4 and [c["step"] for c in result["checkpoints"]] == [2, 4]
    model = tmp_path / "out" / "epoch-1"
    assert inspect_weights(model)["problems"] == []
    assert json.loads((model / "config.json").read_text())["dtype"] == "bfloat16"
    assert str(AutoModelForCausalLM.from_pretrained(model).dtype) == "torch.bfloat16"
    assert not list(model.glob("*.pt")) and not (tmp_path / "out" / "work").exists()


def killed(config: dict[str, Any], base: Path, rows: Path, out: Path, lines: int) -> None:
    """Begin a training in `out`, and kill it when its metrics have so many lines."""
    code = f"""
        import json
        from pathlib import Path
        from lockgate.tools import get
        paths = [Path(path) for path in {[str(base), str(rows)]!r}]
        config = json.loads({json.dumps(config)!r})
        get("training", "torchtune", "").train(config, *paths, None, Path({str(out)!r}))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    metrics = out / "work" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < lines:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_killed_run_continues_after_its_last_complete_epoch(
    tune_environment: Path, base: Path, tmp_path: Path, method: str
) -> None:
    """With the same weights in the end: optimizer and learning rate go on where they were."""
    rows = write_rows(tmp_path / "train.jsonl", 16)
    config = rendered(method=method, learning_rate=1e-3, weight_decay=0.01, warmup_steps=2)
    whole = TUNE.train(config, base, rows, None, tmp_path / "whole")
    out = tmp_path / "out"
    killed(config, base, rows, out, 6)
    assert (out / "work" / "epoch-0").is_dir() and not list(out.glob("epoch-*"))
    # what a kill within a save leaves: it is no epoch
    (out / "work" / ".epoch-1.tmp" / "epoch_1").mkdir(parents=True, exist_ok=True)
    result = TUNE.train(config, base, rows, None, out)
    assert result["resumed_from_step"] in (4, 8) and result["steps"] == 12
    assert len(result["step_seconds"]) == 12 - result["resumed_from_step"]
    assert losses(result) == losses(whole)
    name = "adapter_model.safetensors" if method == "lora" else "model-00001-of-00001.safetensors"
    for epoch in ("epoch-0", "epoch-1", "epoch-2"):
        assert (out / epoch / name).read_bytes() == (tmp_path / "whole" / epoch / name).read_bytes()
    assert TUNE.train(config, base, rows, None, out) == result  # not trained again


OWN_RECIPE = '''
"""The distributed recipe, on processors in place of GPUs."""
import runpy, sys
from pathlib import Path
import torchtune
from torch.distributed import init_process_group
from torchtune import config, training

training.get_memory_stats = lambda *_, **__: {}
training.log_memory_stats = lambda *_, **__: None
training.cleanup_before_training = lambda: None
source = Path(torchtune.__file__).parents[1] / "recipes" / "lora_finetune_distributed.py"
builtin = runpy.run_path(str(source))

@config.parse
def main(cfg):
    print("greeting:", cfg.greeting)
    init_process_group("gloo")
    recipe = builtin["LoRAFinetuneRecipeDistributed"](cfg=cfg)
    recipe.setup(cfg=cfg)
    recipe.train()
    recipe.cleanup()

if __name__ == "__main__":
    sys.exit(main())
'''


@pytest.mark.slow
def test_a_recipe_of_ones_own_by_its_path_in_two_processes(
    tune_environment: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "my_recipe.py").write_text(OWN_RECIPE)
    rows = write_rows(tmp_path / "train.jsonl", 13)
    extra = {"recipe": "own/my_recipe.py", "nproc_per_node": 2, "greeting": "hello"}
    config = rendered(batch_size=6, epochs=2, extra=extra)
    TUNE.validate(config)
    result = TUNE.train(config, base, rows, None, tmp_path / "out")
    assert "greeting: hello" in (tmp_path / "out" / "tune.log").read_text()
    alone = TUNE.train(rendered(batch_size=6, epochs=2), base, rows, None, tmp_path / "alone")
    assert (result["steps"], alone["steps"]) == (2, 4)
    assert losses(result)[1] < losses(result)[0]
    adapter = tmp_path / "out" / "epoch-1"
    assert measured(base, adapter, rows) < losses(result)[0] - 0.5
    with pytest.raises(LockgateError, match="no option 'greetings'"):
        TUNE.validate(rendered(extra={"recipe": "own/my_recipe.py", "greetings": "hello"}))


@pytest.mark.slow
def test_a_copied_recipe_runs_though_it_has_the_name_of_its_original(
    tune_environment: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    name = "lora_finetune_single_device"
    tune = tune_environment.with_name("tune")
    subprocess.run([tune, "cp", name, f"recipes/{name}.py"], check=True)
    copy = tmp_path / "recipes" / f"{name}.py"
    copy.write_text(f"import helper\nprint('the copy runs,', helper.word)\n{copy.read_text()}")
    (tmp_path / "recipes" / "helper.py").write_text("word = 'with its helper'\n")
    (tmp_path / "helper.py").write_text("word = 'with another'\n")
    rows = write_rows(tmp_path / "train.jsonl", 8)
    config = rendered(epochs=1, extra={"recipe": f"recipes/{name}.py"})
    assert list(config["recipe"]["files"]) == ["recipes/helper.py", f"recipes/{name}.py"]
    TUNE.validate(config)
    result = TUNE.train(config, base, rows, None, tmp_path / "out")
    assert "the copy runs, with its helper" in (tmp_path / "out" / "tune.log").read_text()
    plain = TUNE.train(rendered(epochs=1), base, rows, None, tmp_path / "plain")
    assert losses(result) == losses(plain)


OWN_ROWS = '''
import json, os
from torch.utils.data import Dataset

class Again(Dataset):
    """The prepared rows, each several times."""
    def __init__(self, tokenizer, source, times):
        print("threads:", os.environ["OMP_NUM_THREADS"])
        lines = open(source).read().splitlines()
        self.rows = [json.loads(line) for line in lines] * times
    def __len__(self):
        return len(self.rows)
    def __getitem__(self, index):
        return dict(self.rows[index])
'''


@pytest.mark.slow
def test_a_dataset_of_ones_own_by_its_dotted_path(
    tune_environment: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rows.py").write_text(OWN_ROWS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what a job was given reaches the recipe
    rows = write_rows(tmp_path / "train.jsonl", 4)
    dataset = {"_component_": "own.rows.Again", "source": "${tokens}", "times": 3}
    config = rendered(batch_size=4, epochs=2, extra={"dataset": dataset})
    TUNE.validate(config)
    result = TUNE.train(config, base, rows, None, tmp_path / "out")
    once = TUNE.train(rendered(batch_size=4, epochs=2), base, rows, None, tmp_path / "once")
    assert "threads: 1" in (tmp_path / "out" / "tune.log").read_text()
    assert (result["steps"], once["steps"]) == (6, 2)
    assert result["tokens"] == 3 * once["tokens"]


@pytest.mark.slow
def test_a_killed_run_with_a_dataset_of_ones_own_ends_like_one_that_was_not(
    tune_environment: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21 rows: three steps of 6 an epoch, and some that fill no step."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rows.py").write_text(OWN_ROWS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = write_rows(tmp_path / "train.jsonl", 7)
    dataset = {"_component_": "own.rows.Again", "source": "${tokens}", "times": 3}
    size = {"batch_size": 3, "gradient_accumulation": 2}
    config = rendered(**size, warmup_steps=2, extra={"dataset": dataset})
    whole = TUNE.train(config, base, rows, None, tmp_path / "whole")
    killed(config, base, rows, tmp_path / "out", 5)
    result = TUNE.train(config, base, rows, None, tmp_path / "out")
    assert result["resumed_from_step"] in (3, 6) and result["steps"] == whole["steps"] == 9
    assert losses(result) == losses(whole)
    assert [one["step"] for one in result["checkpoints"]] == [3, 6, 9]
    assert not list((tmp_path / "out").rglob("step.json"))
    # the preview takes some steps of it
    few = TUNE.train(TUNE.capped(config, 2), base, rows, None, tmp_path / "few")
    assert few["steps"] == 2 * 3
    with pytest.raises(LockgateError, match="21 rows of the dataset do not fill one .* step of 24"):
        large = rendered(batch_size=24, extra={"dataset": dataset})
        TUNE.train(large, base, rows, None, tmp_path / "large")


@pytest.mark.slow
def test_the_preview_takes_a_few_steps_of_a_dataset_of_ones_own(
    tune_environment: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rows.py").write_text(OWN_ROWS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_rows(tmp_path / "rows.jsonl", 4)
    dataset = {"_component_": "own.rows.Again", "source": "${tokens}", "times": 30}
    shape = {"batch_size": 2, "gradient_accumulation": 1, "max_length": 64}
    document = {
        "recipe_version": RECIPE_VERSION,
        "shape": "few",
        "model": {"name": "tiny"},
        "tool": "torchtune",
        "config": rendered(**shape, epochs=1, extra={"dataset": dataset}),
        **shape,
    }
    write_yaml("smoke/few.yaml", document)
    write_json("model.json", {"path": str(base), "digest": "0"})
    approved = {"gate": "plan", "items": [f"smoke/few:{digest(document)}"]}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(approved) + "\n")
    paths = [Path(name) for name in ("smoke/few.yaml", "model.json", "rows.jsonl", "ledger.jsonl")]
    preview.preview_train(*paths, 1, Path("out/few.json"))
    losses = json.loads(Path("out/few.json").read_text())["losses"]
    assert len(losses) == preview.TIMED_STEPS
    (longest,) = Path("out/few").glob("*/longest/result.json")
    assert json.loads(longest.read_text())["steps"] == preview.LONGEST_STEPS


@pytest.mark.slow
def test_bad_runs_end_with_one_message(tune_environment: Path, base: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "train.jsonl", 3)
    with pytest.raises(LockgateError, match="3 rows do not fill one optimizer step of 8"):
        few = rendered(batch_size=4, gradient_accumulation=2)
        TUNE.train(few, base, rows, None, tmp_path / "few")
    with pytest.raises(LockgateError, match="raise training.parameters.max_length"):
        TUNE.train(rendered(max_length=8), base, rows, None, tmp_path / "short")
    with pytest.raises(LockgateError, match="the loss at step . is not a finite number"):
        config = rendered(method="full", learning_rate=1e30, batch_size=3)
        TUNE.train(config, base, rows, None, tmp_path / "wild")
    assert not list((tmp_path / "wild").glob("epoch-*"))
    with pytest.raises(LockgateError, match="`tune run` ended with status 1: AttributeError"):
        broken = rendered(batch_size=3, extra={"loss": {"_component_": "torch.nn.Module"}})
        TUNE.train(broken, base, rows, None, tmp_path / "broken")


@pytest.mark.slow
def test_the_distributed_recipe_asks_for_gpus(
    tune_environment: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    rows = write_rows(tmp_path / "train.jsonl", 8)
    with pytest.raises(LockgateError, match="lora_finetune_distributed needs GPUs"):
        TUNE.train(rendered(extra={"nproc_per_node": 2}), base, rows, None, tmp_path / "out")


@pytest.mark.slow
def test_long_rows_are_cut_and_counted(tune_environment: Path, base: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", 4)
    with open(path, "a") as file:
        file.write(json.dumps({"prompt": "Which team?", "completion": "blue " * 200}) + "\n")
        file.write(json.dumps({"prompt": "ticket " * 200, "completion": "billing"}) + "\n")
    result = TUNE.train(rendered(epochs=1, batch_size=5), base, path, None, tmp_path / "out")
    assert result["truncated_rows"] == 2
    assert result["steps"] == 1  # five rows: of the sixth nothing is left to learn


@pytest.mark.slow
@pytest.mark.parametrize("step", ["peft/torchtune", "sft/torchtune"])
def test_its_steps_run_by_themselves(
    tune_environment: Path, base: Path, tmp_path: Path, step: str
) -> None:
    write_rows(tmp_path / "rows.jsonl", 8)
    place = Path(__file__).parents[3] / "workflow" / "catalog" / step
    config = {"defaults": str(place / "config" / "tiny.yaml"), "model": str(base)}
    config |= {"train": "rows.jsonl", "output": "out", "learning_rate": 0.01}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    line = [sys.executable, place / "step.py", "--config", "config.yaml"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "training.json").read_text())
    assert report["steps"] == 2 and report["versions"]["torchtune"] == "0.6.1"
    made = "adapter/adapter_model.safetensors" if step[0] == "p" else "model/config.json"
    assert (tmp_path / "out" / made).is_file()
