"""All that the jobs of a manifest depend on, as one digest: where that is the same, another reading finds the same.

Not in it are the local files that the jobs name: the store knows what they were, and they are looked at each time.
"""

from __future__ import annotations

import hashlib
import json
import sys
import unicodedata
from collections.abc import Mapping

from lipsync_batch.capabilities import Capabilities
from lipsync_batch.inputs import FINGERPRINT_VERSION
from lipsync_batch.manifest import Manifest
from lipsync_batch.settings import Settings
from lipsync_batch.version import VERSION


def intake_digest(manifest: Manifest, settings: Settings, capabilities: Capabilities, redone: Mapping[str, int]) -> str:
    """Hex; `redone` are the takes that a person asked for, by fingerprint."""
    everything = {
        "program": [VERSION, FINGERPRINT_VERSION, sys.version, unicodedata.unidata_version],
        "files": [[str(file.path), file.sha256] for file in manifest.files],
        "provider": [capabilities.model, *capabilities.speakers],
        "settings": [settings.media_base_url, settings.inline_limit, settings.skip_invalid],
        "redone": sorted(redone.items()),
    }
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()
