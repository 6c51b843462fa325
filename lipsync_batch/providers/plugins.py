"""Providers by name: the one that comes with the program, and those of packages that are installed beside it.

A package offers its provider by an entry point of the group `lipsync_batch.providers`, which names a class like
`base.ProviderClass`. It is imported when a batch asks for it, and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from lipsync_batch.capabilities import LIP_SYNC, Capabilities
from lipsync_batch.errors import UsageError
from lipsync_batch.providers.base import ProviderClass

GROUP = "lipsync_batch.providers"
BUILT_IN = "aimlapi"
_CALLS = ("submit", "check", "find", "charges", "balance", "price", "aclose", "base_url_from", "key_from")


def capabilities_of(name: str) -> Capabilities:
    """What a provider takes; UsageError where there is no such provider. That of the program is not imported for it."""
    return LIP_SYNC if name == BUILT_IN else provider_class(name).capabilities


def provider_class(name: str) -> ProviderClass:
    """The class of a provider; UsageError where none is installed by that name, or what is installed cannot be used."""
    if name == BUILT_IN:
        from lipsync_batch.providers.aimlapi import AimlApi

        return AimlApi
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise _unknown(name)
    packages = sorted({_package(entry) for entry in found})
    if len(packages) > 1:
        raise UsageError(
            f'the provider "{name}" is offered by several packages: {", ".join(packages)}',
            hint="Uninstall all but one of them.",
        )
    return _loaded(next(iter(found)))


def installed() -> Sequence[str]:
    """The names of all providers, that of the program first."""
    return [BUILT_IN, *sorted(entry_points(group=GROUP).names - {BUILT_IN})]


def _unknown(name: str) -> UsageError:
    names = installed()
    close = get_close_matches(name, names, 1)
    meant = f"Did you mean {close[0]}? " if close else ""
    return UsageError(
        f'there is no provider "{name}"',
        hint=f"{meant}Installed: {', '.join(names)}. Another one comes with a package of its own: pip install it here.",
    )


def _loaded(entry: EntryPoint) -> ProviderClass:
    """The class that an entry point names, once it has all that is asked of it."""
    hint = (
        f"It comes from the package {_package(entry)} ({entry.value}). Mend or update it, or choose another provider."
    )
    try:
        found = entry.load()
    except Exception as error:  # a package of others may fail in any way
        raise UsageError(
            f'the provider "{entry.name}" cannot be loaded: {type(error).__name__}: {error}', hint=hint
        ) from error
    lacking = [name for name in _CALLS if not callable(getattr(found, name, None))]
    if not isinstance(getattr(found, "capabilities", None), Capabilities):
        lacking.insert(0, "capabilities")
    if not isinstance(found, type):
        raise UsageError(f'the provider "{entry.name}" is not a class', hint=hint)
    if lacking:
        raise UsageError(f'the provider "{entry.name}" is none: it has no {", ".join(lacking)}', hint=hint)
    return cast("ProviderClass", found)


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module
