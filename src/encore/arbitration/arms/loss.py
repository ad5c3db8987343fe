"""A control: explore where the base's loss on the demonstration is high, imitate where it is low.

PRISM explores what conflicts with what the base knows, and the plainest sign of a conflict is a high loss. If
concentration were loss in disguise, this arm would do as well without gradients; hence this direction.
"""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, split


class Arm:
    label = "Loss of the base"
    needs = ("losses",)

    def split(self, ctx: Context) -> Split:
        return split(ctx.losses, ctx.rl_fraction)
