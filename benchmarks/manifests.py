"""Manifests of any number of jobs, each a pair of its own."""

from __future__ import annotations

import csv
from pathlib import Path


def texts(path: Path, jobs: int, *, name: str = "line", folders: int = 1000) -> Path:
    """A CSV of jobs that want a text spoken; so many outputs go into one folder."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("key", "video", "text", "speaker", "output", "language"))
        rows.writerows(
            (
                f"{name}-{n}",
                f"https://media.example/clips/{n % 500}.mp4",
                f"This is {name} number {n}.",
                "Emily",
                f"{name}/{n // folders}/{n}.mp4",
                ("de", "fr", "ja", "es")[n % 4],
            )
            for n in range(jobs)
        )
    return path
