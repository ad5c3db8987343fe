"""The environments that ship with Encore, bound to params.yaml; importing this package registers them."""

from encore.tasks import alfworld

__all__ = ["alfworld"]
