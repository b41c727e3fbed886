"""The address of a store that is no folder: `s3://bucket/prefix?endpoint=https://storage.example`, `gs://...`, `az://...`.

Behind the question mark stand settings of the service that are no secrets. Credentials come from the environment or the machine's own
role, never from the address: an address ends up in files, logs and the list of processes. One that holds any is refused, and
no message repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from crypy.domain.errors import ConfigError

# What obstore calls them, and what they are for.
_SETTINGS: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset({"endpoint", "region", "virtual_hosted_style_request", "skip_signature"}),
    "gs": frozenset({"skip_signature"}),
    "az": frozenset({"endpoint", "account_name", "skip_signature"}),
    "memory": frozenset(),
}
_EXAMPLE: Final = "s3://bucket/prefix?endpoint=https://storage.example&region=eu-central-1"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is: `bucket` and `prefix` in the service of a `scheme`, and its `settings`. It holds no secret."""

    scheme: str
    bucket: str
    prefix: str
    settings: Mapping[str, str]

    @property
    def url(self) -> str:
        """The address without its settings."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/") if self.bucket else f"{self.scheme}:///"

    def __str__(self) -> str:
        endpoint = self.settings.get("endpoint")
        return f"{self.url} at {endpoint}" if endpoint else self.url


def parse_address(text: str) -> Address | Path:
    """The address of a store, or the folder where it is a path or `file://`.

    Raises `ConfigError` for one that cannot be, or that holds a secret, without repeating it.
    """
    if "://" not in text:
        return Path(text).expanduser()
    if "@" in unquote(text) or "#" in text:
        # Anywhere: the secret keys of S3 hold slashes, behind which nobody takes what follows for a password.
        raise _secret("a name or password")
    try:
        parts = urlsplit(text)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ConfigError(f"the store's address is none; write one such as {_EXAMPLE}") from None
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    known = _SETTINGS.get(parts.scheme)
    if known is None:
        raise ConfigError(
            f"no store lies at an address that begins with {parts.scheme}://; choose from {', '.join(f'{each}://' for each in _SETTINGS)}, file:// or a folder"
        )
    for name, value in given:
        if name not in known:
            raise _secret(name) if _is_secretive(name) else _unknown(parts.scheme, name)
        if name == "endpoint":
            _require_endpoint(value)
    if not parts.netloc and parts.scheme != "memory":
        raise ConfigError(f"the store's address names no bucket; write one such as {_EXAMPLE}")
    return Address(parts.scheme, parts.netloc, parts.path.strip("/"), dict(given))


def without_secrets(text: str) -> str:
    """An address fit for a message: what may be a secret is left out, also where it is no address that can be."""
    head, query = text.partition("#")[0].partition("?")[::2]
    scheme, found, rest = head.partition("://")
    if not found:
        return text if not query else f"{head}?…"
    place = f"{scheme}://{rest.rpartition('@')[2]}"
    shown = [part for part in query.split("&") if part.partition("=")[0] in ("region", "virtual_hosted_style_request")]
    hidden = bool(query) and len(shown) < query.count("&") + 1
    return "".join([place, "?" if query else "", "&".join([*shown, *(["…"] if hidden else [])])])


def _require_endpoint(value: str) -> None:
    try:
        parts = urlsplit(value)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(
            f"the endpoint in the store's address must begin with https:// or http://; write one such as {_EXAMPLE}"
        )


def _is_secretive(name: str) -> bool:
    return any(part in name.lower() for part in ("key", "secret", "token", "sig", "password", "credential"))


def _secret(what: str) -> ConfigError:
    return ConfigError(
        f"the store's address holds {what}, which belongs in no address: put credentials into the environment (such as "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) and change them where others may have read the address"
    )


def _unknown(scheme: str, name: str) -> ConfigError:
    known = ", ".join(sorted(_SETTINGS[scheme])) or "none"
    return ConfigError(f"the store's address has a setting {name!r} that {scheme}:// does not know; there are {known}")
