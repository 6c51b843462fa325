"""The same API without any delay: every generation is finished when it is first asked after.

A bare asyncio protocol: some tens of thousands of answers a second on one core, so that what is measured is the client.
It counts what it was asked (GET /_bench/stats) and knows when the first submit came, on the machine's monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from lipsync_batch.sandbox.render import render_test_card

GENERATIONS = b"/v2/video/generations"


class Shop:
    """What all connections share."""

    def __init__(self, film: bytes, links: str) -> None:
        self.film = film
        self.links = links
        """Where results are said to be: here, or at a server of big files."""
        self.counts: Counter[str] = Counter()
        self.first_post: float | None = None
        self.accepted = 0

    def answer(self, method: bytes, target: bytes) -> bytes:
        path, _, query = target.partition(b"?")
        self.counts[f"{method.decode()} {path[:4].decode() if path.startswith(b'/cdn') else path.decode()}"] += 1
        if path == GENERATIONS and method == b"POST":
            self.first_post = self.first_post or time.monotonic()
            self.accepted += 1
            name = b"%021d" % self.accepted
            body = b'{"id":"%s","status":"queued","meta":{"usage":{"credits_used":480000}}}' % name
            return _response(body, headers=b"x-inference-id: %s\r\n" % name)
        if path == GENERATIONS:
            name = query.partition(b"generation_id=")[2].partition(b"&")[0]
            link = b"%s/cdn/%s.mp4" % (self.links.encode(), name)
            body = b'{"id":"%s","status":"completed","video":{"url":"%s"}}' % (name, link)
            return _response(body, headers=b"x-inference-id: %s\r\n" % name)
        if path.startswith(b"/cdn/"):
            return _response(self.film, kind=b"video/mp4", headers=b'etag: "card"\r\naccept-ranges: bytes\r\n')
        return self._account(path)

    def _account(self, path: bytes) -> bytes:
        match path:
            case b"/v2/billing":
                return _response(b'{"current_balance":1000000.0,"currency":"USD"}')
            case b"/v2/billing/transactions":
                return _response(b'{"data":[],"pagination":{"next_cursor":null,"has_more":false}}')
            case b"/v2/logs":
                return _response(b'{"data":[],"pagination":{"limit":100,"offset":0,"total":0,"has_more":false}}')
            case b"/_bench/stats":
                told = {"requests": self.counts, "first_post": self.first_post, "accepted": self.accepted}
                return _response(json.dumps(told).encode())
            case _:
                return _response(b'{"message":"Not Found","statusCode":404}', status=b"404 Not Found")


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive. Bodies are counted, never kept."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._head = bytearray()
        self._left = 0
        self._request: tuple[bytes, bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._request is not None and len(data) < self._left:
            self._left -= len(data)
            return
        if self._request is not None:
            data = data[self._left :]
            self._finish()
        self._head += data
        while (end := self._head.find(b"\r\n\r\n")) >= 0:
            self._begin(bytes(self._head[:end]))
            body = len(self._head) - end - 4
            if body < self._left:
                self._left -= body
                self._head.clear()
                return
            del self._head[: end + 4 + self._left]
            self._finish()

    def _begin(self, head: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        method, target, _ = line.split(b" ", 2)
        _, named, rest = fields.lower().partition(b"content-length:")
        self._left = int(rest.split(b"\r\n", 1)[0]) if named else 0
        self._request = method, target

    def _finish(self) -> None:
        assert self._request is not None
        self._transport.write(self._shop.answer(*self._request))
        self._request, self._left = None, 0


def _response(
    body: bytes, *, status: bytes = b"200 OK", kind: bytes = b"application/json", headers: bytes = b""
) -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n%s\r\n%s" % (
        status,
        kind,
        len(body),
        headers,
        body,
    )


async def serve(links: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "card.mp4"
        await asyncio.to_thread(render_test_card, card)
        shop = Shop(card.read_bytes(), links)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(shop), "127.0.0.1", 0, backlog=2048)
    url = "http://{}:{}".format(*listener.sockets[0].getsockname()[:2])
    shop.links = links or url
    sys.stdout.write(json.dumps({"server": url}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)  # ends when whoever started us does


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", default="", help="where results are, if not here")
    asyncio.run(serve(parser.parse_args().links))
