"""A server that speaks S3's language, for as long as a ``with`` block."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class _Conditional:
    """Has writes with a condition take turns: S3 looks and writes in one step, moto in two."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if "HTTP_IF_NONE_MATCH" not in environ:
            return self._app(environ, start_response)
        with self._turn:
            return [b"".join(self._app(environ, start_response))]


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Gives the variables by which boto3 finds it; skips the test where moto is not installed."""
    running = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    running._server.app = _Conditional(running._server.app)
    yield {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    running.stop()
