"""A comparison as one static HTML file: no scripts, nothing loaded from anywhere, readable in light and dark.

The page is the template `page.html.j2` with the styles of `page.css`; Jinja escapes every value. Only the figures are
put in as markup, and they are made here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from encore.report import narrative, sections
from encore.report.cells import Table
from encore.report.comparison import Comparison

HOW_TO_ADD = "one file with one class in the folder of the arms and its name in params.yaml, then dvc repro."


def render(comparison: Comparison, layout: Sequence[sections.Section] | None = None) -> str:
    """The page as text; `layout` None: the default sections of any comparison."""
    environment = Environment(
        loader=PackageLoader("encore", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert environment.loader is not None
    css, _, _ = environment.loader.get_source(environment, "page.css")
    shown = sections.default(comparison) if layout is None else [section for section in layout if section]
    return environment.get_template("page.html.j2").render(
        meta=comparison.meta,
        css=Markup(css),
        run=narrative.what_was_run(comparison),
        verdict=narrative.verdict(comparison),
        caveat=narrative.caveat(comparison),
        sections=[
            {"table": section}
            if isinstance(section, Table)
            else {"figures": section, "svgs": [(heading, Markup(svg)) for heading, svg in section.items]}
            for section in shown
        ],
        how_to_add=comparison.meta.how_to_add or HOW_TO_ADD,
    )


def save(comparison: Comparison, path: Path | str, layout: Sequence[sections.Section] | None = None) -> Path:
    """Writes the page to `path` in one step and returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(render(comparison, layout), encoding="utf-8")
    return scratch.replace(path)
