"""`lipsync-batch init`: a manifest of what is there, that `plan` takes as it is."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import jsonschema
import openpyxl
import pytest
import yaml
from command import environment, run
from media_factory import make_audio, make_video

from lipsync_batch.drafting import draft_of
from lipsync_batch.drafting.languages import language_after, language_of, without_language
from lipsync_batch.drafting.subtitles import text_of
from lipsync_batch.drafting.text import manifest_text
from lipsync_batch.errors import UsageError
from lipsync_batch.manifest import Manifest, manifest_schema

SRT = """1
00:00:00,000 --> 00:00:01,500
<i>Guten Tag,</i>
{\\an8}liebe Leute.

2
00:00:01,500 --> 00:00:02,000
Bis bald.
"""
VTT = """WEBVTT - a title

NOTE
not this --> nor this

STYLE
::cue { color: red }

intro
00:00.000 --> 00:01.000 align:start
<v Ada>Bonjour &amp; bienvenue.</v>
- Merci.
"""


def laid_out(folder: Path, *names: str) -> Path:
    """Empty files; what is in them is asked when the manifest is planned."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if path.suffix in {".srt", ".txt", ".vtt"}:
            path.write_text({".srt": SRT, ".txt": "Hello\n there.", ".vtt": VTT}[path.suffix], encoding="utf-8")
    return folder


def jobs_of(folder: Path, name: str = "manifest.yaml") -> dict[str, tuple[str, str]]:
    """By output, what the written manifest's jobs are made of."""
    draft = draft_of(folder if name == "manifest.yaml" else folder / name)
    path = folder / "made.yaml"
    path.write_text(manifest_text(draft), encoding="utf-8")
    jobs = {}
    for job in Manifest.load(path).jobs():
        assert not hasattr(job, "cause"), job
        speech = job.want.speech
        said = getattr(speech, "text", None) or Path(speech.source.path).relative_to(folder.resolve()).as_posix()
        jobs[job.output] = (Path(job.want.video.path).relative_to(folder.resolve()).as_posix(), said)
    assert len(jobs) == draft.jobs
    return jobs


def test_recordings_are_paired_by_name_and_language(tmp_path: Path) -> None:
    """As people call them: after a dot, an underscore or a hyphen, or in a folder of the language."""
    folder = laid_out(
        tmp_path,
        *("intro.mp4", "intro.de.wav", "intro_pt-BR.mp3", "fr/intro.wav", "intro.ja.srt"),
        *("intro-long.mov", "intro-long-de.wav", "outro.mp4", "dubs/it/outro.wav", "outro.wav"),
    )

    assert jobs_of(folder) == {
        "de/intro.mp4": ("intro.mp4", "intro.de.wav"),
        "pt-BR/intro.mp4": ("intro.mp4", "intro_pt-BR.mp3"),
        "fr/intro.mp4": ("intro.mp4", "fr/intro.wav"),
        "ja/intro.mp4": ("intro.mp4", "Guten Tag, liebe Leute. Bis bald."),
        "de/intro-long.mp4": ("intro-long.mov", "intro-long-de.wav"),
        "it/outro.mp4": ("outro.mp4", "dubs/it/outro.wav"),
        "outro.mp4": ("outro.mp4", "outro.wav"),
    }


def test_names_of_real_folders_are_paired(tmp_path: Path) -> None:
    """Capitals, brackets, languages by name, umlauts of another system, a video that names its own language."""
    folder = laid_out(
        tmp_path,
        *("Intro.MP4", "intro.de-AT.wav", "Intro_FRA.WAV", "Intro - German.mp3", "Intro (ja).wav", "Intro [es].wav"),
        *("gru\u0308n.mp4", "gr\u00fcn.zh_Hans.wav", "clip-01_EN.mp4", "clip-01_DE.wav", "clip-01_EN.wav"),
        *("fr/teaser.mp4", "fr/teaser.wav", "it/teaser.mp4", "it/teaser.wav", "audio/Polish/teaser.fr.wav"),
    )

    assert jobs_of(folder) == {
        "de-AT/Intro.mp4": ("Intro.MP4", "intro.de-AT.wav"),
        "fr/Intro.mp4": ("Intro.MP4", "Intro_FRA.WAV"),
        "de/Intro.mp4": ("Intro.MP4", "Intro - German.mp3"),
        "ja/Intro.mp4": ("Intro.MP4", "Intro (ja).wav"),
        "es/Intro.mp4": ("Intro.MP4", "Intro [es].wav"),
        "zh-Hans/gr\u00fcn.mp4": ("gru\u0308n.mp4", "gr\u00fcn.zh_Hans.wav"),
        "de/clip-01_EN.mp4": ("clip-01_EN.mp4", "clip-01_DE.wav"),
        "en/clip-01_EN.mp4": ("clip-01_EN.mp4", "clip-01_EN.wav"),
        "fr/teaser.mp4": ("fr/teaser.mp4", "fr/teaser.wav"),
        "it/teaser.mp4": ("it/teaser.mp4", "it/teaser.wav"),
    }
    assert draft_of(folder).left_out == [
        "audio/Polish/teaser.fr.wav: several videos are called like it (fr/teaser.mp4, it/teaser.mp4)"
    ]


def test_what_cannot_be_paired_is_named_with_the_reason(tmp_path: Path) -> None:
    """Nobody should find out in the morning that a video was passed over."""
    folder = laid_out(
        tmp_path,
        *(
            "a.mp4",
            "a.de.wav",
            "a.de.txt",
            "a.take2.wav",
            "a.fr.srt",
            "b.mp4",
            "c.de.wav",
            "d.mkv",
            "x/e.mp4",
            "y/e.mp4",
            "e.de.wav",
        ),
        *(".hidden.mp4", "out/old/_batch/jobs.db", "out/old/de/a.mp4"),
    )
    (folder / "a.fr.srt").write_bytes(SRT.replace("Tag", "\u00c7a va").encode("cp1252"))

    left_out = sorted(draft_of(folder).left_out)

    (unreadable,) = (line for line in left_out if line.startswith("a.fr.srt: line 3: byte 0xC7 is not UTF-8"))
    left_out.remove(unreadable)
    assert left_out == [
        "a.de.txt: a.de.wav is for the same video and language",
        'a.take2.wav: it is called like a.mp4, but "take2" is no language',
        "b.mp4: no recording or text is called like it",
        "c.de.wav: no video is called like it",
        "d.mkv: a kind of media that the API does not take",
        "e.de.wav: several videos are called like it (x/e.mp4, y/e.mp4)",
        "x/e.mp4: no recording or text is called like it",
        "y/e.mp4: no recording or text is called like it",
    ]


def test_videos_of_one_name_in_several_folders_keep_their_folders(tmp_path: Path) -> None:
    """Each with the recordings beside it; and none is written over another."""
    folder = laid_out(tmp_path, "x/e.mp4", "x/e.de.wav", "y/e.mp4", "y/de/e.wav")

    assert jobs_of(folder) == {
        "de/x/e.mp4": ("x/e.mp4", "x/e.de.wav"),
        "de/y/e.mp4": ("y/e.mp4", "y/de/e.wav"),
    }


@pytest.mark.parametrize("stem", ["no", "a # b", "{braces}", "clip[1]", "- dash", "'quoted'", "100%", "日本語"])
def test_names_are_what_they_are(tmp_path: Path, stem: str) -> None:
    """In YAML, in templates and in globs some of them mean something else."""
    folder = laid_out(tmp_path, f"{stem}.mp4", f"{stem}.no.wav")

    assert jobs_of(folder) == {f"no/{stem}.mp4": (f"{stem}.mp4", f"{stem}.no.wav")}


def test_sheet_becomes_a_grid_that_looks_its_texts_up(tmp_path: Path) -> None:
    """What the translators change counts at the next run; what they have not done yet is left out."""
    folder = laid_out(tmp_path, "clips/ada.mp4", "clips/ben.mp4", "more/cleo.mov")
    sheet = tmp_path / "lines.csv"
    sheet.write_text("clip;de;fr;note\nada;Hallo.;Salut.;x\nben;Tschüss.;;\ncleo;;Oui.;\ndan;Ja.;Oui.;\n", "utf-8")

    jobs = jobs_of(folder, "lines.csv")

    assert jobs == {
        "de/ada.mp4": ("clips/ada.mp4", "Hallo."),
        "fr/ada.mp4": ("clips/ada.mp4", "Salut."),
        "de/ben.mp4": ("clips/ben.mp4", "Tschüss."),
        "fr/cleo.mp4": ("more/cleo.mov", "Oui."),
    }
    assert draft_of(sheet).left_out == [
        'column "note": is no language',
        'row "ben": has no text in fr',
        'row "cleo": has no text in de',
        'row "dan": there is no video',
    ]
    sheet.write_text(sheet.read_text("utf-8").replace("Hallo.", "Servus."), "utf-8")
    assert "Servus." in str([job.want.speech for job in Manifest.load(tmp_path / "made.yaml").jobs()])


def test_full_sheet_of_one_folder_is_one_entry(tmp_path: Path) -> None:
    """A glob and a list of languages: a manifest that a person would have written."""
    laid_out(tmp_path, "clips/ada.mp4", "clips/ben.mp4")
    (tmp_path / "lines.csv").write_text("clip,de,fr\nada.mp4,Hallo.,Salut.\nben.mp4,Ja.,Oui.\n", "utf-8")

    assert len(jobs_of(tmp_path, "lines.csv")) == 4
    (entry,) = draft_of(tmp_path / "lines.csv").entries
    assert entry.fields == {"video": "clips/*.mp4", "each": ["de", "fr"]}


def test_rows_are_found_however_they_are_written(tmp_path: Path) -> None:
    """With and without an ending, in other capitals, with an umlaut as another system writes it; and who speaks."""
    laid_out(tmp_path, "clips/Ada.MP4", "clips/ben.mov", "clips/gru\u0308n.mp4")
    lines = ["clip;German;pt-BR;Voice", "ada;Hallo.;Oi.;Emily", "ben.MOV;Ja.;;Jack", "gr\u00fcn;Tag.;Sim.;Auto"]
    (tmp_path / "lines.csv").write_text("\r\n".join(lines), "utf-8-sig")

    assert jobs_of(tmp_path, "lines.csv") == {
        "German/Ada.mp4": ("clips/Ada.MP4", "Hallo."),
        "pt-BR/Ada.mp4": ("clips/Ada.MP4", "Oi."),
        "German/ben.mp4": ("clips/ben.mov", "Ja."),
        "German/gr\u00fcn.mp4": ("clips/gru\u0308n.mp4", "Tag."),
        "pt-BR/gr\u00fcn.mp4": ("clips/gru\u0308n.mp4", "Sim."),
    }
    jobs = list(Manifest.load(tmp_path / "made.yaml").jobs())
    assert [job.want.speech.speaker for job in jobs] == ["Emily", "Emily", "Jack", "Auto", "Auto"]


def test_speaker_that_is_misspelt_is_told_and_not_done_without(tmp_path: Path) -> None:
    """A column that is given up for one typo would have every clip paid for in another voice."""
    laid_out(tmp_path, "ada.mp4", "ben.mp4", "cy.mp4")
    (tmp_path / "lines.csv").write_text("clip,de,Voice\nada,Hallo.,Emily\nben,Ja.,Jack\ncy,Tag.,Emilly\n", "utf-8")

    draft = draft_of(tmp_path / "lines.csv")

    assert '["Voice"]' in draft.defaults["speaker"]
    assert draft.left_out == ['row "cy": "Emilly" in the column "Voice" is no speaker; did you mean "Emily"?']


@pytest.mark.parametrize(
    ("files", "content", "source", "words"),
    [
        ((), None, "missing", ["no such folder"]),
        (("a.wav",), None, "", ["no videos", ".mp4"]),
        (("a.mp4", "b.wav"), None, "", ["no recording or text", "its 1 video", "a.de.wav"]),
        (("a.mp4",), "key,video,text\nx,a.mp4,Hi\n", "s.csv", ["a manifest already", "lipsync-batch plan"]),
        (("a.mp4",), "clip,Klingon\na,nuqneH\n", "s.csv", ["no column is named by a language", "Klingon"]),
        (("a.mp4",), "Spring 2026,,\n\nclip,de,fr\na,Hallo,Salut\n", "s.csv", ["Line 3 seems to name the columns"]),
        (("a.mp4",), "Spring 2026\nclip,de,fr\na,Hallo,Salut\n", "s.csv", ["begin with a title"]),
        (("a.mp4",), "lang,a,b\nde,Hallo,Ja\n", "s.csv", ["a row a language", "transpose"]),
        (("a.mp4",), "clip,language,text\na,de,Hallo\na,fr,Salut\n", "s.csv", ["a row a job", "video, text, speaker"]),
        (("a.mp4",), "clip,de\nb,Hallo\n", "s.csv", ["none of its 1 rows has a video", "ada.mp4"]),
        (("a.mp4",), "clip,de\n", "s.xls", ["workbook", ".xlsx", "CSV UTF-8"]),
    ],
)
def test_source_that_gives_no_manifest_is_told_with_the_remedy(
    tmp_path: Path, files: tuple[str, ...], content: str | None, source: str, words: list[str]
) -> None:
    """What, why, and what to do."""
    laid_out(tmp_path, *files)
    if content is not None:
        (tmp_path / source).write_text(content, "utf-8")

    with pytest.raises(UsageError) as caught:
        draft_of(tmp_path / source)

    told = f"{caught.value} {caught.value.hint}"
    assert all(word in told for word in words), told


def test_workbook_becomes_a_grid_that_names_its_sheet(tmp_path: Path) -> None:
    """The sheet with the languages is the one that is meant, wherever it stands; the others are named."""
    folder = laid_out(tmp_path, "ada.mp4", "ben.mp4")
    book = openpyxl.Workbook()
    book.active.title = "Read me"
    book.active.append(["Lines of spring"])
    texts = book.create_sheet("Texts")
    for row in (["clip", "de", "due"], ["ada", "Hallo.", date(2026, 5, 1)], ["ben", "Ja.", None]):
        texts.append(row)
    book.create_sheet("Empty")
    book.save(folder / "lines.xlsx")

    jobs = jobs_of(folder, "lines.xlsx")

    assert jobs == {"de/ada.mp4": ("ada.mp4", "Hallo."), "de/ben.mp4": ("ben.mp4", "Ja.")}
    assert "    sheet: Texts\n" in (folder / "made.yaml").read_text(encoding="utf-8")
    assert draft_of(folder / "lines.xlsx").left_out == [
        'sheet "Read me": another one than "Texts"',
        'sheet "Empty": another one than "Texts"',
        'column "due": is no language',
    ]


def test_folder_with_a_sheet_in_it_is_made_of_the_sheet(tmp_path: Path) -> None:
    """Whoever has a folder with both names the folder. Beside recordings it is told of; of several, none is guessed."""
    laid_out(tmp_path, "ada.mp4", "ben.mp4", "notes.csv")
    (tmp_path / "lines.csv").write_text("clip,de\nada,Hallo.\nben,Ja.\n", "utf-8")

    assert jobs_of(tmp_path) == {"de/ada.mp4": ("ada.mp4", "Hallo."), "de/ben.mp4": ("ben.mp4", "Ja.")}

    (tmp_path / "more.csv").write_text("clip,fr\nada,Salut.\n", "utf-8")
    with pytest.raises(UsageError, match=r"several sheets of translations \(lines.csv, more.csv\)"):
        draft_of(tmp_path)

    laid_out(tmp_path, "ada.it.wav")
    assert [line for line in draft_of(tmp_path).left_out if "sheet" in line] == [
        f"{name}: a sheet of translations; of it alone: lipsync-batch init {tmp_path / name}"
        for name in ("lines.csv", "more.csv")
    ]


def test_folder_whose_texts_cannot_be_read_gives_no_empty_manifest(tmp_path: Path) -> None:
    """`plan` would refuse it."""
    laid_out(tmp_path, "ada.mp4")
    (tmp_path / "ada.de.txt").write_bytes(b"\xff\xff")

    with pytest.raises(UsageError, match=r"no recording or text(?s:.*)ada.de.txt: line 1: byte 0xFF"):
        draft_of(tmp_path)


def test_command_writes_a_manifest_that_plan_takes(tmp_path: Path) -> None:
    """From a folder to the plan, by the commands that are printed; and nothing is written over."""
    make_video(tmp_path / "intro.mp4", seconds=0.5)
    make_audio(tmp_path / "intro.de.wav", 0.5)
    laid_out(tmp_path, "intro.fr.vtt", "alone.wav")
    env = environment(tmp_path)

    made = run("init", ".", env=env, cwd=tmp_path)
    again = run("init", ".", env=env, cwd=tmp_path)
    planned = run("plan", "manifest.yaml", "--json", env=env, cwd=tmp_path)

    assert made.returncode == 0, made.stderr
    assert "2 jobs" in made.stdout
    assert "Left out: alone.wav: no video is called like it" in made.stdout
    assert "Next: lipsync-batch plan manifest.yaml" in made.stdout
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert planned.returncode == 0, planned.stderr


def test_editors_find_the_schema_of_what_is_written(tmp_path: Path) -> None:
    """By its first line, without anything to set up; and it fits."""
    laid_out(tmp_path, "intro.mp4", "intro.fr.vtt", "intro.de.wav")

    assert run("init", ".", env=environment(tmp_path), cwd=tmp_path).returncode == 0

    text = (tmp_path / "manifest.yaml").read_text("utf-8")
    modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert modeline is not None
    schema = json.loads((tmp_path / modeline[1]).read_text("utf-8"))
    assert schema == manifest_schema()
    jsonschema.validate(yaml.safe_load(text), schema)


def test_subtitles_give_what_is_said(tmp_path: Path) -> None:
    """Numbers, times, notes and markup are not spoken."""
    laid_out(tmp_path, "a.srt", "a.vtt", "a.txt")

    assert text_of(tmp_path / "a.srt") == "Guten Tag, liebe Leute. Bis bald."
    assert text_of(tmp_path / "a.vtt") == "Bonjour & bienvenue. Merci."
    assert text_of(tmp_path / "a.txt") == "Hello there."


def test_languages_are_known_by_codes_and_names() -> None:
    """However people write them, they become one code; words that only look like one are none."""
    written = ["de", "DEU", "German", "pt_br", "zh-hant", "zh_Hant_TW", "es-419", "fil", "Franc\u0327ais", "ger-AT"]
    assert list(map(language_of, written)) == [
        *("de", "de", "de", "pt-BR", "zh-Hant", "zh-Hant-TW", "es-419", "fil", "fr", "de-AT")
    ]
    assert not any(map(language_of, ["raw", "dub", "wav", "v2", "d", "", "de-", "xx", "final"]))
    assert language_after("intro.de", "intro") == "de"
    assert language_after("Intro - German", "intro") == "de"
    assert language_after("intro [es]", "intro") == "es"
    assert language_after("intro", "intro") == ""
    assert language_after("introduction", "intro") is None
    assert language_after("intro.take2", "intro") is None
    assert without_language("clip-01.pt-BR") == ("clip-01", "pt-BR")
    assert without_language("clip-01") is None
