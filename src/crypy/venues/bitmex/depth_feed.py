"""BitMEX's live order books as a `BookSource`, quantities in contracts; what makes a book whole is in `depth`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crypy.domain.ports import Clock, Transport
from crypy.marketdata.book_source import OnBook
from crypy.venues.bitmex.capabilities import BITMEX
from crypy.venues.bitmex.feed import BITMEX_PATIENCE
from crypy.venues.bitmex.session import BitmexSession, Wanted
from crypy.venues.patience import Patience
from crypy.venues.stream_books import StreamBooks


class BitmexDepthFeed(StreamBooks):
    """Whole books of some symbols (`orderBookL2`), or their best 25 levels a side (`orderBookL2_25`)."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        symbols: Sequence[str],
        on_book: OnBook,
        *,
        random: np.random.Generator,
        stream_url: str = BITMEX.stream_url,
        table: str = "orderBookL2",
        patience: Patience = BITMEX_PATIENCE,
    ) -> None:
        wanted = Wanted(symbols=tuple(symbols), intervals_s=(), book=table)
        session = BitmexSession(wanted, patience.answer_s, patience.resync_s)
        super().__init__(BITMEX.venue, transport, clock, stream_url, session, on_book, patience, random)
