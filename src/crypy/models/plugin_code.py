"""Where a data scientist's own model class is: an installed package's entry point, or a file that a person named.

Code is run only because a person installed it or named it, never because an artefact's card does: a folder from elsewhere could
name anything. So a file counts as known from the moment that it is named in this process.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

from crypy.domain.errors import ConfigError, DataError

GROUP: Final = "crypy.models"
_named: dict[str, Path] = {}


def is_file_kind(name: str) -> bool:
    """Whether a kind is written `file.py:Class`."""
    file, _, own = name.rpartition(":")
    return file.endswith(".py") and own.isidentifier()


def offered() -> dict[str, EntryPoint]:
    """Entry points of installed packages by name. Raises `ConfigError` where two packages use one name."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in found and point.value != found[point.name].value:
            raise ConfigError(
                f"two installed packages offer a kind of model named {point.name!r} ({found[point.name].value} and"
                f" {point.value}); uninstall one of them"
            )
        found[point.name] = point
    return found


def name_file(text: str) -> str:
    """Make `path/to/file.py:Class` known to this process; the kind's name, which has the file's name without its folder.

    Raises `ConfigError` where there is no such file or class, or it is no model.
    """
    path = Path(text.rpartition(":")[0])
    name = f"{path.name}:{text.rpartition(':')[2]}"
    if not path.is_file():
        raise ConfigError(f"there is no file {path}; a model of your own is named file.py:Class")
    _named[name] = path.resolve()
    class_of(name)
    return name


def class_of(kind: str) -> type[Any]:
    """The class that an entry point offers or a named file holds.

    Raises `DataError` for a file that nobody named in this process, `ConfigError` for code that cannot be used.
    """
    if is_file_kind(kind):
        if kind not in _named:
            raise DataError(
                f"this model is code of your own, {kind}, and nobody named that file here; write"
                f" {kind}@FOLDER in place of FOLDER, or install it as an entry point of the group {GROUP!r}"
            )
        found = _from_file(_named[kind], kind)
    else:
        point = offered().get(kind)
        if point is None:
            raise DataError(
                f"no installed package offers a kind of model named {kind!r}; install the one that it is from"
            )
        found = _from_package(point.value, kind)
    return _checked(found, kind)


def code_hash(kind: str) -> str:
    """SHA-256 of the file that holds the class; empty for an entry point, whose package has a version."""
    return hashlib.sha256(_named[kind].read_bytes()).hexdigest() if kind in _named else ""


def _from_package(value: str, kind: str) -> Any:
    module, _, name = value.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the kind of model {kind!r} is offered as {value}, which cannot be loaded: {error}"
        ) from error


def _from_file(path: Path, kind: str) -> Any:
    content = path.read_bytes()
    # One module for each content: an edited file is a new one, and classes keep their identity until then.
    name = f"crypy_own_{hashlib.sha256(str(path).encode() + content).hexdigest()[:16]}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{path} is no Python file")
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise ConfigError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    wanted = kind.rpartition(":")[2]
    found = getattr(sys.modules[name], wanted, None)
    if found is None:
        raise ConfigError(f"{path} holds no {wanted!r}")
    return found


def _checked(found: Any, kind: str) -> type[Any]:
    if not inspect.isclass(found):
        raise ConfigError(
            f"{kind} is not a class; a model is a class with fit(dataset) and predict(features, horizons)"
        )
    lacking = [name for name in ("fit", "predict") if not callable(getattr(found, name, None))]
    if lacking:
        raise ConfigError(
            f"{kind} has no {' and no '.join(lacking)}; a model is a class with fit(dataset) and predict(features, horizons)"
        )
    return found
