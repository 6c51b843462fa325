"""`lipsync-batch schema`."""

from __future__ import annotations

import json

import click


@click.command(short_help="Print the JSON Schema of manifests.")
@click.option("--provider", default="aimlapi", metavar="NAME", help="Whose speakers it names.  [default: aimlapi]")
def schema(provider: str) -> None:
    """Print the JSON Schema of manifests, for editors."""
    from lipsync_batch.manifest import manifest_schema
    from lipsync_batch.providers.plugins import capabilities_of

    click.echo(json.dumps(manifest_schema(capabilities_of(provider)), indent=2, ensure_ascii=False))
