"""What a person at the terminal sees of a run: progress, where to look, warnings. All of it on stderr; logs go to a file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog
from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TextColumn
from structlog.types import Processor

from crypy.marketdata.trade_progress import Progress as SyncProgress

_LOG_BYTES = 10_000_000


class LogFile(RotatingFileHandler):
    """A log file that a full disk costs its lines and nothing else; `lost` counts them.

    The standard handler writes a traceback to stderr for each of them, and where nobody reads stderr that stops the whole process.
    """

    lost = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002  the standard library's name
        self.lost += 1


class Console:
    """Says things on stderr; `quiet` keeps only warnings."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = Terminal(stderr=True, highlight=False, markup=False)

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            self._terminal.print(text)

    @contextmanager
    def progress(self) -> Generator[Callable[[SyncProgress], None] | None]:
        """A bar with rate and time left for a sync; `None` where nobody looks."""
        if self._quiet:
            yield None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
        with Progress(*columns, console=self._terminal, transient=not sys.stderr.isatty()) as bar:
            task = bar.add_task("history", total=None, told="")

            def show(at: SyncProgress) -> None:
                total, done = at.bytes_total + 60 * at.rows_total, at.bytes_done + 60 * at.rows_done
                bar.update(task, total=total or None, completed=done, told=describe_progress(at))

            yield show

    @contextmanager
    def watching_logs(self, data_dir: Path) -> Generator[None]:
        """Log events as JSON lines to `<data_dir>/logs/crypy.jsonl`, rotated."""
        folder = data_dir / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        handler = LogFile(folder / "crypy.jsonl", maxBytes=_LOG_BYTES, backupCount=5, encoding="utf-8")
        shared: list[Processor] = [
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ]
        # What libraries log becomes a JSON line as well: the file has one form.
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=shared,
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(),
                ],
            )
        )
        root = logging.getLogger()
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        structlog.configure(
            processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        )
        try:
            yield
        finally:
            root.removeHandler(handler)
            handler.close()
            structlog.reset_defaults()
            if handler.lost:
                self.say(f"{handler.lost} lines of the log could not be written to {folder}")


def describe_progress(at: SyncProgress) -> str:
    """One line: what goes on, how much is done, how fast, how long still."""
    left = "" if at.eta_s is None else f", {at.eta_s:.0f} s left"
    return (
        f"{at.doing}: {at.files_done}/{at.files_total} files, {at.stored_rows + at.rows_done:,} trades, "
        f"{at.bytes_per_s / 1e6:.1f} MB/s{left}"
    )
