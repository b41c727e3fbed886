"""What an object store's client says went wrong, in words for the person who can mend it.

The client's own text quotes requests and answers whole, and these may hold key names and signatures: of it only the status and the
service's code and sentence are taken over.
"""

from __future__ import annotations

import re
from typing import Final

from obstore.exceptions import (
    AlreadyExistsError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from crypy.domain.errors import ConfigError
from crypy.marketdata.shelf import ConflictError

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>\s*([\w.]{1,80})\s*</Code>")
_SENTENCE: Final = re.compile(r"<Message>\s*([^<]{1,200}?)\s*</Message>")
_AGAIN: Final = "nothing that was stored is lost, and the same command goes on where it stopped"

_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_SKEW: Final = ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture", "AuthenticationFailedClockSkew")
# Where a machine in the cloud is told its role's credentials (AWS, Google, Azure); elsewhere nobody answers there.
_ROLE_SERVERS: Final = (
    "/latest/api/token",
    "/latest/meta-data/",
    "169.254.170.2",
    "metadata.google.internal",
    "/metadata/identity/",
)
_NO_ANSWER: Final = (
    "error sending request",
    "Connect",
    "TimedOut",
    "timed out",
    "dns error",
    "connection closed",
    "body error",
)


def translated(place: str, name: str, fault: Exception) -> Exception:
    """The same fault as the `Shelf` port tells it; `name` is the file it was about.

    `FileNotFoundError` and `ConflictError` are for the writer or reader to act on; everything else is a `ConfigError`.
    """
    text = str(fault)
    status = _found(_STATUS, text)
    code = _found(_CODE, text)
    if any(word in text for word in _NO_BUCKET):
        return ConfigError(f"{place}: there is no such bucket; make it, or correct data.store")
    if isinstance(fault, FileNotFoundError):
        return FileNotFoundError(name)
    if isinstance(fault, AlreadyExistsError | PreconditionError) or status in ("409", "412"):
        return ConflictError(f"{place}/{name} was changed by another writer")
    if any(word in text for word in _SKEW):
        return ConfigError(
            f"{place}: refused, since this machine's clock is off by minutes; set the clock (`crypy doctor` shows by how much); {_AGAIN}"
        )
    if any(server in text for server in _ROLE_SERVERS):
        return ConfigError(
            f"{place}: no credentials were found; set those of the service in the environment (for s3:// AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY), or give this machine a role; {_AGAIN}"
        )
    told = _told(text, status, code)
    if isinstance(fault, PermissionDeniedError | UnauthenticatedError) or status in ("401", "403"):
        return ConfigError(
            f"{place}: access to {name} was denied{told}; these credentials must be allowed to list, read, write and delete there; {_AGAIN}"
        )
    if status.startswith("5") or status == "429":
        return ConfigError(f"{place}: the service failed again and again{told}; try later; {_AGAIN}")
    if any(word in text for word in _NO_ANSWER):
        return ConfigError(
            f"{place}: cannot be reached; see whether the address is right and the network is up; {_AGAIN}"
        )
    return ConfigError(f"{place}: {type(fault).__name__} at {name}{told}; {_AGAIN}")


def _told(text: str, status: str, code: str) -> str:
    """Status, code and sentence of the answer in brackets, as far as there are any."""
    sentence = _found(_SENTENCE, text)
    parts = [part for part in (status, code, sentence) if part]
    return f" ({' '.join(parts)})" if parts else ""


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group(1) if found else ""
