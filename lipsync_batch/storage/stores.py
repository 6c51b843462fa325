"""Buckets, opened when they are first asked for, and what is asked of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from lipsync_batch.addresses import Address
from lipsync_batch.inputs import ObjectFacts, Trouble
from lipsync_batch.storage.chains import Opened, locked_out, open_store
from lipsync_batch.storage.faults import Fault, Kind

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from lipsync_batch.storage.chains import Bucket

AT_ONCE = 32
"""Objects that are asked about at once. In threads: after obstore's asyncio calls a process may abort at its end."""
PAGE = 1_000
"""Objects in a page of a listing: no store gives more."""
PROBE_LINK = timedelta(minutes=1)


LISTED_FROM = 100
"""Objects of one folder that are asked about together, from which on the folder is listed in the place of that."""


class StoreError(Exception):
    """A store did not do what it was asked for."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.words)
        self.fault = fault


class Stores:
    """Reading from object storage. Safe to share between threads, for a bucket that is opened twice is the same.

    LipsyncBatchError where there are no credentials, or no packages, to do it with.
    """

    def __init__(self) -> None:
        self._stores: dict[str, Opened] = {}
        self._silent: dict[str, Fault] = {}
        """Buckets that did not answer: nobody waits for them once for each object."""
        self._listed: set[str] = set()
        """Folders that were listed in the place of questions."""

    def opened(self, address: Address) -> Bucket:
        """The bucket of an address, for obstore's functions."""
        return self._opened(address).store

    def credentials_end(self, address: Address) -> datetime | None:
        """Until when the credentials hold, where they have an end."""
        return self._opened(address).credentials_end()

    def _opened(self, address: Address) -> Opened:
        if address.place not in self._stores:
            self._stores[address.place] = open_store(address)
        return self._stores[address.place]

    def head(self, address: Address) -> ObjectFacts:
        """What an object is now. Blocks. StoreError."""
        store = self.opened(address)  # first: it says what to install
        from obstore import head

        try:
            meta = head(store, address.key)
        except Exception as error:  # obstore's own, and OSError where there is no such object
            raise StoreError(_fault(address, error)) from error
        return ObjectFacts(url=str(address), identity=identity_of(meta), size=meta["size"])

    def sign(self, address: Address, lifetime: timedelta) -> str:
        """A link by which whoever has it can read the object for so long. Blocks. StoreError."""
        store = self.opened(address)
        from obstore import sign

        try:
            return sign(store, "GET", address.key, lifetime)
        except Exception as error:
            raise StoreError(_fault(address, error)) from error

    def look_at(self, urls: Sequence[str]) -> Mapping[str, ObjectFacts | Trouble]:
        """What each object is, or why it cannot be used; asked many at a time."""
        addresses = [Address.parse(url) for url in urls]
        first: dict[str, Address] = {}
        for address in addresses:
            if address.place not in self._stores:
                first.setdefault(address.place, address)
        for address in first.values():  # one at a time, for it says who we are
            self._try(address)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="objects") as threads:
            return dict(zip(urls, threads.map(self._look, addresses), strict=True))

    def _try(self, address: Address) -> None:
        """Whether links can be made of a bucket's objects: some credentials may read, and cannot sign."""
        try:
            self.sign(address, PROBE_LINK)
        except StoreError as error:
            self._silent[address.place] = error.fault

    def _look(self, address: Address) -> ObjectFacts | Trouble:
        if (fault := self._silent.get(address.place)) is not None:
            return fault.told(str(address))
        try:
            facts = self.head(address)
        except StoreError as error:
            if error.fault.kind is Kind.SILENT:
                self._silent[address.place] = error.fault
            return error.fault.told(str(address))
        return empty(address) if not facts.size else facts

    def listed_together(self, urls: Sequence[str]) -> Iterator[ObjectFacts]:
        """What there is in the folders that many of these objects are in: a request for a thousand, not for each.

        Each folder is listed once, and left off where that takes more requests than questions about each would. What
        does not come is to be asked about; so is everything in a folder that cannot be listed.
        """
        counts = Counter(url.rpartition("/")[0] for url in urls)
        for folder, count in counts.items():
            if count < LISTED_FROM or folder in self._listed:
                continue
            self._listed.add(folder)
            address = Address.parse(folder)
            with suppress(StoreError):
                for key, identity, size in islice(self.below(address), count * PAGE):
                    if size:
                        yield ObjectFacts(url=f"{address.place}/{key}", identity=identity, size=size)

    def below(self, folder: Address) -> Iterator[tuple[str, str, int]]:
        """(key, identity, bytes) of each object below a folder, in pages, in the order of the store. StoreError."""
        store = self.opened(folder)
        from obstore import list as pages

        try:
            for page in pages(store, folder.key or None, chunk_size=PAGE):
                for meta in page:
                    yield meta["path"], identity_of(meta), meta["size"]
        except Exception as error:
            raise StoreError(_fault(folder, error)) from error


def empty(address: Address) -> Trouble:
    """Stores have no folders: what looks like one is often an object with nothing in it."""
    return Trouble(cause=f'"{address}" is empty', remedy="name an object with something in it")


def identity_of(meta: ObjectMeta) -> str:
    """What a store knows the content by: its ETag, else its version, else size and time.

    That of several parts is not the checksum of the whole, and is another one for other content all the same.
    """
    tag, version = meta["e_tag"], meta["version"]
    if tag and not tag.startswith("W/"):  # a weak one says that two contents are alike
        return f"etag:{tag.strip(chr(34))}"
    if version:
        return f"version:{version}"
    return f"size:{meta['size']},time:{_second(meta['last_modified'])}"


def _second(instant: datetime) -> int:
    """Listings name times more finely than answers do."""
    return int(instant.timestamp())


def _fault(address: Address, error: Exception) -> Fault:
    fault = Fault.of(error)
    if fault.kind is Kind.LOCKED_OUT:
        raise locked_out(address.place, fault.words) from error
    return fault
