"""jobs.db: the only rooms that speak SQL."""

from lipsync_batch.store.store import Store

__all__ = ["Store"]
