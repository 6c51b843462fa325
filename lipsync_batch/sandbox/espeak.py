"""A program of its own that speaks: a JSON request on stdin, a WAV file on stdout.

espeak-ng is GPL and holds its state in globals, one voice at a time. So it is loaded here and nowhere else, in a
process that knows nothing of the rest: `voice.py` starts it by its path and reads what it prints. It needs only the
standard library and espeakng-loader.

Request: `{"text", "language", "variant", "pitch", "range", "rate"}`, as `voice.Voice` explains them.
"""

import ctypes
import io
import json
import os
import sys
import wave
from pathlib import Path

import espeakng_loader

# espeak-ng/speak_lib.h
SYNCHRONOUS = 2
RATE, PITCH, RANGE = 1, 3, 4
UTF8 = 1
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class SpeechError(Exception):
    """The engine refused something: what, and its error number."""


def main() -> None:
    request = json.load(sys.stdin)
    try:
        sound = speak(request)
    except SpeechError as error:
        raise SystemExit(f"espeak-ng: {error}") from error
    sys.stdout.buffer.write(sound)


def speak(request: dict[str, str | int]) -> bytes:
    """Mono 16-bit WAV of the text; SpeechError where the engine does not know the voice."""
    engine, sample_rate = load()
    samples = bytearray()

    def collect(sound: int | None, count: int, _events: int | None) -> int:
        if sound:
            samples.extend(ctypes.string_at(sound, count * 2))
        return 0

    callback = CALLBACK(collect)  # held by name: the engine does not keep it alive
    engine.espeak_SetSynthCallback(callback)
    voice = f"{request['language']}+{request['variant']}"
    expect(engine.espeak_SetVoiceByName(voice.encode()), f"no voice {voice}")
    for parameter, name in ((RATE, "rate"), (PITCH, "pitch"), (RANGE, "range")):
        expect(engine.espeak_SetParameter(parameter, int(request[name]), 0), f"{name} {request[name]}")
    text = str(request["text"]).encode() + b"\0"
    expect(engine.espeak_Synth(text, len(text), 0, 0, 0, UTF8, None, None), "speaking")
    expect(engine.espeak_Synchronize(), "speaking")
    return wav(bytes(samples), sample_rate)


def load() -> tuple[ctypes.CDLL, int]:
    """The engine, ready to speak, and its samples per second."""
    # It keeps the path of its data in 160 bytes, which a deep virtual environment exceeds: go there, and say ".".
    os.chdir(Path(espeakng_loader.get_data_path()).parent)
    engine = ctypes.CDLL(espeakng_loader.get_library_path())
    engine.espeak_Synth.argtypes = [
        *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
        *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
    ]
    sample_rate = engine.espeak_Initialize(SYNCHRONOUS, 0, b".", 0)
    if sample_rate <= 0:
        raise SpeechError("it cannot be initialized")
    return engine, sample_rate


def expect(error: int, what: str) -> None:
    if error:
        raise SpeechError(f"{what} (error {error})")


def wav(samples: bytes, sample_rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(samples)
    return file.getvalue()


if __name__ == "__main__":
    main()
