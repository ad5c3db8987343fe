"""PRISM (arXiv 2601.07224, section 2): imitate where gradients spread (low Gini), explore where they concentrate."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, split


class Arm:
    label = "PRISM Gini"
    needs = ("norms",)

    def split(self, ctx: Context) -> Split:
        return split(ctx.scores("gini"), ctx.rl_fraction)
