"""An example of a provider of one's own for lipsync-batch: it lays the speech over the video, and moves no lips.

It stands where a hosted API would: it takes orders, remembers them, works, and gives links to what it has made. Its
"API" is a folder of this machine, VOICEOVER_STUDIO, so that the example runs without a network. Its one speaker, Hum,
hums a text: a tone for as long as the text takes to say.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import threading
from array import array
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import av

from lipsync_batch.capabilities import MIB, Capabilities
from lipsync_batch.errors import ActionNeededError
from lipsync_batch.jobs import Audio, DataUri, Link, LocalFile, Pair, Source
from lipsync_batch.providers.base import (
    Accepted,
    Charge,
    ChargePage,
    Check,
    Errored,
    Finished,
    LogPage,
    LogRow,
    NotFound,
    Price,
    Refusal,
    Refused,
    Submission,
)

PRICE = 2_000  # micro-USD a video
RATE = 48_000  # samples a second
CHARACTERS = 15  # that are said in a second


class Voiceover:
    """A provider as `lipsync_batch.providers.base.ProviderClass` describes it."""

    name = "voiceover"
    capabilities = Capabilities(
        model="voiceover-1",
        speakers=("Hum",),
        inline_limit=500 * MIB,
        inline_warning=500 * MIB,
        max_seconds=600.0,
        max_bytes=500 * MIB,
        max_pixels=4096,
        max_characters=5_000,
        video_endings=frozenset({".mp4", ".mov"}),
        audio_endings=frozenset({".wav", ".mp3"}),
        typical_seconds=1.0,
        log_rate=(100, 1.0),
    )

    def __init__(
        self,
        *,
        base_url: str,
        key: str | None,
        media_base_url: str | None = None,  # a hosted API would fetch the inputs from here
        media_root: Path | None = None,
    ) -> None:
        self.origin = base_url
        self._key = key  # a hosted API would be sent this
        self._studio = Path(unquote(urlsplit(base_url).path))
        self._server: ThreadingHTTPServer | None = None

    @staticmethod
    def base_url_from(environ: Mapping[str, str]) -> str:
        """Whom a batch is bound to: for a hosted API its scheme, host and port."""
        return Path(environ.get("VOICEOVER_STUDIO") or "~/voiceover").expanduser().resolve().as_uri()

    @staticmethod
    def key_from(environ: Mapping[str, str]) -> str:
        """What pays. A name that ends in KEY, TOKEN, SECRET or PASSWORD is kept out of logs and child processes."""
        if not (key := environ.get("VOICEOVER_KEY", "").strip()):
            raise ActionNeededError("There is no key for voiceover", hint="Set VOICEOVER_KEY; any word will do.")
        return key

    async def submit(self, pair: Pair, client_request_id: str, *, cut: asyncio.Event | None = None) -> Submission:
        """Take the order, then make the video. A hosted API would only be told: the work would be its own."""
        if isinstance(pair.video, Link) or (isinstance(pair.speech, Audio) and isinstance(pair.speech.source, Link)):
            return Refused(kind=Refusal.INVALID, code="link", message="voiceover takes files, no links", status=422)
        order = {"id": f"vo-{client_request_id}", "request": client_request_id, "at": datetime.now(UTC).isoformat()}
        await asyncio.to_thread(self._make, pair, order)
        return Accepted(generation_id=order["id"], quote=PRICE)

    async def check(self, generation_id: str) -> Check:
        order = next((order for order in self._orders() if order["id"] == generation_id), None)
        if order is None:
            return NotFound()
        file = self._file(generation_id)
        if not file.exists():
            return Errored(code="broken_off", message="the studio went away while it worked", retryable=True)
        return Finished(link=f"{self._serving()}/{file.name}", usage=PRICE, file_size=file.stat().st_size)

    async def find(self, *, since: datetime, until: datetime, offset: int = 0) -> LogPage:
        """The whole log is one page here. Without a log, a provider answers `Denied`: then a person must decide."""
        rows = [
            LogRow(client_request_id=order["request"], generation_id=order["id"], failed=False, cost=PRICE)
            for order in self._orders()
            if since <= datetime.fromisoformat(order["at"]) <= until
        ]
        return LogPage(rows=tuple(reversed(rows)), next_offset=None)

    async def charges(self, *, since: datetime, cursor: str | None = None) -> ChargePage:
        charges = [Charge(generation_id=order["id"], cost=PRICE) for order in self._orders()]
        return ChargePage(charges=tuple(reversed(charges)), next_cursor=None)

    async def balance(self) -> int | None:
        return None

    async def price(self) -> Price | None:
        return Price(per_generation=PRICE, source="voiceover's price list")

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    # The studio

    def _orders(self) -> Iterator[dict[str, str]]:
        log = self._studio / "orders.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return map(json.loads, lines)

    def _file(self, generation_id: str) -> Path:
        return self._studio / f"{generation_id}.mp4"

    def _make(self, pair: Pair, order: dict[str, str]) -> None:
        self._studio.mkdir(parents=True, exist_ok=True)
        with (self._studio / "orders.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(order) + "\n")
        part = self._file(order["id"]).with_suffix(".part")
        with av.open(_opened(pair.video), "r") as video, av.open(str(part), "w", format="mp4") as made:
            pictures = made.add_stream_from_template(video.streams.video[0])
            sound = made.add_stream("aac", rate=RATE, layout="mono")
            for packet in video.demux(video.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = pictures
                    made.mux(packet)
            for frame in _speech(pair):
                made.mux(sound.encode(frame))
            made.mux(sound.encode())
        part.rename(self._file(order["id"]))

    def _serving(self) -> str:
        if self._server is None:
            handler = partial(_Quiet, directory=str(self._studio))
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """The terminal is the program's."""


def _opened(source: Source) -> str | BytesIO:
    match source:
        case LocalFile(path=path):
            return str(path)
        case DataUri(text=text):
            return BytesIO(base64.b64decode(text.partition(",")[2]))
        case Link(url=url):
            raise ValueError(f"refused before: {url}")


def _speech(pair: Pair) -> Iterator[av.AudioFrame]:
    """The recording, or a tone for as long as the text takes to say."""
    speech = pair.speech
    if isinstance(speech, Audio):
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        with av.open(_opened(speech.source), "r") as recording:
            for frame in recording.decode(audio=0):
                yield from resampler.resample(frame)
        return
    samples = int(RATE * max(0.5, len(speech.text) / CHARACTERS))
    frame = av.AudioFrame(format="fltp", layout="mono", samples=samples)
    frame.sample_rate = RATE
    tone = array("f", (0.2 * math.sin(n * 2 * math.pi * 220 / RATE) for n in range(samples)))
    frame.planes[0].update(tone.tobytes())
    yield frame
