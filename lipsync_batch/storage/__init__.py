"""Object storage: `s3://`, `gs://` and `az://`. The one room that speaks to it; jobs.db is another, `store`.

Its packages come with the extra `storage`, and are imported when the first such address is met.
"""

from lipsync_batch.addresses import SCHEMES, Address

__all__ = ["SCHEMES", "Address"]
