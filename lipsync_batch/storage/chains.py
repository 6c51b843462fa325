"""Who we are for each cloud, and where its stores are: found the way that cloud's own tools find it.

Nothing of it comes from a manifest: that is passed around, and must not be able to redirect credentials.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lipsync_batch.addresses import Address
from lipsync_batch.errors import ActionNeededError, MissingExtraError, UsageError
from lipsync_batch.masking import mask

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Credential, S3Store

    Bucket = AzureStore | GCSStore | S3Store

PACKAGES = ("obstore", "botocore")
CREDENTIALS_HOLD = timedelta(minutes=10)
"""After that the chain is asked again; it renews by itself what expires, and sooner than that."""
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
_TIMES = {"connect_timeout": "5s", "timeout": "10s"}
_PATIENT = {"connect_timeout": "5s", "timeout": "120s"}
_LOOKED_FOR: Mapping[str, str] = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile AWS_PROFILE (or default) in ~/.aws/credentials and "
    "~/.aws/config, a web identity, and the role of a container or an instance",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT, "
    "~/.config/gcloud/application_default_credentials.json, and the service account of an instance",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID, "
    "AZURE_CLIENT_SECRET and AZURE_TENANT_ID; AZURE_USE_AZURE_CLI, and the managed identity of an instance",
}


def must_be_installed(scheme: str) -> None:
    """MissingExtraError where the packages are not there that speak to stores."""
    if any(find_spec(package) is None for package in PACKAGES):
        raise MissingExtraError(f"object storage ({scheme}://)", "storage")


def locked_out(place: str, why: str = "") -> ActionNeededError:
    """Nobody said who we are: what was looked for."""
    scheme = place.partition("://")[0]
    said = f" ({mask(why)})" if why else ""
    return ActionNeededError(
        f"{place}: no credentials were found{said}", hint=f"Looked for: {_LOOKED_FOR[scheme]}. Set one of them."
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """A bucket, and until when the credentials hold that it is asked with: None where they have no end."""

    store: Bucket
    credentials_end: Callable[[], datetime | None] = lambda: None


def open_store(address: Address, *, profile: str | None = None, patient: bool = False) -> Opened:
    """The bucket of an address. MissingExtraError, ActionNeededError, or UsageError for settings that are no use.

    `profile` names one of Amazon's configuration. A store that is written to is given more time for each request.
    """
    must_be_installed(address.scheme)
    from obstore.exceptions import BaseError

    try:
        match address.scheme:
            case "s3":
                return _amazon(address, profile, patient=patient)
            case "gs":
                return Opened(_google(address, patient=patient))
            case _:
                return Opened(_azure(address, patient=patient))
    except (BaseError, ValueError) as error:
        words = str(error).partition("\n\nDebug source")[0]
        if "Account must be specified" in words:
            raise locked_out(address.place, "no storage account is named") from error
        raise UsageError(f"{address.place}: cannot be opened: {mask(words)}") from error


def _amazon(address: Address, profile: str | None, *, patient: bool) -> Opened:
    """By botocore's chain: obstore's own knows neither profiles nor single sign-on."""
    from botocore.exceptions import BotoCoreError
    from obstore.store import S3Store

    try:
        session = amazon_session(profile)
        found = session.get_credentials()
        region = session.get_config_variable("region")
        endpoint = amazon_endpoint(session, profile)
    except BotoCoreError as error:
        raise locked_out(address.place, str(error)) from error
    if found is None:
        raise locked_out(address.place)

    def credentials() -> S3Credential:
        try:
            frozen = found.get_frozen_credentials()
        except BotoCoreError as error:
            raise PermissionError(str(error)) from error
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + CREDENTIALS_HOLD,
        }

    where: Any = {"endpoint": endpoint} if endpoint else {}
    store = S3Store(
        address.bucket,
        region=region or "us-east-1",
        credential_provider=credentials,
        client_options=_client(endpoint, patient=patient),
        retry_config=_RETRIES,
        **where,
    )
    # botocore has no public name for it. Without it nobody is warned, and all else works.
    return Opened(store, lambda: getattr(found, "_expiry_time", None))


def amazon_session(profile: str | None) -> Any:
    """Of botocore's: who we are for Amazon, with a profile of its configuration or without."""
    from botocore.session import Session, get_session

    return Session(profile=profile) if profile else get_session()


def amazon_endpoint(session: Any, profile: str | None) -> str | None:
    """Of a store that speaks Amazon's language without being Amazon's; by the names that Amazon's tools read.

    Whoever names a profile means its store, whatever the environment says of the usual one.
    """
    configured: Mapping[str, str] = session.get_scoped_config()
    if profile:
        return configured.get("endpoint_url")
    named = (os.environ.get(name, "").strip() for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    return next(filter(None, named), None) or configured.get("endpoint_url")


def _google(address: Address, *, patient: bool) -> Bucket:
    from obstore.store import GCSStore

    return GCSStore(address.bucket, client_options=_client(None, patient=patient), retry_config=_RETRIES)


def _azure(address: Address, *, patient: bool) -> Bucket:
    from obstore.store import AzureStore

    endpoint = os.environ.get("AZURE_STORAGE_ENDPOINT") or os.environ.get("AZURE_ENDPOINT")
    return AzureStore(address.bucket, client_options=_client(endpoint, patient=patient), retry_config=_RETRIES)


def _client(endpoint: str | None, *, patient: bool) -> Any:
    return {**(_PATIENT if patient else _TIMES), "allow_http": bool(endpoint and endpoint.startswith("http://"))}
