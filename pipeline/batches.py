"""A few initial times at once, so that an ensemble that is too large to hold can be read whole."""

from collections.abc import Iterator

import xarray as xr

BATCH_BYTES = 2**27
"""Of members, held at once."""


def start_batches(ensemble: xr.DataArray) -> Iterator[dict[str, slice]]:
    """Selections of consecutive initial times, in order; at least one of them at a time.

    Args:
        ensemble: Members, dims ``(init_time, ...)``.
    """
    starts = ensemble.sizes["init_time"]
    width = max(1, BATCH_BYTES * starts // max(ensemble.nbytes, 1))
    return ({"init_time": slice(first, first + width)} for first in range(0, starts, width))
