"""Reinforcement learning on every task from the base, by GiGPO (arXiv 2505.10978): steps have groups of their own."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split


class Arm:
    label = "GiGPO"
    algorithm = "gigpo"
    fixed_fraction = 1.0

    def split(self, ctx: Context) -> Split:
        return Split(rl=list(range(ctx.n)))
