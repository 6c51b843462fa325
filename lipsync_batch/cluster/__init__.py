"""Where the bytes are moved on many machines: a Dask cluster, and what a run has done by its workers.

Of Dask nothing is imported before a cluster is asked for; it comes with the extra `dask`.
"""

from lipsync_batch.cluster.address import Local, Remote, parse

__all__ = ["Local", "Remote", "parse"]
