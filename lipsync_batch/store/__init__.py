"""jobs.db: the only rooms that speak SQL."""

from lipsync_batch.store.store import Store, new_batch_id

__all__ = ["Store", "new_batch_id"]
