"""A server that speaks S3 on loopback, as a process of its own: `python s3_server.py` prints its port and serves until its input ends.

The answers are moto's. Around them: conditional puts are made atomic (moto looks first and writes then), buckets named `careless-...` ignore
conditions, and faults can be ordered by `POST /-/fault`: a JSON object with `match` (a pattern for "METHOD /path"), `times`, and
`status` with `body`, `cut` to break the connection in the middle of an `answer` or a `request`, or `stall_s` to keep it waiting.
`POST /-/bucket/NAME` makes a bucket; `GET /-/log` tells the requests so far, one a line, with the bytes that were answered.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

Answer = Iterable[bytes]
StartResponse = Callable[..., Any]


class Served:
    """moto with faults."""

    def __init__(self) -> None:
        self._moto: Any = DomainDispatcherApplication(create_backend_app)
        self._one_at_a_time = threading.Lock()
        self._faults: list[dict[str, Any]] = []
        self._log: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Answer:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path.startswith("/-/"):
            return self._ordered(path, environ, start_response)
        fault = self._fault_of(f"{method} {path}")
        if fault and fault.get("cut") == "request":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            self._log.append(f"{method} {path} cut")
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        if fault and "stall_s" in fault:
            self._log.append(f"{method} {path} stalls")
            time.sleep(fault["stall_s"])
        if fault and "status" in fault:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            self._log.append(f"{method} {path} {fault['status']}")
            start_response(f"{fault['status']} Ordered", [("Content-Type", "application/xml")])
            return [fault.get("body", "").encode()]
        if path.startswith("/careless-"):
            environ.pop("HTTP_IF_MATCH", None)
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with self._one_at_a_time:
            body = b"".join(self._moto(environ, start_response))
        self._log.append(f"{method} {path} {len(body)}")
        return [body[: len(body) // 2]] if fault and fault.get("cut") else [body]

    def _fault_of(self, request: str) -> dict[str, Any] | None:
        for fault in self._faults:
            if re.search(fault["match"], request) and fault["times"] > 0:
                fault["times"] -= 1
                return fault
        return None

    def _ordered(self, path: str, environ: dict[str, Any], start_response: StartResponse) -> Answer:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = b""
        if path == "/-/fault":
            self._faults.append(json.loads(body))
        elif path == "/-/log":
            answer = "\n".join(self._log).encode()
        else:
            s3_backends["123456789012"]["aws"].create_bucket(path.rpartition("/")[2], "us-east-1")
        start_response("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, Served(), threaded=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Whoever started us holds the other end: when he is gone, however he went, so are we.
    sys.stdin.read()
