"""The three requests of a job through the program's own HTTP client, and nothing else: no state, no checks, no files.

The floor under any program that uses this client: what is above it is the price of being able to resume.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator

import httpx2

GENERATIONS = "/v2/video/generations"


async def work(client: httpx2.AsyncClient, numbers: Iterator[int]) -> None:
    for n in numbers:
        wish = {
            "model": "pixverse/lip-sync",
            "video_url": f"https://media.example/clips/{n}.mp4",
            "lip_sync_tts_content": f"This is line number {n}.",
            "lip_sync_tts_speaker": "Emily",
        }
        accepted = (await client.post(GENERATIONS, json=wish)).json()
        finished = (await client.get(GENERATIONS, params={"generation_id": accepted["id"]})).json()
        film = await client.get(finished["video"]["url"])
        assert film.status_code == 200


async def run(base_url: str, jobs: int, at_once: int) -> None:
    limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    numbers = iter(range(jobs))
    async with httpx2.AsyncClient(base_url=base_url, limits=limits, timeout=60) as client:
        await asyncio.gather(*(work(client, numbers) for _ in range(at_once)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=64)
    asyncio.run(run(**vars(parser.parse_args())))
