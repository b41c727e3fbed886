"""Model artefacts on disk: a folder with `card.json` and one `.npy` file per array, written whole or not at all.

The card says what kind of model it is, which sequence it eats, what it was fitted on and how well, and carries the SHA-256
of each array file. Arrays are read with pickling off. (safetensors would do as well; it is no core dependency.)
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.marketdata.schema import FeatureSchema

FORMAT: Final = "crypy-model-1"
CARD: Final = "card.json"


class Metric(msgspec.Struct, frozen=True):
    """In-sample score of one symbol and horizon: mean negative log likelihood in nats over n overlapping origins."""

    symbol: str
    horizon_s: float
    n: int
    nll: float


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What an artefact says of itself.

    `fit_start_s` and `fit_end_s` bound the data that were used, both 0 for a model that has seen none. `data_fingerprint` is a
    SHA-256 over those data, `schema_fingerprint` one over the schema. `settings` are the kind's own.
    """

    format: str
    kind: str
    version: str
    schema: FeatureSchema
    schema_fingerprint: str
    fit_start_s: int
    fit_end_s: int
    data_fingerprint: str
    metrics: tuple[Metric, ...]
    settings: dict[str, int | float | str]
    arrays: dict[str, str] = {}


def write_artefact(path: Path, card: Card, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write beside the target, then rename: a reader sees the old folder or the new one, never half of either.

    Raises `DataError` when `path` is something else than an artefact folder.
    """
    if path.exists() and not (path / CARD).is_file():
        raise DataError(f"{path} exists and is not a model artefact; choose another folder or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        new = work / "new"
        new.mkdir()
        hashes = {name: _write(new / f"{name}.npy", _npy(array)) for name, array in arrays.items()}
        text = msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(card, arrays=hashes)), indent=1)
        _write(new / CARD, text)
        if path.exists():
            path.rename(work / "old")
        new.rename(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


# Made before any thread needs it: see `marketdata.trade_files`.
_CARD: Final = msgspec.json.Decoder(Card)


def read_card(path: Path) -> Card:
    """The card of an artefact folder. Raises `DataError` where there is none or it is not ours."""
    try:
        content = (path / CARD).read_bytes()
    except OSError as error:
        raise DataError(f"{path} is no model artefact: {CARD} cannot be read ({error.strerror})") from error
    try:
        card = _CARD.decode(content)
    except msgspec.DecodeError as error:
        raise DataError(f"{path / CARD} is damaged or foreign: {error}") from error
    if card.format != FORMAT:
        raise DataError(f"{path}: artefact of format {card.format!r}, this version reads {FORMAT!r}")
    if card.schema.fingerprint() != card.schema_fingerprint:
        raise DataError(f"{path}: the schema in the card is not the one that it was written with")
    return card


def read_arrays(path: Path, card: Card, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The arrays by name. Raises `DataError` naming the file that is missing, damaged or not an array."""
    return {name: _read(path / f"{name}.npy", card.arrays.get(name, "")) for name in names}


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> str:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, expected: str) -> NDArray[Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); fit or fetch the model again") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise DataError(f"{path} is not the file that the card names (SHA-256 differs); fit or fetch the model again")
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{path} holds no array: {error}") from error
