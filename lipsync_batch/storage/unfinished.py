"""Uploads in pieces that nobody goes on with: what they hold is seen by nobody, and paid for all the same.

Only Amazon's stores, and those like them, keep it for good; Google's and Azure's are gone after a week.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from lipsync_batch.addresses import Address
from lipsync_batch.errors import OutputStoreError
from lipsync_batch.masking import mask
from lipsync_batch.storage.chains import amazon_endpoint, amazon_session
from lipsync_batch.storage.faults import LONGEST

_NOT_FOR_US = (403, 404, 405, 501)
"""Whoever may write may not always do this, and some stores cannot."""


class Unfinished:
    """Those in one bucket. Blocks."""

    def __init__(self, bucket: Address, *, profile: str | None) -> None:
        self._bucket = bucket
        self._profile = profile

    def end(self, prefix: str) -> None:
        """End the uploads to keys that begin so. OutputStoreError."""
        if self._bucket.scheme != "s3":
            return
        from botocore.exceptions import BotoCoreError, ClientError

        bucket = self._bucket.bucket
        try:
            for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
                for upload in page.get("Uploads", ()):
                    self._client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _NOT_FOR_US:
                raise self._unwell(error) from error
        except BotoCoreError as error:
            raise self._unwell(error) from error

    @cached_property
    def _client(self) -> Any:
        """Amazon's own: obstore has no such question. Making it takes a tenth of a second."""
        session = amazon_session(self._profile)
        return session.create_client("s3", endpoint_url=amazon_endpoint(session, self._profile))

    def _unwell(self, error: Exception) -> OutputStoreError:
        return OutputStoreError(
            f"{self._bucket.place}: does not do as it is asked ({mask(str(error), limit=LONGEST)})",
            hint="Look after that store, then run again.",
        )
