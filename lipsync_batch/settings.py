"""What a run is told: flag > environment > manifest > default.

`Settings` holds everything that may come from any of these. The key and the address that it is sent to come from the
environment alone (`api_key`, `base_url`): a manifest is passed around, and must not be able to redirect a key.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from lipsync_batch.addresses import Address
from lipsync_batch.errors import ActionNeededError, UsageError
from lipsync_batch.masking import Secrets, pieces

ENVIRONMENT_PREFIX = "LIPSYNC_BATCH_"
DEFAULT_BASE_URL = "https://api.aimlapi.com"
MICRO = 1_000_000
CLOSE = 0.8  # difflib's ratio from which on two names are taken for the same one, misspelt

_RATE = re.compile(r"(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*(s|m|h)", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", re.ASCII)
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):[0-5]\d", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|KiB|MB|MiB|GB|GiB)?", re.ASCII)
_PROVIDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_USD = re.compile(r"\$?\s*(\d+(?:\.\d+)?)\s*(?:USD)?", re.ASCII)

_MOST_USD = 1_000_000_000  # in micro-USD, this still fits SQLite's integers a thousand times
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds.

    >>> str(Rate.parse("60/m")), str(Rate(5, 10.0))
    ('60/m', '5/10s')
    """

    count: int
    seconds: float

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.seconds < math.inf:
            raise ValueError("a rate is at least one request, in more than no time")

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read `60/m`, `20/s`, `1000/h` or `5/10s`; ValueError for anything else."""
        match = _RATE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'"{text}" is not a rate')
        count, times, unit = match.groups()
        return cls(int(count), float(times or 1) * _SECONDS[unit])

    def __str__(self) -> str:
        for unit, seconds in _SECONDS.items():
            if seconds == self.seconds:
                return f"{self.count}/{unit}"
        return f"{self.count}/{_plain(self.seconds)}s"


def _plain(number: float) -> str:
    """A float in full, without an exponent and without a `.0`."""
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_duration(value: object) -> float:
    """Seconds from `90`, `90s`, `2m` or `8h`; ValueError for anything else."""
    match = _DURATION.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise ValueError(f'"{value}" is not a duration')
    number, unit = match.groups()
    seconds = float(number) * _SECONDS[unit or "s"]
    if not math.isfinite(seconds):
        raise ValueError("is longer than any clock goes")
    return seconds


def parse_usd(value: object) -> int:
    """Micro-USD from an amount in USD (`40`, `0.25`, `$40`), exactly; ValueError for anything else."""
    match = _USD.fullmatch(format(Decimal(str(value)), "f") if isinstance(value, float) else str(value).strip())
    if match is None or isinstance(value, bool):
        raise ValueError(f'"{value}" is not an amount in USD')
    usd = Decimal(match[1])
    if usd > _MOST_USD:
        raise ValueError(f'"{value}" is more than a billion dollars')
    micro = usd * MICRO
    if micro != int(micro):
        raise ValueError(f'"{value}" is finer than a millionth of a dollar')
    return int(micro)


def parse_size(value: object) -> int:
    """Bytes from `1048576`, `1MiB` or `1.5MB`; ValueError for anything else."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise ValueError(f'"{value}" is not a size')
    number, unit = match.groups()
    return int(Decimal(number) * _BYTES[unit or "B"])


def _rate(value: object) -> Rate:
    return value if isinstance(value, Rate) else Rate.parse(str(value))


def _finish_by(value: object) -> str:
    """A time of day or a duration, checked and left as text: only the run knows which day it is."""
    text = str(value).strip()
    if _TIME_OF_DAY.fullmatch(text):
        return text
    if _DURATION.fullmatch(text) is None or parse_duration(text) == 0:
        raise ValueError(f'"{text}" is neither a time of day nor a duration')
    return text


def _path(value: object) -> Path:
    text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if not text.strip():
        raise ValueError("is empty")
    return Path(text).expanduser()


def _provider(value: object) -> str:
    text = str(value).strip()
    if not _PROVIDER.fullmatch(text):
        raise ValueError(f'"{text}" is not the name of a provider')
    return text


def _store(value: object) -> str:
    text = str(value).strip().rstrip("/")
    Address.parse(text)
    return text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split_safe_url(text: str) -> SplitResult:
    """Take apart a URL that secrets may go to: https, or http on this machine; ValueError for any other.

    The URL itself is not in the message: what stands there by mistake may be a secret.
    """
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("holds a space or a control character")
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if not host:
        raise ValueError("is not a URL with a host")
    if url.username is not None or url.password is not None:
        raise ValueError("holds a user name or a password")
    if url.query or url.fragment or "?" in text or "#" in text:
        raise ValueError('holds a query ("?") or a fragment ("#")')
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(host)):
        raise ValueError("is not https (plain http is for this machine only: localhost, 127.0.0.1)")
    return url


def _origin(url: SplitResult) -> str:
    """Scheme, host and port as they are compared: lower case, without the port that goes without saying."""
    host = (url.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    ordinary = {"https": 443, "http": 80}[url.scheme]
    return f"{url.scheme}://{host}" if url.port in (None, ordinary) else f"{url.scheme}://{host}:{url.port}"


def _media_base_url(value: object) -> str:
    """The URL without its last slash: `BASE/path/of/file.mp4` is how links are made of it."""
    url = _split_safe_url(str(value).strip())
    return _origin(url) + url.path.rstrip("/")


_TEXT_OR_NUMBER: dict[str, Any] = {"type": ["string", "number"]}
_as_text_or_number = partial(WithJsonSchema, _TEXT_OR_NUMBER)

Duration = Annotated[float, BeforeValidator(parse_duration), _as_text_or_number()]
Usd = Annotated[int, BeforeValidator(parse_usd), _as_text_or_number()]
Size = Annotated[int, BeforeValidator(parse_size), _as_text_or_number()]


class Settings(BaseModel):
    """How to run this manifest; flags and environment variables win over it."""

    # As attributes: durations in seconds, sizes in bytes, money in micro-USD (it is given in USD). The docstring is
    # what editors show; the first example of a field is what an error shows as its remedy.
    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Annotated[Path | None, BeforeValidator(_path)] = Field(
        None,
        description="The batch folder; in a manifest relative to it. Default: out/NAME beside the manifest.",
        examples=["../deliveries/spring"],
    )
    rate: Annotated[Rate | None, BeforeValidator(_rate), WithJsonSchema({"type": "string"})] = Field(
        None, description="Requests that the account allows. Default: learned.", examples=["60/m", "20/s", "1000/h"]
    )
    budget: Usd | None = Field(
        None, description="USD that this batch may cost, over all its runs.", examples=[40, "12.50"]
    )
    max_in_flight: int = Field(20, ge=1, description="Generations alive at the provider at once.", examples=[20])
    downloads: int = Field(
        4, ge=1, le=64, description="Files downloaded at once; with --dask, by each worker.", examples=[4]
    )
    typical_seconds: Annotated[Duration, Field(gt=0)] | None = Field(
        None, description="How long a generation usually takes, until the account's history says.", examples=["34s"]
    )
    poll_floor: Annotated[Duration, Field(gt=0)] = Field(
        1.0, description="The shortest time between two polls of one generation.", examples=["1s"]
    )
    resolve_for: Duration = Field(
        120.0, description="How long unclear submits are looked up once all else is done.", examples=["2m"]
    )
    patience: Duration = Field(
        3600.0,
        description="How long a run in which nothing moves waits for work that is overdue: for generations older than "
        "an hour, and than twenty usual ones.",
        examples=["1h"],
    )
    finish_by: Annotated[str | None, BeforeValidator(_finish_by)] = Field(
        None, description="When the run must be over: a time of day, or a duration.", examples=["06:00", "8h"]
    )
    check: Literal["media", "size"] = Field(
        "media", description="How a downloaded file is checked: opened as media, or by its length.", examples=["media"]
    )
    provider: Annotated[str | None, BeforeValidator(_provider)] = Field(
        None,
        description="Who makes the videos: aimlapi, or the name of a provider that is installed besides. "
        "Default: whom the batch was begun with, else aimlapi.",
        examples=["aimlapi"],
    )
    media_base_url: Annotated[str | None, BeforeValidator(_media_base_url)] = Field(
        None,
        description="Where local files can be fetched from: their paths from the manifest on are put behind it.",
        examples=["https://media.example.com/spring"],
    )
    inline_limit: Annotated[Size, Field(gt=0)] | None = Field(
        None,
        description="Local files up to this size are sent inline. Default: what the provider takes.",
        examples=["8MiB"],
    )
    store: Annotated[str | None, BeforeValidator(_store)] = Field(
        None,
        description="A folder in object storage that the finished videos go to; reports go there, too. "
        "Default: they stay in the batch folder.",
        examples=["s3://studio/spring"],
    )
    store_profile: str | None = Field(
        None,
        description="The profile of ~/.aws/config that leads to that store, where it is not the usual one.",
        examples=["deliveries"],
    )
    link_lifetime: Annotated[Duration, Field(ge=60, le=604_800)] = Field(
        86_400.0,
        description="How long the links can be read by which inputs in object storage are handed to the API; if a "
        "deadline is later, until an hour after it. At most 7 days (168h).",
        examples=["24h"],
    )
    price_per_job: Usd | None = Field(None, description="USD a job, where it is not published.", examples=["0.10"])
    price_per_second: Usd | None = Field(None, description="USD a second of speech, likewise.", examples=["0.05"])
    skip_invalid: bool = Field(default=False, description="Go on without the rows that are wrong.", examples=["true"])

    @classmethod
    def layered(
        cls, flags: Mapping[str, object], environ: Mapping[str, str], manifest: Mapping[str, object]
    ) -> Settings:
        """Put the layers on top of each other: flag > environment > manifest > default.

        Flags that are None and variables that are empty count as not given. UsageError names every flag, variable or
        field that is wrong, with the cause and the remedy.
        """
        values: dict[str, object] = {}
        origins: dict[str, str] = {}
        for name, value, origin in (*_of_manifest(manifest), *_of_environ(environ), *_of_flags(flags)):
            values[name], origins[name] = value, origin
        faults = [f"{origins[fault.name]}: {fault.cause}; {fault.remedy}" for fault in _faults(values)]
        faults += _misspelt_variables(environ)
        if faults:
            raise UsageError("\n".join(faults), hint="A flag wins over the environment, and that over the manifest.")
        return cls.model_validate(values)


Layer = Iterable[tuple[str, object, str]]
"""Names, values, and how a user calls the place that a value came from."""


def _of_manifest(manifest: Mapping[str, object]) -> Layer:
    return ((name, value, f"the manifest's settings.{name}") for name, value in manifest.items() if value is not None)


def _of_environ(environ: Mapping[str, str]) -> Layer:
    for name in Settings.model_fields:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environ.get(variable, "").strip():
            yield name, environ[variable], f"environment variable {variable}"


def _of_flags(flags: Mapping[str, object]) -> Layer:
    return ((name, value, f"--{name.replace('_', '-')}") for name, value in flags.items() if value is not None)


def _misspelt_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like a setting, but are none: a budget that is misspelt would not hold."""
    known = [*(ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields), DASK, METRICS, NOTIFY]
    strangers = sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known)
    return [
        f"environment variable {name}: there is no such setting; did you mean {close[0]}?"
        for name in strangers
        if (close := get_close_matches(name, known, 1, 0.9))
    ]


class SettingFault(NamedTuple):
    """One setting that is wrong, and what would be right."""

    name: str
    cause: str
    remedy: str


_ELSEWHERE = {
    **dict.fromkeys(("key", "api_key", "apikey", "aimlapi_api_key"), "AIMLAPI_API_KEY"),
    **dict.fromkeys(("key_file", "api_key_file", "aimlapi_api_key_file"), "AIMLAPI_API_KEY_FILE"),
    **dict.fromkeys(("base_url", "api_base_url", "aimlapi_base_url", "api_url", "origin"), "AIMLAPI_BASE_URL"),
}
_CLUSTERS = frozenset({"dask", "dask_scheduler", "scheduler"})
_NOTIFICATIONS = frozenset({"notify", "notify_url", "notification", "notifications", "webhook", "webhook_url"})


ACCOUNT_NAMES = "AIMLAPI_"
"""How the names of variables of the environment begin that say who is to pay."""
DASK = "LIPSYNC_BATCH_DASK"
"""Environment variable with the cluster that fetches: whoever is named there gets links, and may run code here."""
METRICS = "LIPSYNC_BATCH_METRICS"
"""Environment variable with the path of the file that is kept for Prometheus."""
SHORTEST_SECRET = 8
"""Characters of what is hidden by its variable's name alone: fewer would be found in innocent words."""
_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
NOTIFY = "LIPSYNC_BATCH_NOTIFY"
"""Environment variable with the addresses that are told how a run ended, between white space."""


def withheld(name: str) -> str | None:
    """How to give a thing that is never taken from a manifest; None if `name` is no such thing."""
    folded = name.lower().replace("-", "_")
    if folded in _NOTIFICATIONS:
        return "remove it, and give --notify URL to the run"
    if folded in _CLUSTERS:
        return f"remove it, and give --dask to the run, or set {DASK} in the environment"
    variable = _ELSEWHERE.get(folded)
    return variable and f"remove it, and set {variable} in the environment"


def manifest_faults(section: Mapping[str, object]) -> list[SettingFault]:
    """What is wrong with a manifest's `settings:`; for a reader that knows the lines."""
    return _faults({name: value for name, value in section.items() if value is not None})


def _faults(values: Mapping[str, object]) -> list[SettingFault]:
    try:
        Settings.model_validate(values)
    except ValidationError as error:
        return [_fault(details) for details in error.errors(include_url=False)]
    return []


def _fault(details: ErrorDetails) -> SettingFault:
    name = str(details["loc"][0])
    if details["type"] == "extra_forbidden":
        return _unknown(name)
    example = (Settings.model_fields[name].examples or [""])[0]
    return SettingFault(name, _cause(details), f"write it like {example}")


def _unknown(name: str) -> SettingFault:
    elsewhere = withheld(name)
    if elsewhere:
        return SettingFault(name, "is never taken from a manifest", elsewhere)
    known = list(Settings.model_fields)
    close = get_close_matches(name, known, 1, CLOSE)
    return SettingFault(
        name, "there is no such setting", f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    )


def _cause(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    given = details["input"]
    match details["type"]:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal" | "greater_than" | "less_than_equal":
            relation = {"ge": "at least", "gt": "more than", "le": "at most"}
            bound = next(f"{relation[name]} {limit:g}" for name, limit in context.items())
            return f"{given} must be {bound}"
        case "literal_error":
            return f'"{given}" is not {context["expected"]}'
        case "bool_parsing" | "bool_type":
            return f'"{given}" is neither true nor false'
        case "int_parsing" | "int_type" | "int_from_float":
            return f'"{given}" is not a whole number'
        case _:
            return details["msg"]


def base_url(environ: Mapping[str, str]) -> str:
    """The origin of the API from AIMLAPI_BASE_URL; UsageError if it is none that a key may go to."""
    text = environ.get("AIMLAPI_BASE_URL", "").strip() or DEFAULT_BASE_URL
    try:
        url = _split_safe_url(text)
        if url.path.strip("/"):
            raise ValueError("holds a path: the program adds /v2/... by itself")  # noqa: TRY301 (joins the others)
    except ValueError as error:
        raise UsageError(
            f"AIMLAPI_BASE_URL {error}", hint=f"Write it like {DEFAULT_BASE_URL}, or unset it for exactly that."
        ) from error
    return _origin(url)


def addresses(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Who is told how a run ended, by apprise's addresses."""
    return tuple(environ.get(NOTIFY, "").split())


def dask_address(environ: Mapping[str, str]) -> str | None:
    """The cluster that the environment names."""
    return environ.get(DASK, "").strip() or None


def metrics_path(environ: Mapping[str, str]) -> Path | None:
    """The file for Prometheus that the environment names."""
    text = environ.get(METRICS, "").strip()
    return Path(text).expanduser() if text else None


def secrets_of(environ: Mapping[str, str], notify: Iterable[str] = ()) -> Secrets:
    """What nothing may show that is written in this environment, a traceback included. Raises nothing.

    That is the key, the addresses of notifications (`notify` are further ones), and whatever stands in a variable whose
    name says that it is secret: what other providers read.
    """
    named = [value.strip() for name, value in environ.items() if _SECRET_NAME.search(name)]
    secrets = {value for value in named if len(value) >= SHORTEST_SECRET}
    secrets.update(*map(pieces, (*notify, *addresses(environ))))
    with suppress(ActionNeededError):
        secrets.add(api_key(environ))
    return Secrets(secrets)


def without_accounts(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for a process that shall not know who pays, nor who is told: no key of any provider is in it."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(ACCOUNT_NAMES) and name != NOTIFY and not _SECRET_NAME.search(name)
    }


def api_key(environ: Mapping[str, str]) -> str:
    """The key from AIMLAPI_API_KEY, or from the file AIMLAPI_API_KEY_FILE; ActionNeededError where none is usable."""
    key, source = environ.get("AIMLAPI_API_KEY", "").strip(), "AIMLAPI_API_KEY"
    path = environ.get("AIMLAPI_API_KEY_FILE", "").strip()
    if not key and path:
        key, source = _key_from_file(Path(path).expanduser()), f"AIMLAPI_API_KEY_FILE ({path})"
    if not key:
        raise ActionNeededError(
            f"There is no API key: {source} is empty" if source.endswith(")") else "There is no API key",
            hint="Set AIMLAPI_API_KEY, or AIMLAPI_API_KEY_FILE to the path of a file that holds it. "
            "To try without one: --sandbox.",
        )
    # A header takes Latin-1, and clients differ beyond ASCII; real keys are printable ASCII throughout.
    if not re.fullmatch(r"[!-~]+", key):
        raise ActionNeededError(
            f"The API key in {source} holds a character that no key has: a space, a line break, or not ASCII",
            hint="Copy the key again, alone and on one line.",
        )
    return key


def _key_from_file(path: Path) -> str:
    longest = 64 * 1024
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(longest).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ActionNeededError(
            f"The API key cannot be read from AIMLAPI_API_KEY_FILE ({path}): {reason}",
            hint="Point it at a file that holds the key and nothing else, or set AIMLAPI_API_KEY.",
        ) from error
