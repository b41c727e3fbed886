"""Models of return distributions: the port, the volatility baseline, and artefacts on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crypy.models.port import Model


def load_model(path: Path | str) -> Model:
    """The model in an artefact folder, whatever its kind; the specification's `model_load`.

    Raises `DataError` naming what is foreign or damaged.
    """
    # Compiled code is imported by the call that needs it, not by `import crypy.models`.
    from crypy.models.loading import load

    return load(Path(path))
