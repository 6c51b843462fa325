"""`lipsync-batch schema`."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of manifests, for editors."""
    from lipsync_batch.manifest import manifest_schema

    click.echo(json.dumps(manifest_schema(), indent=2, ensure_ascii=False))
