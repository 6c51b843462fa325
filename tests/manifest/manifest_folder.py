"""A folder of manifests written to real files, and what comes out of them."""

from __future__ import annotations

from pathlib import Path

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Job
from lipsync_batch.manifest import Manifest


class Folder:
    """A folder to write manifests and their inputs into."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: str | bytes = "") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(self, name: str, content: str | bytes) -> Manifest:
        return Manifest.load(self.write(name, content))

    def items(self, name: str, content: str | bytes) -> list[Job | Problem]:
        return list(self.load(name, content).jobs())

    def jobs(self, name: str, content: str | bytes) -> list[Job]:
        """The jobs of a manifest that nothing is wrong with."""
        items = self.items(name, content)
        assert [str(item) for item in items if isinstance(item, Problem)] == []
        return [item for item in items if isinstance(item, Job)]

    def problems(self, name: str, content: str | bytes) -> list[Problem]:
        """Everything that is wrong with a manifest, whether it could be read at all or not."""
        try:
            items = self.items(name, content)
        except ManifestError as error:
            return error.problems
        return [item for item in items if isinstance(item, Problem)]

    def problem(self, name: str, content: str | bytes) -> Problem:
        """The one thing that is wrong with a manifest."""
        problems = self.problems(name, content)
        assert len(problems) == 1, [str(problem) for problem in problems]
        assert problems[0].remedy, "every problem says what would be right"
        return problems[0]
