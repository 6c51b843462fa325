"""What an able engineer writes in an afternoon: a task a job, a semaphore, plain httpx, fixed polling, backing off.

It does what the API's own example does (submit, then ask every 15 s until it is over), many at a time, tries again on
429 as the answer says or else after doubling pauses with jitter, and puts the videos into a folder. It remembers
nothing: what this program adds is not in it, and so not in its cost.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import random
import time
from pathlib import Path

import httpx

GENERATIONS = "/v2/video/generations"
IN_FLIGHT = ("queued", "generating")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
GIVE_UP = 1000.0
"""Seconds; as in the API's own example."""


class Script:
    def __init__(self, api: httpx.AsyncClient, cdn: httpx.AsyncClient, *, workers: int, poll: float, out: Path) -> None:
        self.api = api
        self.cdn = cdn
        self.semaphore = asyncio.Semaphore(workers)
        self.poll = poll
        self.out = out
        self.done = 0
        self.refused = 0

    async def job(self, row: dict[str, str]) -> None:
        async with self.semaphore:
            link = await self.make(row)
            await self.download(link, self.out / row["output"])
            self.done += 1

    async def make(self, row: dict[str, str]) -> str:
        wish = {
            "model": "pixverse/lip-sync",
            "video_url": row["video"],
            "lip_sync_tts_content": row["text"],
            "lip_sync_tts_speaker": row["speaker"],
        }
        name = (await self.request("POST", json=wish))["id"]
        until = time.monotonic() + GIVE_UP
        while time.monotonic() < until:
            await asyncio.sleep(self.poll)
            answer = await self.request("GET", params={"generation_id": name})
            if answer["status"] not in IN_FLIGHT:
                return str(answer["video"]["url"])
        raise TimeoutError(name)

    async def request(self, method: str, **what: object) -> dict:
        pause = FIRST_PAUSE
        while True:
            response = await self.api.request(method, GENERATIONS, **what)
            if response.status_code != 429:
                response.raise_for_status()
                return response.json()
            self.refused += 1
            told = response.headers.get("retry-after")
            await asyncio.sleep(float(told) if told else pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def download(self, link: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        async with self.cdn.stream("GET", link) as response:
            response.raise_for_status()
            with part.open("wb") as file:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
        part.replace(path)


async def run(manifest: Path, out: Path, *, base_url: str, key: str, workers: int, poll: float) -> Script:
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    limits = httpx.Limits(max_connections=workers, max_keepalive_connections=workers)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx.AsyncClient(base_url=base_url, headers=headers, timeout=60, limits=limits) as api,
        httpx.AsyncClient(timeout=60, limits=limits) as cdn,
    ):
        script = Script(api, cdn, workers=workers, poll=poll, out=out)
        async with asyncio.TaskGroup() as tasks:
            for row in rows:
                tasks.create_task(script.job(row))
    return script


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--workers", type=int, default=60)
    parser.add_argument("--poll", type=float, default=15.0, help="seconds between two questions")
    options = parser.parse_args()
    ended = asyncio.run(run(**vars(options)))
    print(json.dumps({"done": ended.done, "refused": ended.refused}))
