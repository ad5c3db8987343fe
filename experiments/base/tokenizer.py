"""The tiny base's own tokenizer: a byte-level BPE with five special tokens and the plainest chat template."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, END, USER, ASSISTANT, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"

# What may become one token. A name (of an object, a place, a product's property) is always a token of its own, the same
# wherever it stands, and so is a digit: a small model learns to copy what it has seen far sooner that way. Between
# names the texts are formulaic, so runs of closed-class words and the fixed parts of pages may merge into one token.
_FIXED = [
    "-= Welcome to TextWorld, ALFRED! =-",
    "WebShop [SEP] Instruction:",
    " [SEP] Back to Search",
    " [SEP] < Prev",
    " [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now",
    ", and price lower than",
    " (Total results:",
    " [SEP]",
]
_CLOSED_CLASS = (
    "a|an|and|are|around|arrive|at|from|happens|in|is|it|looking|middle|nothing|of|on|pick|put|quickly|room|see|some|"
    "task|the|to|under|up|using|with|you|your"
)
_PIECES = Regex(
    "|".join(re.escape(text) for text in _FIXED)
    + r"| ?\d|\n+"
    + rf"|(?i:[.,:]?(?:(?:^| |(?<=\n))(?:{_CLOSED_CLASS})(?![A-Za-z]))+)"
    + r"| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\s+"
)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}"
    "{{- '<|assistant|>' }}{% generation %}{{ message.content + '<|end|>' }}{% endgeneration %}"
    "{%- else -%}{{- '<|' + message.role + '|>' + message.content -}}{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """A tokenizer of exactly `vocabulary` tokens, special ones and the 256 bytes included."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, USER, ASSISTANT, SYSTEM],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
