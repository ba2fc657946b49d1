"""A workspace with a perfect forecast system: a first-order autoregression whose members are drawn from its own law."""

import cftime
import numpy as np
import xarray as xr

from pipeline.archive import ingest
from pipeline.ensemble_layout import Layout
from pipeline.ensemble_writer import EnsembleWriter, write_piece
from pipeline.periods import Cadence
from pipeline.products import publish_calibration, publish_issue, publish_reference
from pipeline.workspace import Workspace

CADENCE = Cadence("months")
FIRST, LAST = 1901, 1960
LATITUDE, LONGITUDE = np.array([-4.0, 0.0, 4.0]), np.array([188.0, 196.0, 204.0, 212.0])
MEMORY = 0.9
ATTRS = {"units": "K", "standard_name": "sea_surface_temperature", "long_name": "sea surface temperature"}


def record(seed=0, memory=MEMORY):
    """The truth, monthly, with a season; unit variance about it, the same in neighbouring cells but for a little."""
    rng = np.random.default_rng(seed)
    months = 12 * (LAST - FIRST + 1)
    starts = [cftime.datetime(FIRST + m // 12, m % 12 + 1, 1, calendar="noleap") for m in range(months + 1)]
    noise = _noise(rng, (months,))
    state = np.empty_like(noise)
    state[0] = noise[0]
    for month in range(1, months):
        state[month] = memory * state[month - 1] + np.sqrt(1 - memory**2) * noise[month]
    season = 300 + 3 * np.cos(2 * np.pi * np.arange(months) / 12)
    values = (season[:, None, None] + state).astype("float32")
    return xr.Dataset(
        {"sst": (("time", "latitude", "longitude"), values, ATTRS)},
        coords={
            "time": starts[:-1],
            "time_bnds": (("time", "bnds"), np.array([starts[:-1], starts[1:]]).T),
            "latitude": LATITUDE,
            "longitude": LONGITUDE,
        },
    )


def _noise(rng, shape):
    """A common part and a small one of each cell's own, together of unit variance."""
    common = rng.standard_normal((*shape, 1, 1))
    own = rng.standard_normal((*shape, LATITUDE.size, LONGITUDE.size))
    return np.sqrt(0.9) * common + np.sqrt(0.1) * own


def members(truth, starts, *, leads, count, seed=1, skilful=True, memory=MEMORY, bias=0.0):
    """Members from the truth at each start (or, without skill, from the climate): ``(start, member, lead, y, x)``.

    All are too warm by ``bias``, one number or one for each lead.
    """
    rng = np.random.default_rng(seed)
    values = truth["sst"].values
    ends = truth["time_bnds"].values[:, 1]
    season = 300 + 3 * np.cos(2 * np.pi * np.arange(len(ends)) / 12)
    bias = np.broadcast_to(bias, leads)
    drawn = []
    for start in starts:
        now = int(np.flatnonzero(ends == start)[0])
        state = np.repeat((values[now] - season[now])[None], count, axis=0) if skilful else _noise(rng, (count,))
        steps = []
        for lead in range(1, leads + 1):
            state = memory * state + np.sqrt(1 - memory**2) * _noise(rng, (count,))
            steps.append(state + 300 + 3 * np.cos(2 * np.pi * (now + lead) / 12) + bias[lead - 1])
        drawn.append(np.stack(steps, axis=1))
    return np.stack(drawn).astype("float32")


def write_ensemble(
    workspace, truth, starts, *, kind, leads, count, scenarios=None, block=None, stored=None, ends=None, **options
):
    """Draw and store an ensemble with the project's own writer; each further scenario is half a degree cooler.

    ``block`` members lie in one piece, only ``stored`` of all are written, and ``ends`` names the last lead with data
    of scenarios that have fewer.
    """
    starts = np.array(starts)
    bounds = np.array([[[CADENCE.advance(s, n), CADENCE.advance(s, n + 1)] for n in range(leads)] for s in starts])
    template = truth[["sst"]].isel(time=0, drop=True)
    plan = Layout(template, scenarios, starts, bounds[..., 0], bounds, CADENCE, count, block or count)
    plan.template["sst"].attrs.update(ATTRS)
    pen = EnsembleWriter(workspace, "perfect", "abc", kind, plan)
    fold = [-1] * len(starts) if kind == "forecast" else [row % 5 for row in range(len(starts))]
    drawn = members(truth, starts, leads=leads, count=count, **options)
    with pen.drawing(inputs_hash=list(range(len(starts))), fold=fold) as base:
        fork, rows = base.fork(), pen.rows()
        for piece in plan.pieces():
            if piece.block * plan.block >= (count if stored is None else stored):
                continue
            values = drawn[piece.init][plan.members_of(piece)] - np.float32(0.5 * piece.scenario)
            if ends and scenarios[piece.scenario] in ends:
                values[:, ends[scenarios[piece.scenario]] :] = np.nan
            months = np.array([label.month for label in plan.valid_times[piece.init]])
            season = np.broadcast_to((300 + 3 * np.cos(2 * np.pi * (months - 1) / 12))[:, None, None], drawn.shape[2:])
            write_piece(
                fork.store,
                pen.path,
                piece,
                int(rows[piece.init]),
                {"sst": values},
                members=count,
                forced=scenarios is not None,
                background=({"sst": season}, {"sst": np.ones(season.shape)}),
            )
        pen.commit([fork], list(pen.rows()))


def calibrate(workspace, *, alpha=0.0, beta=1.0, tau=1.0, folds=5, gap=12, wobble=0.0):
    """Store a calibration that is already known: the same α, β and τ everywhere, but α may differ between folds."""
    shape = (3, 1 + folds, 1, 4, LATITUDE.size, LONGITUDE.size)
    values = np.zeros(shape, "float32")
    values[1], values[2] = beta, tau
    values[0] = alpha
    values[0, 1:] += (wobble * (np.arange(folds) - (folds - 1) / 2)).reshape(folds, 1, 1, 1, 1)
    dims = ("coefficient", "fold", "lead_time", "season", "latitude", "longitude")
    coords = {"coefficient": ["alpha", "beta", "tau"], "fold": [-1, *range(folds)]}
    learnt = xr.DataArray(values, dims=dims, coords=coords, attrs={"transform": "none"})
    names = [f"{FIRST}-{LAST}-gap{gap}"] * folds
    about = {"content": f"{alpha} {beta} {tau} {wobble}", "hindcasts": 48, "folds": names}
    publish_calibration(workspace, learnt.to_dataset(name="sst"), model="perfect", fingerprint="abc", about=about)


def build(root, *, start=(1960, 10), leads=6, count=20, hindcast_months=(10,), first=1911, truth=None, **options):
    """A workspace that has issued a forecast and hindcasts for the years before it."""
    workspace, truth = Workspace(root), record() if truth is None else truth
    ingest(workspace, truth.drop_encoding(), group="obs", provenance=[{"file": "made"}])
    issued = cftime.datetime(*start, 1, calendar="noleap")
    pasts = [
        cftime.datetime(year, month, 1, calendar="noleap")
        for year in range(first, LAST - 1)
        for month in hindcast_months
    ]
    if pasts:
        write_ensemble(workspace, truth, pasts, kind="hindcast", leads=leads, count=count, **options)
    write_ensemble(workspace, truth, [issued], kind="forecast", leads=leads, count=count, seed=5, **options)
    reference = truth.sel(time=truth["time"].dt.year <= 1950)
    publish_reference(workspace, reference, group="obs", content="made")
    publish_issue(
        workspace,
        {
            "experiment": "perfect",
            "title": "A perfect system",
            "model": "perfect",
            "kind": "autoregression",
            "fingerprint": "abc",
            "version": "1",
            "seed": 5,
            "variables": {"sst": {"aliases": ["tos"]}},
            "regions": {"middle": "box(lat=-6..6, lon=192..208)"},
            "events": {"warm": "prob sst.anom.mean(over=middle).mean(time=lead 1..3) > 0.5 K"},
            "pathways": {"obs": None},
            "attributions": ["made up"],
            "reference": {"group": "obs", "years": [FIRST, 1950], "content": "made"},
            "data": {"obs": "1901 to 1960"},
        },
    )
    return workspace
