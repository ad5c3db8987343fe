"""A control: at random within each task type, so that no type is favoured by either half."""

from encore.arbitration.context import Context
from encore.arbitration.splitting import Split, stratified


class Arm:
    label = "Random within task types"
    needs = ("task_types",)

    def split(self, ctx: Context) -> Split:
        return stratified(ctx.task_types, ctx.rl_fraction, ctx.generator("stratified_type"))
