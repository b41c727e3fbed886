"""The settings of a training run: made of what a person named, and told to a checkpoint, which goes on only with the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import jax
import msgspec
import numpy as np

from crypy.domain.errors import ConfigError
from crypy.marketdata.schema import Block
from crypy.models.dataset import Dataset
from crypy.models.network.settings import NetworkSettings
from crypy.models.volatility import VolatilityBaseline
from crypy.training.trainer_settings import TrainerSettings

# Raised when a step computes something else than before: checkpoints of the old way are refused then.
_VERSION: Final = "1"


def network_settings(step_s: int, changes: Mapping[str, Any]) -> NetworkSettings:
    """What is usual for bars of this step, with some fields changed. Raises `ConfigError` naming a field that is not there or cannot be so."""
    known = NetworkSettings.__struct_fields__
    if wrong := [name for name in changes if name not in known]:
        raise ConfigError(f"a network has no setting {wrong[0]!r}; it has {', '.join(known)}")
    try:
        blocks = msgspec.convert(changes.get("blocks", ()), tuple[Block, ...])
        usual = _usual(step_s, blocks)
        return msgspec.convert({**msgspec.to_builtins(usual), **changes}, NetworkSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"network settings: {error}") from error


def _usual(step_s: int, blocks: tuple[Block, ...]) -> NetworkSettings:
    """What is usual for bars of this step; where nothing is, but blocks are named, the fields' own defaults."""
    try:
        return NetworkSettings.for_step(step_s, **({"blocks": blocks} if blocks else {}))
    except ConfigError:
        if not blocks:
            raise
        return NetworkSettings(blocks=blocks)


def described(
    dataset: Dataset, baseline: VolatilityBaseline, network: NetworkSettings, trainer: TrainerSettings
) -> dict[str, str]:
    """What a run depends on, by name: a checkpoint of it can be taken up only where all of this is the same."""
    told = {f"network.{name}": value for name, value in msgspec.to_builtins(network).items()}
    told |= {
        f"trainer.{name}": value
        for name, value in msgspec.to_builtins(trainer).items()
        # How often work is saved, and where inputs are kept, changes no bit.
        if name not in ("checkpoint_s", "checkpoint_steps", "keep_mb")
    }
    facts = {
        "version": _VERSION,
        "jax": jax.__version__,
        "devices": f"{jax.device_count()} {jax.devices()[0].platform}",
        "data": dataset.fingerprint(),
        "baseline": _fingerprint(baseline),
        "origins": f"every {dataset.spacing_s} s, {dataset.offset_s} s late",
    }
    return facts | {name: msgspec.json.encode(value).decode() for name, value in told.items()}


def _fingerprint(baseline: VolatilityBaseline) -> str:
    """SHA-256 over its coefficients: one that is handed in is no function of the data and settings."""
    digest = hashlib.sha256(baseline.horizons_s.tobytes())
    for symbol, row in baseline.coefficients.items():
        digest.update(f"{symbol} {row.level} {row.level_variance}".encode())
        for table in (
            row.weights,
            row.constant,
            row.season_gain,
            row.skew,
            row.tail,
            row.season.utc,
            row.season.new_york,
        ):
            digest.update(np.ascontiguousarray(table).tobytes())
    return digest.hexdigest()
