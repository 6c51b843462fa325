"""The rest of a large body, read straight from its connection.

What stands between the two copies each piece several times, holding the interpreter's lock: with eight downloads at a
time that is half of their speed. The price is the connection, which cannot carry another request afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpcore2
import httpx2

LARGE = 8 * 1024 * 1024
"""Bytes from which on a connection is given up for the speed."""
PIECE = 256 * 1024
"""Bytes that are asked for at a time."""


def can_be_read(response: httpx2.Response, left: int) -> bool:
    """Whether the `left` bytes that are still to come of a body stand on the connection as they are, and are many."""
    return (
        left >= LARGE
        and response.http_version == "HTTP/1.1"
        and "network_stream" in response.extensions
        and "Transfer-Encoding" not in response.headers
    )


def read(response: httpx2.Response, left: int, *, timeout: float) -> Iterator[bytes]:
    """The last `left` bytes of a body of which one chunk at least was taken from `response`; errors as httpx2 has them.

    A chunk is all that has been received of the body by then (h11, `ContentLengthReader`), so nothing is passed over;
    were it otherwise, the file would not get its length. `timeout` in seconds, for each piece.
    """
    connection = response.extensions["network_stream"]
    while left:
        try:
            piece = connection.read(min(PIECE, left), timeout)
        except httpcore2.TimeoutException as error:
            raise httpx2.ReadTimeout(str(error)) from error
        except httpcore2.NetworkError as error:
            raise httpx2.ReadError(str(error)) from error
        if not piece:
            raise httpx2.RemoteProtocolError("the server hung up in the middle of a body")
        left -= len(piece)
        yield piece
