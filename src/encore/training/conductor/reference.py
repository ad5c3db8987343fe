"""The reference model: a copy of the policy that follows it every few steps (arXiv 2601.07208, appendix E.4)."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

FILE = "reference.pt"


class Reference:
    """A frozen copy of `policy`, to be made before a trainer changes the policy's forward.

    Args:
        every: steps between two synchronisations; 0: never.
        share: of the policy's weights in the reference after one; the rest stays as it was.
    """

    def __init__(self, policy: PreTrainedModel, every: int, share: float, temperature: float) -> None:
        self.model: PreTrainedModel = copy.deepcopy(policy).eval().requires_grad_(False)
        self.every, self.share = every, share
        add_fused_lm_head(self.model, temperature=temperature)

    def place(self, device: torch.device) -> None:
        """Whole on `device`, beside a policy that will be sharded; a reward may ask it when others do not.

        On a GPU in bfloat16, in which the policy computes too, unless a synchronisation takes up a share of the policy
        that bfloat16 might round to nothing.
        """
        less = device.type == "cuda" and self.share == 1
        moved: torch.nn.Module = self.model
        moved.to(device=device, dtype=torch.bfloat16 if less else None)

    @torch.no_grad()
    def follow(self, policy: PreTrainedModel, step: int) -> None:
        """Called after each step of the policy, counted from 1; synchronises after every `every`th.

        A sharded policy is gathered, a weight at a time: all processes have to call it.
        """
        if self.every and step % self.every == 0:
            for own, new in zip(self.model.parameters(), policy.parameters(), strict=True):
                whole = new.full_tensor() if hasattr(new, "full_tensor") else new
                own.lerp_(whole.to(own.dtype), self.share)

    def save(self, folder: Path) -> None:
        torch.save(self.model.state_dict(), folder / FILE)

    def restore(self, folder: Path) -> None:
        # Tied weights stand in the file twice and are one tensor here: they load as what they are.
        self.model.load_state_dict(torch.load(folder / FILE, map_location=self.model.device, weights_only=True))
