"""Fifteen speakers, many languages: a rehearsal must sound like more than one."""

from __future__ import annotations

import array
import io
import wave

import pytest

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.sandbox.language import guess_language
from lipsync_batch.sandbox.voice import VOICES, VoiceError, speak


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Welcome back to the show.", "en"),
        ("Willkommen zurück, schön dich zu sehen.", "de"),
        ("Bon retour parmi nous.", "fr"),
        ("Bienvenidos de nuevo.", "es"),
        ("Hasta pronto.", "es"),
        ("A presto.", "it"),
        ("Bem-vindo de volta.", "pt"),
        ("Welkom terug bij ons.", "nl"),
        ("Witamy ponownie, dzień dobry.", "pl"),
        ("Tekrar hoş geldiniz.", "tr"),
        ("Välkommen tillbaka.", "sv"),
        ("Добро пожаловать!", "ru"),
        ("Ласкаво просимо, друзі.", "uk"),
        ("Καλώς ήρθατε.", "el"),
        ("مرحبا بعودتك", "ar"),
        ("ברוך שובך", "he"),
        ("वापसी पर स्वागत है", "hi"),
        ("ยินดีต้อนรับกลับ", "th"),
        ("おかえりなさい。", "ja"),
        ("日本へようこそ", "ja"),
        ("欢迎回来", "cmn"),
        ("다시 오신 것을 환영합니다", "ko"),
        ("12:30!", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_guessed_from_the_text(text: str, language: str) -> None:
    """French read out by an English voice is no rehearsal."""
    assert guess_language(text) == language


def test_every_speaker_has_a_voice_of_its_own() -> None:
    """The model's fifteen, no more, no less."""
    assert tuple(VOICES) == LIP_SYNC.speakers
    assert len(set(VOICES.values())) == len(VOICES)


def samples_of(text: str, speaker: str) -> array.array[int]:
    with wave.open(io.BytesIO(speak(text, speaker))) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return array.array("h", file.readframes(file.getnframes()))


@pytest.mark.slow
def test_no_two_speakers_sound_alike() -> None:
    """Different larynx, pitch or pace: the sounds differ, and none is silent."""
    spoken = {speaker: samples_of("Good morning.", speaker) for speaker in VOICES}

    assert len({bytes(samples) for samples in spoken.values()}) == len(VOICES)
    assert all(max(samples) > 3_000 for samples in spoken.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["Guten Morgen.", "こんにちは", "你好", "नमस्ते", "مرحبا", "Привет", "안녕하세요", "สวัสดี"]
)
def test_every_script_is_spoken(text: str) -> None:
    """Not skipped, not silent."""
    samples = samples_of(text, "Auto")

    assert len(samples) > 4_000
    assert max(samples) > 3_000


@pytest.mark.slow
def test_an_engine_that_refuses_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """A language without a voice is an error of that generation, in words."""
    monkeypatch.setattr("lipsync_batch.sandbox.voice.guess_language", lambda _: "xx-nowhere")

    with pytest.raises(VoiceError, match="no voice xx-nowhere"):
        speak("Hello", "Emily")
