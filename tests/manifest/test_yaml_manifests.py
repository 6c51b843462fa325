"""YAML: places, types, anchors, sections, and everything that makes a file unreadable."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from manifest_folder import Folder

from lipsync_batch.errors import ManifestError
from lipsync_batch.jobs import Text
from lipsync_batch.manifest import Manifest
from lipsync_batch.manifest.yaml_stream import YamlStream

JOB = "{video: a.mp4, text: Hallo, speaker: Emily}"


BROKEN = {
    "an empty file": ("", "", "is empty", "begin with jobs:"),
    "comments only": ("# nothing\n", "", "is empty", "begin with jobs:"),
    "an empty list": ("jobs: []\n", "", "there are no jobs", "add a job"),
    "nothing below jobs": ("jobs:\n", "", "there are no jobs", "add a job"),
    "no jobs": ("version: 1\n", "", "there are no jobs", "add a job"),
    "a list": ("- video: a.mp4\n", "line 1", "is a list", "below jobs:"),
    "a word": ("video\n", "line 1", "is not a mapping", "begin with jobs:"),
    "jobs is no list": (f"jobs: {JOB}\n", "line 1, column 1", "must be a list", "- video"),
    "a tab": ("jobs:\n\t- a\n", "line 2, column 1", "indented with a tab", "spaces"),
    "a tab below": ("jobs:\n  - video: a\n\t  text: b\n", "line 3, column 1", "with a tab", "spaces"),
    "a quote left open": ('jobs:\n  - text: "a\n', "line 3, column 1", "is not YAML", "quotes"),
    "a colon": ("jobs:\n  - text: a: b\n", "line 2, column 12", "not allowed", '": " in quotes'),
    "a brace": (
        "jobs:\n  - output: {language}/{key}.mp4\n    video: a\n",
        "line 2, column 23",
        "is not YAML",
        "begins with {",
    ),
    "unknown alias": (f"jobs: [*a, {JOB}]\n", "line 1, column 8", "stands for nothing", "&a before"),
    "an alias of itself": (f"x-a: &a [*a]\njobs: [{JOB}]", "line 1, column 10", "stands for nothing", "&a"),
    "two documents": (f"jobs: [{JOB}]\n---\njobs: []\n", "line 2, column 1", "second document", "---"),
    "depth": (f"x-a: {'[' * 40}{']' * 40}\njobs: [{JOB}]", "line 1, column 38", "deep", "no part"),
    "a control character": (f"jobs: [{JOB}]\nx: \x07\n", "line 2", "is not YAML", "remove"),
    "version": (f"version: 2\njobs: [{JOB}]", "line 1, column 1", '"2" is not supported', "version: 1"),
    "misspelt section": (f"job: [{JOB}]\njobs: [{JOB}]", "line 1, column 1", "unknown section", '"jobs"'),
    "a key": (f"api_key: x\njobs: [{JOB}]", "line 1, column 1", "never taken", "AIMLAPI_API_KEY"),
    "jobs twice": (f"jobs: [{JOB}]\njobs: [{JOB}]", "line 2, column 1", "there twice", "keep one"),
    "settings": (f"settings: fast\njobs: [{JOB}]", "line 1, column 1", "must be a mapping", "below"),
    "a wrong setting": (f"settings: {{rate: fast}}\njobs: [{JOB}]", "line 1, column 12", "not a rate", "60/m"),
    "misspelt setting": (f"settings:\n  buget: 4\njobs: [{JOB}]", "line 2, column 3", "no such setting", "budget"),
    "a nested setting": (f"settings: {{rate: [1]}}\njobs: [{JOB}]", "line 1, column 12", "one value", "brackets"),
    "base url": (f"settings: {{base_url: x}}\njobs: [{JOB}]", "line 1, column 12", "never taken", "AIMLAPI_BASE_URL"),
    "notifications": (f"settings: {{notify: x}}\njobs: [{JOB}]", "line 1, column 12", "never taken", "--notify"),
    "a default": (f"defaults: {{speeker: Al}}\njobs: [{JOB}]", "line 1, column 12", "unknown field", '"speaker"'),
    "a broken template": (f"defaults: {{output: '{{key'}}\njobs: [{JOB}]", "line 1, column 12", "no partner", "{{"),
    "each above": (f"defaults: {{each: {{l: [a]}}}}\njobs: [{JOB}]", "line 1, column 12", "belongs to a job", "move"),
    "another key": (f"overrides: {{a: {{key: b}}}}\njobs: [{JOB}]", "line 1, column 17", "belongs to a job", "move"),
    "override's shape": (f"overrides: {{a: 2}}\njobs: [{JOB}]", "line 1, column 13", "must be a mapping", "take"),
    "unused": (f"overrides: {{b: {{take: 2}}}}\njobs: [{JOB}]", "line 1, column 13", "no job has the key", "correct"),
    "a job is a word": ("jobs: [intro.mp4]\n", "line 1, column 8", "a job is a mapping", "- video"),
    "a field twice": (
        "jobs:\n  - video: a.mp4\n    video: b.mp4\n    text: Hi\n    speaker: Ava\n",
        "line 3, column 5",
        "there twice",
        "keep one",
    ),
    "a tag": ("jobs:\n  - !job {video: a.mp4, text: Hi, speaker: Ava}\n", "line 2, column 5", "tag", "remove"),
    "a name that is a list": (
        "jobs:\n  - {[a]: b, video: a.mp4, text: Hi, speaker: Ava}\n",
        "line 2, column 6",
        "plain word",
        "quotes",
    ),
    "<<": ("jobs:\n  - {<<: b, video: a.mp4, text: Hi, speaker: Ava}\n", "line 2, column 6", "merges", "&NAME"),
}


@pytest.mark.parametrize(("content", "place", "cause", "remedy"), BROKEN.values(), ids=BROKEN)
def test_broken_yaml_is_one_clear_problem(folder: Folder, content: str, place: str, cause: str, remedy: str) -> None:
    """With the line and the column, in the words of someone who writes manifests."""
    problem = folder.problem("jobs.yaml", content)

    assert str(problem.place) == place
    assert cause in problem.cause
    assert remedy in problem.remedy


def test_alias_bomb_is_defused(folder: Folder) -> None:
    """Nine lines that stand for a billion values are refused, before they fill the memory."""
    levels = ["x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    levels += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    problem = folder.problem("bomb.yaml", "\n".join([*levels, f"jobs: [{JOB}]"]))

    assert "aliases stand for over" in problem.cause
    assert problem.place.line is not None


def test_problems_of_sections_come_all_at_once(folder: Folder) -> None:
    """And the error shows the file with each of them."""
    path = folder.write(
        "jobs.yaml", f"version: 7\nsettings: {{rate: x, budget: y}}\ntables: {{t: {{file: no.csv}}}}\njobs: [{JOB}]\n"
    )

    with pytest.raises(ManifestError) as caught:
        Manifest.load(path)

    assert [problem.field for problem in caught.value.problems] == [
        "version", "settings.rate", "settings.budget", "tables.t.file"
    ]  # fmt: skip
    assert str(caught.value).count(str(path)) == 4
    assert caught.value.exit_code == 2


def test_words_that_yaml_takes_for_booleans_and_numbers_stay_as_written(folder: Folder) -> None:
    """Norwegian is `no`; and 012 is a name, not ten."""
    (job,) = folder.jobs(
        "jobs.yaml", "jobs:\n  - {video: a.mp4, text: 12, speaker: Ava, language: no, at: 12:30, id: 012, key: 1.10}\n"
    )

    assert job.labels == {"language": "no", "at": "12:30", "id": "012"}
    assert job.key == "1.10"
    assert job.want.speech == Text(text="12", speaker="Ava")


def test_null_is_not_given(folder: Folder) -> None:
    """`audio:` with nothing behind it is how people leave a field for later."""
    (job,) = folder.jobs(
        "jobs.yaml", "jobs:\n  - {video: a.mp4, text: Hi, speaker: Ava, audio: , language: ~, key: null}"
    )

    assert job.labels == {}
    assert job.key == "a"


def test_sections_may_stand_below_the_jobs(folder: Folder) -> None:
    """Long lists of jobs are easier to read when what holds for all of them comes last, for some."""
    (job,) = folder.jobs(
        "jobs.yaml",
        "jobs:\n  - {video: a.mp4, text: Hi, language: de, key: a}\n"
        "overrides: {a: {take: 3}}\ndefaults: {speaker: Ava, output: '{language}/{key}.mp4'}\n",
    )

    assert job.output == "de/a.mp4"
    assert job.want.take == 3


def test_anchors_aliases_and_merge_keys(folder: Folder) -> None:
    """Across sections and jobs, with a job's own fields on top."""
    first, second = folder.jobs(
        "jobs.yaml",
        """\
x-common: &common {speaker: Ava, language: de}
jobs:
  - &first {video: a.mp4, text: &hello Hallo, key: a, <<: *common}
  - {<<: [{speaker: Liam}, *first], key: b, greeting: *hello}
""",
    )

    assert first.want.speech == Text(text="Hallo", speaker="Ava")
    assert second.want.speech == Text(text="Hallo", speaker="Liam")
    assert second.labels == {"language": "de", "greeting": "Hallo"}


def test_jobs_may_be_an_alias(folder: Folder) -> None:
    """A list that stands elsewhere is a list too."""
    (job,) = folder.jobs("jobs.yaml", f"x-all: &all [{JOB}]\njobs: *all\n")

    assert job.key == "a"


def test_one_bad_job_does_not_take_the_others_along(folder: Folder) -> None:
    """--skip-invalid goes on with the good ones."""
    items = folder.items("jobs.yaml", f"jobs:\n  - {JOB}\n  - nonsense\n  - {{video: b.mp4}}\n  - {JOB}\n")

    assert [type(item).__name__ for item in items] == ["Job", "Problem", "Problem", "Job"]


def test_out_is_relative_to_the_manifest(folder: Folder) -> None:
    """Not to the folder that the program happens to be started in."""
    manifest = folder.load("deep/spring.yaml", f"settings: {{out: ../deliveries, rate: 60/m}}\njobs: [{JOB}]\n")

    assert manifest.settings == {"out": str(folder.path / "deep/../deliveries"), "rate": "60/m"}
    assert manifest.name == "spring"
    assert manifest.path == folder.path / "deep/spring.yaml"


def test_jobs_can_be_read_again(folder: Folder) -> None:
    """A plan reads them, and then the run does."""
    manifest = folder.load("jobs.yaml", f"jobs: [{JOB}]\noverrides: {{a: {{take: 2}}}}\n")

    assert list(manifest.jobs()) == list(manifest.jobs())


def _streamed(path: Path) -> Any:
    with path.open("rb") as file:
        stream = YamlStream(path, file)
        start = stream.begin()
        return None if start is None else stream.value(start)


_plain = st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)
_documents = st.recursive(
    _plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=4)
)


@given(_documents)
def test_stream_builds_what_safe_load_builds(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    """But for the types of plain scalars, which stay text."""
    path = tmp_path_factory.mktemp("yaml") / "document.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")

    assert _streamed(path) == yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)


class _TextLoader(yaml.SafeLoader):
    """PyYAML's safe loader without its guesses about plain scalars, but for null."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@pytest.mark.parametrize("name", ["demo.yaml", "grid.yaml"])
def test_stream_builds_the_examples_like_safe_load(name: str) -> None:
    """Comments, flow mappings and quotes as people write them."""
    path = Path(__file__).parents[2] / "manifests" / name

    with path.open(encoding="utf-8") as file:
        assert _streamed(path) == yaml.load(file, Loader=_TextLoader)
