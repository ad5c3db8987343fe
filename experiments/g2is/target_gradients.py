"""Stage g2is.target_gradients: plain gradients of one target's validation rows at every checkpoint."""

from __future__ import annotations

from experiments.g2is import gradients
from experiments.options import arguments

PARAMS = gradients.PARAMS


if __name__ == "__main__":
    gradients.main(arguments(__doc__, "target").target)
