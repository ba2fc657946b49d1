"""The cluster of this machine."""

import warnings

from flows.cluster import connect
from flows.experiment import ClusterConfig


def test_a_cluster_of_this_machine_serves_the_loopback_alone_and_disturbs_no_other():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with connect(ClusterConfig(workers=1)) as client, connect(ClusterConfig(workers=1)) as other:
            for each in (client, other):
                here = [each.run_on_scheduler(_address), *each.run(_address).values()]
                assert {address for address, _ in here} == {"127.0.0.1"}
                assert 8787 not in {port for _, port in here}


def _address(dask_scheduler=None, dask_worker=None):
    server = (dask_scheduler or dask_worker).http_server
    return server.address, server.port
