"""Model artefacts on disk: a folder with `card.json` and `arrays.safetensors`, written whole or not at all.

The card says what kind of model it is, which sequence it eats, what it was fitted on and how well, what serving needs, and carries the SHA-256
of the arrays. Nothing in either file can run. A model that holds others (a network its baseline, a mixture its members)
keeps each as an artefact of its own in a folder inside, and its card carries the SHA-256 of their cards.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec
import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors import numpy as tensors

from crypy import __version__
from crypy.domain.errors import DataError
from crypy.marketdata.schema import FeatureSchema

FORMAT: Final = "crypy-model-2"
CARD: Final = "card.json"
ARRAYS: Final = "arrays.safetensors"
# An axis whose length the reader leaves open.
ANY: Final = -1

Runtime = Literal["numpy", "jax"]
# What a model says: the distribution of returns, or the direction of the next candle.
Task = Literal["density", "direction"]


class Metric(msgspec.Struct, frozen=True):
    """In-sample score of one symbol and horizon: mean negative log likelihood in nats over n origins, which may overlap. Of directions it is the log
    loss of up, down and tie."""

    symbol: str
    horizon_s: float
    n: int
    nll: float


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What an artefact says of itself.

    `fit_start_s` and `fit_end_s` bound the data that were used, both 0 for a model that has seen none. `data_fingerprint` is a
    SHA-256 over those data, `schema_fingerprint` one over the schema, which names the symbols. `settings` are the kind's own. `runtime` is
    what serving needs beside NumPy and numba; `made_us` is 0 where nobody said when. Of a direction model (`task`) the schema has no blocks, and its base step
    is the length of the candles that are forecast: what it looks at stands in its settings. `arrays_sha256`, `parts` (name of the folder to
    the SHA-256 of its card) and `crypy_version` are filled in as it is written.
    """

    format: str = FORMAT
    kind: str
    version: str
    task: Task = "density"
    schema: FeatureSchema
    schema_fingerprint: str
    fit_start_s: int
    fit_end_s: int
    data_fingerprint: str
    metrics: tuple[Metric, ...]
    settings: dict[str, Any]
    runtime: Runtime = "numpy"
    seed: int = 0
    made_us: int = 0
    crypy_version: str = ""
    arrays_sha256: str = ""
    parts: dict[str, str] = {}


class Part(Protocol):
    """What can be kept inside an artefact: any `Model`."""

    def save(self, path: Path) -> None:
        """Write an artefact folder."""
        ...


class ArraySpec(msgspec.Struct, frozen=True):
    """What an array has to be: its shape, `ANY` where an axis is open, and its dtype. Its values are finite."""

    shape: tuple[int, ...]
    dtype: str = "float64"


def write_artefact(
    path: Path,
    card: Card | Callable[[tuple[Card, ...]], Card],
    arrays: Mapping[str, NDArray[Any]],
    parts: Mapping[str, Part] | None = None,
) -> None:
    """Write beside the target, then rename: a reader sees the old folder or the new one, never half of either.

    A card that depends on those of the parts is given as a function of them, in the order of `parts`.
    Raises `DataError` when `path` is something else than an artefact folder.
    """
    if path.exists() and not (path / CARD).is_file():
        raise DataError(f"{path} exists and is not a model artefact; choose another folder or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        new = work / "new"
        new.mkdir()
        found: dict[str, str] = {}
        for name, part in (parts or {}).items():
            part.save(new / name)
            found[name] = hashlib.sha256((new / name / CARD).read_bytes()).hexdigest()
        made = card if isinstance(card, Card) else card(tuple(read_card(new / name) for name in found))
        content = tensors.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        _write(new / ARRAYS, content)
        written = msgspec.structs.replace(
            made, arrays_sha256=hashlib.sha256(content).hexdigest(), parts=found, crypy_version=__version__
        )
        _write(new / CARD, msgspec.json.format(msgspec.json.encode(written), indent=1))
        if path.exists():
            path.rename(work / "old")
        new.rename(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Head(msgspec.Struct):
    format: str


# Made before any thread needs them: see `marketdata.trade_files`.
_HEAD: Final = msgspec.json.Decoder(_Head)
_CARD: Final = msgspec.json.Decoder(Card)


def read_card(path: Path) -> Card:
    """The card of an artefact folder. Raises `DataError` where there is none or it is not ours."""
    try:
        content = (path / CARD).read_bytes()
    except OSError as error:
        raise DataError(f"{path} is no model artefact: {CARD} cannot be read ({error.strerror})") from error
    try:
        # The format first: another one may have another card.
        found = _HEAD.decode(content).format
        if found != FORMAT:
            raise DataError(
                f"{path}: artefact of format {found!r}, this version reads {FORMAT!r}; fit or fetch the model again"
            )
        card = _CARD.decode(content)
    except msgspec.DecodeError as error:
        raise DataError(f"{path / CARD} is damaged or foreign: {error}") from error
    if card.schema.fingerprint() != card.schema_fingerprint:
        raise DataError(f"{path}: the schema in the card is not the one that it was written with")
    for name, expected in card.parts.items():
        _check_part(path / name, expected)
    return card


def require_kind(path: Path, card: Card, kind: str, version: str) -> None:
    """Raises `DataError` for an artefact of another kind or version."""
    if (card.kind, card.version) != (kind, version):
        raise DataError(f"{path} holds a {card.kind}-{card.version}, not a {kind}-{version}")


def require_parts(path: Path, card: Card, names: tuple[str, ...]) -> None:
    """Raises `DataError` where the card does not name exactly these parts."""
    if set(card.parts) != set(names):
        raise DataError(f"{path}: a {card.kind} has the parts {', '.join(names)}, its card names {sorted(card.parts)}")


def read_arrays(path: Path, card: Card, expected: Mapping[str, ArraySpec] | Sequence[str]) -> dict[str, NDArray[Any]]:
    """Exactly the arrays that are expected, their own copies; where names alone are given, of any shape in double precision.

    Raises `DataError` naming the file or the array that is missing, damaged, unexpected, of another shape or dtype, or not finite.
    """
    file = path / ARRAYS
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); fit or fetch the model again") from error
    if hashlib.sha256(content).hexdigest() != card.arrays_sha256:
        raise DataError(f"{file} is not the file that the card names (SHA-256 differs); fit or fetch the model again")
    try:
        found = tensors.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} holds no arrays: {error}") from error
    if set(found) != set(expected):
        missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
        raise DataError(f"{file}: missing are {missing or 'none'}, not expected are {extra or 'none'}")
    for name in expected:
        spec = expected[name] if isinstance(expected, Mapping) else None
        if wrong := _wrong(found[name], spec):
            raise DataError(f"{file}: {name} {wrong}")
    # Copied, for what safetensors hands out need not be aligned.
    return {name: np.array(found[name]) for name in expected}


def _wrong(array: NDArray[Any], spec: ArraySpec | None) -> str:
    """What is wrong with an array, empty for nothing."""
    spec = spec or ArraySpec((ANY,) * array.ndim)
    fits = array.ndim == len(spec.shape) and all(
        wanted in (ANY, have) for wanted, have in zip(spec.shape, array.shape, strict=True)
    )
    if not fits or array.dtype != np.dtype(spec.dtype):
        shape = tuple("any" if length == ANY else length for length in spec.shape)
        return f"is {array.dtype} of shape {array.shape}, expected {spec.dtype} of shape {shape}"
    return "" if np.isfinite(array).all() else "has values that are not finite"


def _check_part(path: Path, expected: str) -> None:
    try:
        content = (path / CARD).read_bytes()
    except OSError as error:
        raise DataError(f"{path}, a part of an artefact, cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise DataError(f"{path} is not the part that the card names (SHA-256 of its card differs)")


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
