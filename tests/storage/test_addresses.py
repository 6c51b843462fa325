"""What names an object."""

from __future__ import annotations

import pytest

from lipsync_batch.storage import Address


@pytest.mark.parametrize("url", ["s3://studio/clips/a b#1%20.mp4", "gs://b/é.wav", "az://container/x/y.mp4"])
def test_an_address_is_what_was_written(url: str) -> None:
    """Nothing in a key is escaped, and nothing ends it."""
    assert str(Address.parse(url)) == url


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("s3:///clips/a.mp4", "names no bucket"),
        ("deliveries/spring", "no address in object storage; write it like s3://"),
        ("s3://a b/clip.mp4", "names no bucket"),
        ("s3://studio//a.mp4", "an empty part"),
        ("s3://studio/a/../b.mp4", "an empty part"),
        ("s3://studio/a\x07.mp4", "control character"),
        ("s3://AKIAX:s3cr3t@studio/a.mp4", "holds credentials"),
    ],
)
def test_what_no_store_can_mean_is_said(url: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        Address.parse(url)


def test_credentials_in_an_address_are_not_repeated() -> None:
    """Neither taken from a manifest, nor shown."""
    with pytest.raises(ValueError, match="environment alone") as caught:
        Address.parse("s3://AKIAX:s3cr3t@studio/a.mp4")

    assert "s3cr3t" not in str(caught.value)
