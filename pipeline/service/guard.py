"""What stands before every request: who may ask, how much may be sent, and which headers every response carries."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.service.problems import problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}


class Guard:
    """ASGI middleware.

    Args:
        app: The application behind it.
        token: What clients must show as ``Authorization: Bearer …``, in UTF-8; without one, or with an empty one, only
            this machine may ask.
        body: Bytes that a request may send.
        open_paths: Paths that need no token: they hold no data.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, body: int, open_paths: Iterable[str]) -> None:
        self.app, self.token, self.body, self.open_paths = app, token or None, body, frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the body counted and the headers set."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope["path"], headers)
        if answer is None:
            body = await self._body(headers, receive)
            answer = problem(413, "too_big", f"A request may send {self.body} bytes.") if body is None else None
            receive = _again(body or b"", receive)
        await (answer or self.app)(scope, receive, _with_headers(send))

    def _refusal(self, path: str, headers: Headers) -> ASGIApp | None:
        if self.token is None:
            # A page of another site that a browser led to this machine under that site's name is refused.
            if _host(headers.get("host", "")) not in LOOPBACK:
                return problem(403, "forbidden", "Without a token this service answers this machine only.")
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
        if path in self.open_paths or hmac.compare_digest(given, self.token.encode()):
            return None
        text = "That is not the token of this service." if given else "Send the token of this service."
        return problem(401, "token_needed", text, headers={"WWW-Authenticate": "Bearer"})

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body, or None if it is too large."""
        declared = headers.get("content-length", "0")
        if not declared.isdigit() or int(declared) > self.body:
            return None
        parts, size = [], 0
        while True:
            message = await receive()
            part = message.get("body", b"")
            size += len(part)
            if size > self.body:
                return None
            parts.append(part)
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more, then what the client does next."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return messages.pop() if messages else await receive()

    return read


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending


def _host(value: str) -> str:
    """The name in a Host header, without its port."""
    if value.startswith("["):
        return value[1:].split("]")[0]
    return value.rsplit(":", 1)[0] if value.count(":") == 1 else value
