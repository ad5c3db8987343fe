"""The environments that ship with Encore, bound to params.yaml; importing this package registers them."""

from encore.tasks import alfworld, webshop

__all__ = ["alfworld", "webshop"]
