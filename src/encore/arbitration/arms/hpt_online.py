"""HPT as published (Lv et al. 2025, arXiv 2509.04419): every task is played, and those that the policy fails are
imitated instead, iteration by iteration (encore.training.agents.hpt). PRISM's table has the static halves of `hpt`."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split


class Arm:
    label = "HPT (online)"
    algorithm = "hpt"
    fixed_fraction = 1.0

    def split(self, ctx: Context) -> Split:
        return Split(rl=list(range(ctx.n)))
