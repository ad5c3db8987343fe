"""Imitation of every example."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split


class Arm:
    name = "sft"
    label = "SFT"

    def skip(self, ctx: Context) -> str | None:
        return None

    def split(self, ctx: Context) -> Split:
        return Split(sft=list(range(ctx.n)))
