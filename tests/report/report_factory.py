"""Batches that only look as if they had been made: as many jobs as a test needs, none of them stored anywhere."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lipsync_batch.jobs import BatchRecord, Costs, JobRecord, RunRecord, State, StopReason

EVENING = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
MORNING = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)

BATCH = BatchRecord(
    batch_id="7f3a9c",
    provider="aimlapi",
    origin="https://api.aimlapi.com",
    manifest="spring.yaml",
    created_at=EVENING,
)

SPENT = Costs(estimated=400_000, quoted=1_000_000, settled=480_000)

LANGUAGES = ("ar", "cs", "de", "es", "fr", "he", "it", "ja", "ko", "nl", "pl", "pt-BR", "zh-Hans")
TEXTS = {
    "ar": "مرحبًا بعودتك. لنبدأ من حيث توقفنا.",
    "he": "ברוך שובך. נמשיך מאיפה שהפסקנו.",
    "ja": "おかえりなさい。続きから始めましょう。",
    "de": "Willkommen zurück. Machen wir da weiter, wo wir aufgehört haben. 🎬",
}


def make_record(position: int = 0, **changes: Any) -> JobRecord:
    """A finished job; `changes` say what is different about it."""
    record = JobRecord(
        key=f"job-{position:06}",
        output=f"job-{position:06}.mp4",
        labels={},
        position=position,
        fingerprint=f"v1:{position:064x}",
        state=State.DONE,
        video="clips/intro.mp4",
        speech="Welcome back.",
        speaker="Emily",
        attempts=1,
        generation_id=f"-G3b3vVKdoC42fMNeK{position % 1000:03}",
        client_request_id=f"lb1.7f3a9c.{position:024x}.1",
        bytes=1_234_567,
        sha256=f"{position:064x}",
        duration_seconds=12.3456,
        width=1280,
        height=720,
        generation_seconds=34.5678,
        submitted_at=EVENING,
        finished_at=EVENING + timedelta(seconds=35),
        estimated=400_000,
        quoted=1_000_000,
        settled=480_000,
    )
    return replace(record, **changes)


def unfinished(position: int = 0, state: State = State.PENDING, **changes: Any) -> JobRecord:
    """A job without a video, and with nothing to pay for one."""
    nothing = dict.fromkeys(
        (
            "bytes",
            "sha256",
            "duration_seconds",
            "width",
            "height",
            "generation_seconds",
            "finished_at",
            "quoted",
            "settled",
        )
    )
    if state is State.PENDING:
        nothing |= dict.fromkeys(("generation_id", "client_request_id", "submitted_at"))
    return make_record(position, state=state, **(nothing | changes))


def failed(
    position: int = 0, code: str = "GenerationError", message: str = "No face found", **changes: Any
) -> JobRecord:
    return unfinished(position, State.FAILED, error_code=code, error_message=message, **changes)


@dataclass(kw_only=True)
class FakeSource:
    """A store that makes its records up each time they are asked for."""

    make: Callable[[], Iterator[JobRecord]] = lambda: iter(())
    ran: list[RunRecord] = field(default_factory=list)
    about: BatchRecord = BATCH
    spent: Costs = SPENT

    def batch(self) -> BatchRecord:
        return self.about

    def runs(self) -> list[RunRecord]:
        return self.ran

    def counts(self) -> dict[State, int]:
        return dict(Counter(record.state for record in self.make()))

    def costs(self) -> Costs:
        return self.spent

    def label_names(self) -> list[str]:
        return list(dict.fromkeys(name for job in self.records() for name in job.labels))

    def records(self) -> Iterator[JobRecord]:
        return self.make()


def source_of(*records: JobRecord, **changes: Any) -> FakeSource:
    return FakeSource(make=lambda: iter(records), **changes)


def many(count: int, **changes: Any) -> FakeSource:
    """Finished jobs, made one at a time."""
    return FakeSource(make=lambda: (make_record(number, **changes) for number in range(count)))


def a_night(videos: int, languages: tuple[str, ...] = LANGUAGES, *, seed: int = 1, nights: int = 1) -> FakeSource:
    """A grid of videos and languages as a night, or several, may leave it: most done, some not."""
    runs = [
        RunRecord(
            started_at=EVENING - timedelta(days=nights - 1 - night),
            ended_at=EVENING - timedelta(days=nights - 1 - night) + timedelta(hours=8),
            stop_reason=StopReason.FINISHED if night == nights - 1 else StopReason.DEADLINE,
            exit_code=1 if night == nights - 1 else 3,
            version="0.1.0",
        )
        for night in range(nights)
    ]
    return FakeSource(
        make=lambda: _a_night(videos, languages, seed, nights),
        ran=runs,
        spent=Costs(
            estimated=videos * len(languages) * 480_000, quoted=None, settled=videos * len(languages) * 455_123
        ),
    )


def _a_night(videos: int, languages: tuple[str, ...], seed: int, nights: int) -> Iterator[JobRecord]:
    chance = random.Random(seed)
    pace = 8 * 3600 * nights / (videos * len(languages))
    for number in range(videos * len(languages)):
        video, language = f"clip-{number // len(languages):03}", languages[number % len(languages)]
        worked = number * min(pace, 6.0)
        night = int(worked // (8 * 3600))
        submitted = EVENING - timedelta(days=nights - 1 - night) + timedelta(seconds=worked - night * 8 * 3600)
        took = chance.lognormvariate(3.53, 0.3)
        common: dict[str, Any] = {
            "key": f"{language}/{video}",
            "output": f"{language}/{video}.mp4",
            "labels": {"language": language, "client": ("Nordwind", "Südlicht & Söhne")[number % 3 == 0]},
            "video": f"clips/{video}.mp4",
            "speech": TEXTS.get(language, "Welcome back. Let us go on where we stopped."),
            "submitted_at": submitted,
        }
        yield _fate(chance.random(), number, took, submitted, common)


def _fate(chance: float, number: int, took: float, submitted: datetime, common: dict[str, Any]) -> JobRecord:
    if chance < 0.012:
        return failed(number, "GenerationError", "No face found in the video", **common)
    if chance < 0.016:
        return failed(number, "lost", "the provider does not know the generation any more", **common)
    if chance < 0.02:
        message = "the connection broke before an answer came"
        return unfinished(number, State.UNCLEAR, error_code="read_timeout", error_message=message, **common)
    if chance < 0.05:
        return unfinished(number, State.PENDING, **(common | {"submitted_at": None}))
    suspect = "the video lasts 4.0 s, its speech 12.3 s" if chance > 0.985 else None
    return make_record(
        number,
        generation_seconds=took,
        duration_seconds=6 + took / 4,
        finished_at=submitted + timedelta(seconds=took + 2),
        suspect=suspect,
        **common,
    )
