"""What the tests of manifests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from manifest_folder import Folder

from lipsync_batch.errors import Problem


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def one_job(folder: Folder) -> Callable[..., Problem]:
    """The one problem of a YAML manifest with one job, given by its fields; a field that is None is left out."""

    def problem(**fields: str | None) -> Problem:
        given = {"video": "intro.mp4", "text": "Hallo", "speaker": "Emily", **fields}
        lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
        return folder.problem("jobs.yaml", "jobs:\n  - " + "\n    ".join(lines) + "\n")

    return problem
