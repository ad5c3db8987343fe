"""`random` with another draw for the same seed: how far random splits lie apart under one training seed."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, split


class Arm:
    label = "Random, second draw"

    def split(self, ctx: Context) -> Split:
        return split(ctx.generator("random_2").permutation(ctx.n), ctx.rl_fraction)
