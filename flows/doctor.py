"""What is installed, which devices are seen and which servers are set."""

import os
import platform
from importlib.metadata import version

PACKAGES = ("tercile", "torch", "diffusers", "xarray", "dask", "zarr", "icechunk", "prefect", "scores")


def findings() -> dict[str, str]:
    """Versions, processors, accelerators and the Prefect server, each as text."""
    import torch

    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "processors": str(os.cpu_count()),
        "accelerators": ", ".join(devices) or "none: models run on the processor",
        "prefect server": os.environ.get("PREFECT_API_URL", "none set: each run starts one for itself"),
    }
