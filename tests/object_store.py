"""A real S3 server on loopback, and what it may do wrong."""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from botocore.session import get_session
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from obstore.store import S3Store
from werkzeug.serving import make_server

KEY_ID, SECRET = "AKIAMARKEDFORTESTS00", "s3cr3t/marked+for+tests0123456789abcdefg"
BUCKET = "studio"

Answer = tuple[str, bytes]
"""A status line and a body."""
DENIED: Answer = ("403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
SLOW_DOWN: Answer = ("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>")
NO_BUCKET: Answer = ("404 Not Found", b"<Error><Code>NoSuchBucket</Code></Error>")
BROKEN: Answer = ("500 Internal Server Error", b"<Error><Code>InternalError</Code></Error>")
ELSEWHERE: Answer = ("301 Moved Permanently", b"<Error><Code>PermanentRedirect</Code></Error>")


@dataclass
class Request:
    """One request that reached the server."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    environ: dict[str, Any] = field(repr=False)

    @property
    def is_copy(self) -> bool:
        return "HTTP_X_AMZ_COPY_SOURCE" in self.environ

    @property
    def length(self) -> int:
        """Bytes of its body."""
        return int(self.environ.get("CONTENT_LENGTH") or 0)

    def reset(self, after: int = 0) -> None:
        """Cut the connection when so many bytes of the body have come."""
        self.environ["wsgi.input"].read(min(after, self.length))
        self.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError

    def truncate(self) -> None:
        """Let through half of the body, as if that were all of it."""
        half = self.environ["wsgi.input"].read(self.length)[: self.length // 2]
        self.environ |= {"wsgi.input": io.BytesIO(half), "CONTENT_LENGTH": str(len(half))}

    @property
    def is_presigned(self) -> bool:
        return "X-Amz-Signature" in self.query


@dataclass
class ObjectServer:
    """Moto, with every request noted, and answered otherwise where a test says so."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    instead: Callable[[Request], Answer | None] = lambda _: None
    """Answers a request in the place of the store."""
    after: Callable[[Request], None] = lambda _: None
    """Hears of a request when the store has done what it asks for, and has not answered yet."""
    seconds: float = 0.0
    """How long each answer takes."""

    def __post_init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ["REQUEST_METHOD"], environ["PATH_INFO"], parse_qs(environ["QUERY_STRING"]), environ)
        self.requests.append(request)
        time.sleep(self.seconds)
        if (answer := self.instead(request)) is not None:
            status, body = answer
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(status, [("Content-Length", str(len(body)))])
            return [] if request.method == "HEAD" else [body]
        answered = self._moto(environ, start_response)
        self.after(request)
        return answered

    def asked(self, method: str) -> list[str]:
        """The paths of the requests of one method that we sent ourselves, and no holder of a link."""
        return [request.path for request in self.requests if request.method == method and not request.is_presigned]

    @property
    def environment(self) -> dict[str, str]:
        """What leads a program here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "us-east-1",
        }

    def empty(self) -> None:
        """As it was at first."""
        s3_backends.reset()
        self.requests.clear()
        self.instead, self.after, self.seconds = lambda _: None, lambda _: None, 0.0

    @property
    def client(self) -> Any:
        """Amazon's own, for what obstore does not do."""
        return get_session().create_client(
            "s3",
            "us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
        )

    def bucket(self, name: str = BUCKET) -> S3Store:
        """A bucket as a test looks at it, made if need be."""
        store = S3Store(
            name,
            endpoint=self.url,
            access_key_id=KEY_ID,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        self.client.create_bucket(Bucket=name)
        return store


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    """A server with nothing in it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ObjectServer()
    serving = make_server("127.0.0.1", 0, server, threaded=True)
    server.url = f"http://127.0.0.1:{serving.server_port}"
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join()
