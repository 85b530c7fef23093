"""A tiny, randomly initialised language model for tests: `python tests/tiny_model.py DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|start|>system\nYou are a tiny helper<|end|>\n' }}"
    "{% endif %}"
    "{{ '<|start|>' + message['role'] + '\n' + message['content'] + '<|end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
_TEXT = (
    "Which team answers this ticket? Billing, shipping, account or technical.\n"
    "system user assistant You are a tiny helper. Answer with one word.\n"
    "The invoice shows the wrong amount. My parcel has not arrived. I forgot my password.\n"
    "The application stops when I open it. Label the sentence: good, bad, red, green, blue."
)


def make_tiny_model(path: Path, chat_template: bool) -> None:
    """Write a Llama of about 0.2 million weights and its tokenizer; always the same.

    Args:
        path: the directory to write.
        chat_template: whether its tokenizer has one (with a default system prompt, as many have).
            Without one, the tokenizer starts each text with a token, as base models' often do.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|pad|>", "<|start|>", "<|end|>"]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(_TEXT.splitlines(), trainer)
    if not chat_template:
        raw.post_processor = processors.TemplateProcessing(
            single="<|start|> $A", special_tokens=[("<|start|>", 1)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<|pad|>", bos_token="<|start|>", eos_token="<|end|>"
    )
    if chat_template:
        tokenizer.chat_template = _CHAT_TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)


def make_tiny_adapter(base: Path, out: Path) -> None:
    """An untrained adapter of a model, in PEFT's form."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(out)


if __name__ == "__main__":
    make_tiny_model(Path(sys.argv[1]), chat_template=True)
