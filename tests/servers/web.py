"""A web server with ranges, ETags and conditional requests, that can be told to fail in each way that servers do."""

import hashlib
import re
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class WebServer:
    """Serves a folder. ``faults`` holds, by the end of a path, what goes wrong with the next requests, in order.

    ``500``, ``truncate`` (half of the bytes, then the end), ``stall`` (half, then silence), ``html`` (a page in the
    place of data), ``loop`` (a redirection to itself), or a function that is called before the answer, which then is a
    true one.
    """

    def __init__(self, folder):
        self.folder, self.faults, self.requests, self.sent = folder, {}, [], 0
        handler = type("Handler", (_Handler,), {"site": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fault_of(self, path):
        for end, queue in self.faults.items():
            if path.endswith(end) and queue:
                return queue.pop(0)
        return None

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: WebServer

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        path = unquote(self.path.split("?")[0]).lstrip("/")
        self.site.requests.append((self.command, path, self.headers.get("Range")))
        fault = self.site.fault_of(path) if with_body else None
        if callable(fault):
            fault = fault()
        file = self.site.folder / path
        if fault == "500":
            return self.plain(500, b"out of order")
        if fault == "html":
            return self.plain(200, b"<!DOCTYPE html><html><body>Please log in</body></html>")
        if fault == "loop":
            return self.reply(302, b"", {"Location": f"/{path}"}, with_body)
        if not file.is_file():
            return self.plain(404, b"not here")
        data = file.read_bytes()
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            return self.reply(304, b"", {"ETag": etag}, with_body)
        status, body, headers = 200, data, {"ETag": etag, "Accept-Ranges": "bytes"}
        headers["Last-Modified"] = formatdate(file.stat().st_mtime, usegmt=True)
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if wanted and self.headers.get("If-Range") in (None, etag):
            first, last = wanted.groups()
            start = len(data) - int(last) if not first else int(first)
            stop = int(last) + 1 if first and last else len(data)
            if start >= len(data):
                return self.plain(416, b"")
            status, body = 206, data[start:stop]
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(data)}"
        return self.reply(status, body, headers, with_body, fault)

    def plain(self, status, body):
        self.reply(status, body, {"Content-Type": "text/html"}, True)

    def reply(self, status, body, headers, with_body, fault=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_body:
            return
        body = body[: len(body) // 2] if fault in ("truncate", "stall") else body
        self.site.sent += len(body)
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:
            return
        if fault == "stall":
            time.sleep(3)
        if fault:
            self.close_connection = True
