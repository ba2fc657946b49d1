"""The store of ensembles, as it is read: members drawn or calibrated, and the background they were drawn about.

Beside its members an ensemble holds that background, in the groups ``expected`` and ``deviation``, so that calibration
needs nothing else.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr

from pipeline.direct import calibrated_direct, open_direct
from pipeline.errors import TercileError
from pipeline.member_by_member import calibrate, season_numbers
from pipeline.names import nearest
from pipeline.periods import dates, seconds
from pipeline.products import open_calibration
from pipeline.workspace import Workspace

Kind = Literal["hindcast", "forecast"]
LACKING = "lacking"
"""Attribute of an ensemble: JSON, by initial time and group, of what the state lacked that its members begin from."""

BACKGROUND = ("expected", "deviation")
"""Groups below an ensemble: expected state and standard deviation of its background, in transformed units."""


def open_ensemble(
    workspace: Workspace | str | Path,
    *,
    model: str,
    kind: Kind = "forecast",
    fingerprint: str | None = None,
    calibrated: bool = False,
    with_dask: bool = True,
) -> xr.Dataset:
    """A stored ensemble, lazily.

    Args:
        workspace: Where, as a workspace or its folder.
        model: Name of the model in its experiment.
        kind: ``forecast``, or ``hindcast`` for out-of-fold members over the training record.
        fingerprint: A certain training of the model; by default the one written last.
        calibrated: Members as calibration changes them, rather than as they were drawn. A hindcast is changed by what
            was learnt without its fold. ``attrs["calibration"]`` says from what it was learnt.
        with_dask: Lazy through Dask; otherwise lazy through xarray alone, which reads whole starts four times as fast.

    Returns:
        Variables ``([scenario], init_time, lead_time, member, [level], latitude, longitude)`` in canonical units with
        ``valid_time`` and ``valid_time_bnds``, starts in the order of time. Members that no piece holds yet are NaN,
        and ``done`` says so.

    Raises:
        TercileError: No such ensemble, or no calibration of it.
    """
    workspace = workspace if isinstance(workspace, Workspace) else Workspace(Path(workspace))
    models = workspace.groups("ensembles")
    if model not in models:
        raise TercileError(f"ensembles: no model '{model}'.{nearest(model, models)}")
    store = workspace.reader("ensembles")
    current = fingerprint or str(zarr.open_group(store, path=model, mode="r").attrs.get("current"))
    path = f"{model}/{current}/{kind}"
    dataset = _held(store, path) if with_dask else open_direct(store, path)
    if dataset is None:
        raise TercileError(f"ensembles: '{model}' has no {kind} of fingerprint {current}. Run `tercile {kind}`.")
    dataset = in_order(dataset, dataset).assign_attrs(model=model, fingerprint=current, kind=kind)
    return _calibrated(workspace, dataset, with_dask=with_dask) if calibrated else dataset


def open_background(
    workspace: Workspace, *, model: str, fingerprint: str, kind: Kind, with_dask: bool = True
) -> tuple[xr.Dataset, xr.Dataset]:
    """Expected state and standard deviation that an ensemble was drawn about, lazily, in transformed units.

    Returns:
        Two data sets, ``([scenario], init_time, lead_time, [level], latitude, longitude)``, without coordinates, in the
        order of ``open_ensemble``.

    Raises:
        TercileError: No such ensemble.
    """
    store = workspace.reader("ensembles")
    read, path = _held if with_dask else open_direct, f"{model}/{fingerprint}/{kind}"
    members, expected, deviation = (read(store, f"{path}{part}") for part in ("", *(f"/{part}" for part in BACKGROUND)))
    if members is None or expected is None or deviation is None:
        raise TercileError(f"ensembles: '{model}' has no {kind} of fingerprint {fingerprint} with its background.")
    return in_order(expected, members), in_order(deviation, members)


def in_order(stored: xr.Dataset, members: xr.Dataset) -> xr.Dataset:
    """A stored ensemble, or its background, with its starts in the order of time: they lie in that of their drawing.

    Hindcasts that are not asked for any more have no fold, and are left out.
    """
    times, fold = seconds(members["init_time"]), members["fold"].values
    rows = np.argsort(times)
    rows = rows[fold[rows] >= 0] if (fold >= 0).any() else rows
    return stored if np.array_equal(rows, np.arange(times.size)) else stored.isel(init_time=rows)


def lacking_at(ensemble: xr.Dataset) -> dict[str, str]:
    """What the states lacked that the members of one initial time begin from: by group, a sentence."""
    kept = json.loads(str(ensemble.attrs.get(LACKING, "{}")))
    return dict(kept.get(dates(ensemble["init_time"]).item().isoformat(), {})) if kept else {}


def _calibrated(workspace: Workspace, ensemble: xr.Dataset, *, with_dask: bool) -> xr.Dataset:
    model, fingerprint, kind = (ensemble.attrs[name] for name in ("model", "fingerprint", "kind"))
    learnt = open_calibration(workspace, model=model, fingerprint=fingerprint)
    if learnt is None:
        raise TercileError(
            f"ensembles: '{model}' is not calibrated yet. Run `tercile hindcast` and `tercile calibrate`."
        )
    background = open_background(workspace, model=model, fingerprint=fingerprint, kind=kind, with_dask=with_dask)
    about = learnt.attrs["about"]
    if not with_dask:
        return calibrated_direct(ensemble, background, learnt).assign_attrs(calibration=about)
    expected, deviation = background
    made = {
        name: calibrate(
            ensemble[name],
            expected[name],
            deviation[name],
            learnt[name],
            fold=ensemble["fold"].values,
            season=season_numbers(ensemble),
            transform=learnt[name].attrs["transform"],
        )
        for name in learnt.data_vars
    }
    return ensemble.assign(made).assign_attrs(calibration=about)


def _held(store: Any, path: str) -> xr.Dataset | None:
    try:
        coder = xr.coders.CFDatetimeCoder(time_unit="s")
        return xr.open_zarr(store, group=path, consolidated=False, decode_times=coder, decode_timedelta=False)
    except (FileNotFoundError, KeyError):
        return None
