"""The inverse of PRISM (figure 3): imitate where gradients concentrate. Ties and the odd example go to SFT here too, so
that both arms imitate as many examples."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, split


class Arm:
    name = "prism_high"
    label = "Inverse (high half)"

    def skip(self, ctx: Context) -> str | None:
        return ctx.missing("norms")

    def split(self, ctx: Context) -> Split:
        return split(-ctx.scores("gini"), ctx.rl_fraction)
