"""Bybit's live order books as a `BookSource`; what makes a book whole is in `depth`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book_source import OnBook
from crypy.venues.bybit.capabilities import BYBIT, Category, venue_name
from crypy.venues.bybit.feed import BYBIT_PATIENCE
from crypy.venues.bybit.market import BybitSession
from crypy.venues.bybit.protocol import stream_url as url_of
from crypy.venues.bybit.protocol import topics
from crypy.venues.patience import Patience
from crypy.venues.stream_books import StreamBooks

DEPTH = 200


class BybitDepthFeed(StreamBooks):
    """The best `depth` levels a side of some symbols, proved by consecutive numbers. Raises `ConfigError` for a depth that the venue does not have."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        symbols: Sequence[str],
        on_book: OnBook,
        *,
        random: np.random.Generator,
        stream_url: str = BYBIT.stream_url,
        category: Category = "spot",
        depth: int = DEPTH,
        patience: Patience = BYBIT_PATIENCE,
    ) -> None:
        session = BybitSession(topics(symbols, (), depth=depth), patience.answer_s, patience.resync_s)
        url = url_of(stream_url, category)
        super().__init__(venue_name(category), transport, clock, url, session, on_book, patience, random)
