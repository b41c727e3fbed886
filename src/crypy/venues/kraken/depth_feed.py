"""Kraken's live order books as a `BookSource`; what makes a book whole is in `depth`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book_source import OnBook
from crypy.venues.kraken.capabilities import KRAKEN
from crypy.venues.kraken.feed import KRAKEN_PATIENCE
from crypy.venues.kraken.session import KrakenSession, Wanted
from crypy.venues.patience import Patience
from crypy.venues.stream_books import StreamBooks


class KrakenDepthFeed(StreamBooks):
    """The best `depth` levels a side of some pairs. The checksum proves ten of them: with more, a loss below shows later.

    Raises `ConfigError` for a depth that the venue does not have, and for what is no pair.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        symbols: Sequence[str],
        on_book: OnBook,
        *,
        random: np.random.Generator,
        stream_url: str = KRAKEN.stream_url,
        depth: int = KRAKEN.checksum_levels,
        patience: Patience = KRAKEN_PATIENCE,
    ) -> None:
        wanted = Wanted(symbols=tuple(symbols), intervals_s=(), depth=depth)
        session = KrakenSession(wanted, patience.answer_s, patience.resync_s)
        super().__init__(KRAKEN.venue, transport, clock, stream_url, session, on_book, patience, random)
