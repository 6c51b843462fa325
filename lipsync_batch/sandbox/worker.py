"""A process for one heavy task: taking in a large body, or rendering a video.

    python -m lipsync_batch.sandbox.worker TASK ARGUMENTS    (what it prints is JSON)

| task | arguments | stdin | prints |
| --- | --- | --- | --- |
| `intake` | inputs folder | the body of a submit | `{"order": ...}` or `{"problems": "..."}` |
| `render` | inputs folder, films folder | the order, as JSON | `{"etag": ...}` or `{"problem": "..."}` |
| `card` | films folder | | `{"etag": ...}` |

A film is named after its SHA-256, which is its entity tag: `<etag>.mp4`.

A process of its own gives its memory back, cannot stop the server's loop, and takes nothing with it when it crashes.
`run` is the server's side of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from lipsync_batch.sandbox.contract import Order
from lipsync_batch.sandbox.fetch import FetchError, fetch
from lipsync_batch.sandbox.intake import InvalidOrderError, stowed, take_in
from lipsync_batch.sandbox.voice import VoiceError, speak


class WorkerError(Exception):
    """The process died or broke: a bug, or a file that crashes its decoder."""


async def run(task: str, *arguments: Path, given: bytes | IO[bytes] = b"") -> Any:
    """Run a task and return what it printed; WorkerError where it did not end well. Cancelling kills it.

    `given` is its stdin. Of a file, which must be a real one, nothing passes through this process.
    """
    command = (sys.executable, "-P", "-m", __name__, task, *map(str, arguments))
    stdin = asyncio.subprocess.PIPE if isinstance(given, bytes) else given
    process = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await process.communicate(given if isinstance(given, bytes) else None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise WorkerError(f"the {task} process ended with {process.returncode}")
    return json.loads(output)


def main(task: str, *arguments: str) -> dict[str, Any]:
    match task, arguments:
        case "intake", (inputs,):
            return _intake(sys.stdin.buffer.read(), Path(inputs))
        case "render", (inputs, films):
            return _render(Order.from_json(sys.stdin.read()), Path(inputs), Path(films))
        case "card", (films,):
            return _card(Path(films))
        case _:
            raise SystemExit(f"no such task: {task} {' '.join(arguments)}")


def _intake(body: bytes, inputs: Path) -> dict[str, Any]:
    try:
        return {"order": take_in(body, inputs).as_json()}
    except InvalidOrderError as error:
        return {"problems": str(error)}


def _render(order: Order, inputs: Path, films: Path) -> dict[str, Any]:
    from lipsync_batch.sandbox.render import RenderError, render

    with TemporaryDirectory(dir=films) as scratch:
        try:
            speech = Path(scratch, "speech")
            if order.audio is None:
                speech.write_bytes(speak(order.text or "", order.speaker or "Auto"))
            else:
                speech = _present(order.audio, inputs, speech)
            render(_present(order.video, inputs, Path(scratch, "video")), speech, Path(scratch, "out.mp4"))
        except (RenderError, FetchError, VoiceError) as error:
            return {"problem": str(error)}
        return _put(Path(scratch, "out.mp4"), films)


def _card(films: Path) -> dict[str, Any]:
    from lipsync_batch.sandbox.render import render_test_card

    with TemporaryDirectory(dir=films) as scratch:
        render_test_card(Path(scratch, "out.mp4"))
        return _put(Path(scratch, "out.mp4"), films)


def _present(medium: str, inputs: Path, destination: Path) -> Path:
    """The medium as a file: where it was laid down, or fetched to `destination`."""
    path = stowed(medium, inputs)
    if path is None:
        fetch(medium, destination)
        return destination
    return path


def _put(film: Path, films: Path) -> dict[str, Any]:
    """Name a finished film after its content, durably."""
    with film.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    film.replace(films / f"{digest}.mp4")
    return {"etag": digest}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
