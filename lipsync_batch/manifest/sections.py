"""The sections of a YAML manifest beside its jobs: version, settings, tables, defaults, overrides."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest import templates
from lipsync_batch.manifest.build import DEFAULTS
from lipsync_batch.manifest.faults import FieldError, nearest
from lipsync_batch.manifest.fields import Layer, Row, TableFields, name_error, read_layer
from lipsync_batch.manifest.marked import MarkedMap, locate
from lipsync_batch.manifest.tables import Table
from lipsync_batch.settings import manifest_faults, withheld

VERSION = "1"
NAMES = ("version", "settings", "tables", "defaults", "jobs", "overrides")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sections:
    """What holds for all jobs of a manifest. A CSV or JSONL manifest has nothing of it."""

    settings: Mapping[str, object] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    defaults: Layer | None = None
    overrides: Mapping[str, Layer] = field(default_factory=dict)


def read_sections(path: Path, given: MarkedMap) -> Sections:
    """Check the sections of the manifest at `path`; ManifestError names everything that is wrong with them."""
    reader = _Reader(path, given)
    reader.check_names()
    sections = Sections(
        settings=reader.settings(),
        tables=reader.tables(),
        defaults=reader.defaults(),
        overrides=reader.overrides(),
    )
    if reader.problems:
        raise ManifestError(path, reader.problems)
    return sections


class _Reader:
    def __init__(self, path: Path, given: MarkedMap) -> None:
        self._path = path
        self._given = given
        self.problems: list[Problem] = []

    def check_names(self) -> None:
        for name in self._given:
            if name not in NAMES:
                self._note((name,), _unknown_section(name))
        version = self._given.get("version", VERSION)
        if version != VERSION:
            remedy = f"this program reads version {VERSION}: write version: {VERSION}, or install a newer lipsync-batch"
            self._note(("version",), FieldError(f'version "{version}" is not supported', remedy))

    def settings(self) -> dict[str, object]:
        """The settings as they are written; but `out` is absolute, since it is relative to the manifest."""
        given = self._section("settings")
        nested = [name for name, value in given.items() if isinstance(value, dict | list)]
        for name in nested:
            self._note(("settings", name), FieldError("must be one value", "write it without brackets"))
        settings = {name: value for name, value in given.items() if value is not None and name not in nested}
        for fault in manifest_faults(settings):
            self._note(("settings", fault.name), FieldError(fault.cause, fault.remedy))
        if str(settings.get("out", "")).strip():
            settings["out"] = str(self._path.parent / Path(str(settings["out"]).strip()).expanduser())
        return settings

    def tables(self) -> dict[str, Table]:
        tables: dict[str, Table] = {}
        for name, given in self._section("tables").items():
            if (bad := name_error(name)) is not None:
                self._note(("tables", name), bad)
            elif (table := self._table(name, given)) is not None:
                tables[name] = table
                self.problems += table.problems
        return tables

    def defaults(self) -> Layer | None:
        given = self._section("defaults")
        return (
            self._layer(Row(given=given, place=self._place("defaults")), DEFAULTS, not_here=("each",))
            if given
            else None
        )

    def overrides(self) -> dict[str, Layer]:
        layers: dict[str, Layer] = {}
        for key, given in self._section("overrides").items():
            if not isinstance(given, dict):
                self._note(("overrides", key), FieldError("must be a mapping of fields", f"write {key}: {{take: 2}}"))
                continue
            row = Row(given=given, place=self._place("overrides", key))
            layers[unicodedata.normalize("NFC", key)] = self._layer(row, f"overrides.{key}.", not_here=("each", "key"))
        return layers

    def _layer(self, row: Row, path: str, *, not_here: tuple[str, ...]) -> Layer:
        layer = read_layer(row, path)
        self.problems += layer.problems
        for name in not_here:
            if name in row.given:
                self.problems.append(layer.problem(name, FieldError(f"{name} belongs to a job", "move it there")))
        for name, value in layer.values.items():
            try:
                templates.parse(str(value))
            except FieldError as error:
                self.problems.append(layer.problem(name, error))
        return layer

    def _table(self, name: str, given: object) -> Table | None:
        try:
            table = TableFields.model_validate(given)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                self._note(("tables", name, *details["loc"]), _table_fault(details["type"]))
            return None
        file = self._path.parent / Path(table.file).expanduser()
        try:
            return Table.load(name, file, table.key, table.sheet)
        except ManifestError as error:
            self.problems += [self._of_table(problem, name, file) for problem in error.problems]
            return None

    def _of_table(self, problem: Problem, name: str, file: Path) -> Problem:
        """A problem with a table's file: at its line, or where the manifest names the file that has none."""
        if problem.place != Place():
            return replace(problem, file=file)
        place = self._place("tables", name, "file")
        return replace(problem, place=place, field=f"tables.{name}.file", cause=f"{file}: {problem.cause}")

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self._given.get(name)
        if section is None:
            return {}
        if not isinstance(section, dict):
            self._note((name,), FieldError("must be a mapping", f"write {name}: and its fields below it, indented"))
            return {}
        return section

    def _place(self, *path: str | int) -> Place:
        return locate(self._given, path, Place())

    def _note(self, path: tuple[str | int, ...], error: FieldError) -> None:
        name = ".".join(str(step) for step in path)
        self.problems.append(Problem(place=self._place(*path), field=name, cause=error.cause, remedy=error.remedy))


def _unknown_section(name: str) -> FieldError:
    if elsewhere := withheld(name):
        return FieldError("is never taken from a manifest", elsewhere)
    meant = nearest(name, NAMES)
    remedy = f'did you mean "{meant}"?' if meant else f"sections are {', '.join(NAMES)}; x-NAME is left alone"
    return FieldError(f'unknown section "{name}"', remedy)


def _table_fault(kind: str) -> FieldError:
    remedy = "write {file: translations.csv, key: clip}"
    if kind == "extra_forbidden":
        return FieldError("a table has a file, a key and a sheet only", remedy)
    if kind == "missing":
        return FieldError("is missing", remedy)
    return FieldError("must be text" if kind.startswith("string") else "must be a mapping", remedy)
