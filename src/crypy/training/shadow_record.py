"""How long a shadow has run in a world and how it did there: one small file a version, replaced whole, beside the registry's artefacts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from crypy.domain.errors import DataError


class ShadowScore(msgspec.Struct, frozen=True):
    """Returns scored at one symbol and horizon since the last start, mean gain over the model in use (nats) and its standard error."""

    symbol: str
    horizon_s: int
    n: int
    gain: float
    gain_se: float


class ShadowRecord(msgspec.Struct, frozen=True):
    """`ran_s` counts the seconds at which it stood beside a forecast, over all runs."""

    ran_s: int = 0
    scores: tuple[ShadowScore, ...] = ()


_RECORD: Final = msgspec.json.Decoder(ShadowRecord)


def record_path(root: Path, world: str, ref: str) -> Path:
    """Where the record of a version (`name:version`) lies under the registry's root."""
    return root / ".shadows" / world / f"{ref.replace(':', '-')}.json"


def read_record(path: Path) -> ShadowRecord:
    """An empty one where it never ran. Raises `DataError` for a file that is damaged."""
    try:
        return _RECORD.decode(path.read_bytes())
    except FileNotFoundError:
        return ShadowRecord()
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is damaged ({error}); remove it: the shadow's time is then counted anew") from None


def write_record(path: Path, record: ShadowRecord) -> None:
    """Replace it whole. Blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
