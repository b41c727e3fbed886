"""Where things are kept: the data folder that commands share."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder(chosen: Path | None) -> Path:
    """The folder named on the command line, else CRYPY_DATA_DIR, else one under the user's home."""
    if chosen is not None:
        return chosen
    if named := os.environ.get("CRYPY_DATA_DIR"):
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "share") / "crypy"
