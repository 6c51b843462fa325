"""What a run and the process that fetches for it say to each other, and how it goes over their socket."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipsync_batch.fetching.fetch import Expected, Outcome

LENGTH = struct.Struct("!I")
"""Before each message: the bytes of its pickle."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The first thing that the process says.

    A version other than the run's says that the program was updated meanwhile: the two would misunderstand each other.
    """

    version: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A file to fetch, by a number of the asker's."""

    number: int
    link: str
    destination: Path
    expected: Expected


@dataclass(frozen=True, slots=True)
class BreakOff:
    """Every download is to end now, and later ones are not begun."""


@dataclass(frozen=True, slots=True)
class Bug:
    """An exception that `fetch` does not know of, with its traceback."""

    text: str


Answers = list[tuple[int, Outcome | Bug]]
"""Wishes' numbers, and what came of them."""


def packed(message: object) -> bytes:
    """A message as it goes over the socket."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(content)) + content


class Unpacker:
    """Messages out of pieces, wherever those were cut."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, piece: bytes) -> list[Any]:
        """The messages that are whole with this piece. Only our own process is at the other end."""
        self._bytes += piece
        messages = []
        while len(self._bytes) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._bytes)[0]
            if len(self._bytes) < end:
                break
            messages.append(pickle.loads(self._bytes[LENGTH.size : end]))  # noqa: S301
            del self._bytes[:end]
        return messages
