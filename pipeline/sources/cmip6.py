"""CMIP6 by model, experiment, member, table and variable: from Pangeo's catalogue of Zarr stores, or from ESGF folders.

The experiments of a list follow one another in time, as a scenario follows ``historical``; members become realizations.
"""

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import xarray as xr
from pydantic import Field

from pipeline.errors import InputRefusedError
from pipeline.names import known_variable, nearest
from pipeline.sources.base import Origin, SourceConfig, Wanted
from pipeline.sources.checksums import file_origin
from pipeline.sources.combine import combine, realize
from pipeline.sources.download import Download, Patience
from pipeline.sources.files import open_files
from pipeline.sources.outlines import cmip6_outline
from pipeline.sources.zarr_store import ZarrSource

PANGEO = "https://storage.googleapis.com/cmip6/pangeo-cmip6.csv"
NAMES: Mapping[str, str] = {"sst": "tos", "slp": "psl", "wspd": "sfcWind"}
"""Our short name → CMIP's, where they differ."""
FACETS = ("activity_id", "institution_id", "source_id", "experiment_id", "member_id", "table_id", "variable_id")


class Cmip6Source(SourceConfig):
    """Runs of one model.

    Attributes:
        model: ``source_id``.
        experiments: ``experiment_id`` of each stretch of time, in order.
        members: ``member_id`` of each realization.
        table: ``table_id``.
        grid: ``grid_label``; the only one there is where not given.
        catalogue: URL or path of a table in the manner of Pangeo's.
        root: Folder above ``CMIP6/…`` in ESGF's layout, instead of a catalogue.
        rewrite: Beginning of a store's address → what to read instead, for a mirror.
        tries: Attempts before giving up.
    """

    kind: Literal["cmip6"] = "cmip6"
    model: str
    experiments: list[str] = Field(min_length=1)
    members: list[str] = Field(default=["r1i1p1f1"], min_length=1)
    table: str = "Amon"
    grid: str | None = None
    catalogue: str = PANGEO
    root: str | None = None
    rewrite: dict[str, str] = Field(default_factory=dict)
    tries: int = Field(5, ge=1)
    attribution: str | None = "CMIP6 data, see the terms of use of WCRP and of the modelling group."

    def open(self) -> xr.Dataset:
        """All members and experiments as one data set, lazily.

        Raises:
            InputRefusedError: A run is not there, or there in several versions of the grid.
        """
        runs = {number: self._run(member) for number, member in enumerate(self.members, 1)}
        return runs[1] if len(runs) == 1 else realize(runs)

    def origins(self) -> list[Origin]:
        """Each store or file."""
        if self.root is not None:
            return [file_origin(path) for *_, paths in self._folders() for path in paths]
        return [origin for *_, store in self._stores() for origin in store.origins()]

    def outline(self) -> xr.Dataset | None:
        """Of a model's atmosphere, from its historical run and its scenarios."""
        if self.root is not None:
            return None
        return cmip6_outline(self.model, self.experiments, self.table, len(self.members), self.variables)

    def wants(self) -> Wanted:
        """The runs, by their place in the archive."""
        where = self.root or self.catalogue
        runs = [
            "/".join([self.model, experiment, member, self.table, name, self.grid or "*"])
            for member in self.members
            for experiment in self.experiments
            for name in self._names()
        ]
        return Wanted([f"{where} → {run}" for run in runs], ["addresses of the stores: the catalogue names them"])

    def _run(self, member: str) -> xr.Dataset:
        if self.root is not None:
            paths = [path for _, run, _, paths in self._folders() if run == member for path in paths]
            return open_files({str(path): path for path in paths}, self.process)
        parts = {store.url: store.open() for _, run, _, store in self._stores() if run == member}
        return combine(parts, years=self.process.years)

    def _names(self) -> list[str]:
        found = []
        for name in self.variables:
            known = known_variable(name)
            base = name.rstrip("0123456789") if known is not None and known.level is not None else name
            found.append(self.spelling.get(name) or NAMES.get(base, base))
        return list(dict.fromkeys(found))

    def _wanted(self) -> Iterable[tuple[str, str, str]]:
        return ((e, m, n) for m in self.members for e in self.experiments for n in self._names())

    def _stores(self) -> list[tuple[str, str, str, ZarrSource]]:
        rows = _catalogue(self.catalogue, self.model, self.table, self.tries)
        return [(e, m, n, self._store(self._newest(rows, e, m, n))) for e, m, n in self._wanted()]

    def _newest(self, rows: list[dict[str, str]], experiment: str, member: str, name: str) -> str:
        """Address of the newest version of one run of one variable."""
        key = {"experiment_id": experiment, "member_id": member, "variable_id": name}
        key |= {"grid_label": self.grid} if self.grid else {}
        found = [row for row in rows if all(row[facet] == value for facet, value in key.items())]
        grids = sorted({row["grid_label"] for row in found})
        if len(grids) == 1:
            return max(found, key=lambda row: row["version"])["zstore"]
        what = f"cmip6: {self.model} {experiment} {member} {self.table} {name}"
        if grids:
            raise InputRefusedError(f"{what} is there on the grids {', '.join(grids)}. Choose with `grid`.")
        for facet, value in key.items():
            have = sorted({row[facet] for row in rows})
            if value not in have:
                raise InputRefusedError(f"{what}: no {facet} '{value}' in the catalogue.{nearest(value, have)}")
        raise InputRefusedError(f"{what} is not in the catalogue, though others of these experiments and members are.")

    def _store(self, address: str) -> ZarrSource:
        for begin, instead in self.rewrite.items():
            if address.startswith(begin):
                address = instead + address.removeprefix(begin)
        return ZarrSource(url=address.rstrip("/"), tries=self.tries, process=self.process)

    def _folders(self) -> list[tuple[str, str, str, list[Path]]]:
        """Files of each run of each variable in an ESGF tree, of the newest version."""
        found = []
        for experiment, member, name in self._wanted():
            pattern = f"CMIP6/*/*/{self.model}/{experiment}/{member}/{self.table}/{name}/{self.grid or '*'}/v*"
            folders = sorted(Path(self.root or ".").expanduser().glob(pattern))
            grids = sorted({folder.parent.name for folder in folders})
            if len(grids) != 1:
                raise InputRefusedError(
                    f"cmip6: {len(grids)} grids ({', '.join(grids) or 'none'}) match {pattern} below {self.root}. "
                    "Mend the names, or choose with `grid`."
                )
            files = sorted(folders[-1].glob("*.nc"))
            if not files:
                raise InputRefusedError(
                    f"cmip6: no NetCDF file in {folders[-1]}. Fetch that version, or remove its folder."
                )
            found.append((experiment, member, name, files))
        return found


@cache
def _catalogue(address: str, model: str, table: str, tries: int) -> list[dict[str, str]]:
    """Rows of a catalogue for one model and table."""
    path = Path(address).expanduser()
    if address.startswith("http"):
        path = Download(address, Patience(tries), is_data=False).fetch()
    with path.open(newline="", errors="replace") as handle:
        reader = csv.DictReader(handle)
        missing = {*FACETS, "grid_label", "zstore", "version"} - set(reader.fieldnames or [])
        if missing:
            raise InputRefusedError(f"cmip6: {address} is no catalogue: columns {', '.join(sorted(missing))} missing.")
        models, tables, rows = set(), set(), []
        for row in reader:
            models.add(row["source_id"])
            if row["source_id"] == model:
                tables.add(row["table_id"])
            if row["source_id"] == model and row["table_id"] == table:
                rows.append(row)
    if not tables:
        raise InputRefusedError(f"cmip6: no model '{model}' in {address}.{nearest(model, models)}")
    if not rows:
        raise InputRefusedError(f"cmip6: no table '{table}' of model '{model}' in {address}.{nearest(table, tables)}")
    return rows
