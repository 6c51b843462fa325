"""Everything that can be told from one row, in any format."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable

import pytest
from manifest_folder import Folder

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.errors import Problem
from lipsync_batch.jobs import Audio, DataUri, Link, LocalFile, Text

OneJob = Callable[..., Problem]


@pytest.mark.parametrize(
    ("fields", "field", "cause", "remedy"),
    [
        pytest.param(
            {"vidoe": "a.mp4"}, "vidoe", 'unknown field "vidoe"', 'did you mean "video"?', id="misspelt field"
        ),
        pytest.param({"tkae": "2"}, "tkae", "unknown field", 'did you mean "take"?', id="letters swapped"),
        pytest.param({"tts_text": "Hi"}, "tts_text", "unknown field", 'did you mean "text"?', id="the API's name"),
        pytest.param({"voice": "Emily"}, "voice", "unknown field", 'did you mean "speaker"?', id="another tool's name"),
        pytest.param({"video": None}, "video", "there is no video", "add video", id="no video"),
        pytest.param({"audio": "a.wav", "speaker": None}, "text", "audio and text", "keep one", id="both speeches"),
        pytest.param({"text": None, "speaker": None}, "audio", "no speech", "give audio, or text", id="no speech"),
        pytest.param({"speaker": None}, "speaker", "no speaker", "one of Harper, Ava", id="text without speaker"),
        pytest.param({"text": None}, "text", "a speaker, but no text", "add text", id="speaker without text"),
        pytest.param({"text": None, "audio": "a.wav"}, "speaker", "audio and a speaker", "remove", id="audio, speaker"),
        pytest.param({"speaker": "Emilly"}, "speaker", "unknown speaker", 'did you mean "Emily"?', id="misspelt"),
        pytest.param({"speaker": "OLIVER"}, "speaker", "unknown speaker", 'did you mean "Oliver"?', id="other case"),
        pytest.param({"speaker": "Zx"}, "speaker", "unknown speaker", "there are Harper, Ava", id="a stranger"),
        pytest.param({"text": '" "'}, "text", "is blank", "fill it in", id="blank text"),
        pytest.param({"text": '"a\\x1bb"'}, "text", "control character U+001B", "remove it", id="an escape"),
        pytest.param({"video": '""'}, "video", "is blank", "fill it in", id="blank video"),
        pytest.param({"take": "0"}, "take", "0 is too small", "count from 1", id="take 0"),
        pytest.param({"take": "two"}, "take", '"two" is not a whole number', "1, 2, 3", id="take in words"),
        pytest.param({"take": "1.5"}, "take", '"1.5" is not a whole number', "1, 2, 3", id="half a take"),
        pytest.param({"priority": "high"}, "priority", "not a whole number", "write", id="priority in words"),
        pytest.param({"priority": "99999999999"}, "priority", "too large", "2,147,483,647", id="priority too large"),
        pytest.param({"text": "{greeting}"}, "text", "must be text, not a mapping", "quotes", id="a brace unquoted"),
        pytest.param({"language": "[de, fr]"}, "language", "not a list", "quotes", id="a label that is a list"),
        pytest.param({"model": "other"}, "model", "means something else", "another name", id="model"),
        pytest.param({"index": "4"}, "index", "means something else", "another name", id="a template's name"),
        pytest.param({"client name": "A"}, "client name", "cannot be a name", '"client_name"', id="a space in a label"),
        pytest.param({"api_key": "s3cret"}, "api_key", "never taken", "AIMLAPI_API_KEY", id="a key in a manifest"),
    ],
)
def test_wrong_field_is_named_with_its_cause_and_remedy(
    one_job: OneJob, fields: dict[str, str], field: str, cause: str, remedy: str
) -> None:
    """Someone who is told what to write does not have to look it up."""
    problem = one_job(**({"video": None} if "vidoe" in fields else {}), **fields)

    assert problem.field == field
    assert cause in problem.cause
    assert remedy in problem.remedy
    assert problem.place.line is not None
    assert problem.place.column is not None
    assert "s3cret" not in str(problem)


def test_problem_points_at_the_line_and_column_of_the_field(one_job: OneJob) -> None:
    """An editor can jump to it."""
    problem = one_job(speaker="Emilly")

    assert str(problem) == 'line 4, column 5, speaker: unknown speaker "Emilly"; did you mean "Emily"?'


def test_all_that_is_wrong_with_a_row_is_said_at_once(folder: Folder) -> None:
    """Ten rounds of fix one, see the next, are ten too many."""
    problems = folder.problems(
        "jobs.yaml",
        """\
        jobs:
          - video: ftp://host/a.mp4
            text: " "
            speaker: Emilly
            take: none
            output: ../intro.mp4
          - text: Hallo
            language: de
        """.replace("        ", ""),
    )

    assert {(problem.place.line, problem.field) for problem in problems} == {
        (2, "video"),
        (3, "text"),
        (5, "take"),
        (6, "output"),
        (7, "video"),
        (7, "speaker"),
    }


def test_wrong_text_does_not_hide_a_wrong_speaker(folder: Folder) -> None:
    """A speaker is checked whatever became of the text."""
    problems = folder.problems("a.jsonl", '{"video": "a.mp4", "text": "{nobody}", "speaker": "Bob"}')

    assert [problem.field for problem in problems] == ["text", "speaker"]


@pytest.mark.parametrize(
    ("output", "cause", "remedy"),
    [
        ("/etc/a.mp4", "not inside the batch folder", "make it relative"),
        ("~/a.mp4", "not inside the batch folder", "make it relative"),
        ("../a.mp4", "leads out of the batch folder", "leave it out"),
        ("de/../../a.mp4", "leads out of the batch folder", "leave it out"),
        ("_batch/a.mp4", "keeps its own files", "another name"),
        ("_BATCH/a.mp4", "keeps its own files", "another name"),
        ("report.html/a.mp4", "keeps its own files", "another name"),
        ("report.csv", "keeps its own files", "another name"),
        ("intro", "does not end like a video", ".mov or .mp4"),
        ("intro.avi", "does not end like a video", ".mov or .mp4"),
        ("de/", "does not end like a video", ".mov or .mp4"),
        (".mp4", "does not end like a video", ".mov or .mp4"),
        ("de/con.mp4", "a device on Windows", "another name"),
        ("nul/a.mp4", "a device on Windows", "another name"),
        ("de\\\\a.mp4", 'holds "\\"', "separate folders by /"),
        ("a:b.mp4", 'holds ":"', "leave it out"),
        ("what?.mp4", 'holds "?"', "leave it out"),
        ("a\\tb.mp4", "control character U+0009", "leave it out"),
        ("folder./a.mp4", "ends with a dot", "leave it out"),
        ("a" * 250 + ".mp4", "longer than 200 bytes", "shorten"),
        ("é" * 150 + ".mp4", "longer than 200 bytes", "shorten"),
        ("f" * 256 + "/a.mp4", "longer than 255 bytes", "shorten"),
        ("/".join(["f" * 200] * 6) + "/a.mp4", "longer than 1,024 bytes", "shorten"),
    ],
)
def test_output_that_nothing_could_stand_at_is_refused(one_job: OneJob, output: str, cause: str, remedy: str) -> None:
    """A video that was paid for must have a place to land, in the batch folder and nowhere else."""
    problem = one_job(output=f'"{output}"')

    assert problem.field == "output"
    assert cause in problem.cause
    assert remedy in problem.remedy


def test_output_is_kept_in_nfc_with_plain_slashes(folder: Folder) -> None:
    """The same name typed on a Mac and on Linux is the same output."""
    (job,) = folder.jobs("a.jsonl", '{"video": "a.mp4", "audio": "a.wav", "output": ".//de/e\\u0301te\\u0301.MP4"}')

    assert job.output == "de/\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}.MP4"
    assert job.key == job.output.removesuffix(".MP4")


def test_key_that_makes_no_output_is_blamed_itself(one_job: OneJob) -> None:
    """The user wrote a key and no output: the problem is where they wrote it."""
    problem = one_job(key="a:b")

    assert problem.field == "key"
    assert 'the output would be "a:b.mp4"' in problem.cause


VIDEO = base64.b64encode(b"not really a video").decode()


@pytest.mark.parametrize(
    ("video", "cause", "remedy"),
    [
        ("s3://bucket/", "is a folder", "s3://bucket/*.mp4"),
        ("gs://bucket/clips/", "is a folder", "gs://bucket/clips/*.mp4"),
        ("az:///a.mp4", "names no bucket", "az://bucket/path/clip.mp4"),
        ("s3://AK:secret@bucket/a.mp4", "holds credentials", "from the environment alone"),
        ("s3://bucket//a.mp4", "an empty part", "as their store does"),
        ("ftp://host/a.mp4", "ftp:// is not supported", "a path, an https link, s3://, gs://, az:// and a data URI"),
        ("file:///tmp/a.mp4", "file:// is not supported", "write the path alone"),
        ("https://host/my clip.mp4", "a space", "%20"),
        ("https:///a.mp4", "no host", "https://host/path"),
        ("https://host:99999/a.mp4", "no host, or a wrong one", "https://host/path"),
        ("clips/", "is a folder", "clips/*.mp4"),
        (f"data:audio/wav;base64,{VIDEO}", "not one of video", "data:video/...;base64,"),
        ("data:video/mp4,plain", "not one of video", "data:video/...;base64,"),
        ("data:video/mp4;base64,A", "cannot be decoded", "once more"),
        ("data:video/mp4;base64,###", "cannot be decoded", "once more"),
        ("clips/*.mp4", "there is no folder", "check the path"),
        ("*.mp4", "matches no file in", "check the pattern"),
    ],
)
def test_video_that_cannot_be_meant_is_refused(one_job: OneJob, video: str, cause: str, remedy: str) -> None:
    """Before anything is sent, and with what would be possible."""
    problem = one_job(video=f'"{video}"', key="intro")

    assert problem.field == "video"
    assert cause in problem.cause
    assert remedy in problem.remedy


def test_glob_without_a_match_says_where_it_looked(folder: Folder) -> None:
    """Half of such errors are a manifest in another folder than one thinks."""
    folder.write("clips/intro.MOV")

    problem = folder.problem("a.jsonl", '{"video": "clips/*.mp4", "text": "Hi", "speaker": "Auto"}')

    assert problem.field == "video"
    assert str(folder.path / "clips") in problem.cause


@pytest.mark.parametrize(
    ("video", "source"),
    [
        ("https://host/a.mp4?sig=1*2", Link(url="https://host/a.mp4?sig=1*2")),
        ("http://127.0.0.1:8000/a.mp4", Link(url="http://127.0.0.1:8000/a.mp4")),
        (f"data:video/mp4;base64,{VIDEO}", DataUri(text=f"data:video/mp4;base64,{VIDEO}")),
        (
            f"data:video/mp4;codecs=avc1;base64, {VIDEO[:4]} {VIDEO[4:]}",
            DataUri(text=f"data:video/mp4;codecs=avc1;base64,{VIDEO}"),
        ),
    ],
    ids=["https", "http", "data URI", "folded data URI"],
)
def test_links_and_data_uris_are_taken_as_they_are(folder: Folder, video: str, source: object) -> None:
    """A `*` in a link is no glob, and YAML's folding does not break a data URI."""
    row = {"video": video, "text": "Hi", "speaker": "Auto", "key": "intro"}

    (job,) = folder.jobs("a.jsonl", json.dumps(row))

    assert job.want.video == source


def test_paths_are_relative_to_the_manifest_or_to_home(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the folder that the program happens to be started in."""
    monkeypatch.setenv("HOME", "/home/ada")

    (job,) = folder.jobs("deep/a.jsonl", '{"video": "../a: b.mp4", "audio": "~/greeting.wav"}')

    assert job.want.video == LocalFile(path=folder.path / "deep" / "../a: b.mp4")
    assert str(job.want.speech.source.path) == "/home/ada/greeting.wav"


def test_file_called_like_a_glob_wins_over_it(folder: Folder) -> None:
    """`clip[1].mp4` is how browsers name a second download."""
    folder.write("clip[1].mp4")
    folder.write("clip1.mp4")

    (job,) = folder.jobs("a.jsonl", '{"video": "clip[1].mp4", "text": "Hi", "speaker": "Auto"}')

    assert job.want.video == LocalFile(path=folder.path / "clip[1].mp4")


def test_glob_is_one_job_a_match_in_the_order_of_names(folder: Folder) -> None:
    """Folders, hidden files and other endings are no matches."""
    for name in ("clips/b.mp4", "clips/a.mp4", "clips/deep/c.mp4", "clips/.hidden.mp4", "clips/notes.txt"):
        folder.write(name)
    (folder.path / "clips/folder.mp4").mkdir()

    row = {"video": "clips/**/*.mp4", "text": "Hi", "speaker": "Auto", "output": "{video.parent}/{index:02}.mp4"}

    jobs = folder.jobs("a.jsonl", json.dumps(row))

    assert [job.output for job in jobs] == ["clips/01.mp4", "clips/02.mp4", "clips/deep/03.mp4"]
    assert [job.want.video.path.name for job in jobs] == ["a.mp4", "b.mp4", "c.mp4"]
    assert [job.position for job in jobs] == [0, 1, 2]


def test_audio_glob_gives_each_video_its_dubs(folder: Folder) -> None:
    """`dubs/{video.stem}.*.wav` is how dubs lie about, and their names make the keys."""
    for name in ("a.mp4", "b.mp4", "dubs/a.de.wav", "dubs/a.fr.wav", "dubs/b.de.wav"):
        folder.write(name)

    jobs = folder.jobs("a.jsonl", '{"video": "*.mp4", "audio": "dubs/{video.stem}.*.wav"}')

    assert [(job.key, job.want.video.path.name) for job in jobs] == [
        ("a.de", "a.mp4"),
        ("a.fr", "a.mp4"),
        ("b.de", "b.mp4"),
    ]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"video": "clips/intro.mp4", "audio": "dubs/intro.de.wav"}, "intro.de"),
        ({"video": "ada.mp4", "audio": "greeting.wav"}, "ada.greeting"),
        ({"video": "ad.mp4", "audio": "ada.wav"}, "ad.ada"),
        ({"video": "intro.mp4", "audio": "de/intro.wav", "language": "de"}, "intro.de"),
        ({"video": "intro.mp4", "audio": "intro.wav"}, "intro"),
        ({"video": "intro.mp4", "text": "Salut", "speaker": "Auto", "language": "fr", "client": "A/B"}, "intro.fr.A_B"),
        ({"video": "https://host/path/intro%201.mp4?sig=x", "text": "Salut", "speaker": "Auto"}, "intro 1"),
        ({"video": "a.mp4", "audio": "a.wav", "output": "de/x.y.mov"}, "de/x.y"),
    ],
)
def test_key_defaults_to_the_names_of_the_inputs(folder: Folder, row: dict[str, str], key: str) -> None:
    """Three columns are a manifest; the outputs still have telling names."""
    (job,) = folder.jobs("a.jsonl", json.dumps(row))

    assert job.key == key
    assert job.output == row.get("output", f"{key}.mp4")


def test_job_without_any_name_asks_for_one(folder: Folder) -> None:
    """A data URI has no name to make a key from."""
    row = {"video": f"data:video/mp4;base64,{VIDEO}", "text": "Hi", "speaker": "Auto"}

    problem = folder.problem("a.jsonl", json.dumps(row))

    assert problem.field == "key"
    assert "add key or output" in problem.remedy


def test_every_speaker_is_accepted(folder: Folder) -> None:
    """The list is the provider's."""
    rows = [{"video": "a.mp4", "text": "Hi", "speaker": name, "key": name} for name in LIP_SYNC.speakers]

    jobs = folder.jobs("a.jsonl", "\n".join(map(json.dumps, rows)))

    assert [job.want.speech for job in jobs] == [Text(text="Hi", speaker=name) for name in LIP_SYNC.speakers]


def test_the_same_row_is_the_same_job_in_every_format(folder: Folder) -> None:
    """A team that outgrows its sheet does not start anew."""
    row = {
        "key": "k",
        "video": "v.mp4",
        "audio": "a.wav",
        "output": "o.mov",
        "take": "2",
        "priority": "-1",
        "lang": "no",
    }
    texts = {
        "a.csv": f"{','.join(row)}\n{','.join(row.values())}\n",
        "a.jsonl": json.dumps(row),
        "a.yaml": "jobs:\n  - " + "\n    ".join(f"{name}: {value}" for name, value in row.items()),
    }

    jobs = [job for name, text in texts.items() for job in folder.jobs(name, text)]

    for one, other in itertools.pairwise(jobs):
        assert one.key == other.key
        assert one.output == other.output
        assert one.want == other.want
        assert one.labels == other.labels == {"lang": "no"}
        assert one.priority == other.priority == -1
    assert jobs[0].want.take == 2
    assert jobs[0].want.speech == Audio(source=LocalFile(path=folder.path / "a.wav"))
