"""Reinforcement learning on every task from the base, by GRPO (arXiv 2402.03300)."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split


class Arm:
    label = "GRPO"
    fixed_fraction = 1.0

    def split(self, ctx: Context) -> Split:
        return Split(rl=list(range(ctx.n)))
