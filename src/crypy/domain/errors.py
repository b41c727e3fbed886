"""What can go wrong, and whose task it is to mend it.

CrypyError
├── ConfigError         the person at the keyboard can fix it; the message says how
├── DataError           missing, torn or contradictory data
│   ├── Incomplete      too little history for what was asked; says what is missing
│   ├── SchemaMismatch  arrays or files laid out otherwise than the reader needs
│   └── NotMonotonic    time or ids ran backwards
├── VenueError          the other side, or the road there
│   ├── Unavailable     may work later; `retry_after_s` says when, if the venue told
│   ├── Rejected        the venue said no; `code` is its own code
│   └── Unreadable      an answer that its own protocol does not allow
└── StateError          we broke our own rule: stop this agent, keep the evidence

Whether a call may be repeated is decided where the error is raised: `Unavailable` may be,
everything else may not. Nobody guesses it from the text.
"""

from __future__ import annotations


class CrypyError(Exception):
    """Root of everything crypy raises on purpose; its text is fit for the user's eyes."""


class ConfigError(CrypyError):
    """A setting or an argument is wrong; the message says which and how to mend it."""


class DataError(CrypyError):
    """Data are missing, torn or contradict themselves."""


class Incomplete(DataError):
    """Too little history for what was asked.

    `missing` names what is absent, one line each, such as "BTCUSDT: 3,600 s before 2025-01-01".
    """

    def __init__(self, message: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class SchemaMismatch(DataError):
    """Arrays or files are laid out otherwise than their reader needs."""


class NotMonotonic(DataError):
    """Time or ids ran backwards where they may not."""


class VenueError(CrypyError):
    """The other side failed, or the road to it."""


class Unavailable(VenueError):
    """The venue cannot answer now; the same call may be made again.

    `retry_after_s` is the wait the venue asked for, `None` where it named none.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Rejected(VenueError):
    """The venue understood and said no; `code` is the venue's own code for it."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Unreadable(VenueError):
    """The venue sent something that its own protocol does not allow."""


class StateError(CrypyError):
    """crypy broke a rule of its own: stop this agent and keep the evidence."""
