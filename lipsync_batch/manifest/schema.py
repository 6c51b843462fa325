"""The JSON Schema of a YAML manifest, for editors: completion and errors while typing."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from lipsync_batch.capabilities import LIP_SYNC, Capabilities
from lipsync_batch.manifest.fields import ManifestFields
from lipsync_batch.settings import Settings

_DEFINITION = {"$ref": "#/$defs/Settings"}


def manifest_schema(capabilities: Capabilities = LIP_SYNC) -> dict[str, Any]:
    """The schema, made of the models that check manifests, with the provider's speakers. Its first line in a manifest:

    # yaml-language-server: $schema=manifest.schema.json
    """
    _, schema = models_json_schema([(ManifestFields, "validation"), (Settings, "validation")])
    definitions: dict[str, Any] = schema["$defs"]
    document: dict[str, Any] = definitions.pop(ManifestFields.__name__)
    document["properties"]["settings"] = _DEFINITION
    document["patternProperties"] = {"^x-": {"description": "Left alone: a place for anchors."}}
    for name in ("Fields", "JobFields"):
        definitions[name]["properties"]["speaker"] = _speaker(definitions[name]["properties"]["speaker"], capabilities)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lipsync-batch manifest",
        **{name: value for name, value in document.items() if name != "title"},
        "$defs": definitions,
    }


def _speaker(written: dict[str, Any], capabilities: Capabilities) -> dict[str, Any]:
    """Offer the speakers, but let templates pass."""
    speakers = list(capabilities.speakers)
    anyone = [{"enum": speakers}, {"type": "string", "pattern": r"\{"}]
    return written | {"anyOf": anyone, "examples": sorted({speakers[0], speakers[-1]})}
