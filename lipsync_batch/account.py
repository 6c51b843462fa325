"""Whom a batch's money goes to: the hosted API, or a sandbox in a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from lipsync_batch.errors import ActionNeededError, BatchError, DiskError, MissingExtraError
from lipsync_batch.jobs import BatchRecord
from lipsync_batch.location import Location
from lipsync_batch.mounts import network_drive
from lipsync_batch.providers.base import Price, Provider
from lipsync_batch.providers.plugins import BUILT_IN, provider_class
from lipsync_batch.sandbox import PRICE
from lipsync_batch.settings import Settings, base_url
from lipsync_batch.store import account_memory
from lipsync_batch.store.account_memory import AccountMemory
from lipsync_batch.store.lone_memory import LoneMemory, Memory

if TYPE_CHECKING:
    from lipsync_batch.sandbox.process import SandboxProcess

SANDBOX = "sandbox"
SANDBOX_OPTIONS = "LIPSYNC_BATCH_SANDBOX_OPTIONS"
"""Environment variable with options for the sandbox of a `--sandbox` run; `lipsync-batch sandbox --help` lists them."""
SANDBOX_PACKAGES = ("espeakng_loader", "starlette", "uvicorn")
MEMORY = "account.db"
REHEARSAL = Price(per_generation=PRICE, source="the sandbox; nothing is paid")


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Where submits go. A batch is bound to `name` and `origin` when it is made."""

    name: str
    origin: str
    """For a sandbox a fixed word, for its port is another one each time."""
    base_url: str
    """Empty for a sandbox that was not started."""
    key: str | None = field(repr=False)
    """None where only what is public is asked for."""
    memory_path: Path | None = None
    """Where the account's runs on this machine share what they know; None where nothing is sent with its key."""

    def memory(self, notice: Callable[[str], None]) -> Memory:
        """What this account's runs share. One of this run's own, and a word about it, where the file cannot be used."""
        if self.memory_path is None:
            return LoneMemory()
        kind = network_drive(self.memory_path.parent)
        try:
            if kind is None:
                return AccountMemory.open(self.memory_path)
            why = f"{self.memory_path.parent} is on a network drive ({kind})"
        except DiskError as error:
            why = str(error)
        notice(f"what this account's runs share is not used: {why}; other runs do not know of this one's requests")
        return LoneMemory()

    def provider(self, settings: Settings, media_root: Path) -> Provider:
        """A client, for the loop that is running."""
        make = provider_class(BUILT_IN if self.name == SANDBOX else self.name)
        return make(
            base_url=self.base_url,
            key=self.key,
            media_base_url=settings.media_base_url,
            media_root=media_root,
        )

    def price(self, settings: Settings) -> Price | None:
        """What the settings say, else what the API publishes; None where neither does."""
        if settings.price_per_job is not None or settings.price_per_second is not None:
            return Price(
                per_generation=settings.price_per_job or 0,
                per_second=settings.price_per_second or 0,
                source="settings",
            )
        if not self.base_url:
            return REHEARSAL
        return asyncio.run(self._published(settings))

    async def _published(self, settings: Settings) -> Price | None:
        provider = self.provider(settings, Path())
        try:
            return await provider.price()
        finally:
            await provider.aclose()

    def check(self, record: BatchRecord, location: Location) -> None:
        """BatchError where a batch is bound to another account, or to another manifest."""
        if (record.provider, record.origin) != (self.name, self.origin):
            raise BatchError(
                f"{location.folder.root}: this batch belongs to {_named(record.provider, record.origin)}, "
                f"not to {_named(self.name, self.origin)}",
                hint=_other_account(record, self),
            )
        if (
            location.manifest is not None
            and location.folder.root.joinpath(record.manifest).resolve() != location.manifest
        ):
            raise BatchError(
                f"{location.folder.root}: this batch belongs to another manifest, {record.manifest}",
                hint="Choose another folder with --out, or name that manifest.",
            )


def public(environ: Mapping[str, str], *, provider: str, sandbox: bool) -> Account:
    """An account for looking only: no key is needed to plan."""
    if sandbox:
        return Account(name=SANDBOX, origin=SANDBOX, base_url="", key=None)
    origin = base_url(environ) if provider == BUILT_IN else provider_class(provider).base_url_from(environ)
    return Account(name=provider, origin=origin, base_url=origin, key=None)


def learned(
    location: Location, environ: Mapping[str, str], *, provider: str, sandbox: bool
) -> Mapping[str, dict[str, Any]]:
    """What the earlier runs of the account have remembered; nothing where its key is not there to name it."""
    if sandbox:
        return account_memory.learned(location.folder.state / "sandbox" / MEMORY)
    kind = provider_class(provider)
    try:
        return account_memory.learned(_memory_path(kind.base_url_from(environ), kind.key_from(environ)))
    except ActionNeededError:
        return {}


@contextmanager
def opened(location: Location, environ: Mapping[str, str], *, provider: str, sandbox: bool) -> Iterator[Account]:
    """The account of a run; a sandbox lives as long as the context. Errors say what the environment lacks."""
    if not sandbox:
        kind = provider_class(provider)
        origin, key = kind.base_url_from(environ), kind.key_from(environ)
        yield Account(name=provider, origin=origin, base_url=origin, key=key, memory_path=_memory_path(origin, key))
        return
    if any(find_spec(package) is None for package in SANDBOX_PACKAGES):
        raise MissingExtraError("--sandbox", "sandbox")
    data = location.folder.state / "sandbox"
    with _sandbox(data, environ.get(SANDBOX_OPTIONS, "").split()) as server:
        yield Account(
            name=SANDBOX,
            origin=SANDBOX,
            base_url=server.base_url,
            key=server.key,
            memory_path=data / MEMORY,  # it goes with the rehearsal that it is about
        )


def _memory_path(origin: str, key: str) -> Path:
    """In the user's state folder, under a name from which neither the key nor the address can be read."""
    digest = hashlib.sha256(f"{origin}\0{key}".encode()).hexdigest()
    return platformdirs.user_state_path("lipsync-batch", appauthor=False) / "accounts" / digest[:32] / MEMORY


@contextmanager
def _sandbox(data: Path, options: Sequence[str]) -> Iterator[SandboxProcess]:
    from lipsync_batch.sandbox.process import SandboxError, SandboxProcess

    with ExitStack() as stack:
        try:
            server = stack.enter_context(SandboxProcess(data, options=options))
        except SandboxError as error:
            hint = f"Check {SANDBOX_OPTIONS}, if it is set."
            raise BatchError(str(error), hint=hint) from error
        yield server


def _named(provider: str, origin: str) -> str:
    return "the sandbox" if provider == SANDBOX else f"{provider} at {origin}"


def _other_account(record: BatchRecord, asked: Account) -> str:
    if record.provider == SANDBOX:
        return "Add --sandbox to go on with the rehearsal, or choose another folder with --out for the real thing."
    if record.provider != asked.name:
        return f"Choose another folder with --out, or go on with --provider {record.provider}."
    if record.provider != BUILT_IN:
        return f"Choose another folder with --out, or let the provider work at {record.origin} again."
    return f"Choose another folder with --out, or set AIMLAPI_BASE_URL={record.origin}."
