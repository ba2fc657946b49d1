"""A real server on the loopback, in a thread of the test's own process."""

import socket
import threading
import time
from contextlib import contextmanager

import uvicorn

from pipeline.service import create_app


def free_port():
    """A port that nobody listens on, for a server of another process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(workspace, **options):
    """The address of a service of this workspace."""
    config = uvicorn.Config(
        create_app(workspace, **options), host="127.0.0.1", port=0, log_level="error", access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
