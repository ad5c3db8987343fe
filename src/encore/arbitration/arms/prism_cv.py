"""PRISM (arXiv 2601.07224, section 2): imitate where gradients spread (low coefficient of variation of
the norms), explore where they concentrate."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, split


class Arm:
    label = "PRISM CV"
    needs = ("norms",)

    def split(self, ctx: Context) -> Split:
        return split(ctx.scores("cv"), ctx.rl_fraction)
