"""Per-example gradients at the price of a training step: norms of every matrix, projected features, and their store."""

from encore.gradients.layout import batches
from encore.gradients.frobenius import Probe, norms, probe

__all__ = ["Probe", "batches", "norms", "probe"]
