"""The demo's own media: they play, they are small, and they are two people."""

from __future__ import annotations

import io

import av
import pytest
from sandbox_client import MEDIA, Played


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ada", "ben"])
def test_a_face_talks_for_some_seconds(name: str) -> None:
    """Pictures and sound, of the same length, to the end."""
    film = Played((MEDIA / f"{name}.mp4").read_bytes())

    assert film.codecs == {"video": "h264", "audio": "aac"}
    assert film.size == (480, 360)
    assert 3 < film.seconds < 6
    assert film.picture_seconds == pytest.approx(film.sound_seconds, abs=0.1)
    assert film.loudest > 0.1


@pytest.mark.slow
def test_the_two_are_told_apart_at_a_glance() -> None:
    """A report that shows the wrong video must be seen to be wrong."""
    ada, ben = (Played((MEDIA / f"{name}.mp4").read_bytes()) for name in ("ada", "ben"))

    assert max(abs(one - other) for one, other in zip(ada.corner, ben.corner, strict=True)) > 60


def test_the_greeting_is_plain_wav() -> None:
    """What dubbing studios deliver."""
    with av.open(io.BytesIO((MEDIA / "greeting.wav").read_bytes())) as sound:
        (stream,) = sound.streams
        assert stream.codec_context.name == "pcm_s16le"
        assert stream.codec_context.channels == 1
        assert 2 < (sound.duration or 0) / 1_000_000 < 5


def test_all_of_it_is_under_a_megabyte() -> None:
    """It ships with every clone."""
    assert sum(path.stat().st_size for path in MEDIA.iterdir() if path.is_file()) < 1_000_000
