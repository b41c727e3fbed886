"""What tuning may choose: the options of a kind of model, declared as data.

A space is a table of names and ranges. A name is `group.field`: `group` is an argument of the kind's `fit`, `field` a field of the settings
that it takes there; a name without a dot is an argument itself. The built-in kinds have their spaces here; any other kind
is tuned by a TOML file:

    ["trainer.learning_rate"]
    type = "real"
    low = 1e-4
    high = 1e-2
    log = true

    ["network.hidden"]
    type = "choice"
    of = [[128, 64], [256, 128]]
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from crypy.domain.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial


class Real(msgspec.Struct, frozen=True, tag="real", tag_field="type", forbid_unknown_fields=True):
    """A number between two others; `log` draws evenly in its logarithm."""

    low: float
    high: float
    log: bool = False


class Whole(msgspec.Struct, frozen=True, tag="whole", tag_field="type", forbid_unknown_fields=True):
    """A whole number between two others, both included."""

    low: int
    high: int
    log: bool = False


class Choice(msgspec.Struct, frozen=True, tag="choice", tag_field="type", forbid_unknown_fields=True):
    """One of these values; `Any`: whatever JSON can say, a list of layer sizes for one."""

    of: tuple[Any, ...]


Dimension = Real | Whole | Choice
Space = Mapping[str, Dimension]

SPACES: Final[dict[str, Space]] = {
    "volatility-baseline": {
        "settings.prior_strength": Real(0.03, 30.0, log=True),
        "settings.season_smoothing_s": Real(300.0, 5_400.0, log=True),
    },
    # One network a trial: an ensemble is better by much the same whatever is in it, and costs as many times the work.
    "skew-t-network": {
        "network.encoder": Choice(("segments", "lstm", "convolution", "recurrence")),
        "network.hidden": Choice(((128, 64), (256, 128), (512, 256), (256, 128, 64))),
        "network.dropout": Real(0.0, 0.5),
        "network.fade_from_s": Real(60.0, 3_600.0, log=True),
        "network.fade_to_s": Real(14_400.0, 172_800.0, log=True),
        "network.members": Choice((1,)),
        "trainer.learning_rate": Real(3e-4, 1e-2, log=True),
        "trainer.epochs": Whole(2, 8),
        "trainer.weight_decay": Real(1e-5, 1e-1, log=True),
    },
}


def space_of(kind: str, file: Path | None = None) -> Space:
    """The space in the file, else the built-in one of the kind. Raises `ConfigError` where neither is there or something in it is wrong."""
    if file is not None:
        return _checked(_read(file), str(file))
    if kind not in SPACES:
        raise ConfigError(
            f"{kind} has no built-in search space; write one as TOML and name it by --space (built in: {', '.join(SPACES)})"
        )
    return SPACES[kind]


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """A value of each name. Choices go through Optuna as JSON text, since it keeps numbers and text only."""
    values: dict[str, Any] = {}
    for name, dimension in space.items():
        match dimension:
            case Real(low, high, log):
                values[name] = trial.suggest_float(name, low, high, log=log)
            case Whole(low, high, log):
                values[name] = trial.suggest_int(name, low, high, log=log)
            case Choice(of):
                texts = [msgspec.json.encode(each).decode() for each in of]
                values[name] = msgspec.json.decode(trial.suggest_categorical(name, texts))
    return values


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"network.hidden": [64]}` as `{"network": {"hidden": [64]}}`, the form of a settings file."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        group, dot, field = name.partition(".")
        if dot:
            out.setdefault(group, {})[field] = value
        else:
            out[name] = value
    return out


def settings_toml(settings: Mapping[str, Any]) -> str:
    """Nested settings as TOML. Numbers, texts, truths and lists are written alike in JSON and TOML; raises `ConfigError` for anything else."""
    plain = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
    lines = [_toml_line(name, value) for name, value in plain.items()]
    for name, table in tables.items():
        lines += ["", f"[{_toml_key(name)}]", *(_toml_line(field, value) for field, value in table.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _toml_line(name: str, value: Any) -> str:
    return f"{_toml_key(name)} = {_toml_value(value)}"


def _toml_key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else _toml_value(name)


def _toml_value(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    if not _is_sayable(value):
        raise ConfigError(f"{text} cannot be written as a setting in TOML")
    # The one character that JSON leaves as it is and TOML does not allow.
    return text.replace("\x7f", "\\u007f")


def _is_sayable(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_sayable(each) for each in value)
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _read(file: Path) -> dict[str, Dimension]:
    try:
        return msgspec.convert(tomllib.loads(file.read_text("utf-8")), dict[str, Dimension])
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); --space names a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file} is no search space: {error}") from error


def _checked(space: Space, where: str) -> Space:
    if not space:
        raise ConfigError(f"{where} names nothing to choose")
    for name, dimension in space.items():
        match dimension:
            case Choice(of):
                wrong = "no values" if not of else ""
            case Real(low, high, log) | Whole(low, high, log):
                wrong = (
                    "low is not below high" if not low < high else "log needs low above 0" if log and low <= 0 else ""
                )
        if wrong or name.count(".") > 1:
            raise ConfigError(f"{where}, {name}: {wrong or 'a name has one dot at most'}")
    return space
