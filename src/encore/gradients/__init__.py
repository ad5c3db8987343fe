"""Per-example gradients at the price of a training step: norms of every matrix, projected features, and their store."""

from encore.gradients.frobenius import Probe, norms, probe
from encore.gradients.layout import batches
from encore.gradients.lora_features import features
from encore.gradients.projectors import Projector, Rademacher, Sparse, Whole
from encore.gradients.store import Store
from encore.gradients.workers import merge, run_workers, torchrun_shard, write_features, write_norms

__all__ = [
    "Probe",
    "Projector",
    "Rademacher",
    "Sparse",
    "Store",
    "Whole",
    "batches",
    "features",
    "merge",
    "norms",
    "probe",
    "run_workers",
    "torchrun_shard",
    "write_features",
    "write_norms",
]
