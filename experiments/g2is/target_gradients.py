"""Stage g2is.target_gradients: plain gradients of one target's validation rows at every checkpoint."""

from __future__ import annotations

from experiments import warm
from experiments.g2is import gradients
from experiments.options import arguments

PARAMS = gradients.PARAMS


def main() -> None:
    gradients.main(arguments(__doc__, "target").target)


if __name__ == "__main__":
    warm.delegate("experiments.g2is.target_gradients")
    main()
