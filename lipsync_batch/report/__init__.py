"""The reports of a batch: JSON, CSV and a page, and the closing summary of a run."""

from lipsync_batch.report.client import Packed, write_client_zip
from lipsync_batch.report.posters import Posters
from lipsync_batch.report.source import Source
from lipsync_batch.report.summary import summary
from lipsync_batch.report.write import Paths, write_live_page, write_reports

__all__ = [
    "Packed",
    "Paths",
    "Posters",
    "Source",
    "summary",
    "write_client_zip",
    "write_live_page",
    "write_reports",
]
