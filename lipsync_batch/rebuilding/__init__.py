"""A jobs.db that is lost, made again from the manifest, our own records and the provider's."""

from lipsync_batch.rebuilding.asking import Wishes
from lipsync_batch.rebuilding.rebuild import Rebuilder, Rebuilt

__all__ = ["Rebuilder", "Rebuilt", "Wishes"]
