"""Answers that are no answers: connections that break, and errors from in front of the API."""

from __future__ import annotations

from asyncio import Transport

from starlette.responses import HTMLResponse, Response
from starlette.types import Message, Receive, Scope, Send

from lipsync_batch.sandbox.contract import refusal
from lipsync_batch.sandbox.faults import Dice

GATEWAY_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>cloudfront</body></html>"


class Severed(Response):
    """The connection is closed, and not a byte was sent."""

    async def __call__(self, scope: Scope, receive: Receive, _send: Send) -> None:
        await sever(scope, receive)


class Cut(Response):
    """Another answer, whose connection is closed in the middle of its body."""

    def __init__(self, whole: Response) -> None:
        super().__init__()
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = 0

        async def send_half(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.start":
                left = int(dict(message["headers"])[b"content-length"]) // 2
                await send(message)
            elif left > 0:
                part = message["body"][:left]
                left -= len(part)
                await send({"type": "http.response.body", "body": part, "more_body": True})

        await self._whole(scope, receive, send_half)
        await sever(scope, receive)


async def sever(scope: Scope, receive: Receive) -> None:
    """Close the connection of a request, after what was already sent. The server puts `transport` into the state."""
    transport: Transport = scope["state"]["transport"]
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def server_error(dice: Dice, path: str, *subject: object) -> Response:
    """One of the ways in which servers fail, as JSON from the API or as HTML from a gateway before it."""
    status, text = dice.pick(
        (
            (500, "Something wrong with the server"),
            (502, None),
            (503, "Service unavailable"),
            (503, None),
            (504, "Generation timeout"),
        ),
        "server error",
        *subject,
    )
    return gateway_error(status) if text is None else refusal(status, text, path=path)


def gateway_error(status: int) -> Response:
    names = {502: "502 Bad Gateway", 503: "503 Service Temporarily Unavailable"}
    return HTMLResponse(GATEWAY_PAGE.format(names[status]), status_code=status)
