"""Draws a picture as one `svg` element whose text and colours are the page's: readable on light and dark ground.

The same picture is always the same bytes. No pyplot: nothing is shared between pictures.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

INK, FAINT = "#000001", "#000002"
SERIES = ("#000003", "#000004", "#000005", "#000006", "#000007", "#000008")
# Colours that stand for variables of the page's style, as matplotlib knows no variables.
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)
}
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.01,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 8,
    "lines.linewidth": 1.3,
    "text.color": INK,
    "text.parse_math": False,  # a name with dollar signs is a name
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's colours
    "svg.hashsalt": "loadtest",
}
_WIDTH_IN, _PANEL_IN, _FRAME_IN = 8.6, 1.6, 0.7
_FRACTION = re.compile(r"-?\d+\.\d+")
_COLOUR = re.compile(r"#00000[1-8]")
_FONT = re.compile(r"font-family:[^;]*;?|font: (\d+)px [^;]*;?")


def draw(panels: int, paint: Callable[[Sequence[Any]], None], text: str, *, panel_in: float = _PANEL_IN) -> str:
    """The picture.

    Args:
        panels: axes above one another, which share the x axis.
        paint: draws on them, the first on top.
        text: what it shows, for readers who do not see it.
        panel_in: height of a panel, inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks is measured as boxes; the page has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(_WIDTH_IN, _FRAME_IN + panels * panel_in), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0].tolist())
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    return _for_the_page(buffer.getvalue(), text)


def log_milliseconds(axis: Any, label: str = "") -> None:
    """Gives a logarithmic axis, once all is drawn on it, plain numbers: 1, 2 and 5 of each power of ten if few fit."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    if label:
        axis.set_label_text(label)


def _for_the_page(drawn: bytes, text: str) -> str:
    root = ElementTree.fromstring(drawn)  # noqa: S314 - drawn by us a moment ago
    # On a page with several pictures an id must say whose it is.
    prefix = f"p{hashlib.sha256(drawn).hexdigest()[:8]}-"
    used = {value.rpartition("#")[2].rstrip(")") for element in root.iter() for value in _links(element)}
    for parent in list(root.iter()):
        for child in list(parent):
            # Their rules and notes would be the whole page's.
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        for name, value in attributes.items():
            if name == "id":
                attributes[name] = prefix + value
            elif value.startswith(("#", "url(#")):
                attributes[name] = value.replace("#", f"#{prefix}", 1)
        if "d" in attributes:
            attributes["d"] = " ".join(_FRACTION.sub(_shorter, attributes["d"]).split())
        if "style" in attributes:
            unfonted = _FONT.sub(lambda found: f"font-size: {found[1]}px;" if found[1] else "", attributes["style"])
            attributes["style"] = _COLOUR.sub(lambda found: _VARIABLES[found[0]], unfonted)
        for name in ("text", "tail"):
            # Indentation, which is a third of the bytes.
            if not (getattr(element, name) or "").strip():
                setattr(element, name, None)
        element.attrib.clear()
        element.attrib.update(attributes)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": text})
    return ElementTree.tostring(root, encoding="unicode")


def _links(element: ElementTree.Element) -> list[str]:
    """What it refers to."""
    return [value for value in element.attrib.values() if value.startswith(("#", "url(#"))]


def _shorter(found: re.Match[str]) -> str:
    return f"{float(found[0]):.1f}".removesuffix(".0")
