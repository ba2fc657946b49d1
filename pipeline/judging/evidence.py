"""What verification keeps beside the scorecard: ``reports/evidence.nc``, with a group for each kind and model.

Sums of scores by initial and lead time, tables of terciles, sums of skill maps, spectra: enough to draw a report, to
compare two runs case by case and to add days to come, without reading a member again.
"""

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from pipeline.errors import NothingThereError
from pipeline.judging.judgement import Evidence
from pipeline.workspace import whole_file

_TOLD = ("units", "step")  # one lead may be several of its unit
_PARTS = ("statistics", "terciles", "patterns", "maps", "spectra")


def save_evidence(path: Path, evidence: Mapping[str, Mapping[str, Evidence]]) -> None:
    """Write the file whole: a reader sees the old one or the new one.

    Args:
        path: Of the file.
        evidence: By kind (``raw``, ``calibrated``) and model.
    """
    groups = {
        f"{kind}/{model}/{part}": getattr(found, part)
        for kind, models in evidence.items()
        for model, found in models.items()
        for part in _PARTS
    }
    with whole_file(path) as partial:
        tree = xr.DataTree.from_dict({name: _plain(data) for name, data in groups.items()})
        encoding = {
            f"/{name}": {str(field): {"zlib": True, "complevel": 1} for field in data.data_vars}
            for name, data in groups.items()
            if data.data_vars
        }
        tree.to_netcdf(partial, engine="netcdf4", encoding=encoding)


def read_evidence(path: Path, *, kind: str = "raw") -> dict[str, dict[str, xr.Dataset]]:
    """The parts of each model: ``statistics``, ``terciles``, ``patterns``, ``maps`` and ``spectra``, in memory.

    Args:
        path: Of the file.
        kind: ``raw`` or ``calibrated``; no model where it has none.

    Raises:
        NothingThereError: There is no such file.
    """
    if not path.exists():
        raise NothingThereError(f"{path} is not there. Run `tercile verify`.")
    coder = xr.coders.CFDatetimeCoder(time_unit="s")
    with xr.open_datatree(path, engine="netcdf4", decode_times=coder, decode_timedelta=False) as tree:
        held = tree.children.get(kind)
        return {
            str(model): {str(part): node.to_dataset(inherit=False).load() for part, node in parts.children.items()}
            for model, parts in (held.children.items() if held is not None else ())
        }


def _plain(data: xr.Dataset) -> xr.Dataset:
    """Without the encoding of the store that it was read from, which is not for this file."""
    bare = data.drop_encoding()
    for name in bare.variables:
        bare[name].attrs = {key: value for key, value in bare[name].attrs.items() if key in _TOLD}
    return bare
