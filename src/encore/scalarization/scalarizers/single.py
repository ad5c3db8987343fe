"""One reward alone, named by the parameter `reward`: GRPO on the perplexity (NOVER), on the entropy (EM), …"""

import torch
from torch import Tensor

from encore.scalarization.context import Context
from encore.scalarization.fixed import Fixed


class Scalarizer(Fixed):
    name = "single"
    label = "Single reward"
    parameters = ("reward",)

    def skip(self, context: Context) -> str | None:
        reward = context.parameters.get("reward")
        if reward in context.rewards:
            return None
        return f"needs the parameter 'reward' to be one of {', '.join(context.rewards)}, and it is {reward!r}"

    def vector(self, context: Context) -> Tensor:
        return torch.tensor([float(name == context.parameters["reward"]) for name in context.rewards])
