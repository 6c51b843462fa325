"""Manifests: YAML, CSV or JSONL in, a stream of jobs and of everything that is wrong out.

>>> manifest = Manifest.load("spring.yaml")  # doctest: +SKIP
>>> for item in manifest.jobs():  # doctest: +SKIP
...     match item:
...         case Job(): ...
...         case Problem(): ...

A file falls through the modules once: `encoding` (is it text at all?), `yaml_rows`, `csv_rows` or `json_rows` (rows
with their places), `fields` (names and types), `expand` (grid and globs), `build` (templates, sources, names: one job).
"""

from lipsync_batch.manifest.manifest import Manifest
from lipsync_batch.manifest.schema import manifest_schema

__all__ = ["Manifest", "manifest_schema"]
