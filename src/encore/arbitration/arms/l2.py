"""The magnitude baseline of PRISM (table 4): explore where the global norm of the gradient is large."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, split


class Arm:
    label = "Gradient magnitude (L2)"
    needs = ("norms",)

    def split(self, ctx: Context) -> Split:
        return split(ctx.scores("l2"), ctx.rl_fraction)
