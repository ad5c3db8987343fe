"""The inverse of PRISM (figure 3): imitate where gradients concentrate by kurtosis, explore where they spread."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, inverse


class Arm:
    label = "Inverse Kurtosis"
    needs = ("norms",)

    def split(self, ctx: Context) -> Split:
        return inverse(ctx.scores("kurtosis"), ctx.rl_fraction)
