"""Local files under links of their own: where `media_base_url` shows the manifest's folder to the provider."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from lipsync_batch.jobs import LocalFile


class MediaLinks:
    """Maps files under `root` to links under `base_url`; without a base URL, none.

    >>> MediaLinks("https://media.example/spring/", Path("/studio")).of(LocalFile(path=Path("/studio/clips/a b.mp4")))
    'https://media.example/spring/clips/a%20b.mp4'
    """

    def __init__(self, base_url: str | None, root: Path | None) -> None:
        self._base_url = base_url.rstrip("/") if base_url else None
        self._root = Path(os.path.normpath(root)) if root else None

    def of(self, file: LocalFile) -> str | None:
        """The link of a file; None for one that has none, and goes out inline."""
        path = Path(os.path.normpath(file.path))  # a web server, too, takes out `..` before it follows symbolic links
        if self._base_url is None or self._root is None or not path.is_relative_to(self._root):
            return None
        # Names are bytes on disk, and need not be UTF-8.
        return f"{self._base_url}/{quote(os.fsencode(path.relative_to(self._root).as_posix()))}"
