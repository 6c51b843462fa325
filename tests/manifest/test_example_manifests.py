"""The manifests that are shipped, and the schema that editors check them by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
import yaml

from lipsync_batch.jobs import Audio, Job, Text
from lipsync_batch.manifest import Manifest, manifest_schema

EXAMPLES = Path(__file__).parents[2] / "manifests"
MODELINE = "# yaml-language-server: $schema=manifest.schema.json"


def jobs_of(name: str) -> list[Job]:
    items = list(Manifest.load(EXAMPLES / name).jobs())
    assert all(isinstance(item, Job) for item in items), [str(item) for item in items]
    return [item for item in items if isinstance(item, Job)]


@pytest.mark.parametrize(("name", "count"), [("demo.yaml", 8), ("grid.yaml", 6), ("jobs.csv", 3), ("jobs.jsonl", 3)])
def test_example_loads_and_its_files_are_there(name: str, count: int) -> None:
    """What a user tries first must work."""
    jobs = jobs_of(name)

    assert len(jobs) == len({job.key for job in jobs}) == len({job.output for job in jobs}) == count
    for job in jobs:
        assert job.want.video.path.is_file()
        if isinstance(job.want.speech, Audio):
            assert job.want.speech.source.path.is_file()


def test_demo_shows_audio_and_texts_in_several_languages() -> None:
    """`make demo` is the first thing that anyone sees of the program."""
    jobs = jobs_of("demo.yaml")

    assert any(isinstance(job.want.speech, Audio) for job in jobs)
    assert {job.labels["language"] for job in jobs if isinstance(job.want.speech, Text)} >= {"de", "fr", "es"}
    assert {job.output.split("/")[0] for job in jobs} == {job.labels["language"] for job in jobs}


def test_shipped_schema_is_the_generated_one() -> None:
    """`lipsync-batch schema > manifests/manifest.schema.json` puts it right."""
    assert json.loads((EXAMPLES / "manifest.schema.json").read_text(encoding="utf-8")) == manifest_schema()


def test_every_field_says_in_the_editor_what_it_is_for() -> None:
    """What shows when the mouse rests on it."""
    schema = manifest_schema()
    silent = [
        f"{where}.{name}"
        for where, part in {"manifest": schema, **schema["$defs"]}.items()
        for name, field in part["properties"].items()
        if not field.get("description") and "$ref" not in field
    ]

    assert silent == []
    assert all(part["description"] for part in schema["$defs"].values())


def test_schema_is_one() -> None:
    """By its own standard."""
    jsonschema.Draft202012Validator.check_schema(manifest_schema())


class _EditorsLoader(yaml.SafeLoader):
    """YAML 1.2, as editors read it: `no` is a word."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":bool")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@pytest.mark.parametrize("name", ["demo.yaml", "grid.yaml"])
def test_yaml_example_names_the_schema_and_fits_it(name: str) -> None:
    """An editor that reads the first line shows no error, and completes the fields."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")

    assert text.startswith(MODELINE + "\n")
    jsonschema.validate(yaml.load(text, Loader=_EditorsLoader), manifest_schema())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"jobs": []}, "non-empty"),
        ({"job": []}, "job"),
        ({"settings": {"buget": 4}}, "buget"),
        ({"settings": {"check": "maybe"}}, "maybe"),
        ({"jobs": [{"video": "a.mp4", "take": 0}]}, "minimum"),
        ({"jobs": [{"video": "a.mp4", "speaker": "Bob"}]}, "Bob"),
        ({"jobs": [{"video": "a.mp4", "client": {"name": "A"}}]}, "name"),
        ({"jobs": [{"video": "a.mp4", "each": {"language": "de"}}]}, "'de'"),
        ({"tables": {"lines": {"key": "clip"}}}, "file"),
        ({"version": 2}, "1"),
    ],
)
def test_schema_refuses_what_the_program_refuses(changes: dict[str, Any], words: str) -> None:
    """As far as a schema can tell."""
    document = {"jobs": [{"video": "a.mp4", "audio": "a.wav"}], **changes}

    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate(document, manifest_schema())

    assert words in str(caught.value)


def test_schema_takes_what_the_program_takes() -> None:
    """Numbers for texts, templates for speakers, and sections for anchors."""
    document = {
        "x-common": {"anything": [1]},
        "settings": {"rate": "60/m", "budget": 12.5, "patience": 90, "inline_limit": "8MiB", "skip_invalid": True},
        "jobs": [{"video": "a.mp4", "text": 12, "speaker": "{who}", "who": "Ava", "each": {"l": {"de": None}}}],
        "overrides": {"a": {"take": 2, "labels": {"any": 1}}},
    }

    jsonschema.validate(document, manifest_schema())
