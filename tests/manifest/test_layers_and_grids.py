"""Defaults, grids, tables and overrides: what lies on top of what, and what is wrong with it."""

from __future__ import annotations

import pytest
from manifest_folder import Folder

from lipsync_batch.jobs import Audio, Job, Place, Text

TABLE = "clip,fr,ja,es\nintro,Salut,やあ,Hola\noutro,Au revoir,,Adiós\n"


def with_table(folder: Folder, jobs: str, table: str = TABLE, spec: str = "{file: lines.csv, key: clip}") -> str:
    folder.write("lines.csv", table)
    return f"tables:\n  lines: {spec}\ndefaults: {{speaker: Emily}}\njobs:\n  - {jobs}\n"


def test_design_manifest_does_what_it_says(folder: Folder) -> None:
    """The manifest of the documentation, with everything in it."""
    for name in ("clips/a/intro.mp4", "clips/outro.mp4"):
        folder.write(name)
    folder.write("translations.csv", "clip,fr,ja\nintro,Salut,やあ\noutro,Adieu,またね\n")

    jobs = folder.jobs(
        "spring.yaml",
        """\
version: 1
settings: {rate: 60/m, budget: 40, out: ../deliveries/spring}
tables:
  lines: {file: translations.csv, key: clip}
defaults:
  speaker: Emily
  output: "{language}/{video.stem}.mp4"
jobs:
  - key: intro-de
    video: clips/intro.mp4
    audio: dubs/intro.de.wav
    language: de
  - video: clips/**/*.mp4
    each:
      language: [fr, ja]
    text: "{lines[video.stem][language]}"
  - video: clips/outro.mp4
    each:
      language:
        es: {text: "Hasta pronto.", speaker: Oliver}
        it: {text: "A presto."}
overrides:
  fr/intro: {take: 2}
""",
    )

    assert [(job.key, job.output, job.position) for job in jobs] == [
        ("intro-de", "de/intro.mp4", 0),
        ("fr/intro", "fr/intro.mp4", 1),
        ("fr/outro", "fr/outro.mp4", 2),
        ("ja/intro", "ja/intro.mp4", 3),
        ("ja/outro", "ja/outro.mp4", 4),
        ("es/outro", "es/outro.mp4", 5),
        ("it/outro", "it/outro.mp4", 6),
    ]
    assert isinstance(jobs[0].want.speech, Audio)
    assert [job.want.speech for job in jobs[1:]] == [
        Text(text="Salut", speaker="Emily"),
        Text(text="Adieu", speaker="Emily"),
        Text(text="やあ", speaker="Emily"),
        Text(text="またね", speaker="Emily"),
        Text(text="Hasta pronto.", speaker="Oliver"),
        Text(text="A presto.", speaker="Emily"),
    ]
    assert [job.want.take for job in jobs] == [1, 2, 1, 1, 1, 1, 1]
    assert jobs[5].labels == {"language": "es"}


def test_axes_are_multiplied(folder: Folder) -> None:
    """The last one runs fastest; a mapping's fields lie on top of the row's."""
    jobs = folder.jobs(
        "a.yaml",
        "jobs:\n  - {video: a.mp4, text: Hi, speaker: Ava, "
        "each: {language: [no, fr], cut: {long: , short: {text: Yo, priority: 2, labels: {teach: x}}}}}\n",
    )

    assert [job.labels for job in jobs] == [
        {"language": "no", "cut": "long"},
        {"language": "no", "cut": "short", "teach": "x"},
        {"language": "fr", "cut": "long"},
        {"language": "fr", "cut": "short", "teach": "x"},
    ]
    assert [job.key for job in jobs] == ["a.no.long", "a.no.short.x", "a.fr.long", "a.fr.short.x"]
    assert [job.want.speech.text for job in jobs] == ["Hi", "Yo", "Hi", "Yo"]
    assert [job.priority for job in jobs] == [0, 2, 0, 2]


@pytest.mark.parametrize(
    ("each", "place", "field", "cause"),
    [
        ("de", "line 2, column 44", "each", "must name what changes"),
        ("{}", "line 2, column 44", "each", "must name what changes"),
        ("{language: de}", "line 2, column 51", "each.language", "must be a list"),
        ("{language: []}", "line 2, column 51", "each.language", "must be a list"),
        ("{speaker: [Ava]}", "line 2, column 51", "each.speaker", "means something else"),
        ("{a b: [x]}", "line 2, column 51", "each.a b", "cannot be a name"),
        ("{language: [de, [fr]]}", "line 2, column 66", "each.language.1", "must be text"),
        ("{language: [de, ~]}", "line 2, column 66", "each.language.1", "must be text"),
        ("{language: {de: Hallo}}", "line 2, column 62", "each.language.de", "must be a mapping of fields"),
        ("{language: {de: {each: {a: [b]}}}}", "line 2, column 62", "each.language.de", "a grid inside a grid"),
        ("{language: {de: {txet: Hi}}}", "line 2, column 67", "each.language.de.txet", 'unknown field "txet"'),
        ("{language: {de: {speaker: Bob}}}", "line 2, column 67", "each.language.de.speaker", "unknown speaker"),
        ("{language: {de: {take: x}}}", "line 2, column 67", "each.language.de.take", "not a whole number"),
        (f"{{a: {list(range(1001))}, b: {list(range(1000))}}}", "line 2, column 44", "each", "over 1,000,000"),
    ],
)
def test_wrong_grid_is_one_clear_problem(folder: Folder, each: str, place: str, field: str, cause: str) -> None:
    """Down to the field of the item of the axis."""
    problem = folder.problem("a.yaml", f"jobs:\n  - {{video: a.mp4, text: Hi, speaker: Ava, each: {each}}}\n")

    assert str(problem.place) == place
    assert problem.field == field
    assert cause.removeprefix("a grid ") in problem.cause


def test_problem_of_a_whole_grid_is_said_once(folder: Folder) -> None:
    """Not once for each of its thousand jobs."""
    problem = folder.problem("a.yaml", "jobs: [{video: a.mp4, text: Hi, speaker: Bob, each: {language: [a, b, c]}}]\n")

    assert problem.field == "speaker"


@pytest.mark.parametrize(
    ("defaults", "row", "speech"),
    [
        ("speaker: Ava", "audio: a.wav", "audio"),
        ("speaker: Ava", "text: Hi", "Hi by Ava"),
        ("speaker: Ava, text: Hello", "speaker: Liam", "Hello by Liam"),
        ("speaker: Ava, text: Hello", "audio: a.wav", "audio"),
        ("audio: x.wav", "text: Hi, speaker: Liam", "Hi by Liam"),
        ("audio: a.wav", "language: de", "audio"),
        ("speaker: Ava, audio: a.wav", "language: de", "audio"),
        ("speaker: Ava, audio: x.wav", "text: Hi", "Hi by Ava"),
    ],
)
def test_topmost_speech_decides_its_kind(folder: Folder, defaults: str, row: str, speech: str) -> None:
    """Defaults are for rows that say nothing else; they never contradict a row."""
    (job,) = folder.jobs("a.yaml", f"defaults: {{{defaults}}}\njobs:\n  - {{video: v.mp4, {row}}}\n")

    match job.want.speech:
        case Audio(source=source):
            assert (speech, source.path.name) == ("audio", "a.wav")
        case Text(text=text, speaker=speaker):
            assert speech == f"{text} by {speaker}"


def test_default_that_fails_a_row_is_said_at_the_row(folder: Folder) -> None:
    """The default is right for the others: what is missing is this row's language."""
    items = folder.items(
        "a.yaml",
        "defaults: {speaker: Ava, text: Hi, output: '{language}/a.mp4'}\n"
        "jobs:\n  - {video: a.mp4, language: de}\n  - {video: b.mp4, langauge: fr}\n",
    )

    assert isinstance(items[0], Job)
    assert str(items[1]).startswith(
        'line 4, column 5, output: unknown name "language" in a template; did you mean {langauge}?'
    )


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("{lines['intro']['de']}", 'table "lines" (lines.csv) has no column "de"', "add the column"),
        ("{lines['intro']['FR']}", 'has no column "FR"', 'did you mean "fr"?'),
        ("{lines['intor']['fr']}", 'has no row "intor"', 'did you mean "intro"?'),
        ("{lines['credits']['fr']}", 'has no row "credits"', "add the row"),
        ("{lines['outro']['ja']}", 'an empty cell: row "outro" (line 3), column "ja"', "fill it in"),
        ("{line['outro']['ja']}", 'there is no table "line"', "tables here: lines"),
        ("{lines[video.stem][langauge]}", 'unknown name "langauge"', "did you mean {language}?"),
    ],
)
def test_lookup_that_fails_names_table_row_and_column(folder: Folder, text: str, cause: str, remedy: str) -> None:
    """A translator can be told which cell is missing."""
    jobs = f'{{video: outro.mp4, language: fr, text: "{text}"}}'

    problem = folder.problem("a.yaml", with_table(folder, jobs))

    assert problem.field == "text"
    assert problem.place.line == 5
    assert cause in problem.cause
    assert remedy in problem.remedy


def test_missing_translation_takes_only_its_own_job_along(folder: Folder) -> None:
    """--skip-invalid makes the languages that are there."""
    jobs = '{video: outro.mp4, text: "{lines[video.stem][language]}", each: {language: [fr, ja, es]}}'

    items = folder.items("a.yaml", with_table(folder, jobs))

    assert [getattr(item, "key", "a problem") for item in items] == ["outro.fr", "a problem", "outro.es"]
    assert items[2].position == 2


def test_table_is_named_by_its_first_column_if_nothing_else_is_said(folder: Folder) -> None:
    """And braces in a translation are no template."""
    jobs = "{video: intro.mp4, text: \"{lines[video.stem]['fr']}\"}"

    (job,) = folder.jobs("a.yaml", with_table(folder, jobs, "clip;fr\nintro;Salut {toi}\n", "{file: lines.csv}"))

    assert job.want.speech == Text(text="Salut {toi}", speaker="Emily")


@pytest.mark.parametrize(
    ("spec", "table", "file", "place", "field", "cause"),
    [
        ("{file: no.csv}", TABLE, None, "line 2, column 11", "tables.lines.file", "no.csv: there is no such file"),
        ("{key: clip}", TABLE, None, "line 2, column 3", "tables.lines.file", "is missing"),
        ("lines.csv", TABLE, None, "line 2, column 3", "tables.lines", "must be a mapping"),
        (
            "{file: lines.csv, tabs: 2}",
            TABLE,
            None,
            "line 2, column 28",
            "tables.lines.tabs",
            "a file, a key and a sheet",
        ),
        ("{file: lines.csv, key: clop}", TABLE, "lines.csv", "line 1", "clop", 'no column "clop"'),
        ("{file: lines.csv}", "", None, "line 2, column 11", "tables.lines.file", "is empty"),
        ("{file: lines.csv}", "a,fr,fr\nb,c,d\n", "lines.csv", "line 1", "fr", "two columns"),
        ("{file: lines.csv}", "a,fr\nb,c\n\nb,d\n", "lines.csv", "row 2, line 4", "a", '"b" is on line 2 too'),
        ("{file: lines.csv}", "a,fr\n,c\n", "lines.csv", "row 1, line 2", "a", "the row has no name"),
        ("{file: lines.csv}", "a,fr\nb\n", "lines.csv", "row 1, line 2", "fr", "1 cells, the header 2"),
        ("{file: lines.csv}", "a,fr\nb,\xff\n".encode("latin-1"), "lines.csv", "line 2", "", "byte 0xFF"),
    ],
)
def test_broken_table_names_its_own_file_and_row(
    folder: Folder, spec: str, table: str | bytes, file: str | None, place: str, field: str, cause: str
) -> None:
    """The fault is in another file than the manifest."""
    content = with_table(folder, "{video: a.mp4, text: Hi}", "", spec)
    folder.write("lines.csv", table)

    problem = folder.problem("a.yaml", content)

    assert problem.file == (folder.path / file if file else None)
    assert str(problem.place) == place
    assert problem.field == field
    assert cause in problem.cause


def test_table_with_a_bad_name_is_refused(folder: Folder) -> None:
    """A template could not name it."""
    problem = folder.problem("a.yaml", "tables: {my lines: {file: x.csv}}\njobs: [{video: a.mp4, audio: a.wav}]\n")

    assert problem.place == Place(line=1, column=10)
    assert '"my_lines"' in problem.remedy


def test_override_changes_one_job_and_keeps_its_key(folder: Folder) -> None:
    """Even where the key came from what the override changes."""
    for name in ("{a}.mp4", "b.mp4"):
        folder.write(name)

    jobs = folder.jobs(
        "a.yaml",
        """\
defaults: {speaker: Ava, output: "{language}/{video.stem}.mp4"}
jobs:
  - {video: "*.mp4", text: Hi, language: de}
overrides:
  de/b: {audio: other.wav, take: 3, priority: 1, labels: {client: ACME}}
  "de/{a}": {text: Hey, output: "x/{key}.mp4", speaker: Liam, language: at}
""",
    )

    assert [(job.key, job.output, job.want.video.path.name) for job in jobs] == [
        ("de/b", "de/b.mp4", "b.mp4"),
        ("de/{a}", "x/de/{a}.mp4", "{a}.mp4"),
    ]
    assert jobs[0].want.speech.source.path.name == "other.wav"
    assert (jobs[0].want.take, jobs[0].priority, jobs[0].labels) == (3, 1, {"language": "de", "client": "ACME"})
    assert jobs[1].want.speech == Text(text="Hey", speaker="Liam")
    assert jobs[1].labels == {"language": "at"}


def test_override_may_mend_what_is_wrong_with_a_row(folder: Folder) -> None:
    """A row from a generated list can be put right without touching the list."""
    (job,) = folder.jobs(
        "a.yaml",
        "jobs:\n  - {key: a, video: 'ftp://b/a.mp4', text: Hi}\noverrides:\n  a: {video: b.mp4, speaker: Ava}\n",
    )

    assert job.want.video.path.name == "b.mp4"


@pytest.mark.parametrize(
    ("override", "place", "field", "cause"),
    [
        ("{speaker: Bob}", "line 5, column 7", "overrides.a.speaker", "unknown speaker"),
        ("{video: 'ftp://b/c.mp4'}", "line 5, column 7", "overrides.a.video", "not supported"),
        ("{video: '*.mp4'}", "line 5, column 7", "overrides.a.video", "matches 2 files"),
        ("{text: '{nobody}'}", "line 5, column 7", "overrides.a.text", "unknown name"),
        ("{audio: a.wav, text: Hi}", "line 5, column 21", "overrides.a.text", "audio and text"),
    ],
)
def test_wrong_override_is_said_at_the_override(
    folder: Folder, override: str, place: str, field: str, cause: str
) -> None:
    """The row that it changes is right."""
    for name in ("x.mp4", "y.mp4"):
        folder.write(name)

    problem = folder.problem(
        "a.yaml",
        f"defaults: {{speaker: Ava}}\njobs:\n  - {{key: a, video: x.mp4, text: Hi}}\noverrides:\n  a: {override}\n",
    )

    assert str(problem.place) == place
    assert problem.field == field
    assert cause in problem.cause
