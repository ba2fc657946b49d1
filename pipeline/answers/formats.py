"""An answer, or two side by side, as a file: CSV with a commented header, NetCDF, CoverageJSON."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.answers.comparison import SIDES, compare
from pipeline.answers.contrast_field import CONTRAST

if TYPE_CHECKING:
    from pipeline.answers.answer import Answer


def as_csv(answer: Answer) -> str:
    """Each member's outcome or value, or each place's chance, below a header that says what it is."""
    payload = answer.to_json()
    origin = payload["provenance"]
    header = {
        "question": payload["question"]["text"],
        "reads as": payload["question"]["reads_as"],
        "answer": payload["headline"]["text"],
        "forecast": origin["forecast"],
        "snapshot": origin.get("snapshot", ""),
        "attribution": "; ".join(origin.get("attribution", [])),
        "units": "; ".join(f"{name}: {array.attrs.get('units', '1')}" for name, array in answer.members.items()),
    }
    return _commented(header, _plain(answer.members).to_dataframe().reset_index())


def comparison_csv(first: Answer, second: Answer) -> str:
    """Each member's outcome in both answers, told apart by the column ``side``, below a header with their contrast."""
    found = compare(first, second)
    header = {
        **{name: answer.to_json()["question"]["text"] for name, answer in zip(SIDES, (first, second), strict=True)},
        "answer": found["headline"]["text"],
        **{
            name.replace("_", " "): ", ".join(
                f"{part} {found[name][part]}" for part in ("value", "low", "high", "level")
            )
            for name in ("difference", "probability_ratio")
        },
        "forecasts": "; ".join(answer["provenance"]["forecast"] for answer in found["answers"]),
        "snapshots": "; ".join(answer["provenance"].get("snapshot", "") for answer in found["answers"]),
        "attribution": "; ".join(
            dict.fromkeys(text for side in found["answers"] for text in side["provenance"].get("attribution", []))
        ),
    }
    tables = [
        _plain(answer.members).to_dataframe().reset_index().assign(side=side)
        for side, answer in zip(SIDES, (first, second), strict=True)
    ]
    return _commented(header, pd.concat(tables))


def as_netcdf(answer: Answer) -> bytes:
    """The members, or the field, as a CF NetCDF-4 file."""
    payload = answer.to_json()
    origin = {f"provenance_{name}": str(value) for name, value in payload["provenance"].items()}
    data = answer.members.assign_attrs(
        Conventions="CF-1.11",
        title=payload["headline"]["text"],
        source=str(payload["provenance"].get("model", "")),
        **origin,
        **_thresholds(payload),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.nc"
        data.to_netcdf(path, engine="netcdf4")
        return path.read_bytes()


def as_coverage(answer: Answer) -> dict[str, Any]:
    """A ``map`` or ``series`` as a CoverageJSON document; scenarios and their contrast become a collection's members.

    Source:
        CoverageJSON 1.0, OGC 21-069r2.
    """
    field, resolved = answer.members, answer.to_json()["question"]["resolved"]
    if "scenario" not in field.dims:
        return _coverage(field) | {"thresholds": resolved["thresholds"]}
    chances = field.drop_vars(CONTRAST)
    names = [str(name) for name in field["scenario"].values]
    parts = [(name, chances.isel(scenario=place, drop=True)) for place, name in enumerate(names)]
    coverages = [_coverage(part) | {"id": name} for name, part in [*parts, ("difference", field[list(CONTRAST)])]]
    return {"type": "CoverageCollection", "coverages": coverages, "thresholds": resolved["thresholds"]}


def _thresholds(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of each threshold as attributes, ``threshold_value``; of several, ``threshold_1_value``."""
    found = payload["question"]["resolved"]["thresholds"]
    return {
        f"threshold_{f'{place}_' if len(found) > 1 else ''}{name}": known
        for place, each in enumerate(found, 1)
        for name, known in each.items()
        if known is not None
    }


def _commented(header: Mapping[str, object], table: pd.DataFrame) -> str:
    """A table as CSV below lines that begin with ``#``, one for each entry that says something."""
    lines = [f"# {name}: {' '.join(str(text).split())}\n" for name, text in header.items() if text]
    return "".join(lines) + table.to_csv(index=False)


def _coverage(field: xr.Dataset) -> dict[str, Any]:
    is_map = "latitude" in field.dims
    axes = {"y": field["latitude"], "x": field["longitude"]} if is_map else {"t": field["valid_time"]}
    dims = ("latitude", "longitude") if is_map else ("lead_time",)
    values = {name: field[name].transpose(*dims) for name in field.data_vars}
    return {
        "type": "Coverage",
        "domain": {
            "type": "Domain",
            "domainType": "Grid",
            "axes": {name: {"values": _axis(axis)} for name, axis in axes.items()},
            "referencing": [_geographic()] if is_map else [_temporal(field)],
        },
        "parameters": {
            str(name): {
                "type": "Parameter",
                "observedProperty": {"label": {"en": array.attrs.get("long_name", str(name).replace("_", " "))}},
                "unit": {"symbol": str(array.attrs.get("units", "1"))},
            }
            for name, array in values.items()
        },
        "ranges": {
            str(name): {
                "type": "NdArray",
                "dataType": "float",
                "axisNames": list(axes),
                "shape": list(array.shape),
                "values": [
                    None if not np.isfinite(value) else round(float(value), 6) for value in array.values.ravel()
                ],
            }
            for name, array in values.items()
        },
    }


def _axis(axis: xr.DataArray) -> list[Any]:
    if np.issubdtype(axis.dtype, np.number):
        return [float(value) for value in axis.values]
    return [str(value)[:10] for value in axis.values]


def _geographic() -> dict[str, Any]:
    system = {"type": "GeographicCRS", "id": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}
    return {"coordinates": ["x", "y"], "system": system}


def _temporal(field: xr.Dataset) -> dict[str, Any]:
    return {"coordinates": ["t"], "system": {"type": "TemporalRS", "calendar": field["valid_time"].dt.calendar}}


def _plain(data: xr.Dataset) -> xr.Dataset:
    """Dates as text, so that every calendar can be written."""
    dated = {
        name: (coord.dims, [str(value)[:10] for value in coord.values])
        for name, coord in data.coords.items()
        if not np.issubdtype(coord.dtype, np.number) and coord.dtype.kind in "OM" and coord.ndim == 1
    }
    return data.assign_coords(dated) if dated else data
