"""Media by link, from this machine only: a rehearsal must not reach out to the network."""

from __future__ import annotations

import http.client
import ipaddress
import shutil
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT = 20.0
MAX_BYTES = 256 * 1024 * 1024


class FetchError(Exception):
    """The link leads elsewhere, or to nothing."""


def fetch(link: str, destination: Path) -> None:
    """Download a link on loopback. No redirects, no proxies, no names but `localhost`. FetchError where it fails."""
    try:
        parts = urlsplit(link)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise FetchError(f"Failed to download media: {error}") from error
    if parts.scheme != "http" or not is_loopback(host):
        raise FetchError("Failed to download media: the sandbox fetches from this machine only, http://127.0.0.1:PORT/")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        _save(connection.getresponse(), destination)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"Failed to download media: {error}") from error
    finally:
        connection.close()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine. Other names are not asked of any server."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _save(response: http.client.HTTPResponse, destination: Path) -> None:
    if response.status != 200:
        raise FetchError(f"Failed to download media: HTTP {response.status}")
    if (response.length or 0) > MAX_BYTES:
        raise FetchError(f"Failed to download media: over {MAX_BYTES} bytes")
    with destination.open("wb") as file:
        shutil.copyfileobj(response, file)
