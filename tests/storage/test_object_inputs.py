"""Inputs in object storage: what a manifest may name, what identifies it, and what is said where it cannot be used."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import obstore
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from object_store import BROKEN, BUCKET, DENIED, ELSEWHERE, SECRET, Answer, ObjectServer, Request
from obstore.store import S3Store

from lipsync_batch.batch import Batch
from lipsync_batch.clock import Clock
from lipsync_batch.errors import ActionNeededError, ManifestError, MissingExtraError
from lipsync_batch.jobs import Audio, Link, Pair, StoredObject, Text
from lipsync_batch.links import unsigned
from lipsync_batch.manifest import Manifest
from lipsync_batch.plan import Planner
from lipsync_batch.settings import Settings
from lipsync_batch.storage import chains
from lipsync_batch.storage.presigned import ChangedError, Presigner
from lipsync_batch.storage.stores import Stores, identity_of
from lipsync_batch.store import Store

NOW = datetime(2026, 5, 1, 20, 0, tzinfo=UTC)
HEAD = "key,video,text,speaker\n"


@pytest.fixture
def bucket(server: ObjectServer) -> S3Store:
    store = server.bucket()
    server.requests.clear()
    return store


class Project:
    """A manifest, planned as a user would."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "spring.csv"
        self.extras: dict[str, object] = {}

    def rows(self, *videos: str) -> None:
        lines = [f'job-{number},"{video}",Hallo.,Emily\n' for number, video in enumerate(videos)]
        self.path.write_text(HEAD + "".join(lines), encoding="utf-8")

    def yaml(self, text: str) -> None:
        self.path = self.path.with_suffix(".yaml")
        self.path.write_text(text, encoding="utf-8")

    def batch(self) -> Batch:
        return Batch.find(self.path, sandbox=True, environ={}, flags=self.extras)

    def plan(self):
        return self.batch().plan()

    def problem(self) -> str:
        with pytest.raises(ManifestError) as caught:
            self.plan()
        return str(caught.value)

    def outputs(self) -> list[str]:
        return sorted(key for key, _ in self.plan().listed)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# What a manifest may name


def test_objects_are_planned_like_files(bucket: S3Store, server: ObjectServer, project: Project) -> None:
    """Each is asked for once, however many rows name it."""
    obstore.put(bucket, "clips/a b#1.mp4", b"one")
    obstore.put(bucket, "clips/two.mp4", b"two")
    project.rows(*[f"s3://{BUCKET}/clips/a b#1.mp4"] * 3, f"s3://{BUCKET}/clips/two.mp4")

    plan = project.plan()

    assert plan.jobs == 4
    assert sorted(server.asked("HEAD")) == [f"/{BUCKET}/clips/a b#1.mp4", f"/{BUCKET}/clips/two.mp4"]
    assert not server.asked("GET")


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("clips/*.mp4", ["intro", "outro"]),
        ("clips/**/*.mp4", ["deep", "intro", "outro", "part"]),
        ("clips/?ntro.mp4", ["intro"]),
        ("clips/[!i]*.mp4", ["outro"]),
        ("*/*/part.mp4", ["part"]),
        ("clips/.*/x.mp4", ["x"]),
    ],
)
def test_globs_mean_what_they_mean_on_disk(bucket: S3Store, project: Project, pattern: str, matched: list[str]) -> None:
    """A star stays in its folder, two go into folders, and neither finds what is hidden, nor a folder's own mark."""
    for key in ("clips/intro.mp4", "clips/outro.mp4", "clips/de/part.mp4", "clips/de/1/deep.mp4", "clips/.old/x.mp4"):
        obstore.put(bucket, key, b"film")
    obstore.put(bucket, "clips/readme.txt", b"text")
    obstore.put(bucket, "clips/empty.mp4", b"")
    project.yaml(f"jobs: [{{video: 's3://{BUCKET}/{pattern}', text: Hi, speaker: Emily}}]")

    assert project.outputs() == matched


@pytest.mark.parametrize("mark", ["\u00a0", "\u202f", "\u200b", "\u0085"])
def test_names_with_unseen_characters_are_names(bucket: S3Store, project: Project, mark: str) -> None:
    """Screen recordings are called so."""
    obstore.put(bucket, f"clips/3.04{mark}PM.mp4", b"film")
    project.yaml(f"jobs: [{{video: 's3://{BUCKET}/clips/*.mp4', text: Hi, speaker: Emily, key: one, output: one.mp4}}]")

    assert project.outputs() == ["one"]


@pytest.mark.parametrize("name", ["clips//twice.mp4", "clips/./dot.mp4"])
def test_name_that_no_listing_can_be_made_with_is_told(
    bucket: S3Store, server: ObjectServer, project: Project, name: str
) -> None:
    """Not that the store does not answer."""
    obstore.put(bucket, "clips/good.mp4", b"film")
    server.client.put_object(Bucket=BUCKET, Key=name, Body=b"film")
    project.yaml(f"jobs: [{{video: 's3://{BUCKET}/clips/*.mp4', text: Hi, speaker: Emily}}]")

    told = project.problem()

    assert "has a name that is no path" in told
    assert "rename it" in told


def test_many_rows_of_one_folder_need_no_question_each(
    bucket: S3Store, server: ObjectServer, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a resume: 200,000 named objects are known by 200 pages. What is not in them is asked for."""
    monkeypatch.setattr("lipsync_batch.storage.stores.LISTED_FROM", 10)
    for number in range(20):
        obstore.put(bucket, f"clips/{number:04}.mp4", b"film")
    obstore.put(bucket, "other/a.mp4", b"film")
    server.requests.clear()
    project.rows(*(f"s3://{BUCKET}/clips/{number:04}.mp4" for number in range(21)), f"s3://{BUCKET}/other/a.mp4")

    assert f'there is no "s3://{BUCKET}/clips/0020.mp4"' in project.problem()
    assert sorted(server.asked("HEAD")) == [f"/{BUCKET}/clips/0020.mp4", f"/{BUCKET}/other/a.mp4"]
    assert len(server.asked("GET")) == 1


def test_folder_that_may_not_be_listed_is_asked_object_by_object(
    bucket: S3Store, server: ObjectServer, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lipsync_batch.storage.stores.LISTED_FROM", 2)
    for number in range(3):
        obstore.put(bucket, f"clips/{number}.mp4", b"film")
    server.instead = lambda request: DENIED if "prefix" in request.query else None
    project.rows(*(f"s3://{BUCKET}/clips/{number}.mp4" for number in range(3)))

    assert project.plan().jobs == 3


def test_glob_needs_no_question_about_each_match(bucket: S3Store, server: ObjectServer, project: Project) -> None:
    """A page of the listing says what a thousand questions would; and a grid asks for it once."""
    for number in range(20):
        obstore.put(bucket, f"clips/{number:04}.mp4", b"film")
    server.requests.clear()
    grid = "each: {language: [de, fr, ja]}"
    project.yaml(f"jobs: [{{video: 's3://{BUCKET}/clips/*.mp4', text: Hi, speaker: Emily, {grid}}}]")

    assert project.plan().jobs == 60
    assert server.asked("HEAD") == []
    assert len(server.asked("GET")) == 1


def test_object_that_is_called_like_a_glob_is_meant_alone(bucket: S3Store, project: Project) -> None:
    obstore.put(bucket, "clips/a[1].mp4", b"film")
    obstore.put(bucket, "clips/a1.mp4", b"film")
    project.yaml(f"jobs: [{{video: 's3://{BUCKET}/clips/a[1].mp4', text: Hi, speaker: Emily}}]")

    assert project.outputs() == ["a[1]"]


def test_listed_object_and_named_object_are_the_same(bucket: S3Store, project: Project) -> None:
    """Whoever writes rows in the place of a glob pays for nothing anew."""
    obstore.put(bucket, "clips/intro.mp4", b"film")
    listed = [identity for _, identity, _ in Stores().below(chains.Address.parse(f"s3://{BUCKET}/clips"))]

    assert listed == [identity_of(obstore.head(bucket, "clips/intro.mp4"))]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("clips/*.mov", f"matches none of the 1 objects below s3://{BUCKET}/clips; check the pattern"),
        ("takes/*.mp4", f"there is nothing below s3://{BUCKET}/takes"),
        ("clips/", "name an object in it, or all of them: s3://studio/clips/*.mp4"),
    ],
)
def test_glob_without_a_match_says_where_it_looked(bucket: S3Store, project: Project, pattern: str, said: str) -> None:
    obstore.put(bucket, "clips/intro.mp4", b"film")
    project.yaml(f"jobs: [{{video: 's3://{BUCKET}/{pattern}', text: Hi, speaker: Emily}}]")

    assert said in project.problem()


# What identifies an object


def test_changed_object_is_a_changed_pair(bucket: S3Store, project: Project) -> None:
    """And the same bytes put there once more are the same pair."""
    obstore.put(bucket, "clip.mp4", b"one")
    project.rows(f"s3://{BUCKET}/clip.mp4")

    fingerprints = []
    for content in (b"one", b"one", b"two"):
        obstore.put(bucket, "clip.mp4", content)
        fingerprints.append(fingerprint(project))

    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def fingerprint(project: Project) -> str:
    """That of a manifest's one pair."""
    with closing(Store.in_memory(Clock())) as store:
        planner = Planner(Manifest.load(project.path), store, Settings())
        planner.stage()
        planner.check()
        planner.take_in()
        record = store.reads.record("job-0")
    assert record is not None
    assert record.video == f"s3://{BUCKET}/clip.mp4"
    return record.fingerprint


@pytest.mark.parametrize(
    ("changes", "identity"),
    [
        ({}, "etag:abc-2"),
        ({"e_tag": 'W/"abc"'}, "version:7"),
        ({"e_tag": None, "version": None}, "size:9,time:1777665600"),
    ],
    ids=["tag", "version", "size and time"],
)
def test_identity_is_the_surest_thing_that_the_store_says(changes: dict, identity: str) -> None:
    """A weak tag says that two contents are alike, which is not enough."""
    said = {"path": "a", "last_modified": NOW, "size": 9, "e_tag": '"abc-2"', "version": "7"}

    assert identity_of(said | changes) == identity


# What is said where it cannot be used


def always(answer: Answer) -> Callable[[Request], Answer]:
    return lambda _: answer


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (lambda _: None, f'line 2, video: there is no "s3://{BUCKET}/gone.mp4"; check the bucket and the path'),
        (always(DENIED), "access is denied"),
        (always(ELSEWHERE), "set AWS_REGION to the bucket's, and AWS_ENDPOINT_URL"),
        (always(BROKEN), "its store does not answer"),
    ],
    ids=["missing", "denied", "elsewhere", "broken"],
)
def test_object_that_cannot_be_used_is_told_of_at_its_row(
    bucket: S3Store, server: ObjectServer, project: Project, instead: Callable[[Request], Answer | None], said: str
) -> None:
    server.instead = instead
    project.rows(f"s3://{BUCKET}/gone.mp4")

    problem = project.problem()

    assert said in problem.replace("row 2", "line 2")
    assert SECRET not in problem


def test_store_that_is_silent_is_not_waited_for_once_for_each_row(
    bucket: S3Store, server: ObjectServer, project: Project
) -> None:
    """Of a bucket with 200,000 objects each would take half a minute."""
    server.instead = always(BROKEN)
    project.rows(*(f"s3://{BUCKET}/{number}.mp4" for number in range(500)))

    assert "its store does not answer" in project.problem()
    assert len(set(server.asked("HEAD"))) <= 32


def test_empty_object_is_no_video(bucket: S3Store, project: Project) -> None:
    obstore.put(bucket, "clip.mp4", b"")
    project.rows(f"s3://{BUCKET}/clip.mp4")

    assert "is empty" in project.problem()


@pytest.mark.parametrize(("scheme", "sought"), [("s3", "AWS_ACCESS_KEY_ID"), ("az", "AZURE_STORAGE_ACCOUNT_NAME")])
def test_without_credentials_it_says_what_was_looked_for(
    server: ObjectServer, project: Project, monkeypatch: pytest.MonkeyPatch, scheme: str, sought: str
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    project.rows(f"{scheme}://{BUCKET}/clip.mp4")

    with pytest.raises(ActionNeededError, match="no credentials were found") as caught:
        project.plan()

    assert sought in caught.value.hint
    assert server.requests == []


def test_profile_of_the_users_is_read(
    bucket: S3Store, server: ObjectServer, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With its endpoint and its region: what Amazon's own tools go by."""
    obstore.put(bucket, "clip.mp4", b"film")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[night]\naws_access_key_id = AK\naws_secret_access_key = SK\n")
    (tmp_path / "config").write_text(f"[profile night]\nendpoint_url = {server.url}\nregion = eu-central-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "night")
    project.rows(f"s3://{BUCKET}/clip.mp4")

    assert project.plan().jobs == 1


@pytest.mark.parametrize("url", [f"s3://{BUCKET}/clip.mp4", f"s3://{BUCKET}/**/*.mp4"])
def test_without_the_extra_it_says_what_to_install(url: str, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent, and where nothing of it can be imported."""
    monkeypatch.setattr(chains, "PACKAGES", ("no_such_package",))
    monkeypatch.setitem(sys.modules, "obstore", None)
    project.rows(url)

    with pytest.raises(MissingExtraError) as caught:
        project.plan()

    assert "lipsync-batch[storage]" in caught.value.hint


# Links


def stored(bucket: S3Store, key: str) -> StoredObject:
    return StoredObject(url=f"s3://{BUCKET}/{key}", identity=identity_of(obstore.head(bucket, key)))


def pair_of(video: StoredObject, audio: StoredObject | None = None) -> Pair:
    speech = Audio(source=audio) if audio else Text(text="Hallo.", speaker="Emily")
    return Pair(fingerprint="v1:00", video=video, speech=speech)


def linked(pair: Pair, **options) -> Pair:
    presigner = Presigner(**options)
    try:
        return asyncio.run(presigner.linked(pair, NOW))
    finally:
        presigner.close()


def test_objects_of_a_pair_become_links_that_anyone_can_read(bucket: S3Store) -> None:
    """Without credentials, as the provider has none."""
    import httpx2

    obstore.put(bucket, "clips/a b#1.mp4", b"film")
    obstore.put(bucket, "dub.wav", b"speech")

    pair = linked(pair_of(stored(bucket, "clips/a b#1.mp4"), stored(bucket, "dub.wav")))

    assert isinstance(pair.video, Link)
    assert isinstance(pair.speech, Audio)
    assert isinstance(pair.speech.source, Link)
    assert httpx2.get(pair.video.url).content == b"film"
    assert httpx2.get(pair.speech.source.url).content == b"speech"


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 86_400),
        ({"lifetime": timedelta(hours=2)}, 7_200),
        ({"lifetime": timedelta(hours=2), "deadline": NOW + timedelta(hours=9)}, 36_000),
        ({"deadline": NOW + timedelta(days=30)}, 604_800),
    ],
    ids=["a day", "as set", "an hour after the deadline", "seven days at most"],
)
def test_link_outlives_the_deadline(bucket: S3Store, options: dict, seconds: int) -> None:
    """What is submitted a moment before it must still be there when its turn comes."""
    obstore.put(bucket, "clip.mp4", b"film")

    pair = linked(pair_of(stored(bucket, "clip.mp4")), **options)

    assert isinstance(pair.video, Link)
    assert parse_qs(urlsplit(pair.video.url).query)["X-Amz-Expires"] == [str(seconds)]


def test_object_that_was_changed_since_it_was_planned_gets_no_link(bucket: S3Store) -> None:
    """Its result would stand for a pair that it does not belong to."""
    obstore.put(bucket, "clip.mp4", b"one")
    pair = pair_of(stored(bucket, "clip.mp4"))
    obstore.put(bucket, "clip.mp4", b"two")

    with pytest.raises(ChangedError, match="changed after the batch was planned"):
        linked(pair)


def test_links_that_end_with_their_credentials_are_told_of_once(
    bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance's role has credentials for some hours: a link of seven days does not live longer."""
    obstore.put(bucket, "clip.mp4", b"film")
    pair, told = pair_of(stored(bucket, "clip.mp4")), []
    end = NOW + timedelta(hours=6)
    monkeypatch.setattr(Stores, "credentials_end", lambda *_: end)
    presigner = Presigner(notice=told.append)

    asyncio.run(presigner.linked(pair, NOW))
    asyncio.run(presigner.linked(pair, NOW))

    assert len(told) == 1
    assert "2026-05-02 02:00 UTC" in told[0]


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "studio")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")


def test_azure_signs_with_its_own_parameters(azure: None) -> None:
    """They are known to `links.unsigned` and to the masking."""
    link = Stores().sign(chains.Address.parse("az://clips/a b.mp4"), timedelta(hours=1))

    assert link.startswith("https://studio.blob.core.windows.net/clips/a%20b.mp4?")
    assert {"sig", "se", "sp"} <= set(parse_qs(urlsplit(link).query))
    assert unsigned(link) == "https://studio.blob.core.windows.net/clips/a%20b.mp4"


def test_google_signs_with_a_service_accounts_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that GOOGLE_APPLICATION_CREDENTIALS names, as a console hands it out; nobody is asked for anything."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"type": "service_account", "client_email": "night@studio.example", "private_key_id": "k1"}
    (tmp_path / "account.json").write_text(json.dumps({**account, "private_key": key.decode()}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))

    link = Stores().sign(chains.Address.parse("gs://clips/a b.mp4"), timedelta(days=7))

    assert link.startswith("https://storage.googleapis.com/clips/a%20b.mp4?")
    assert parse_qs(urlsplit(link).query)["X-Goog-Expires"] == ["604800"]
    assert unsigned(link) == "https://storage.googleapis.com/clips/a%20b.mp4"
