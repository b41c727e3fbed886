"""The catalogue of indicators, and features as JSON: `{"feature": "close_position", "window": 15}`, with nested ones where a feature is made of others.

Model artefacts keep these specs, so what a name and its parameters mean never changes: another formula gets another name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any, Final

from crypy.domain.errors import ConfigError
from crypy.features import indicators
from crypy.features.feature import Feature, kind_of
from crypy.features.store import FeatureStore

_KIND: Final = "feature"
_DEEPEST: Final = 32
Spec = dict[str, Any]  # of str, int, float, bool and Spec

CATALOGUE: Final[Mapping[str, type[Feature]]] = {
    kind_of(one): one for one in (getattr(indicators, name) for name in indicators.__all__)
}


def spec_of(feature: Feature) -> Spec:
    """The feature as JSON can hold it, every parameter named."""
    return {_KIND: kind_of(type(feature))} | {one.name: _told(getattr(feature, one.name)) for one in fields(feature)}


def feature_of(spec: object, catalogue: Mapping[str, type[Feature]] = CATALOGUE) -> Feature:
    """The feature of a spec; parameters left out have their defaults.

    Raises `ConfigError` for what is no spec, an unknown feature or column, and an unknown, absent or wrong parameter.
    """
    feature = _read(spec, catalogue, 0)
    FeatureStore([feature])
    return feature


def _told(value: object) -> object:
    return spec_of(value) if isinstance(value, Feature) else value


def _read(spec: object, catalogue: Mapping[str, type[Feature]], depth: int) -> Feature:
    if depth > _DEEPEST:
        raise ConfigError(f"a feature is made of features at most {_DEEPEST} deep")
    if not isinstance(spec, Mapping) or not isinstance(spec.get(_KIND), str):
        raise ConfigError(f'a feature is an object such as {{"{_KIND}": "log_return", "lag": 5}}, not {spec!r}')
    kind = spec[_KIND]
    if kind not in catalogue:
        raise ConfigError(f"there is no feature {kind!r}{_near(kind, catalogue)}")
    known = {one.name: one for one in fields(catalogue[kind])}
    given = {
        name: _read(value, catalogue, depth + 1) if isinstance(value, Mapping) else value
        for name, value in spec.items()
        if name != _KIND
    }
    for name in given:
        if name not in known:
            has = f"; it has {', '.join(known)}" if known else "; it has none"
            raise ConfigError(f"{kind} has no parameter {name!r}{has}")
    absent = [one.name for one in known.values() if one.name not in given and _required(one)]
    if absent:
        raise ConfigError(f"{kind} needs {', '.join(absent)}")
    return catalogue[kind](**given)


def _required(field: Any) -> bool:  # dataclasses.Field of any type
    return field.default is MISSING and field.default_factory is MISSING


def _near(kind: str, catalogue: Mapping[str, type[Feature]]) -> str:
    near = get_close_matches(kind, catalogue, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(catalogue))}"
