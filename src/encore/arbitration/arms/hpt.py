"""HPT (Lv et al. 2025, arXiv 2509.04419) as a static split: explore what the base solves most, imitate the rest.

PRISM lists HPT with halves and does not say how. The reading taken: the pass rate of a few episodes of the base on each
task, the upper half to RL (HPT's direction: RL where P > gamma), ties broken at random by the seed. A weak base fails
most tasks alike, so that much of this split may be chance; `hpt_online` is the method as published.
"""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, ranks, split


class Arm:
    label = "HPT"
    needs = ("pass_rates",)

    def split(self, ctx: Context) -> Split:
        return split(ranks(ctx.pass_rates, ctx.generator("hpt")), ctx.rl_fraction)
