"""`lipsync-batch init`."""

from __future__ import annotations

import json
from pathlib import Path

import click

SHOWN = 10


@click.command(short_help="Make a manifest of media, or of a sheet of texts.")
@click.argument("source", metavar="FOLDER|SHEET", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The manifest's file.  [default: manifest.yaml in the folder, or SHEET's name with .yaml]",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(source: Path, *, target: Path | None, force: bool) -> None:
    """Make a manifest of a FOLDER of media, or of a SHEET of translations.

    In a folder, intro.mp4 is paired with intro.de.wav, intro_fr.srt or ja/intro.wav: recordings, texts and subtitles
    that are called like it. A sheet (CSV, or XLSX by an extra) has a row a clip and a column a language.
    """
    from lipsync_batch.drafting import draft_of
    from lipsync_batch.drafting.draft import counted
    from lipsync_batch.drafting.text import SCHEMA_FILE, manifest_text
    from lipsync_batch.errors import UsageError
    from lipsync_batch.manifest import manifest_schema

    draft = draft_of(source)
    if target is None:
        target = source / "manifest.yaml" if source.is_dir() else source.with_suffix(".yaml")
    if target.parent.resolve() != draft.folder.resolve():
        raise UsageError(
            f"{target}: a manifest's paths are relative to it, so it belongs into {draft.folder}",
            hint="Give --to a file there.",
        )
    _write(target, manifest_text(draft), force=force)
    _write(target.with_name(SCHEMA_FILE), json.dumps(manifest_schema(), indent=2, ensure_ascii=False), force=True)
    click.echo(f"{target}: {counted(draft.jobs, 'job')}, of {draft.about}")
    for line in draft.left_out[:SHOWN]:
        click.echo(f"Left out: {line}")
    if len(draft.left_out) > SHOWN:
        click.echo(f"Left out: ... and {len(draft.left_out) - SHOWN:,} more; the end of {target.name} has them all")
    click.echo(f"Next: lipsync-batch plan {click.format_filename(target)}")


def _write(target: Path, text: str, *, force: bool) -> None:
    from lipsync_batch.errors import DiskError, UsageError

    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{target}: is there already", hint="Name another with --to, or say --force.") from error
    except OSError as error:
        raise DiskError(
            f"{target}: cannot be written ({error.strerror})", hint="Name another place with --to."
        ) from error
