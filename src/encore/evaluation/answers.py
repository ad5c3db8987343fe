"""How well a model answers: loss of the reference answer and whether greedy decoding would give it, for every example.

Both come from one forward pass over question and reference. The most likely token is the reference's at every position
exactly where greedy decoding, fed its own output, would produce the reference token for token; so `exact` needs no
decoding. Another tokenisation of the same text counts as wrong, and so does a right answer in other words. Answers that
have to be searched in a longer text (a chain of thought) need decoding, which is not done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from encore.errors import UserError
from encore.gradients import batches
from encore.trajectories import Example


@dataclass(frozen=True)
class Answers:
    """In the order of the examples.

    Attributes:
        losses: mean cross-entropy of the response tokens, in nats.
        exact: 1 where greedy decoding gives the response with its end token, else 0.
        accuracy: share of the response tokens that are the most likely ones, given the reference before them.
        states: hidden state of the last layer at the last token, [examples, width]; empty unless asked for.
    """

    losses: Float[Tensor, " examples"]
    exact: Float[Tensor, " examples"]
    accuracy: Float[Tensor, " examples"]
    states: Float[Tensor, "examples width"]

    @property
    def likelihood(self) -> Float[Tensor, " examples"]:
        """exp(−loss): the geometric mean of the probabilities of the response tokens, between 0 and 1."""
        return torch.exp(-self.losses)


@torch.no_grad()
def score_answers(
    model: PreTrainedModel, examples: Sequence[Example], *, max_tokens: int = 4096, states: bool = False
) -> Answers:
    """Scores every example, at most `max_tokens` padded tokens a batch.

    Raises UserError for no examples, an example without a response token, or a loss that is not finite.
    """
    if not examples:
        raise UserError("there is no example to score")
    for example in examples:
        if not any(example.response_mask[1:]):
            raise UserError(f"example {example.id} has no response token to score: leave it out")
    was_training = model.training
    model.eval()
    losses, exact, accuracy = (torch.empty(len(examples)) for _ in range(3))
    kept: Tensor | None = None
    given = [(example.id, example.input_ids, example.response_mask) for example in examples]
    for batch in batches(given, max_tokens=max_tokens):
        tokens = batch["input_ids"].to(model.device)
        attended = batch["attention_mask"].to(model.device)
        output = model(input_ids=tokens, attention_mask=attended, use_cache=False, output_hidden_states=states)
        logits, labels = output.logits[:, :-1].float(), tokens[:, 1:]
        scored = batch["response_mask"][:, 1:].to(model.device).bool()
        entropy = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        places = torch.as_tensor(batch["order"])
        losses[places] = ((entropy * scored).sum(1) / scored.sum(1)).cpu()
        right = logits.argmax(-1) == labels
        exact[places] = (right | ~scored).all(1).float().cpu()
        accuracy[places] = ((right & scored).sum(1) / scored.sum(1)).cpu()
        if states:
            rows = torch.arange(len(tokens), device=model.device)
            found = output.hidden_states[-1][rows, attended.sum(1).long() - 1].float().cpu()
            kept = torch.empty(len(examples), found.shape[1]) if kept is None else kept
            kept[places] = found
    model.train(was_training)
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        raise UserError(f"the loss of example {examples[int(bad[0])].id} is not finite: the model has diverged")
    return Answers(losses, exact, accuracy, torch.empty(len(examples), 0) if kept is None else kept)
