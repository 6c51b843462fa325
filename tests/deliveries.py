"""A manifest of links, and a bucket for the videos that are made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import obstore
from command import QUICK, called, environment, start
from object_store import ObjectServer
from other_api import OtherApi, request_digest

STORE = "s3://deliveries/spring"


class Deliveries:
    """A manifest of links, and a bucket for what is made of it."""

    def __init__(self, folder: Path, server: ObjectServer, api: OtherApi) -> None:
        self.folder = folder
        self.server = server
        self.api = api
        self.bucket = server.bucket("deliveries")
        self.rows: dict[str, str] = {}
        server.requests.clear()

    def write(self, **outputs: str) -> None:
        """Rows by key, each with its output; the text is the key's."""
        self.rows = outputs
        lines = [f"{key},https://media.example/c.mp4,Text {key},Emily,{out}\n" for key, out in outputs.items()]
        (self.folder / "spring.csv").write_text("key,video,text,speaker,output\n" + "".join(lines), encoding="utf-8")

    def numbered(self, count: int) -> None:
        self.write(**{f"job{n}": f"de/job{n}.mp4" for n in range(count)})

    @property
    def environment(self) -> Mapping[str, str]:
        return environment(self.folder, self.api.url, **self.server.environment, **QUICK)

    def run(self, *options: str):
        return self.call("run", "spring.csv", "--store", STORE, *options)

    def call(self, *arguments: str):
        """In this process: nothing here is about its end."""
        return called(*arguments, env=self.environment, cwd=self.folder)

    def start(self, *options: str):
        return start("run", "spring.csv", "--store", STORE, *options, env=self.environment, cwd=self.folder)

    def paths(self) -> set[str]:
        return {meta["path"].removeprefix("spring/") for page in obstore.list(self.bucket, "spring") for meta in page}

    def videos(self) -> set[str]:
        return {key for key in self.paths() if key.endswith(".mp4")}

    def content(self, path: str) -> bytes:
        return bytes(obstore.get(self.bucket, f"spring/{path}").bytes())

    def report(self) -> dict:
        return json.loads((self.folder / "out" / "spring" / "report.json").read_text())

    def assert_all_right(self) -> None:
        """Charges are pairs, and each object is whole and the one that was made of its own request."""
        assert len(self.api.tasks) == len(self.rows)
        made = {task.request["lip_sync_tts_content"]: task.request for task in self.api.tasks.values()}
        for key, output in self.rows.items():
            assert self.content(output).endswith(request_digest(made[f"Text {key}"]))
        assert self.videos() == set(self.rows.values()), self.videos()
        assert not self.server.client.list_multipart_uploads(Bucket="deliveries").get("Uploads")

    def left_here(self) -> list[Path]:
        """Videos and parts on this machine's disk."""
        return [path for path in (self.folder / "out").rglob("*") if path.suffix in {".mp4", ".part"}]
