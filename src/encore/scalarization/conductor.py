"""The Conductor of MAESTRO (arXiv 2601.07208): a linear head that reads a response's hidden state and weighs rewards.

Equation 1: pi(. | h) = softmax((W h + b) / tau), with a learned temperature tau; "we enforce a minimum probability
constraint and renormalize" (appendix E.1). In training an action, one of the K rewards, is drawn from pi for every
response. How the action becomes weights the paper does not say; `weights` offers a line between its two readings.

Free choices, as the paper leaves them open: tau = exp(log_temperature) with a floor, since nothing else keeps it from
0; all parameters start at 0, so that pi starts uniform.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from encore.errors import UserError


class Conductor(nn.Module):
    """Probabilities of K rewards for each response, and the loss that they are learned by.

    Args:
        hidden_size: length of a hidden state.
        rewards: K.
        min_probability: no probability is less before renormalisation (Table 8: 1e-4).
        min_temperature: floor of the learned temperature.
    """

    def __init__(
        self, hidden_size: int, rewards: int = 5, min_probability: float = 1e-4, min_temperature: float = 0.05
    ) -> None:
        super().__init__()
        if hidden_size < 1 or rewards < 2:
            raise UserError(
                f"a Conductor of {rewards} rewards over {hidden_size} numbers: it weighs at least 2 rewards"
            )
        if not 0 < min_probability < 1 / rewards:
            raise UserError(
                f"min_probability is {min_probability}: with {rewards} rewards, choose one in (0, 1/{rewards})"
            )
        if not 0 < min_temperature <= 1:
            raise UserError(f"min_temperature is {min_temperature}: it is above 0 and at most 1, where training starts")
        self.min_probability, self.min_temperature = min_probability, min_temperature
        self.weight = nn.Parameter(torch.zeros(rewards, hidden_size))
        self.bias = nn.Parameter(torch.zeros(rewards))
        self.log_temperature = nn.Parameter(torch.zeros(()))

    @property
    def temperature(self) -> Float[Tensor, ""]:
        return self.log_temperature.exp().clamp(min=self.min_temperature)

    def unbounded(self, h: Float[Tensor, "... hidden"]) -> Float[Tensor, "... K"]:
        """pi(. | h) before the minimum probability."""
        logits = nn.functional.linear(h.to(self.weight.dtype), self.weight, self.bias)
        return torch.softmax(logits / self.temperature, dim=-1)

    def probabilities(self, h: Float[Tensor, "... hidden"]) -> Float[Tensor, "... K"]:
        """pi(. | h): at least `min_probability` each, renormalised (so an entry may end slightly below it)."""
        bounded = self.unbounded(h).clamp(min=self.min_probability)
        return bounded / bounded.sum(dim=-1, keepdim=True)

    @torch.no_grad()
    def sample(self, h: Float[Tensor, "batch hidden"], generator: torch.Generator) -> Int[Tensor, " batch"]:
        """An action for each response, drawn on its own: 0 to K - 1.

        `generator` is a CPU generator, wherever `h` lies: its draws are then the same on every machine.
        """
        cumulated = self.probabilities(h).double().cumsum(dim=-1)
        uniforms = torch.rand(len(h), 1, generator=generator, dtype=torch.float64).to(cumulated.device)
        return (cumulated < uniforms * cumulated[:, -1:]).sum(dim=-1).clamp(max=self.bias.numel() - 1)

    def weights(
        self, h: Float[Tensor, "batch hidden"], action: Int[Tensor, " batch"], alpha: float
    ) -> Float[Tensor, "batch K"]:
        """w(h, a) = (1 - alpha) pi(. | h) + alpha e_a: `alpha` 1 is the drawn reward alone, 0 is pi itself."""
        chosen = nn.functional.one_hot(action, self.bias.numel()).to(self.weight.dtype)
        return (1 - alpha) * self.probabilities(h) + alpha * chosen

    def loss(
        self,
        h: Float[Tensor, "batch hidden"],
        actions: Int[Tensor, " batch"],
        advantages: Float[Tensor, " batch"],
        entropy_coefficient: float = 1e-3,
        gradient_through: Literal["bounded", "unbounded"] = "bounded",
    ) -> Float[Tensor, ""]:
        """L_meta + L_ent (equations 5 and 6): REINFORCE on each response's own group-relative advantage.

        -mean(A log pi(a | h)) - entropy_coefficient * mean(H(pi(. | h))), advantages taken as constants.
        `gradient_through` says which pi: the one drawn from, whose entries at the minimum have no gradient, or the
        softmax before the minimum.
        """
        if gradient_through == "bounded":
            logprobs = self.probabilities(h).log()
        else:
            logprobs = torch.log_softmax(
                nn.functional.linear(h.to(self.weight.dtype), self.weight, self.bias) / self.temperature, dim=-1
            )
        taken = logprobs.gather(-1, actions[:, None])[:, 0]
        entropy = -(logprobs.exp() * logprobs).sum(dim=-1)
        return -(advantages.detach().to(taken.dtype) * taken).mean() - entropy_coefficient * entropy.mean()

    @torch.no_grad()
    def keep_bounds(self) -> None:
        """Puts a temperature that a step brought below its floor back on it, where its gradient is not cut off."""
        self.log_temperature.clamp_(min=math.log(self.min_temperature))
