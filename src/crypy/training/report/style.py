"""How the report's pictures look: one style, light and dark out of the same drawing, the same bytes for the same numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from crypy.domain.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by colour-blind readers, and on white as on near-black. Markers and dashes say the same once more.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#a6761d")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)), (0, (3, 1)))
# Ink and paper of the drawing; in the SVG they are variables that the reader's theme sets.
INK: Final = "#1a1b1c"
FAINT: Final = "#b9babb"
BAND: Final = "#dcdddf"
_DARK: Final = {INK: "#e8e9ea", FAINT: "#55585c", BAND: "#3a3d41"}
_NAMES: Final = {INK: "--ink", FAINT: "--faint", BAND: "--band"}
_STYLE: Final[dict[str, Any]] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "crypy",
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing, and what it says to somebody who cannot see it. `name` is that of its file."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure


def require_drawing() -> None:
    """Raise `ConfigError` naming the extra where matplotlib is missing: to be asked before hours of evaluation."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ConfigError(f"a report needs {error.name}; install it with `pip install 'crypy[train]'`") from error
    del matplotlib


@contextmanager
def drawing() -> Generator[None]:
    """The style, for the drawings made inside. Raises `ConfigError` where matplotlib is missing."""
    require_drawing()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams |= _STYLE
        yield


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def line_style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the index-th line."""
    return {
        "color": colour(index),
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


def lay_out(figure: Figure) -> None:
    """Find everything its place, once for both formats: that is most of the work of a drawing."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def as_png(figure: Figure) -> bytes:
    """On white paper, whatever the theme: for mails and slides."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130, facecolor="white", metadata={"Software": None})
    return out.getvalue()


def as_svg(figure: Figure) -> bytes:
    """On no paper; ink follows the reader's light or dark theme. Texts stay texts."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode()
    for ink, name in _NAMES.items():
        text = re.sub(ink, f"var({name})", text, flags=re.IGNORECASE)
    light = ";".join(f"{name}:{ink}" for ink, name in _NAMES.items())
    dark = ";".join(f"{name}:{_DARK[ink]}" for ink, name in _NAMES.items())
    rules = f"<style>svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    # Behind the opening tag: the first one in the file that ends in '>' after '<svg'.
    start = text.index(">", text.index("<svg")) + 1
    return (text[:start] + rules + text[start:]).encode()
