"""The card of a direction model: in the schema its symbols and the length of its candles, in the settings its columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.schema import FeatureSchema
from crypy.models.artefact import Card, Runtime, read_card
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.volatility import FitRecord

_INPUTS: Final = "inputs"
_FINGERPRINT: Final = "inputs_fingerprint"


def direction_card(
    kind: str,
    version: str,
    inputs: DirectionInputs,
    settings: dict[str, Any],
    record: FitRecord,
    runtime: Runtime = "numpy",
) -> Card:
    """The card of a model of `kind`. Its schema has no blocks: the length of the candles forecast stands as the base step."""
    schema = FeatureSchema(inputs.symbols, inputs.timeframe_s, ())
    return Card(
        kind=kind,
        version=version,
        task="direction",
        schema=schema,
        schema_fingerprint=schema.fingerprint(),
        fit_start_s=record.start_s,
        fit_end_s=record.end_s,
        data_fingerprint=record.data_fingerprint,
        metrics=record.metrics,
        settings={
            **record.settings,
            **settings,
            _INPUTS: msgspec.to_builtins(inputs),
            _FINGERPRINT: inputs.fingerprint(),
        },
        runtime=runtime,
        seed=record.seed,
        made_us=record.made_us,
    )


def read_direction(path: Path, kinds: tuple[str, ...], version: str) -> tuple[Card, DirectionInputs]:
    """The card of a direction model of one of these kinds, and its inputs. Raises `DataError` for any other artefact."""
    card = read_card(path)
    if card.task != "direction" or card.kind not in kinds or card.version != version:
        raise DataError(
            f"{path} holds a {card.kind}-{card.version} that forecasts {card.task}, not a {' or '.join(kinds)} of version {version}"
        )
    try:
        inputs = msgspec.convert(card.settings.get(_INPUTS), DirectionInputs)
        inputs.require(str(card.settings.get(_FINGERPRINT)))
    except (msgspec.ValidationError, ConfigError, DataError) as error:
        raise DataError(f"{path}: the card's inputs are damaged or foreign: {error}") from error
    if (inputs.symbols, inputs.timeframe_s) != (card.schema.symbols, card.schema.base_step_s):
        raise DataError(f"{path}: the card's schema and its inputs name other symbols or another length of candles")
    return card, inputs


def read_settings(path: Path, card: Card, name: str, kind: type[Any]) -> Any:
    """A table of the card's settings as `kind`. Raises `DataError` where it cannot be one."""
    try:
        return msgspec.convert(card.settings.get(name), kind)
    except (msgspec.ValidationError, ConfigError) as error:
        raise DataError(f"{path}: the card's {name} settings are damaged or foreign: {error}") from error


def record_of(card: Card, own: tuple[str, ...] = ()) -> FitRecord:
    """The fit's record without what the model writes itself (`own`)."""
    record = FitRecord.of(card)
    kept = {name: value for name, value in record.settings.items() if name not in (_INPUTS, _FINGERPRINT, *own)}
    return FitRecord(
        record.start_s, record.end_s, record.data_fingerprint, record.metrics, kept, record.seed, record.made_us
    )
