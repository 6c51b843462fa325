"""Videos of any size that cost nothing to make: a second of grey, and then a box that players skip."""

from __future__ import annotations

from pathlib import Path

from lipsync_batch.sandbox.render import render_test_card

BLOCK = 1024 * 1024


def film(path: Path, size: int, *, number: int = 0) -> Path:
    """Write an MP4 of exactly so many bytes; another number makes other bytes."""
    render_test_card(path)
    left = size - path.stat().st_size
    assert left >= 16, "a test card is larger than that"
    with path.open("ab") as file:
        file.write(left.to_bytes(4) + b"free" + number.to_bytes(8))
        left -= 16
        while left > 0:
            file.write(bytes(min(BLOCK, left)))
            left -= BLOCK
    return path
