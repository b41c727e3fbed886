"""What a person means by a model's name: a kind to be fitted, or a model that is fitted already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crypy.app.data.stores import Place
from crypy.app.model.data import models_folder
from crypy.models.artefact import read_card
from crypy.models.kinds import Kind, kind_of, kinds
from crypy.models.loading import load
from crypy.models.plugin_code import is_file_kind
from crypy.models.port import Model
from crypy.training.registry import Registry, card_fingerprint


@dataclass(frozen=True, slots=True)
class Named:
    """`what` is the kind or the model; `fit_end_s` and `fingerprint` (of its card) are the model's, 0 and empty for a kind."""

    name: str
    kind: str
    what: Kind | Model
    fit_end_s: int = 0
    fingerprint: str = ""


def named(text: str, place: Place) -> Named:
    """A kind, `file.py:Class`, an artefact's folder (`file.py:Class@folder` where its code is a file), or NAME or NAME:VERSION of the registry.

    Raises `ConfigError` for a name that nothing has, `DataError` for an artefact that cannot be read.
    """
    if is_file_kind(text) or text in kinds():
        kind = kind_of(text)
        return Named(kind.name, kind.name, kind)
    folder = Path(text.rpartition("@")[2])
    if folder.is_dir():
        model = load(Path(text))
        card = read_card(folder)
        return Named(text, card.kind, model, card.fit_end_s, card_fingerprint(folder))
    registry = Registry(models_folder(place.data_dir))
    found = registry.find(text)
    return Named(found.ref, found.kind, registry.load(found), found.fit_end_s, found.fingerprint)
