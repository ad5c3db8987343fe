"""The control: halves of the same sizes as any score without ties would give, drawn at random by the seed."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, split


class Arm:
    label = "Random"

    def split(self, ctx: Context) -> Split:
        return split(ctx.generator("random").permutation(ctx.n), ctx.rl_fraction)
