"""What the files of a shelf say they hold, read from their footers and remembered while they are the same."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from crypy.marketdata.shelf import Entry, Shelf
from crypy.marketdata.trade_facts import FileFacts
from crypy.marketdata.trade_files import facts_in_tail, footer_bytes

# A day of two million rows has a footer of 13 KB; what is longer is asked for a second time.
_TAIL_BYTES: Final = 16 << 10
_QUESTIONS_AT_ONCE: Final = 16


class FactsReader:
    """Facts of files of one shelf; a file is read again only when it was replaced."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._known: dict[str, tuple[Entry, FileFacts]] = {}

    def read(self, entry: Entry) -> FileFacts:
        """Raises `FileNotFoundError` where that version of the file is gone, `DataError` where it cannot be read."""
        known = self._known.get(entry.name)
        if known is None or known[0] != entry:
            known = self._known[entry.name] = (entry, self._read(entry))
        return known[1]

    def read_ahead(self, entries: Sequence[Entry]) -> None:
        """Read those that are not known yet, several at once where each would be a round trip; `read` tells what went wrong."""
        fresh = [entry for entry in entries if self._known.get(entry.name, (None,))[0] != entry]
        if not self._shelf.is_remote or len(fresh) < 2:
            return
        with ThreadPoolExecutor(_QUESTIONS_AT_ONCE) as pool:
            for done in [pool.submit(self.read, entry) for entry in fresh]:
                done.exception()

    def _read(self, entry: Entry) -> FileFacts:
        tail = self._shelf.tail(entry, _TAIL_BYTES)
        if footer_bytes(tail) > len(tail):
            tail = self._shelf.tail(entry, footer_bytes(tail))
        return facts_in_tail(tail, f"{self._shelf.place}/{entry.name}")
