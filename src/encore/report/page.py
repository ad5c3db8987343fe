"""The page of every comparison: the template `page.html.j2` with the styles of `page.css`, in one file."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from encore.report.comparison import Meta


def fill(meta: Meta, **values: Any) -> str:
    """The page as text. Jinja escapes each of the template's `values` that is not `Markup`, and refuses a lack."""
    environment = Environment(
        loader=PackageLoader("encore", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert environment.loader is not None
    css, _, _ = environment.loader.get_source(environment, "page.css")
    return environment.get_template("page.html.j2").render(meta=meta, css=Markup(css), **values)
