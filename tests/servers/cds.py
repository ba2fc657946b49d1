"""A service in the shape of the Climate Data Store: takes requests, queues them, fails, expires, and serves results."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.servers.layouts import cds_result


class CdsServer:
    """Jobs are queued, run and are done, one state further at each look.

    Attributes:
        faults: What happens to the next jobs: ``fail``, ``expire`` (done, then gone), ``slow`` (queued for good),
            ``cut`` (half of the file comes), ``html`` (a page in its place).
        submitted: Requests in order.
        largest: Fields that one request may ask for.
    """

    def __init__(self, *, largest=10_000):
        self.faults, self.submitted, self.jobs, self.largest = [], [], {}, largest
        handler = type("Handler", (_Handler,), {"site": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/api"

    def submit(self, process, request):
        number = f"job-{len(self.submitted)}"
        self.submitted.append(request)
        self.jobs[number] = {
            "process": process,
            "request": request,
            "looks": 0,
            "fault": self.faults.pop(0) if self.faults else None,
        }
        return number

    def status(self, number):
        job = self.jobs[number]
        job["looks"] += 1
        if job["fault"] == "slow":
            return "accepted"
        done = "failed" if job["fault"] == "fail" else "successful"
        return {1: "accepted", 2: "running"}.get(job["looks"], done)

    @contextmanager
    def running(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def fields_of(request):
    count = len(request["variable"])
    for key in ("year", "month", "day"):
        count *= len(request.get(key, [0]))
    return count


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: CdsServer

    def log_message(self, *args):
        pass

    def do_POST(self):
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        process = self.path.split("/")[-2]
        if self.headers.get("PRIVATE-TOKEN") != "sesame":
            return self.say(401, {"title": "Unauthorized", "detail": "operation requires a valid key"})
        if fields_of(data["inputs"]) > self.site.largest:
            return self.say(403, {"title": "cost limits exceeded", "detail": "Your request is too large"})
        return self.say(201, self.job(self.site.submit(process, data["inputs"])))

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[-2] == "processes":
            return self.say(200, {"id": parts[-1], "links": []})
        if parts[-2] == "files":
            return self.send(parts[-1])
        number = parts[-2] if parts[-1] == "results" else parts[-1]
        job = self.site.jobs.get(number)
        if job is None:
            return self.say(404, {"title": "job not found", "detail": f"{number} expired"})
        if parts[-1] == "results":
            return self.results(number, job)
        return self.say(200, self.job(number, self.site.status(number)))

    def do_HEAD(self):
        self.send(self.path.strip("/").split("/")[-1], with_body=False)

    def results(self, number, job):
        if job["fault"] == "fail":
            return self.say(400, {"title": "The job has failed", "traceback": "MARS returned no data"})
        if job["fault"] == "expire":
            del self.site.jobs[number]
            return self.say(404, {"title": "results expired", "detail": "the results are gone"})
        job["data"] = job.get("data") or cds_result(job["process"], job["request"])
        value = {"type": "application/netcdf", "file:size": len(job["data"])}
        return self.say(200, {"asset": {"value": {**value, "href": f"{self.site.url}/files/{number}"}}})

    def send(self, number, *, with_body=True):
        job = self.site.jobs[number]
        data = b"<!DOCTYPE html>".ljust(len(job["data"])) if job["fault"] == "html" else job["data"]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data[: len(data) // 2] if job["fault"] == "cut" else data)
            self.close_connection = job["fault"] == "cut"

    def job(self, number, status="accepted"):
        url = f"{self.site.url}/retrieve/v1/jobs/{number}"
        return {"jobID": number, "status": status, "links": [{"rel": rel, "href": url} for rel in ("self", "monitor")]}

    def say(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
