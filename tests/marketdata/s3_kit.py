"""Our end of the S3 server in `s3_server.py`: buckets, faults, what was asked; and shelves on it with short patience."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from crypy.marketdata.object_address import Address, parse_address
from crypy.marketdata.object_shelf import ObjectShelf, open_object_shelf

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
QUICK = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(milliseconds=20), "base": 2},
}


@dataclass
class S3:
    """The server at a port."""

    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self, begins: str = "trades") -> str:
        """The address of a new bucket's prefix."""
        name = f"{begins}-{uuid.uuid4().hex[:12]}"
        self._ask(f"bucket/{name}", b"")
        return self.address(name)

    def address(self, bucket: str) -> str:
        return f"s3://{bucket}/year/one?endpoint={self.url}&region=us-east-1"

    def fault(self, match: str, times: int = 1, **what: Any) -> None:
        """Spoil the next answers to requests, "METHOD /path", that match."""
        self._ask("fault", json.dumps({"match": match, "times": times} | what).encode())

    def log(self, address: str) -> list[str]:
        """What was asked of a bucket so far: "METHOD /bucket/path bytes"."""
        bucket = address.split("/")[2]
        return [line for line in self._ask("log").splitlines() if f"/{bucket}" in line]

    def _ask(self, what: str, body: bytes | None = None) -> str:
        with urlopen(Request(f"{self.url}/-/{what}", data=body), timeout=30) as answer:
            return answer.read().decode()


@contextmanager
def served() -> Iterator[S3]:
    """A server of its own, until the block is left."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("s3_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            environment = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
            yield S3(int(process.stdout.readline()), environment)
        finally:
            process.kill()


def shelf_at(address: str, work: Path, **options: Any) -> ObjectShelf:
    """A shelf that gives up soon; each `work` folder is a machine of its own."""
    where = parse_address(address)
    assert isinstance(where, Address)
    return open_object_shelf(where, work, retry=QUICK, **options)
