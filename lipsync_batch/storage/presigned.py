"""Inputs as links that the provider can fetch: signed when they are needed, and written down nowhere.

A link lives for a day, or as the setting `link_lifetime` says; longer where the run's deadline is later, for what is
submitted shortly before it must still be there when its turn comes. No cloud signs for more than seven days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

from lipsync_batch.addresses import Address
from lipsync_batch.jobs import Audio, Link, Pair, StoredObject
from lipsync_batch.storage.stores import Stores

DAY = timedelta(days=1)
AFTER_DEADLINE = timedelta(hours=1)
"""So long after the deadline links can still be read."""
LONGEST = timedelta(days=7)
"""Signature version 4 of Amazon and of Google, and delegation keys of Azure, end then."""
THREADS = 8


class ChangedError(Exception):
    """An object is not what it was when the batch was planned."""


class Presigner:
    """Makes links of a pair's objects, once each is seen to be what the pair was planned with."""

    def __init__(
        self,
        *,
        lifetime: timedelta = DAY,
        deadline: datetime | None = None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`notice` hears what a person should know: that links end sooner than they were asked to."""
        self._stores = Stores()
        self._lifetime = lifetime
        self._deadline = deadline
        self._notice = notice
        self._warned: set[str] = set()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="links")

    def close(self) -> None:
        """Begin nothing more; what a silent store was asked ends by its own time-outs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def linked(self, pair: Pair, now: datetime) -> Pair:
        """The pair with links in the place of its objects. ChangedError, StoreError, or LipsyncBatchError."""
        video, speech = pair.video, pair.speech
        if isinstance(video, StoredObject):
            pair = replace(pair, video=await self._in_thread(video, now))
        if isinstance(speech, Audio) and isinstance(speech.source, StoredObject):
            pair = replace(pair, speech=Audio(source=await self._in_thread(speech.source, now)))
        return pair

    def lifetime(self, now: datetime) -> timedelta:
        """How long a link that is made now can be read."""
        asked = self._lifetime
        if self._deadline is not None:
            asked = max(asked, self._deadline - now + AFTER_DEADLINE)
        return min(asked, LONGEST)

    async def _in_thread(self, source: StoredObject, now: datetime) -> Link:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._link, source, now)

    def _link(self, source: StoredObject, now: datetime) -> Link:
        address, lifetime = Address.parse(source.url), self.lifetime(now)
        facts = self._stores.head(address)
        if facts.identity != source.identity:
            raise ChangedError(f"{address} was changed after the batch was planned: run it again")
        link = Link(url=self._stores.sign(address, lifetime))
        self._look_at_end(address, now + lifetime)
        return link

    def _look_at_end(self, address: Address, wanted: datetime) -> None:
        """A link does not outlive the credentials that signed it, whatever it says of itself."""
        end = self._stores.credentials_end(address)
        if end is not None and end < wanted and address.place not in self._warned:
            self._warned.add(address.place)
            self._notice(
                f"links to {address.place} end with the credentials that sign them, at {end:%Y-%m-%d %H:%M} UTC; "
                "later submits are signed with renewed ones"
            )


def needs_links(pair: Pair) -> bool:
    """Whether anything of a pair is in a store."""
    speech = pair.speech
    return isinstance(pair.video, StoredObject) or (
        isinstance(speech, Audio) and isinstance(speech.source, StoredObject)
    )
