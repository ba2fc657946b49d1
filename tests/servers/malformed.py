"""Files that are not what they say: cut short, overwritten, absurd, or far larger inside than outside."""

import json

import netCDF4
import numpy as np

from tests.conftest import monthly_record
from tests.servers import layouts


def malformed(folder, count, *, seed=0):
    """Paths of ``count`` malformed files, and of each the kind of damage; the same for the same seed."""
    rng = np.random.default_rng(seed)
    whole = {}
    for name, form in (("nc3", "NETCDF3_64BIT"), ("nc4", "NETCDF4")):
        path = folder / f"whole.{name}"
        monthly_record(years=30).to_netcdf(
            path, format=form, encoding={"sst": {"zlib": name == "nc4"}} if name == "nc4" else None
        )
        whole[name] = path.read_bytes()
    damages = [
        _cut,
        _magic,
        _noise,
        _header,
        _dates,
        _attributes,
        _absurd,
        _bomb,
        _text,
        _chunk,
        _grib,
        _zarr_noise,
        _zarr_absurd,
    ]
    found = []
    for number in range(count):
        damage = damages[number % len(damages)]
        path = folder / f"bad{number:04d}.nc"
        damage(path, whole[("nc3", "nc4")[number // len(damages) % 2]], rng)
        found.append((damage.__name__.strip("_"), path))
    return found


def _cut(path, data, rng):
    path.write_bytes(data[: int(rng.uniform(0.01, 0.97) * len(data))])


def _magic(path, data, rng):
    path.write_bytes(rng.bytes(8) + data[8:])


def _noise(path, data, rng):
    path.write_bytes(data[:4] + rng.bytes(int(rng.integers(100, 20_000))))


def _header(path, data, rng):
    """A third of the first kilobyte overwritten."""
    head = np.frombuffer(data[:1024], "uint8").copy()
    at = rng.choice(np.arange(8, 1024), 340, replace=False)
    head[at] = rng.integers(0, 256, at.size)
    path.write_bytes(head.tobytes() + data[1024:])


def _dates(path, data, rng):
    raw = monthly_record()
    raw = raw.assign_coords(time=("time", np.arange(raw.sizes["time"])))
    raw["time"].attrs["units"] = str(
        rng.choice(["days since the flood", "fortnights since 1900-01-01", "", "days since 99-99-99"])
    )
    raw.to_netcdf(path)


def _attributes(path, data, rng):
    raw = monthly_record()
    raw["sst"].attrs["units"] = str(
        rng.choice(["", "degrees of despair", "Kelvins per Kelvin per", "\x00", "K K K s-9"])
    )
    raw.to_netcdf(path)


def _absurd(path, data, rng):
    """Dimensions that no memory holds, in a file of a few kilobytes."""
    size = int(10 ** rng.uniform(8, 12))
    with netCDF4.Dataset(path, "w") as file:
        for name in ("time", "lat", "lon"):
            file.createDimension(name, size if rng.random() < 0.6 or name == "lat" else 100)
            file.createVariable(name, "f8", (name,), chunksizes=(100,))
        file.createVariable("sst", "f4", ("time", "lat", "lon"), chunksizes=(1, 10, 10))


def _bomb(path, data, rng):
    """Zeros that deflate a thousandfold: little on disk, terabytes in memory."""
    side = int(rng.integers(20_000, 60_000))
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 1000), ("lat", side), ("lon", side)):
            file.createDimension(name, size)
        for name in ("lat", "lon"):
            file.createVariable(name, "f8", (name,), zlib=True)[:] = np.zeros(side)
        file.createVariable("sst", "f4", ("time", "lat", "lon"), zlib=True, chunksizes=(1, 1000, 1000))[
            0, :1000, :1000
        ] = 0


def _text(path, data, rng):
    path.write_text("time,lat,lon,sst\n" * int(rng.integers(1, 500)))


def _chunk(path, data, rng):
    """One chunk that would fill memory for the sake of a single step."""
    with netCDF4.Dataset(path, "w") as file:
        shape = dict(time=int(rng.integers(1_500, 3_000)), lat=400, lon=500)
        for name, size in shape.items():
            file.createDimension(name, size)
        file.createVariable("sst", "f4", tuple(shape), zlib=True, chunksizes=tuple(shape.values()))


def _grib(path, data, rng):
    """Fields cut short, or overwritten in their headers."""
    layouts.grib(path, months=2)
    whole = bytearray(path.read_bytes())
    for at in rng.integers(4, 200, 30):
        whole[at] ^= 255
    path.write_bytes(whole[: int(rng.uniform(0.1, 1) * len(whole))])


def _zarr_noise(path, data, rng):
    """A chunk that is no chunk."""
    monthly_record().to_zarr(path, zarr_format=3)
    chunks = sorted(file for file in (path / "sst" / "c").rglob("*") if file.is_file())
    chunks[int(rng.integers(len(chunks)))].write_bytes(rng.bytes(int(rng.integers(1, 5_000))))


def _zarr_absurd(path, data, rng):
    """Metadata that declares terabytes, in the fields or in a chunk of them, or that ends in the middle."""
    monthly_record().to_zarr(path, zarr_format=3, consolidated=False)
    target = path / "sst" / "zarr.json"
    about, kind = json.loads(target.read_text()), rng.integers(3)
    if kind == 0:
        about["shape"] = [144, 10**6, 10**6]
    elif kind == 1:
        about["shape"] = about["chunk_grid"]["configuration"]["chunk_shape"] = [10**7, 50, 70]
    text = json.dumps(about)
    target.write_text(text[: len(text) // 2] if kind == 2 else text)
