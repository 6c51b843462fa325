"""Media as a manifest names them: a path, a link, an object in a store, a glob of one of these, or a data URI.

Whether a file is there, and whether it is media, is asked later and once a file, not here and once a row.
"""

from __future__ import annotations

import base64
import binascii
import glob
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from lipsync_batch.jobs import DataUri, Link, LocalFile, Source, StoredObject
from lipsync_batch.links import is_odd, path_of
from lipsync_batch.manifest.faults import FieldError
from lipsync_batch.masking import mask
from lipsync_batch.storage import SCHEMES, Address
from lipsync_batch.storage.listing import Listing, folder_of, listed
from lipsync_batch.storage.stores import StoreError, Stores

Kind = Literal["video", "audio"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_DATA = re.compile(r"data:(?P<kind>video|audio)/[\w.+-]+(?:;[\w.+-]+=[^;,]*)*;base64,(?P<body>.+)", re.DOTALL)
_POSSIBLE = "possible are a path, an https link, s3://, gs://, az:// and a data URI"
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Media:
    """A source, and the path or link that names it: templates and default keys are made of that."""

    source: Source
    path: str
    """As written or matched; of a link or an object its path; empty for a data URI."""

    @property
    def text(self) -> str:
        """What would name this source alone."""
        match self.source:
            case LocalFile(path=path):
                return str(path)
            case Link(url=url) | StoredObject(url=url):
                return url
            case DataUri(text=text):
                return text

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        name = self.name
        return name.rpartition(".")[0] or name


UNKNOWN = Media(Link(url=""), "unknown")
"""Stands for media that is missing or wrong, so that the rest of its row can still be checked."""


class ObjectMatches(Collection[Media]):
    """The objects that a glob matched: not in memory, however many they are."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def __len__(self) -> int:
        return len(self._listing)

    def __iter__(self) -> Iterator[Media]:
        return (Media(source, Address.parse(source.url).key) for source in self._listing)

    def __contains__(self, media: object) -> bool:
        return any(media == mine for mine in self)


class Matches(dict[str, Collection[Media]]):
    """What globs matched, by pattern: a grid asks for the same ones in each of its combinations."""

    def __init__(self, stores: Stores) -> None:
        super().__init__()
        self.stores = stores

        self.asked_disk = False
        """Whether a text had to be looked up on this machine or in a store: it may mean something else another time."""


def find(text: str, kind: Kind, base: Path, matches: Matches) -> Collection[Media]:
    """What `text` names: one source, or a glob's matches in the order of their names.

    A file that is called like a glob (`clip[1].mp4`) wins over it. FieldError if `text` cannot be meant, or if nothing
    matches. What globs match is looked up in `matches`, and added to it.
    """
    if (media := find_plain(text, base)) is not None:
        return [media]
    scheme = _SCHEME.match(text) if ":" in text else None
    if scheme is not None and scheme[1].lower() == "data":
        return [Media(_data_uri(text, kind), "")]
    if scheme is None or not scheme[2]:  # no //: a colon may well be part of a file's name
        return _paths(text, base, matches)
    name = scheme[1].lower()
    if name in SCHEMES:
        return _objects(_address(text), matches)
    raise FieldError(f"{name}:// is not supported", f"{_POSSIBLE}; of a local file write the path alone")


def find_plain(text: str, base: Path) -> Media | None:
    """The link, object or path that `text` is; None where it is none of these, or only the disk or a store can tell.

    FieldError for a link or an object that cannot be meant.
    """
    if text.startswith(("https://", "http://")):
        return _link(text)
    scheme = _SCHEME.match(text) if ":" in text else None
    if scheme is None:
        return None if _needs_disk(text) or text.endswith("/") or "\0" in text else _local(text, base)
    if scheme[1].lower() in {"http", "https"}:
        return _link(text)
    is_object = scheme[2] and scheme[1].lower() in SCHEMES and not _MAGIC.search(text)
    return _object(_address(text)) if is_object else None


def parent(media: Media, base: Path) -> str:
    """The folder that the media stands in, relative to the manifest; of one elsewhere only the folder's own name.

    So `{video.parent}/{video.stem}.mp4` mirrors a tree, and never leads out of the batch folder.
    """
    folder = media.path.rpartition("/")[0]
    if isinstance(media.source, LocalFile):
        return _relative(folder or ("/" if media.path[0] == "/" else ""), base)
    return folder.rpartition("/")[2] or "."


@lru_cache(maxsize=1024)
def _relative(folder: str, base: Path) -> str:
    inside = os.path.relpath(base / folder, base)
    return Path(os.path.normpath(base / folder)).name or "." if inside.startswith("..") else inside


def _needs_disk(text: str) -> bool:
    """Whether what a path means depends on more than itself: a glob, or one below a home folder."""
    return text[0] == "~" or _MAGIC.search(text) is not None


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        cause, _, remedy = str(error).partition("; ")
        raise FieldError(f"the address {cause}", remedy) from error


def _object(address: Address) -> Media:
    if address.key == "" or address.key.endswith("/"):
        place = str(address)
        raise FieldError(f'"{place}" is a folder', f"name an object in it, or all of them: {place}*.mp4")
    return Media(StoredObject(url=str(address)), address.key)


def _objects(pattern: Address, matches: Matches) -> Collection[Media]:
    matches.asked_disk = True
    text = str(pattern)
    if text not in matches:
        folder = folder_of(pattern)
        try:
            found, looked_at = listed(matches.stores, pattern)
        except StoreError as error:
            trouble = error.fault.told(str(folder))
            raise FieldError(trouble.cause, trouble.remedy) from error
        if not found and not looked_at:
            raise FieldError(f'"{mask(text)}" matches no object: there is nothing below {folder}', "check the path")
        if not found:
            cause = f'"{mask(text)}" matches none of the {looked_at:,} objects below {folder}'
            raise FieldError(cause, "check the pattern (** goes into folders)")
        matches[text] = ObjectMatches(found)
    return matches[text]


def _paths(text: str, base: Path, matches: Matches) -> Collection[Media]:
    matches.asked_disk |= _needs_disk(text)
    if text[0] == "~":
        text = os.path.expanduser(text)  # noqa: PTH111 (globs are text)
    if _MAGIC.search(text) and not os.path.lexists(base / text):
        if text not in matches:
            matches[text] = _matching(text, base)
        return matches[text]
    if text.endswith("/"):
        raise FieldError(f'"{text}" is a folder', f"name a file in it, or all of them: {text}*.mp4")
    if "\0" in text:
        raise FieldError("holds a NUL character", "remove it")
    return [_local(text, base)]


@lru_cache(maxsize=1024)  # one video often has many rows
def _local(text: str, base: Path) -> Media:
    return Media(LocalFile(path=base / text), text)


def _matching(pattern: str, base: Path) -> list[Media]:
    found = glob.iglob(pattern, root_dir=base, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
    files = sorted(file for file in found if (base / file).is_file())
    if not files:
        raise _no_match(pattern, base)
    return [_local(file, base) for file in files]


def _no_match(pattern: str, base: Path) -> FieldError:
    shown = mask(pattern)  # a link that lost its https:// is a pattern, too: it holds a "?", and perhaps a signature
    fixed = _MAGIC.split(pattern, maxsplit=1)[0]
    folder = base / fixed.rpartition("/")[0] if not fixed.startswith("/") else Path(fixed.rpartition("/")[0] or "/")
    if not folder.is_dir():
        return FieldError(f'"{shown}" matches no file: there is no folder {folder}', "check the path")
    return FieldError(f'"{shown}" matches no file in {folder}', "check the pattern (** goes into folders)")


def _link(text: str) -> Media:
    if is_odd(text):
        raise FieldError("the link holds a space or a control character", "write a space in a link as %20")
    path = path_of(text)
    if path is None:
        raise FieldError("the link has no host, or a wrong one", "write https://host/path")
    return Media(Link(url=text), path)


def _data_uri(text: str, kind: Kind) -> DataUri:
    """A data URI without the line breaks that YAML and spreadsheets put into long values."""
    text = "".join(text.split())
    match = _DATA.fullmatch(text)
    if match is None or match["kind"] != kind:
        raise FieldError(f"the data URI is not one of {kind}", f"begin it with data:{kind}/...;base64,")
    try:
        base64.b64decode(match["body"], validate=True)
    except binascii.Error as error:
        raise FieldError("the data URI's base64 cannot be decoded", "encode the whole file once more") from error
    return DataUri(text=text)
