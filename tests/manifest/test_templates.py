"""Templates know the names that they are given, and nothing else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipsync_batch.manifest.faults import FieldError
from lipsync_batch.manifest.templates import escape, render

NAMES = {"language": "de", "video.stem": "intro", "video.parent": "clips/a", "index": "7"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{language}/{video.stem}.mp4", "de/intro.mp4"),
        ("{ language }", "de"),
        ("{index:03}-{index:03d}-{index}", "007-007-7"),
        ("{{language}} {{{language}}}", "{language} {de}"),
        ("no template", "no template"),
        ("", ""),
    ],
)
def test_names_are_filled_in(template: str, text: str) -> None:
    """Doubled braces are braces."""
    assert render(template, NAMES, {}) == text


@pytest.mark.parametrize(
    ("template", "cause", "remedy"),
    [
        ("{langauge}", 'unknown name "langauge"', "did you mean {language}?"),
        ("{xyz}", 'unknown name "xyz"', "known here: language, video.stem, video.parent, index"),
        ("{language.upper}", "unknown name", "known here"),
        ("{language.__class__}", "unknown name", "known here"),
        ("{video}", 'unknown name "video"', "video.stem"),
        ("{video.stem!r}", "is no template", "write {name}"),
        ("{language:>10}", "is no template", "write {name}"),
        ("{language[0]}", "is no template", "table[row][column]"),
        ("{}", "is no template", "write {name}"),
        ("a{", '"{" has no partner', "{{"),
        ("a}", '"}" has no partner', "{{"),
        ("{a{b}", "has no partner", "{{"),
        ("{lines[language][index]}", 'no table "lines"', "tables here: none"),
    ],
)
def test_anything_else_is_an_error_that_lists_the_names(template: str, cause: str, remedy: str) -> None:
    """Attributes of objects, conversions and formats are Python's, not ours."""
    with pytest.raises(FieldError) as caught:
        render(template, NAMES, {})

    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@given(st.text())
def test_escaped_text_renders_as_itself(text: str) -> None:
    """Whatever a text holds, there is a way to write it."""
    assert render(escape(text), {}, {}) == text


@given(st.lists(st.sampled_from(["{", "}", "language", "[", "]", ".", "'", ":", "x"]), max_size=12).map("".join))
def test_any_text_is_rendered_or_refused(template: str) -> None:
    """Never a traceback."""
    with contextlib.suppress(FieldError):
        render(template, NAMES, {})


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), st.text(), min_size=1))
def test_values_are_never_templates_themselves(names: dict[str, str]) -> None:
    """A translation with braces stays as it is."""
    template = "|".join(f"{{{name}}}" for name in names)

    assert render(template, names, {}) == "|".join(names.values())
