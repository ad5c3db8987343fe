"""Batches in, examples out: whatever layout a batch has, the engine sees examples, and lays them out itself.

A batch may be padded on the left, padded on the right, or packed (several examples in a row, told apart by
`position_ids` that start again at 0). All become right-padded rows. In a causal model no real position can see what
stands to its right, so right padding needs no attention mask: the fast causal kernel applies, and the result of an
example cannot depend on its neighbours, on the padding side, or on the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from encore.errors import UserError

Batch = Mapping[str, Any]
"""`input_ids`, `attention_mask`, `response_mask`: [rows, positions]; optionally `ids` (one name an example, row by
row), `position_ids` [rows, positions] (packed rows), `order` (place of each example in the caller's list)."""


@dataclass(frozen=True)
class Batching:
    """What suits a kind of device, by measurement.

    A batch is closed early when its padding would be more than `padding_share` of it, and costlier than one more batch,
    which takes as long as `padding_positions`.
    """

    tokens: int
    padding_share: float
    padding_positions: int


BATCHING = {"cpu": Batching(512, 0.03, 16), "cuda": Batching(8192, 0.1, 128)}
"""On a CPU small batches keep activations in its cache and cost little more each; an accelerator wants large ones."""


@dataclass(frozen=True)
class Example:
    """One token sequence; `response[t]` says that the token at `t` is to be predicted by the model."""

    id: str
    tokens: Int[Tensor, " positions"]
    response: Bool[Tensor, " positions"]
    place: int
    """Row of this example in results."""


@dataclass(frozen=True)
class Rows:
    """Right-padded examples, ready for one forward pass."""

    tokens: Int[Tensor, "examples positions"]
    scored: Bool[Tensor, "examples positions"]
    """True at `t` where the token at `t` is in the loss; never at t = 0, which nothing predicts."""
    places: Int[Tensor, " examples"]
    ids: tuple[str, ...]

    def to(self, device: torch.device) -> Rows:
        tokens, scored = self.tokens.to(device, non_blocking=True), self.scored.to(device, non_blocking=True)
        return Rows(tokens, scored, self.places, self.ids)


def batches(
    examples: Iterable[tuple[str, Sequence[int] | Tensor, Sequence[int] | Sequence[bool] | Tensor]],
    *,
    max_tokens: int | None = None,
    device: str | None = None,
) -> list[dict[str, Any]]:
    """Sorts `(id, input_ids, response_mask)` by length and pads neighbours together, longest batch first.

    Each batch holds at most `max_tokens` positions, padding included (one example longer than that is a batch of its
    own) and little of it padding, and carries `order`, by which `norms` and `features` put results back in the order of
    `examples`.

    Args:
        max_tokens: None: what suits the device.
        device: "cpu" or "cuda", where the model will run them; None: an accelerator if there is one.

    Raises:
        UserError: an example whose tokens and mask differ in length, or that is empty.
    """
    read = [_example(name, tokens, response, place) for place, (name, tokens, response) in enumerate(examples)]
    return [
        {
            "ids": list(rows.ids),
            "input_ids": rows.tokens,
            "attention_mask": rows.attended,
            "response_mask": rows.response,
            "order": rows.places,
        }
        for rows in (_pad(group) for group in _by_length(read, max_tokens, device))
    ]


def read_examples(given: Iterable[Batch]) -> list[list[Example]]:
    """The examples of every batch, in right-padded groups no larger than the batch they came in.

    Raises:
        UserError: tensors whose shapes differ, a hole in an attention mask, or packed positions that skip.
    """
    groups: list[list[Example]] = []
    seen = 0
    for number, batch in enumerate(given):
        examples = _unpack(batch, number, seen)
        seen += len(examples)
        rows, positions = batch["input_ids"].shape
        longest = max((len(example.tokens) for example in examples), default=0)
        if len(examples) * longest <= rows * positions:
            groups.append(examples)
        else:  # packed rows: right-padding them all to the longest would need more memory than the caller planned for
            groups.extend(_by_length(examples, rows * positions))
    places = [example.place for group in groups for example in group]
    if sorted(places) != list(range(len(places))):
        raise UserError("the `order` of the batches is not a permutation of the examples: pass every batch, once")
    return groups


def right_padded(examples: Sequence[Example]) -> Rows:
    """Stacks examples into rows; padding is token 0, which is never scored and never seen by a real position."""
    padded = _pad(examples)
    scored = padded.response.clone()
    scored[:, 0] = False
    return Rows(padded.tokens, scored, padded.places, padded.ids)


def validate(groups: Iterable[Sequence[Example]], *, context_length: int | None, vocabulary: int | None) -> None:
    """Refuses the first example that the model cannot score, by its id and with a fix, before any compute.

    Raises:
        UserError: no response token after position 0, more tokens than `context_length`, ids outside `vocabulary`.
    """
    for group in groups:
        for example in group:
            name, length = f"example {example.id}", len(example.tokens)
            if not bool(example.response[1:].any()):
                raise UserError(f"{name} has no response token after its first position: drop it or fix its mask")
            if context_length is not None and length > context_length:
                raise UserError(f"{name} has {length} tokens, and the context holds {context_length}: truncate it")
            low, high = int(example.tokens.min()), int(example.tokens.max())
            if vocabulary is not None and (low < 0 or high >= vocabulary):
                wrong = low if low < 0 else high
                raise UserError(
                    f"{name} has token id {wrong}, outside the vocabulary of {vocabulary}: wrong tokenizer?"
                )


@dataclass(frozen=True)
class _Padded:
    tokens: Int[Tensor, "examples positions"]
    attended: Bool[Tensor, "examples positions"]
    response: Bool[Tensor, "examples positions"]
    places: Int[Tensor, " examples"]
    ids: tuple[str, ...]


def _pad(examples: Sequence[Example]) -> _Padded:
    lengths = torch.tensor([len(example.tokens) for example in examples])
    pad = torch.nn.utils.rnn.pad_sequence
    return _Padded(
        tokens=pad([example.tokens for example in examples], batch_first=True),
        attended=torch.arange(int(lengths.max()))[None] < lengths[:, None],
        response=pad([example.response for example in examples], batch_first=True),
        places=torch.tensor([example.place for example in examples]),
        ids=tuple(example.id for example in examples),
    )


def _by_length(
    examples: Sequence[Example], max_tokens: int | None = None, device: str | None = None
) -> Iterator[list[Example]]:
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    suited = BATCHING.get(kind, BATCHING["cuda"])
    most = suited.tokens if max_tokens is None else max_tokens
    group: list[Example] = []
    tokens = 0
    for example in sorted(examples, key=lambda one: -len(one.tokens)):  # longest first: lack of memory shows at once
        positions = (len(group) + 1) * len((group or [example])[0].tokens)
        padding = positions - tokens - len(example.tokens)
        if group and (positions > most or padding > max(suited.padding_share * positions, suited.padding_positions)):
            yield group
            group, tokens = [], 0
        group.append(example)
        tokens += len(example.tokens)
    if group:
        yield group


def _example(
    name: object, tokens: Sequence[int] | Tensor, response: Sequence[int] | Sequence[bool] | Tensor, place: int
) -> Example:
    if len(tokens) != len(response):
        raise UserError(
            f"example {name} has {len(tokens)} tokens and a response mask of {len(response)}: they must be as long"
        )
    if len(tokens) == 0:
        raise UserError(f"example {name} is empty")
    return Example(str(name), torch.as_tensor(tokens, dtype=torch.long), torch.as_tensor(response).bool(), place)


def _unpack(batch: Batch, number: int, seen: int) -> list[Example]:
    missing = [key for key in ("input_ids", "response_mask") if key not in batch]
    if missing:
        raise UserError(f"batch {number} lacks {' and '.join(missing)}")
    tokens, response = batch["input_ids"].cpu().long(), batch["response_mask"].cpu().bool()
    attended = (
        batch["attention_mask"].cpu().bool() if batch.get("attention_mask") is not None else torch.ones_like(response)
    )
    positions = batch["position_ids"].cpu() if batch.get("position_ids") is not None else None
    for key, tensor in (("response_mask", response), ("attention_mask", attended), ("position_ids", positions)):
        if tensor is not None and tensor.shape != tokens.shape:
            raise UserError(f"batch {number}: {key} is {list(tensor.shape)}, input_ids is {list(tokens.shape)}")
    spans: list[tuple[Tensor, Tensor]] = []
    for row in range(len(tokens)):
        for span in _spans(
            attended[row], None if positions is None else positions[row], f"row {row} of batch {number}"
        ):
            spans.append((tokens[row, span], response[row, span]))
    ids = [str(name) for name in batch.get("ids", range(seen, seen + len(spans)))]
    order = batch.get("order", range(seen, seen + len(spans)))
    if len(ids) != len(spans) or len(order) != len(spans):
        raise UserError(f"batch {number} holds {len(spans)} examples, but {len(ids)} ids and {len(order)} places")
    for row, name in enumerate(ids if len(spans) == len(tokens) else []):
        if bool((response[row] & ~attended[row]).any()):
            raise UserError(
                f"example {name} marks padding as response: align its response mask with its attention mask"
            )
    return [Example(name, *span, int(place)) for name, span, place in zip(ids, spans, order, strict=True)]


def _spans(attended: Tensor, positions: Tensor | None, where: str) -> Iterator[slice]:
    """The examples of one row: one, or, where positions start again at 0, several."""
    real = attended.nonzero()[:, 0].tolist()
    if not real:
        raise UserError(f"{where} is all padding")
    first, last = real[0], real[-1] + 1
    if len(real) != last - first:
        raise UserError(f"{where}: the attention mask has a hole; an example is one unbroken run of tokens")
    if positions is None:
        yield slice(first, last)
        return
    inside = positions[first:last]
    starts = [first + int(start) for start in (inside == 0).nonzero()[:, 0]]
    if not starts or starts[0] != first:
        raise UserError(f"{where}: position_ids do not start at 0")
    for start, stop in zip(starts, [*starts[1:], last], strict=True):
        if not torch.equal(positions[start:stop], torch.arange(stop - start, dtype=positions.dtype)):
            raise UserError(
                f"{where}: position_ids skip between {start} and {stop}; they must count up from 0 in each example"
            )
        yield slice(start, stop)
