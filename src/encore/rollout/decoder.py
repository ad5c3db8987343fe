"""Batched decoding of conversations that keeps its attention cache from turn to turn.

Rows are conversations. What a turn adds to a row is appended behind everything in the cache; rows that add less than
others get padding in between, which the attention mask hides and which takes no position. So a row's tokens have the
positions, and attend to the tokens, that they would have if the row were alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

MAX_GAPS = 1.2  # columns of the cache for each token of its longest row, before gaps are closed


class Decoder:
    """Holds the cache of `rows` conversations; `append` puts tokens in, `respond` lets the policy answer."""

    def __init__(self, model: PreTrainedModel, pad_id: int, end_id: int, rows: int) -> None:
        self.model = model
        self.pad_id = pad_id
        self.end_id = end_id
        self.cache = DynamicCache()
        self.device = model.device
        self.mask: Bool[Tensor, "rows past"] = torch.zeros((rows, 0), dtype=torch.bool, device=self.device)
        self.lengths: Int[Tensor, " rows"] = torch.zeros(rows, dtype=torch.long, device=self.device)

    @torch.inference_mode()
    def append(self, pieces: Sequence[Sequence[int]]) -> Float[Tensor, "rows vocabulary"]:
        """Appends tokens to every row (at least one each); returns the logits after each row's last token."""
        self._compact()
        longest = max(len(piece) for piece in pieces)
        tokens = torch.full((len(pieces), longest), self.pad_id, dtype=torch.long)
        valid = torch.zeros((len(pieces), longest), dtype=torch.bool)
        for row, piece in enumerate(pieces):
            tokens[row, : len(piece)] = torch.tensor(piece)
            valid[row, : len(piece)] = True
        return self._forward(tokens.to(self.device), valid.to(self.device))

    @torch.inference_mode()
    def respond(
        self,
        logits: Float[Tensor, "rows vocabulary"],
        max_tokens: int,
        temperature: float,
        generators: Sequence[torch.Generator] | None,
    ) -> tuple[list[list[int]], list[bool]]:
        """Each row's response without its end token, and whether it ended by itself.

        `temperature` 0 is greedy. Otherwise a row draws from its own generator, so that its draws do not depend on
        the other rows. The last token of a response is in nobody's cache yet: the caller appends it with the next
        turn.
        """
        rows = logits.shape[0]
        responses: list[list[int]] = [[] for _ in range(rows)]
        ended = [False] * rows
        active = list(range(rows))
        for step in range(max_tokens):
            chosen = _choose(logits, temperature, generators, active).tolist()
            for row in active:
                if chosen[row] == self.end_id:
                    ended[row] = True
                else:
                    responses[row].append(chosen[row])
            active = [row for row in active if not ended[row]]
            if not active or step == max_tokens - 1:
                break
            tokens = torch.full((rows, 1), self.pad_id, dtype=torch.long)
            valid = torch.zeros((rows, 1), dtype=torch.bool)
            for row in active:
                tokens[row, 0] = chosen[row]
                valid[row, 0] = True
            logits = self._forward(tokens.to(self.device), valid.to(self.device))
        return responses, ended

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all rows but these."""
        index = torch.tensor(rows, device=self.device)
        self.mask, self.lengths = self.mask[index], self.lengths[index]
        self.cache.batch_select_indices(index)

    def _compact(self) -> None:
        """Closes the gaps of padding between a row's tokens once they make up a fifth of the cache.

        A step's cost grows with the columns of the cache, padding or not. Keys carry their positions, so a column may
        be moved as long as a row's order stays.
        """
        longest = int(self.lengths.max())
        if self.mask.shape[1] <= MAX_GAPS * longest:
            return
        columns = (~self.mask).long().argsort(dim=1, stable=True)[:, :longest]
        self.mask = self.mask.gather(1, columns)
        layers: list[Any] = self.cache.layers  # of a DynamicCache, whose layers all have keys and values
        for layer in layers:
            index = columns[:, None, :, None].expand(-1, layer.keys.shape[1], -1, layer.keys.shape[3])
            layer.keys, layer.values = layer.keys.gather(2, index), layer.values.gather(2, index)

    def _forward(
        self, tokens: Int[Tensor, "rows new"], valid: Bool[Tensor, "rows new"]
    ) -> Float[Tensor, "rows vocabulary"]:
        self.mask = torch.cat([self.mask, valid], dim=1)
        # Padding repeats the position of the token before it; nothing attends to it.
        positions = self.lengths[:, None] + valid.long().cumsum(dim=1) - 1
        self.lengths = self.lengths + valid.sum(dim=1)
        hidden = self.model.get_decoder()(
            input_ids=tokens,
            attention_mask=self.mask.long(),
            position_ids=positions.clamp(min=0),
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        last = (valid.sum(dim=1) - 1).clamp(min=0)
        return self.model.get_output_embeddings()(hidden[torch.arange(len(last)), last]).float()


def _choose(
    logits: Float[Tensor, "rows vocabulary"],
    temperature: float,
    generators: Sequence[torch.Generator] | None,
    active: Sequence[int],
) -> Int[Tensor, " rows"]:
    if temperature == 0:
        return logits.argmax(dim=-1)
    if generators is None:
        raise ValueError("sampling needs one generator a row")
    chosen = torch.zeros(logits.shape[0], dtype=torch.long)
    probabilities = torch.softmax(logits / temperature, dim=-1).cpu()
    for row in active:
        chosen[row] = torch.multinomial(probabilities[row], 1, generator=generators[row])[0]
    return chosen
