"""Options of a kind of model out of plain data, as a settings file or a trial of tuning holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, get_args, get_type_hints

import msgspec

from crypy.domain.errors import ConfigError
from crypy.models.kinds import Kind


def typed_options(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword options for `kind.fit_on`: where `fit` takes a settings type, the table of that name becomes one.

    A class of the user's gets its options as they are. Raises `ConfigError` naming an option or field that the kind does not have, or a
    value that it cannot take.
    """
    if kind.own:
        return dict(values)
    hints = _hints(kind)
    for name, value in values.items():
        _require_known(kind, hints, name, tuple(value) if isinstance(value, dict) else ())
    return {name: _converted(kind, name, value, hints[name]) for name, value in values.items()}


def check_names(kind: Kind, names: Iterable[str]) -> None:
    """Raise `ConfigError` for a name `group.field` or `option` that the kind does not have, before anything is tried."""
    if kind.own:
        return
    hints = _hints(kind)
    for name in names:
        group, dot, field = name.partition(".")
        _require_known(kind, hints, group, (field,) if dot else ())


def _hints(kind: Kind) -> dict[str, Any]:
    """Types of the arguments of the kind's `fit`, without the dataset."""
    module, _, name = kind.fit.partition(":")
    try:
        hints = get_type_hints(getattr(import_module(module), name))
    except ModuleNotFoundError as error:
        if not kind.needs:
            raise
        raise ConfigError(
            f"{kind.name} needs {error.name}; install it with `pip install 'crypy[{kind.needs}]'`"
        ) from error
    return {name: hint for name, hint in hints.items() if name not in ("dataset", "return")}


def _require_known(kind: Kind, hints: Mapping[str, Any], name: str, used: tuple[str, ...]) -> None:
    if name not in hints:
        raise ConfigError(f"{kind.name} has no option {name!r}; it has {', '.join(sorted(hints)) or 'none'}")
    fields = [field for each in get_args(hints[name]) or (hints[name],) for field in _fields(each)]
    wrong = [field for field in used if fields and field not in fields]
    if wrong:
        raise ConfigError(f"{kind.name}: {name} has no field {wrong[0]!r}; it has {', '.join(fields)}")


def _converted(kind: Kind, name: str, value: Any, hint: Any) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{kind.name}: {name}: {error}") from error


def _fields(kind: Any) -> tuple[str, ...]:
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return getattr(kind, "__struct_fields__", ())
