"""An OPeNDAP server: pydap's, over the NetCDF files of a folder as they are packed."""

import threading
import time
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def _handler(path):
    """pydap's handler of one file, its arrays in memory."""
    import netCDF4
    from pydap.handlers.lib import BaseHandler
    from pydap.model import BaseType, DatasetType

    dataset = DatasetType(path.name)
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        for name, variable in file.variables.items():
            attributes = {key: variable.getncattr(key) for key in variable.ncattrs()}
            dataset[name] = BaseType(name, variable[:], dims=variable.dimensions, **attributes)
        dataset.attributes["NC_GLOBAL"] = {key: file.getncattr(key) for key in file.ncattrs()}
    return BaseHandler(dataset)


@contextmanager
def dap_server(folder, *, faults=None):
    """Address of a server of ``folder``, and the list of requests that it gets.

    ``faults`` holds, by a part of path and query, what goes wrong with the next requests, in order: ``500``, ``html``,
    ``cut`` (half of the answer) or ``stall``.
    """
    requests, handlers = [], {}

    def app(environ, start_response):
        path, query = environ["PATH_INFO"].lstrip("/"), unquote(environ.get("QUERY_STRING", ""))
        requests.append((path, query))
        file = folder / path.rpartition(".")[0]
        if not file.is_file():
            start_response("404 Not Found", [])
            return [b"not here"]
        if file not in handlers:
            handlers[file] = _handler(file)
        fault = next(
            (queue.pop(0) for part, queue in (faults or {}).items() if part in f"{path}?{query}" and queue), None
        )
        if fault in ("500", "html"):
            start_response("500 Out Of Order" if fault == "500" else "200 OK", [("Content-Type", "text/html")])
            return [b"<!DOCTYPE html><html><body>Please log in</body></html>"]
        if fault == "stall":
            time.sleep(3)
        answer = b"".join(handlers[file](environ, start_response))
        return [answer[: len(answer) // 2]] if fault == "cut" else [answer]

    server = make_server("127.0.0.1", 0, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
