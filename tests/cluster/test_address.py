"""What `--dask` takes."""

from __future__ import annotations

import pytest

from lipsync_batch.cluster import Local, Remote, parse
from lipsync_batch.errors import UsageError


@pytest.mark.parametrize("text", ["tcp://scheduler:8786", "tls://10.0.0.3:8786", "tcp://[::1]:8786"])
def test_addresses_of_schedulers(text: str) -> None:
    assert parse(f" {text}/ ".replace("/ ", "/")) == Remote(text)


def test_workers_of_this_machine() -> None:
    assert parse("local:4") == Local(4)


@pytest.mark.parametrize(
    "text",
    ["scheduler:8786", "http://scheduler:8786", "tcp://scheduler", "tcp://a:b@host:1", "tcp://host:99999", "local"],
)
def test_what_is_no_address_is_refused_with_one_that_would_do(text: str) -> None:
    """Nothing is connected to by a guess."""
    with pytest.raises(UsageError, match="not the address of a scheduler") as caught:
        parse(text)
    assert "tcp://scheduler:8786" in caught.value.hint


@pytest.mark.parametrize("text", ["local:0", "local:1000"])
def test_number_of_local_workers_is_sensible(text: str) -> None:
    with pytest.raises(UsageError, match="from 1 to 64 workers"):
        parse(text)
