"""The control: halves of the same sizes as any score without ties would give, drawn at random by the arm's seed."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, split


class Arm:
    name = "random"
    label = "Random"

    def skip(self, ctx: Context) -> str | None:
        return None

    def split(self, ctx: Context) -> Split:
        return split(ctx.random.permutation(ctx.n), ctx.rl_fraction)
