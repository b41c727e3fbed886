"""What `crypy model list` and `show` tell: the registry's versions, their stages by world, and one version whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from crypy.app.model.data import models_folder
from crypy.domain.times import US_PER_S, iso
from crypy.models.artefact import read_card
from crypy.training.registry import ModelVersion, Registry
from crypy.training.registry_journal import Entry
from crypy.training.shadow_record import read_record, record_path


def listed(data_dir: Path | None) -> list[dict[str, Any]]:
    """One row a version, in the order of registration; shipped ones first. Raises `DataError` for a journal that is damaged."""
    return [_row(one) for one in Registry(models_folder(data_dir)).versions().values()]


def shown(text: str, data_dir: Path | None) -> dict[str, Any]:
    """All of one version: its row, card, metrics, records as a shadow, and history. Raises `ConfigError` with the names there are."""
    registry = Registry(models_folder(data_dir))
    one = registry.find(text)
    card = read_card(one.folder)
    worlds = [world for world, stage in one.stages.items() if stage in ("shadow", "deployed", "retired", "demoted")]
    shadows = {world: read_record(record_path(registry.root, world, one.ref)) for world in worlds}
    return {
        **_row(one),
        "folder": str(one.folder),
        "fingerprint": one.fingerprint,
        "fit_start": _moment(card.fit_start_s * US_PER_S),
        "made": _moment(card.made_us),
        "runtime": card.runtime,
        "seed": card.seed,
        "crypy_version": card.crypy_version,
        "data_fingerprint": card.data_fingerprint,
        "settings": card.settings,
        "schema": msgspec.to_builtins(card.schema),
        "metrics": msgspec.to_builtins(card.metrics),
        "shadow": {world: msgspec.to_builtins(record) for world, record in shadows.items() if record.ran_s},
        "history": [_step(entry) for entry in one.entries],
    }


def _row(one: ModelVersion) -> dict[str, Any]:
    return {
        "model": one.ref,
        "kind": one.kind,
        "task": one.task,
        "symbols": list(one.symbols),
        "base_step_s": one.base_step_s,
        "fit_end": _moment(one.fit_end_s * US_PER_S),
        "shipped": one.is_shipped,
        "stages": dict(one.stages),
    }


def _step(entry: Entry) -> dict[str, Any]:
    return {
        "at": _moment(entry.at_us),
        "by": entry.by,
        "event": entry.event,
        "world": entry.world,
        "stage": entry.stage,
        "reasons": list(entry.reasons),
        "numbers": entry.numbers,
        "successor": entry.successor,
    }


def _moment(time_us: int) -> str | None:
    """`None` where nobody said when."""
    return iso(time_us) if time_us else None
