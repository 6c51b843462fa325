"""CSV as spreadsheets really write it: separators, encodings, quotes, and rows that do not fit."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_folder import Folder

from lipsync_batch.errors import ManifestError
from lipsync_batch.jobs import Job, Place, Text
from lipsync_batch.manifest import Manifest

HEADER = "key,video,audio,text,speaker,language\n"
GOOD = "a,a.mp4,,Hallo,Emily,de\n"


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_every_dialect_of_a_spreadsheet_is_read(folder: Folder, separator: str, encoding: str, newline: str) -> None:
    """Which one a spreadsheet writes hangs on the country and the system, not on the user's wish."""
    text = '"Key";"Video";text;SPEAKER; Language \na;a.mp4;"Grüß; Gott, ""alle""!";Emily;de\n'
    text = text.replace(";", separator).replace("\n", newline)
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""

    (job,) = folder.jobs("a.csv", mark + text.encode(encoding))

    assert job.want.speech == Text(text=f'Grüß{separator} Gott, "alle"!'.replace(";", separator), speaker="Emily")
    assert job.key == "a"
    assert job.labels == {"language": "de"}


def test_separator_is_found_by_the_names_of_the_columns(folder: Folder) -> None:
    """Commas in a column's name do not make a file comma-separated."""
    (job,) = folder.jobs("a.csv", 'video;audio;"x,y,z,v"\na.mp4;a.wav;\n'.replace('"x,y,z,v"', "client"))
    problem = folder.problem("b.csv", "video;audio;client, town, country, street\na.mp4;a.wav;\n")

    assert job.key == "a"
    assert problem.field == "client, town, country, street"


def test_excels_separator_line_is_no_header(folder: Folder) -> None:
    """Excel begins some files with `sep=;`."""
    (job,) = folder.jobs("a.csv", "sep=;\nvideo;audio\na.mp4;a.wav\n")

    assert job.place == Place(row=1, line=3)


def test_rows_are_counted_as_a_person_counts_them(folder: Folder) -> None:
    """Row and line differ as soon as a text has a line break or there is an empty line."""
    jobs = folder.jobs("a.csv", HEADER + '\na,a.mp4,,"two\nlines",Emily,\n,,,,,\n   \nb,b.mp4,,Hi,Emily,\n')

    assert [job.place for job in jobs] == [Place(row=1, line=3), Place(row=2, line=7)]
    assert jobs[0].want.speech == Text(text="two\nlines", speaker="Emily")


def test_empty_cell_is_not_given(folder: Folder) -> None:
    """A sheet has all columns in every row; spaces that someone left in one are nothing either."""
    (job,) = folder.jobs("a.csv", HEADER + ",a.mp4,a.wav,, ,  \n")

    assert job.labels == {}
    assert job.key == "a"


BROKEN_CSV = {
    "an empty file": ("", "", "", "is empty", "names the columns"),
    "empty lines": ("\n\n", "", "", "is empty", "names the columns"),
    "a header alone": (HEADER, "", "", "no row below the header", "add a row"),
    "misspelt column": ("vidoe,audio\na.mp4,a.wav\nb.mp4,b.wav\n", "line 1", "vidoe", "unknown field", '"video"'),
    "another's name": ("video,tts_text,speaker\na.mp4,Hi,Ava\n", "line 1", "tts_text", "unknown field", '"text"'),
    "no video column": ("audio\na.wav\nb.wav\n", "line 1", "video", "no column video", "add it"),
    "no speech column": ("video\na.mp4\nb.mp4\n", "line 1", "audio", "no column audio", "add one"),
    "no speaker column": ("video,text\na.mp4,Hi\n", "row 1, line 2", "speaker", "no speaker", "Ava"),
    "a column twice": ("video,audio,Video\na,b,c\n", "line 1", "Video", "two columns", "rename"),
    "a grid": ("video,audio,each\na,b,c\n", "line 1", "each", "not possible in CSV", "YAML"),
    "a label with a space": ("video,audio,a b\na,b,c\n", "line 1", "a b", "cannot be a name", '"a_b"'),
    "too short": (HEADER + "a,a.mp4,,Hallo\n", "row 1, line 2", "speaker", "4 cells, the header 6", "add"),
    "too long": (
        HEADER + GOOD + "b,b.mp4,,Hi, you,Emily,de\n",
        "row 2, line 3",
        "column 7",
        '"de" is under no column',
        "a comma in double quotes",
    ),
    "nameless": ("video,audio,\na,b,c\n", "row 1, line 2", "column 3", "without a name", "name the column"),
    "an open quote": (HEADER + GOOD + 'b,b.mp4,,"Hi,Emily,\n', "row 2, line 3", "", "never closed", "close it"),
    "a bad quote": (HEADER + 'b,b.mp4,,"say "hi"",Emily,\n', "row 1, line 2", "", "is not CSV", "double each quote"),
    "an open quote above": ('video,"audio\n', "line 1", "", "never closed", "close it"),
    "no video": (HEADER + "a,,,Hallo,Emily,\n", "row 1, line 2", "video", "no video", "add video"),
    "a blank text": (HEADER + "a,a.mp4,, ,Emily,\n", "row 1, line 2", "text", "is blank", "fill it in"),
    "no speech": (HEADER + "a,a.mp4,,,,\n", "row 1, line 2", "audio", "no speech", "give audio"),
    "a NUL byte": (HEADER + "a\0,b\n", "line 2", "", "NUL", "UTF-8"),
}


@pytest.mark.parametrize(("content", "place", "field", "cause", "remedy"), BROKEN_CSV.values(), ids=BROKEN_CSV)
def test_broken_csv_is_one_clear_problem(
    folder: Folder, content: str, place: str, field: str, cause: str, remedy: str
) -> None:
    """With the row, the line and the column's name; what is wrong with a column is said once, not in every row."""
    problem = folder.problem("a.csv", content)

    assert str(problem.place) == place
    assert problem.field == field
    assert cause in problem.cause
    assert remedy in problem.remedy


def test_rows_below_a_misnamed_column_are_no_jobs(folder: Folder) -> None:
    """--skip-invalid must not pay for rows whose takes or outputs were not understood."""
    items = folder.items("a.csv", "video,audio,takes\na.mp4,a.wav,2\n")

    assert not [item for item in items if isinstance(item, Job)]


def test_bad_rows_do_not_take_the_others_along(folder: Folder) -> None:
    """Not even a quote that is wrong."""
    items = folder.items("a.csv", HEADER + GOOD + 'b,"b"x,,,,\n' + "c,c.mp4,,,,\n" + GOOD)

    assert [type(item).__name__ for item in items] == ["Job", "Problem", "Problem", "Job"]


@pytest.mark.parametrize(
    ("content", "line", "cause"),
    [
        ((HEADER + GOOD + "b,b,,Schön,Ava,\n").encode("cp1252"), 3, '0xF6 is not UTF-8 (in Windows-1252 it is "ö")'),
        (HEADER.encode("utf-16-le"), 1, "NUL byte"),
        (HEADER.encode("utf-32"), 1, "NUL byte"),
        ((HEADER * 2).encode("utf-16")[:-1], 2, "cut off"),
        ("é".encode()[:1], 1, "byte 0xC3 is not UTF-8"),
        (b"video,audio\n" * 200_000 + b"\xff\n", 200_001, "byte 0xFF"),
    ],
    ids=["Windows-1252", "UTF-16 without BOM", "UTF-32", "half a character", "a lone byte", "far below"],
)  # fmt: skip
def test_wrong_encoding_names_the_line_and_the_way_out(folder: Folder, content: bytes, line: int, cause: str) -> None:
    """Excel's plain "CSV" is in the system's old code page; nobody should have to know what that is."""
    problem = folder.problem("a.csv", content)

    assert problem.place == Place(line=line)
    assert cause in problem.cause
    assert "CSV UTF-8" in problem.remedy


@pytest.mark.parametrize(
    ("name", "cause", "remedy"),
    [
        ("missing.csv", "there is no such file", "check its name"),
        ("clips", "is a folder", "such as inside.csv"),
        ("empty", "is a folder", "name a file"),
        ("sheet.xlsx", "not a kind of manifest", "CSV UTF-8"),
        ("jobs.json", "not a kind of manifest", "jq -c"),
        ("pipe.csv", "is no ordinary file", "save it as one"),
        ("jobs.txt", "not a kind of manifest", ".yaml, .yml, .csv"),
    ],
)
def test_what_is_no_manifest_is_refused(folder: Folder, name: str, cause: str, remedy: str) -> None:
    """Whatever was given on the command line by mistake."""
    folder.write("clips/inside.csv", HEADER)
    (folder.path / "empty").mkdir()
    for file in ("sheet.xlsx", "jobs.json", "jobs.txt"):
        folder.write(file, b"PK\0\xff")
    os.mkfifo(folder.path / "pipe.csv")

    with pytest.raises(ManifestError) as caught:
        Manifest.load(folder.path / name)

    assert cause in str(caught.value)
    assert remedy in str(caught.value)


def test_data_uri_longer_than_the_csv_modules_limit_is_read(folder: Folder) -> None:
    """Its limit is 128 KiB a cell."""
    uri = "data:video/mp4;base64," + "QUJD" * 100_000

    (job,) = folder.jobs("a.csv", f'key,video,audio\na,"{uri}",a.wav\n')

    assert job.want.video.text == uri


_words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@given(rows=st.lists(st.tuples(_words, _words), min_size=1, max_size=5), separator=st.sampled_from(",;\t"))
def test_whatever_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    """Texts and labels arrive as they left the sheet, but for the space around them."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    sheet = io.StringIO(newline="")
    writer = csv.writer(sheet, delimiter=separator)
    writer.writerow(["key", "video", "text", "speaker", "client"])
    for number, (text, client) in enumerate(rows):
        doubled = text.replace("{", "{{").replace("}", "}}")
        writer.writerow([str(number), "a.mp4", doubled, "Auto", client])
    path.write_bytes(sheet.getvalue().encode())

    jobs = list(Manifest.load(path).jobs())

    assert [(job.want.speech.text, job.labels["client"]) for job in jobs] == [
        (text.strip(), client.strip()) for text, client in rows
    ]


BROKEN_JSONL = {
    "an empty file": ("", "", "", "is empty", "add a line"),
    "blank lines": ("\n \n", "", "", "is empty", "add a line"),
    "an array": ("[\n{}]", "line 1", "", "is a JSON array", "jq -c"),
    "not JSON": ('\n{"video": }', "line 2, column 11", "", "is not JSON", "one whole object"),
    "cut off": ('{"video": "a"', "line 1, column 14", "", "is not JSON", "one whole object"),
    "a word": ('"a.mp4"', "line 1", "", "is not an object", "video"),
    "a name twice": ('{"video": "a", "video": "b"}', "line 1", "video", "there twice", "keep one"),
    "NaN": ('{"video": NaN}', "line 1", "", "NaN is no number", "one whole"),
    "half a character": ('{"video": "\\ud83d"}', "line 1", "", "surrogate", "the character itself"),
    "nested deep": ('{"a":' * 5000 + "1" + "}" * 5000, "line 1", "", "is not JSON", "one whole"),
}


@pytest.mark.parametrize(("content", "place", "field", "cause", "remedy"), BROKEN_JSONL.values(), ids=BROKEN_JSONL)
def test_broken_jsonl_is_one_clear_problem(
    folder: Folder, content: str, place: str, field: str, cause: str, remedy: str
) -> None:
    """A line that cannot be read is a problem of that line."""
    problem = folder.problem("a.jsonl", content)

    assert str(problem.place) == place
    assert problem.field == field
    assert cause in problem.cause
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("changes", "field", "cause"),
    [
        ({"text": False}, "text", "must be text, not false"),
        ({"language": True}, "language", "must be text, not true"),
        ({"client": {"name": "A"}}, "client", "must be text, not a mapping"),
        ({"labels": ["A"]}, "labels", "must be a mapping"),
        ({"labels": {"a b": "A"}}, "labels.a b", "cannot be a name"),
        ({"labels": {"a": []}}, "labels.a", "must be text, not a list"),
        ({"take": True}, "take", '"True" is not a whole number'),
        ({"teach": "x"}, "teach", 'unknown field "teach"'),
    ],
    ids=["text", "label", "nested label", "labels", "label's name", "label's value", "take", "nearly a field"],
)
def test_json_types_that_do_not_fit_are_problems(
    folder: Folder, changes: dict[str, object], field: str, cause: str
) -> None:
    """A generator that wrote a truth value where a language belongs has a bug."""
    problem = folder.problem("a.jsonl", json.dumps({"video": "a.mp4", "text": "Hi", "speaker": "Ava", **changes}))

    assert problem.field == field
    assert cause in problem.cause


def test_json_numbers_are_kept_as_they_were_written(folder: Folder) -> None:
    """1.10 is a version, not 1.1; and labels under `labels` may have any name."""
    (job,) = folder.jobs(
        "a.jsonl", '{"video": "a.mp4", "text": 12, "speaker": "Ava", "v": 1.10, "take": 2, "labels": {"teach": "x"}}\n'
    )

    assert job.labels == {"v": "1.10", "teach": "x"}
    assert job.want.speech == Text(text="12", speaker="Ava")
    assert job.want.take == 2


def test_reading_again_from_another_folder_finds_the_same_files(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path on the command line, and a process that changes its folder."""
    folder.write("a.csv", HEADER + GOOD)
    monkeypatch.chdir(tmp_path)
    manifest = Manifest.load("a.csv")

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert [job.want.video.path for job in manifest.jobs()] == [tmp_path / "a.mp4"]
