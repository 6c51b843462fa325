"""First manifests, made of what is there: a folder of media, or a sheet of translations.

`folder` and `translations` look and decide, `text` writes. Nothing is guessed that a person would not see: what could
not be paired is named, and the manifest is plain enough to be edited.
"""

from __future__ import annotations

from pathlib import Path

from lipsync_batch.drafting.draft import Draft
from lipsync_batch.drafting.folder import draft_of_folder
from lipsync_batch.drafting.translations import draft_of_sheet
from lipsync_batch.errors import UsageError

__all__ = ["Draft", "draft_of"]


def draft_of(source: Path) -> Draft:
    """The manifest that fits a folder or a sheet. UsageError where none can be made of it, with the remedy."""
    if source.is_dir():
        return draft_of_folder(source)
    if source.is_file():
        return draft_of_sheet(source)
    raise UsageError(
        f"{source}: there is no such folder or file", hint="Name a folder with videos, a CSV file or a workbook."
    )
