"""A reward model: one number for a prompt and a response, from a sequence classifier with one label."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from encore.errors import UserError
from encore.rewards.likelihood import longest


@dataclass
class RewardModel:
    """A classifier and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @staticmethod
    def load(source: str, *, device: torch.device, dtype: str = "float32") -> RewardModel:
        """From a folder or a hub id.

        Raises UserError for what cannot be loaded, has another number of labels than one, or has no trained head.
        """
        try:
            model, told = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=getattr(torch, dtype), output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"reward model '{source}' cannot be loaded ({reason}): give the folder of one, or the id of one of the "
                "hub (which needs a network)"
            ) from error
        if told["missing_keys"]:
            raise UserError(
                f"'{source}' has no {sorted(told['missing_keys'])[0]}: it is no reward model; train one with "
                "encore.rewards.train_preference_model"
            )
        if model.config.num_labels != 1:
            raise UserError(f"'{source}' has {model.config.num_labels} labels: a reward model has one")
        return RewardModel(model.to(device).eval(), tokenizer)

    @staticmethod
    def untrained(causal: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> RewardModel:
        """The body of a causal model under a head of zeros. Raises UserError where transformers knows no such model."""
        config = copy.deepcopy(causal.config)
        config.num_labels = 1
        try:
            model = AutoModelForSequenceClassification.from_config(config, dtype=causal.dtype)
        except ValueError as error:
            raise UserError(
                f"transformers has no sequence classifier on {type(causal).__name__}: use another backbone"
            ) from error
        if not isinstance(getattr(model, "score", None), nn.Linear):
            raise UserError(f"{type(model).__name__} has no linear head `score`: use another backbone")
        model.base_model.load_state_dict(causal.base_model.state_dict())
        nn.init.zeros_(model.score.weight)
        return RewardModel(model.to(causal.device).eval(), tokenizer)

    def encode(self, prompt: Any, response: str) -> tuple[int, ...]:
        """Tokens of a conversation of both, by the chat template; without one, of both with an empty line between."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if self.tokenizer.chat_template:
            whole = [*messages, {"role": "assistant", "content": response}]
            text = str(self.tokenizer.apply_chat_template(whole, tokenize=False))
            return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        asked = "\n\n".join(str(message["content"]) for message in messages)
        return tuple(self.tokenizer(f"{asked}\n\n{response}")["input_ids"])

    def scores(self, encoded: Sequence[tuple[int, ...]], *, max_batch_tokens: int) -> list[float | None]:
        """What the head says, float32; None for a sequence that is longer than the model's context."""
        limit = longest(self.model)
        fits = [tokens for tokens in encoded if limit is None or len(tokens) <= limit]
        found = dict(zip(fits, self._pooled(fits, max_batch_tokens)[:, 0].tolist(), strict=True))
        return [found.get(tokens) for tokens in encoded]

    def states(self, encoded: Sequence[tuple[int, ...]], *, max_batch_tokens: int) -> Float[Tensor, "sequences width"]:
        """What the head sees, float32, on the CPU: the last layer's state at the token that the model pools."""
        head = self.model.score
        self.model.score = nn.Identity()  # what comes out then is what would have gone in
        try:
            return self._pooled(encoded, max_batch_tokens)
        finally:
            self.model.score = head

    @torch.no_grad()
    def _pooled(self, encoded: Sequence[tuple[int, ...]], max_batch_tokens: int) -> Float[Tensor, "sequences labels"]:
        padding = self._padding()
        order = sorted(dict.fromkeys(encoded), key=len, reverse=True)
        found: dict[tuple[int, ...], Tensor] = {}
        for batch in _batches(order, max_batch_tokens):
            width = len(batch[0])
            tokens = torch.tensor([[*row, *[padding] * (width - len(row))] for row in batch])
            attended = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
            device = self.model.device
            output = self.model(input_ids=tokens.to(device), attention_mask=attended.to(device))
            found.update(zip(batch, output.logits.float().cpu(), strict=True))
        return torch.stack([found[tokens] for tokens in encoded]) if encoded else torch.empty(0, 1)

    def _padding(self) -> int:
        """The id that the model takes for padding where it looks for the last token; it has to be the model's own."""
        config = self.model.config.get_text_config()
        if config.pad_token_id is None:
            config.pad_token_id = self.tokenizer.pad_token_id
        if config.pad_token_id is None:
            raise UserError(f"{self.tokenizer.name_or_path} has no padding token: set one in its configuration")
        return int(config.pad_token_id)

    @torch.no_grad()
    def set_head(self, weight: Float[Tensor, " width"]) -> None:
        """Makes the score of a state its inner product with `weight`."""
        head = self.model.score
        assert isinstance(head, nn.Linear)
        head.weight.copy_(weight[None])

    def save(self, folder: Path) -> None:
        """So that `load`, and transformers' AutoModelForSequenceClassification, read it."""
        self._padding()
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def _batches(order: Sequence[tuple[int, ...]], max_tokens: int) -> Iterable[list[tuple[int, ...]]]:
    """Neighbours of `order`, longest first; at most `max_tokens` positions together, or one sequence."""
    batch: list[tuple[int, ...]] = []
    for tokens in order:
        if batch and (len(batch) + 1) * len(batch[0]) > max_tokens:
            yield batch
            batch = []
        batch.append(tokens)
    if batch:
        yield batch
