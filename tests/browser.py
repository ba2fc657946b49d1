"""A real browser for tests: headless Chromium, driven through its own debugging protocol."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager

from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser(folder):
    """A browser with one page; its profile lies in ``folder``."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    process = subprocess.Popen(
        [*command, *quiet, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = wait_for(lambda: (folder / "DevToolsActivePort").read_text().split()[0])
        pages = wait_for(lambda: json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json")))
        address = next(page for page in pages if page["type"] == "page")["webSocketDebuggerUrl"]
        with connect(address, max_size=2**26) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait(10)


def wait_for(look, seconds=30):
    """What is found, as soon as it can be looked up."""
    end = time.monotonic() + seconds
    while True:
        try:
            return look()
        except (OSError, IndexError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


class Page:
    """One page of the browser."""

    def __init__(self, socket):
        self.socket, self.number = socket, 0
        self.requests, self.problems = [], []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=30))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message):
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.problems.append(params["exceptionDetails"]["exception"].get("description"))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def size(self, width, height, *, mobile=False):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def goto(self, address):
        self.send("Page.navigate", url=address)

    def js(self, expression):
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression, *, seconds=20):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(f"!!({expression})"):
            assert time.monotonic() < end, f"never true: {expression}; {self.problems}"
            time.sleep(0.05)

    def text(self, selector):
        return self.js(f"document.querySelector({json.dumps(selector)}).textContent")

    def box(self, selector):
        self.js(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        return self.js(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [b.left, b.top, b.width, b.height]; })()"
        )

    def mouse(self, kind, x, y):
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def click(self, selector, across=0.5, down=0.5):
        left, top, width, height = self.box(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, left + across * width, top + down * height)

    def drag(self, selector, start, end, down=0.5):
        left, top, width, height = self.box(selector)
        self.mouse("mousePressed", left + start * width, top + down * height)
        for part in range(1, 6):
            self.mouse("mouseMoved", left + (start + (end - start) * part / 5) * width, top + down * height)
        self.mouse("mouseReleased", left + end * width, top + down * height)

    def key(self, name, *, text=None):
        codes = {"Enter": 13, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "ArrowUp": 38, "ArrowDown": 40}
        extra = {"text": text} if text else {}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=name,
                windowsVirtualKeyCode=codes.get(name, 0),
                **extra,
            )

    def type(self, text):
        self.send("Input.insertText", text=text)

    def screenshot(self, path):
        height = self.js("document.documentElement.scrollHeight")
        width = self.js("window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        found = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))
