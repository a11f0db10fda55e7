"""Writes a page: a jinja2 template that escapes all text, with its style and its pictures inside."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from ..errors import LoadtestError
from .page import Page

_NEEDED = ("jinja2", "matplotlib")


def add_html_option(parser: argparse._ActionsContainer) -> None:
    """Adds `--html FILE`."""
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page with pictures, readable offline")


def check_html_option(path: Path | None) -> None:
    """Before anything is measured.

    Raises:
        LoadtestError: the page could not be written.
    """
    if path is None:
        return
    if not path.absolute().parent.is_dir():
        raise LoadtestError(f"{path}: cannot be written: no such folder")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise LoadtestError(f"--html: needs {' and '.join(missing)}: pip install 'shelfscore[loadtest]'")


def render(page: Page) -> str:
    """As HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("loadtest.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Drawn by us, with the text in them escaped.
    pictures = [Markup(figure.svg) for figure in page.figures]  # noqa: S704
    template = environment.get_template("page.html.j2")
    html: str = template.render(page=page, figures=list(zip(page.figures, pictures, strict=True)))
    return html + "\n"


def write_page(path: Path | None, page: Page) -> None:
    """Writes it; nothing where no path is given.

    Raises:
        LoadtestError: it cannot be written.
    """
    if path is None:
        return
    try:
        path.write_text(render(page), encoding="utf-8")
    except OSError as error:
        raise LoadtestError(f"{path}: cannot be written: {error}") from None
