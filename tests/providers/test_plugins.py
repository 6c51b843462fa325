"""Providers of packages that are installed beside the program."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import environment, run
from media_factory import make_audio, make_video

from lipsync_batch import media
from lipsync_batch.errors import UsageError
from lipsync_batch.providers.plugins import BUILT_IN, GROUP, capabilities_of, installed, provider_class

EXAMPLE = Path(__file__).parents[2] / "docs" / "example_provider"
KEY = "studio-0123456789abcdef"
WHOLE = """
from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.providers.aimlapi import AimlApi
class Other(AimlApi): name = "other"
class Bare:
    submit = check = find = charges = balance = base_url_from = key_from = len
thing = Other
number = 7
"""


def register(site: Path, package: str, **providers: str) -> Path:
    """What pip leaves of a package that offers providers: its entry points."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{name} = {value}" for name, value in providers.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]), encoding="utf-8")
    return site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that packages can be put into, as they are installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "studio_of_others.py").write_text(WHOLE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("studio_of_others", None)


def test_the_programs_own_provider_needs_no_package(site: Path) -> None:
    """And an installed one cannot take its place: a key would go to it."""
    register(site, "sly", aimlapi="studio_of_others:Other")

    assert provider_class(BUILT_IN).name == BUILT_IN
    assert installed()[0] == BUILT_IN


def test_installed_provider_is_found_by_its_name(site: Path) -> None:
    """With what it takes."""
    register(site, "others", other="studio_of_others:thing")

    assert "other" in installed()
    assert provider_class("other").name == "other"
    assert capabilities_of("other").speakers


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("othr", ["no provider", "Did you mean other?", "Installed: aimlapi"]),
        ("broken", ["cannot be loaded", "ModuleNotFoundError", "package others"]),
        ("gone", ["cannot be loaded", "AttributeError", "studio_of_others:Gone"]),
        ("number", ["is not a class"]),
        ("bare", ["has no capabilities, price, aclose"]),
        ("twice", ["several packages: again, others", "Uninstall"]),
    ],
)
def test_provider_that_cannot_be_used_is_told_with_the_remedy(site: Path, name: str, words: list[str]) -> None:
    """What, why, and what to do; the package that is to blame is named."""
    module = "studio_of_others"
    register(
        site,
        "others",
        other=f"{module}:Other",
        broken="no_such_module:Provider",
        gone=f"{module}:Gone",
        number=f"{module}:number",
        bare=f"{module}:Bare",
        twice=f"{module}:Other",
    )
    register(site, "again", twice=f"{module}:Other")

    with pytest.raises(UsageError) as caught:
        provider_class(name)

    told = f"{caught.value} {caught.value.hint}"
    assert all(word in told for word in words), told


@pytest.fixture
def studio(tmp_path: Path) -> dict[str, str]:
    """The example of `docs/`, installed by what its own pyproject.toml says, and a batch for it."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    site = register(tmp_path / "site", project["project"]["name"], **project["project"]["entry-points"][GROUP])
    for module in project["tool"]["setuptools"]["py-modules"]:
        (site / f"{module}.py").write_bytes((EXAMPLE / f"{module}.py").read_bytes())
    make_video(tmp_path / "ada.mp4", seconds=1.0)
    make_audio(tmp_path / "ada.de.wav", 1.5)
    (tmp_path / "spring.yaml").write_text(
        "settings: {provider: voiceover}\n"
        "jobs:\n"
        "  - {video: ada.mp4, audio: ada.de.wav, output: de.mp4}\n"
        "  - {video: ada.mp4, text: Bonjour, speaker: Hum, output: fr.mp4}\n",
        encoding="utf-8",
    )
    return environment(
        tmp_path,
        PYTHONPATH=str(site),
        VOICEOVER_KEY=KEY,
        VOICEOVER_STUDIO=str(tmp_path / "studio"),
        LIPSYNC_BATCH_POLL_FLOOR="0.1",
    )


@pytest.mark.slow
def test_example_provider_of_the_docs_makes_the_videos(tmp_path: Path, studio: dict[str, str]) -> None:
    """Chosen by the manifest; and the batch stays with it, whoever goes on."""
    planned = run("plan", "spring.yaml", "--json", env=studio, cwd=tmp_path)
    ended = run("run", "spring.yaml", env=studio, cwd=tmp_path)
    again = run("run", "out/spring", env=studio, cwd=tmp_path)
    elsewhere = run("run", "spring.yaml", "--provider", "aimlapi", env=studio | {"AIMLAPI_API_KEY": KEY}, cwd=tmp_path)

    assert planned.returncode == 0, planned.stderr
    assert ended.returncode == 0, ended.stderr
    assert "about $0.00" in ended.stderr
    lengths = {name: media.probe(tmp_path / "out" / "spring" / name).duration for name in ("de.mp4", "fr.mp4")}
    assert lengths["de.mp4"] == pytest.approx(1.5, abs=0.1)
    report = json.loads((tmp_path / "out" / "spring" / "report.json").read_text(encoding="utf-8"))
    assert report["cost"]["settled"] == 2 * 2_000
    assert again.returncode == 0, again.stderr
    assert "nothing to pay for" in again.stderr
    assert elsewhere.returncode == 2
    assert "belongs to voiceover at file://" in elsewhere.stderr
    assert "--provider voiceover" in elsewhere.stderr
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [content for content in written if KEY.encode() in content]


@pytest.mark.slow
def test_manifest_is_checked_against_what_the_provider_takes(tmp_path: Path, studio: dict[str, str]) -> None:
    """Its speakers are not ours, and `plan` needs no key of it; a run without one says what is missing."""
    (tmp_path / "wrong.yaml").write_text(
        "settings: {provider: voiceover}\njobs: [{video: ada.mp4, text: Hi, speaker: Hun, key: a}]\n", encoding="utf-8"
    )
    keyless = {name: value for name, value in studio.items() if name != "VOICEOVER_KEY"}

    planned = run("plan", "wrong.yaml", env=keyless, cwd=tmp_path)
    started = run("run", "spring.yaml", env=keyless, cwd=tmp_path)
    rehearsed = run("run", "spring.yaml", "--sandbox", env=keyless, cwd=tmp_path)
    schema = run("schema", "--provider", "voiceover", env=keyless, cwd=tmp_path)

    assert planned.returncode == 2
    assert 'unknown speaker "Hun"; did you mean "Hum"?' in planned.stderr
    assert started.returncode == 5
    assert "Set VOICEOVER_KEY" in started.stderr
    assert rehearsed.returncode == 2
    assert "--provider aimlapi" in rehearsed.stderr
    assert '"Hum"' in schema.stdout
    assert '"Emily"' not in schema.stdout
