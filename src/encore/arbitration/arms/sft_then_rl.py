"""Imitation of every example, then RL on every task: in compute, the upper bound of PRISM's tables."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split


class Arm:
    label = "SFT-then-RL"
    fixed_fraction = 1.0
    overlap = True

    def split(self, ctx: Context) -> Split:
        everything = list(range(ctx.n))
        return Split(sft=everything, rl=everything)
