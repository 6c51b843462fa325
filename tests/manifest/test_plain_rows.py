"""The short way from a row to its job: it never says anything else than the long one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lipsync_batch.errors import Problem
from lipsync_batch.jobs import Job, Place
from lipsync_batch.manifest.expand import Expander
from lipsync_batch.manifest.fields import Row
from lipsync_batch.manifest.manifest import Manifest
from lipsync_batch.manifest.plain import plain_job

BASE = Path("/projects/spring")
LINK = "https://media.example/clips/intro.mp4"

SPACES = st.sampled_from(["", "", "", " ", "\t", "\n", "\u00a0", "\u2003", "\x0b", "\x85", "\x1c"])
ODD = st.text(alphabet='aé{}[]*?~:/\\. "\0\x1b\x7f\u0301\u200b\u202e\ud800\U0001f600', max_size=6)
SOURCES = st.one_of(
    st.sampled_from(
        [
            *(LINK, "HTTPS://h/a%20b.mp4", "http://h", "https:///x.mp4", "https://h:x/a", "https://h/a b", "s3://b/a"),
            *(
                "S3://b/é/a b.mp4",
                "gs://b/",
                "az://b/*.mp4",
                "s3://k:s@b/a.mp4",
                "s3:/b/a.mp4",
                "s3://b//a",
                "s3://b/a?v=1",
            ),
            *(
                "clips/intro.mp4",
                "clips/",
                "clips/*.mp4",
                "~/a.mp4",
                "c:/a.mp4",
                "a:b.mp4",
                "{language}.mp4",
                "./a.mp4",
            ),
            *("data:video/mp4;base64,AAAA", "data:audio/wav;base64,AAAA", "https:h/a.mp4", "ftp://h/a.mp4", "."),
        ]
    ),
    ODD,
)
OUTPUTS = st.one_of(
    st.sampled_from(
        [
            *("de/a.mp4", "a.mp4", "./a.mp4", "a/./b.MP4", "a/.", "../a.mp4", "_batch/a.mp4", "report.html", "con.mp4"),
            *("con/a.mp4", "a.txt", "a/", "/a.mp4", "~a.mp4", ".mp4", "..mp4", "a .mp4", "a//b.mp4", "e\u0301.mp4"),
            *("{key}.mp4", "x" * 300 + ".mp4", "é/" * 400 + "a.mp4", "a|b.mp4", "A/b.mp4"),
        ]
    ),
    ODD,
)
NUMBERS = st.sampled_from(["1", "2", "007", "0", "-1", "1_0", "1.0", "+3", "²", "٣", "9" * 9, "9" * 12, "true", " 4 "])
TEXTS = st.one_of(st.sampled_from(["Hello.", "{language}", "two\nlines", "日本\u3000語", " "]), ODD)
SPEAKERS = st.sampled_from(["Emily", "Auto", "emily", "Emilly", "{speaker}", ""])
NAMES = {
    "key": st.one_of(st.sampled_from(["intro-de", "x" * 513, "e\u0301"]), ODD),
    "video": SOURCES,
    "audio": SOURCES,
    "text": TEXTS,
    "speaker": SPEAKERS,
    "output": OUTPUTS,
    "take": NUMBERS,
    "priority": NUMBERS,
}
LABELS = st.sampled_from(["language", "client", "vidoe", "tts_text", "index", "api_key", "two words", "é", "Language"])
OTHERS = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.just([]), st.just({"a": "b"}))


RIGHT = {
    "key": st.sampled_from(["intro-de", "é", " intro de "]),
    "video": st.sampled_from([LINK, "clips/intro.mp4", "HTTPS://H/a%20b.mp4?v=1"]),
    "output": st.sampled_from(["de/a.mp4", "./A/./b.MOV", " e\u0301.mp4"]),
    "take": st.sampled_from(["1", "12", " 4 "]),
    "priority": st.sampled_from(["1", "9" * 9]),
    "language": st.sampled_from(["de", " pt-BR ", "日本\u3000語", "two\nlines"]),
    "client": st.sampled_from(["ACME GmbH", "a.b"]),
}
"""By name, values that nothing is wrong with."""


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """What a reader may hand over, in any order of names: right, but for a few things at most."""
    given_: dict[str, Any] = {"video": LINK}
    given_ |= draw(st.sampled_from([{"text": " Hello. ", "speaker": "Emily"}, {"audio": "dubs/intro.de.wav"}]))
    given_ |= {name: draw(RIGHT[name]) for name in draw(st.sets(st.sampled_from(sorted(RIGHT))))}
    if draw(st.booleans()):
        given_["labels"] = draw(st.dictionaries(st.sampled_from(["language", "é"]), RIGHT["language"], max_size=2))
    for fault in draw(st.lists(st.sampled_from(["value", "label", "labels", "type", "missing", "space"]), max_size=2)):
        match fault:
            case "value":
                name = draw(st.sampled_from(sorted(NAMES)))
                given_[name] = draw(NAMES[name])
            case "label":
                given_[draw(LABELS)] = draw(TEXTS)
            case "labels":
                given_["labels"] = draw(st.dictionaries(LABELS, st.one_of(TEXTS, OTHERS), max_size=2))
            case "type":
                given_[draw(st.sampled_from([*NAMES, "labels", "each", "language"]))] = draw(OTHERS)
            case "missing" if given_:
                del given_[draw(st.sampled_from(sorted(given_)))]
            case "space" if given_:
                name = draw(st.sampled_from(sorted(given_)))
                given_[name] = f"{draw(SPACES)}{given_[name]}{draw(SPACES)}"
    return {name: given_[name] for name in draw(st.permutations(sorted(given_)))}


def long_way(row: Row) -> list[Job | Problem]:
    return list(Expander(base=BASE, defaults=None, tables={}, overrides={}).expand(row))


@settings(max_examples=1_500)
@given(rows())
@example({"video": LINK, "text": "a\x0b", "speaker": "Emily"})
@example({"video": LINK, "text": "Hello.", "speaker": "Emily", "language": "{de}"})
def test_short_way_says_what_the_long_way_says(given_: dict[str, Any]) -> None:
    """Two readings of one row would be two fingerprints of one pair: paid for twice."""
    row = Row(given=given_, place=Place(row=3, line=4))

    job = plain_job(row, BASE, 0)

    if job is not None:
        (other,) = long_way(row)
        assert job == other
        assert isinstance(other, Job)
        assert list(job.labels.items()) == list(other.labels.items())


ORDINARY: list[Mapping[str, Any]] = [
    {"video": LINK, "text": "Hello.", "speaker": "Emily"},
    {"key": "a", "video": LINK, "text": " Grüß\n Gott, 日本\u3000語. ", "speaker": "Auto", "output": "de/a.mp4"},
    {"key": "a", "video": "clips/a.mp4", "audio": "dubs/a.wav", "language": "de", "client": "ACME GmbH"},
    {"video": "clips/a.mp4", "audio": "https://h/a.de.mp3", "labels": {"language": "de"}, "take": "2", "priority": "9"},
]


@pytest.mark.parametrize("given_", ORDINARY, ids=["smallest", "text in any alphabet", "a dub", "with labels"])
def test_ordinary_row_takes_the_short_way(given_: Mapping[str, Any]) -> None:
    """A million of them are to be planned in half a minute."""
    row = Row(given=given_, place=Place(row=1))

    assert plain_job(row, BASE, 0) is not None
    assert [plain_job(row, BASE, 0)] == long_way(row)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(Row(given=ORDINARY[0], place=Place(), excused=frozenset({"audio"})), id="a column was wrong"),
        pytest.param(
            Row(given=ORDINARY[0], place=Place(), problems=[Problem(place=Place(), cause="x", remedy="y")]),
            id="the reader complained",
        ),
    ],
)
def test_row_that_was_complained_about_is_no_job(row: Row) -> None:
    """What is wrong with a row is told by the long way; the short one must not make a job of it all the same."""
    assert plain_job(row, BASE, 0) is None


def test_defaults_and_overrides_hold_for_rows_that_look_plain(tmp_path: Path) -> None:
    """A row is not all there is to say where something lies below it, or on top of it."""
    row = f"  - {{key: a, video: {LINK}, text: Hi, speaker: Emily}}\n"
    (tmp_path / "below.yaml").write_text(f"defaults: {{priority: 7}}\njobs:\n{row}")
    (tmp_path / "above.yaml").write_text(f"overrides: {{a: {{take: 2}}}}\njobs:\n{row}")

    (below,), (above,) = (list(Manifest.load(tmp_path / name).jobs()) for name in ("below.yaml", "above.yaml"))

    assert isinstance(below, Job)
    assert isinstance(above, Job)
    assert (below.priority, above.want.take) == (7, 2)


def test_every_row_of_a_mixed_manifest_is_counted_once(tmp_path: Path) -> None:
    """`{index}` and the order of the jobs go by it, whichever way a row took."""
    plain, templated = "https://h/a.mp4,Hi,Emily", "https://h/a.mp4,Hi,Emily"
    lines = ["video,text,speaker,output", f"{plain},1.mp4", f"{templated},{{index}}.mp4", f"{plain},3.mp4"]
    (tmp_path / "a.csv").write_text("\n".join(lines))

    jobs = [item for item in Manifest.load(tmp_path / "a.csv").jobs() if isinstance(item, Job)]

    assert [(job.position, job.output) for job in jobs] == [(0, "1.mp4"), (1, "2.mp4"), (2, "3.mp4")]
