"""The folder a run works in, and what must outlive the run.

Each world (a synthetic market of one seed, a recording, the real venues) has a folder of its own, so that simulated trades never
meet real ones and a paper account belongs to one market. A simulated world also keeps its first day and how far its clock has come: its market is
a function of the seed and the first day, and its time never runs backwards.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.times import DAY_S, US_PER_S

log = structlog.get_logger()


class WorldCard(msgspec.Struct, frozen=True):
    """What `world.json` says. `first_day` counts days since 1970; no run has gone beyond the simulated time `last_us`.

    `profile` is the fingerprint of the laws that a synthetic market is made by.
    """

    kind: str
    seed: int = 0
    trades_per_day: int = 0
    first_day: int = 0
    last_us: int = 0
    profile: str = ""


class World:
    """One world's folder. Opening it makes it; a card of another kind or an unreadable one is refused."""

    def __init__(self, folder: Path, card: WorldCard) -> None:
        self.folder = folder
        self.card = card

    @classmethod
    def open(cls, folder: Path, fresh: WorldCard) -> World:
        """The world kept in `folder`, or a new one described by `fresh`.

        Raises `DataError` when the folder's card is damaged, `ConfigError` when it describes another market.
        """
        path = folder / "world.json"
        try:
            card = msgspec.json.decode(path.read_bytes(), type=WorldCard)
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
            world = cls(folder, fresh)
            world.save(fresh)
            return world
        except msgspec.DecodeError as error:
            raise DataError(f"{path} is damaged ({error}); move the folder {folder} away to begin anew") from None
        if (card.kind, card.seed, card.trades_per_day) != (fresh.kind, fresh.seed, fresh.trades_per_day):
            raise ConfigError(
                f"{folder} holds a {card.kind} world of seed {card.seed} with {card.trades_per_day} trades a day, "
                f"not the one asked for; choose another --data-dir or the same settings"
            )
        if card.profile != fresh.profile:
            raise ConfigError(
                f"{folder} holds a market made by other laws (of another version of crypy); move it away to begin anew, or choose another --seed"
            )
        return cls(folder, card)

    def save(self, card: WorldCard) -> None:
        """Replace the card, whole or not at all."""
        path = self.folder / "world.json"
        fresh = path.with_suffix(".tmp")
        try:
            fresh.write_bytes(msgspec.json.format(msgspec.json.encode(card)))
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        self.card = card

    def reached(self, time_us: int) -> None:
        """Remember that the world's clock has come, or may come before the next word, as far as this."""
        if time_us > self.card.last_us:
            self.save(msgspec.structs.replace(self.card, last_us=time_us))

    def ended(self, time_us: int) -> None:
        """Remember how far the clock has come at a clean end. A disk that does not take it leaves what was said before."""
        try:
            self.save(msgspec.structs.replace(self.card, last_us=time_us))
        except OSError as error:
            log.warning("world.not_saved", folder=str(self.folder), error=str(error))

    def begin_again(self) -> None:
        """Put an earlier run's account aside, for a world whose time starts anew with each run (a recording).

        Its orders, stamps and payouts are of moments that are still to come: the new run's would be taken for them and refused.
        """
        files = sorted(self.folder.glob("ledger-paper.db*")) + sorted(self.folder.glob("paper-venue.db*"))
        if not files:
            return
        earlier = self.folder / "earlier"
        number = 1 + max((int(run.name) for run in earlier.glob("*") if run.name.isdecimal()), default=0)
        (earlier / str(number)).mkdir(parents=True)
        for file in files:
            file.rename(earlier / str(number) / file.name)

    def epoch_us(self, wall_us: int) -> int:
        """Where the clock starts: at the wall's time, or after the last run if that got further."""
        return max(wall_us, self.card.last_us + US_PER_S)

    @property
    def store_dir(self) -> Path:
        return self.folder / "store"

    @property
    def journal_dir(self) -> Path:
        return self.folder / "journal"

    @property
    def recordings_dir(self) -> Path:
        return self.folder / "recordings"

    @property
    def model_dir(self) -> Path:
        return self.folder / "models" / "baseline"

    @property
    def forecast_dir(self) -> Path:
        return self.folder / "forecast"

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.folder / 'ledger-paper.db'}"

    @property
    def paper_url(self) -> str:
        return f"sqlite:///{self.folder / 'paper-venue.db'}"


def day_of(time_us: int) -> int:
    """Days since 1970 of an instant, UTC."""
    return time_us // (DAY_S * US_PER_S)
