"""The pages of `docs/` are true: made of the program where they can be, and leading where they say."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lipsync_batch import exits
from lipsync_batch.cli import COMMANDS, cli
from lipsync_batch.errors import Problem
from lipsync_batch.events import Moved, RunEnded
from lipsync_batch.jobs import MOVES, State, StopReason
from lipsync_batch.manifest import Manifest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from reference import WHEN  # noqa: E402 - its folder is no package
from update_readme import PAGES, updated  # noqa: E402

TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
NAMES = sorted(TEXTS)


def anchors(text: str) -> set[str]:
    """What a heading is called in a link: lower case, blanks as hyphens, without punctuation."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[list[str]]:
    """The command lines of ours that a page shows, whole or between backticks."""
    shown = [line.removeprefix("$ ") for line in re.findall(r"^\$ lipsync-batch .*$", text, re.MULTILINE)]
    for line in [*shown, *re.findall(r"`(lipsync-batch [^`]+)`", text)]:
        yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("name", NAMES)
def test_page_shows_the_program_as_it_is(name: str) -> None:
    """Mend it with `python docs/update_readme.py`."""
    assert updated(TEXTS[name]) == TEXTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_no_link_is_dead(name: str) -> None:
    """Neither to a file, nor to a heading in it."""
    page = ROOT / name
    dead = []
    for link in LINK.findall(FENCE.sub("", TEXTS[name])):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)

    assert dead == []


def test_every_page_is_linked_from_the_readme() -> None:
    """What nobody finds, nobody reads."""
    linked = set(LINK.findall(TEXTS["README.md"]))

    assert [name for name in NAMES if name != "README.md" and name not in linked] == []


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_are_shown_exist(name: str) -> None:
    """Whoever types them must not be told that there is no such option."""
    context = click.Context(cli)
    wrong = []
    for command, *words in commands(TEXTS[name]):
        found = cli.get_command(context, command) if command in COMMANDS else None
        known = {option for parameter in found.params for option in parameter.opts} if found else set()
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        if found is None or not options <= known | {"--help", "-h"}:
            wrong.append([command, *words])

    assert wrong == []


def test_every_way_in_which_a_run_ends_has_its_remedy() -> None:
    """At three in the morning one looks a word up, and types what stands there."""
    text = TEXTS["docs/recovery.md"]
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))

    assert set(StopReason) <= set(sections)
    for reason in StopReason:
        assert re.search(r"^\$ lipsync-batch (run|status) ", sections[reason], re.MULTILINE), reason
        if reason not in (StopReason.RUNNING, StopReason.FINISHED):
            code = exits.exit_code(reason, {}, manifest_errors=False, skipped=0)
            assert f"*Exit {code}" in sections[reason]


def test_every_move_is_explained() -> None:
    """And none that does not exist."""
    assert set(WHEN) == {(old, new) for old in State for new in MOVES[old]}


def test_manifest_that_is_shown_has_the_jobs_that_it_says(tmp_path: Path) -> None:
    """It is what people begin with."""
    for name in ("clips/intro.mp4", "clips/outro.mp4", "dubs/intro.de.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "translations.csv").write_text("clip,fr,ja\nintro,Bonjour,Hai\noutro,Adieu,Mata\n", encoding="utf-8")
    (block,) = re.findall(r"<!-- tested: manifest -->\n```yaml\n(.*?)```", TEXTS["docs/manifest.md"], re.DOTALL)
    (tmp_path / "spring.yaml").write_text(block, encoding="utf-8")

    jobs = list(Manifest.load(tmp_path / "spring.yaml").jobs())

    assert [job for job in jobs if isinstance(job, Problem)] == []
    assert [job.key for job in jobs] == [
        "intro-de",
        "fr/intro",
        "fr/outro",
        "ja/intro",
        "ja/outro",
        "es/outro",
        "it/outro",
    ]
    assert jobs[1].want.take == 2


def test_lines_of_the_library_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Copied, they work."""
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXTS["docs/library.md"], re.DOTALL):
        exec(block, names)
    listener = names["listener"]
    assert callable(listener)

    listener(Moved(name="de/ada", pair="v1:ab", old=State.READY, new=State.DONE))
    listener(RunEnded(stop_reason=StopReason.FINISHED, exit_code=0, jobs={}))

    assert capsys.readouterr().out == "de/ada is done\nover: 0\n"
