"""A comparison as one static HTML file: no scripts, nothing loaded from anywhere, readable in light and dark.

The page is the template `page.html.j2` with the styles of `page.css`; Jinja escapes every value. Only the figures are
put in as markup, and they are made here.
"""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from encore.report import narrative, plots, tables
from encore.report.comparison import Comparison

HOW_TO_ADD = "one file with one class in the folder of the arms and its name in params.yaml, then dvc repro."


def render(comparison: Comparison) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("encore", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert environment.loader is not None
    css, _, _ = environment.loader.get_source(environment, "page.css")
    made = {table.id: table for table in tables.all_tables(comparison)}
    return environment.get_template("page.html.j2").render(
        meta=comparison.meta,
        css=Markup(css),
        run=narrative.what_was_run(comparison),
        verdict=narrative.verdict(comparison),
        caveat=narrative.caveat(comparison),
        tables=[made[name] for name in made if name != "results"],
        results=made.get("results"),
        figures=[(heading, Markup(svg)) for heading, svg in plots.interval_svgs(comparison)],
        how_to_add=comparison.meta.how_to_add or HOW_TO_ADD,
    )


def save(comparison: Comparison, path: Path | str) -> Path:
    """Writes the page to `path` in one step and returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(render(comparison), encoding="utf-8")
    return scratch.replace(path)
