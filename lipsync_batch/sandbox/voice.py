"""What each speaker sounds like, and speech from text.

The voices are espeak-ng's: plain, robotic, and at home in most languages. They stand in for the provider's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lipsync_batch.sandbox.language import guess_language

ENGINE = Path(__file__).with_name("espeak.py")
DEADLINE = 60.0
"""Seconds until speaking a text is given up."""


class VoiceError(Exception):
    """The text could not be spoken; the message is the engine's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """One way to speak, in any language."""

    variant: str
    """espeak-ng's name of a larynx: formants, breath, roughness."""
    pitch: int = 50
    """0 to 99."""
    range: int = 50
    """How far the melody moves, 0 to 99."""
    rate: int = 165
    """Words a minute."""


VOICES: Mapping[str, Voice] = {
    "Harper": Voice(variant="f2", pitch=60),
    "Ava": Voice(variant="Andrea", pitch=66, rate=175),
    "Isabella": Voice(variant="f5", pitch=48, range=70),
    "Sophia": Voice(variant="f3", pitch=72, rate=155),
    "Emily": Voice(variant="Annie", pitch=56, range=60),
    "Chloe": Voice(variant="f4", pitch=82, rate=182),
    "Julia": Voice(variant="linda", pitch=40, rate=150),
    "Mason": Voice(variant="m3", pitch=22, rate=150),
    "Jack": Voice(variant="m1", pitch=68, rate=182),
    "Liam": Voice(variant="Lee", pitch=80, range=65),
    "James": Voice(variant="m7", pitch=34, range=30, rate=155),
    "Oliver": Voice(variant="Michael", pitch=58),
    "Adrian": Voice(variant="m4", pitch=5, range=60, rate=160),
    "Ethan": Voice(variant="m2", pitch=88, rate=172),
    "Auto": Voice(variant="m6", pitch=50),
}
"""A voice for each speaker of the model; no two sound alike."""


def speak(text: str, speaker: str) -> bytes:
    """A mono 16-bit WAV file of `text` in the voice of `speaker`, in the language that the text seems to be in.

    Starts a process for each call: about 0.1 s. VoiceError where nothing could be said, e.g. of punctuation alone.
    """
    request = {"text": text, "language": guess_language(text), **asdict(VOICES[speaker])}
    # -P: the engine's neighbours in this folder are none of its business.
    command = [sys.executable, "-P", str(ENGINE)]
    try:
        done = subprocess.run(  # noqa: S603 - our own program, by its path and without a shell
            command, input=json.dumps(request).encode(), capture_output=True, timeout=DEADLINE, check=True
        )
    except subprocess.CalledProcessError as error:
        raise VoiceError(error.stderr.decode(errors="replace").strip()) from error
    except subprocess.TimeoutExpired as error:
        raise VoiceError("the text takes too long to speak") from error
    return done.stdout
