"""The two HTTP applications: everything on the Unix socket, figures only on the local TCP endpoint.

A handler translates: request → one call of the facade → JSON. What goes wrong is raised as a TwinhubError
and becomes its HTTP status and `describe()` in one place, `errors_as_json`.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from appliance.api.facade import Appliance, Json
from appliance.api.streams import HEARTBEAT_LINE, Streams, event_lines
from appliance.errors import NotFound, TwinhubError, UsageError, describe

MAX_BODY: Final = 64 * 1024
MAX_AUDIT: Final = 10_000

APPLIANCE: Final = web.AppKey("appliance", Appliance)
STREAMS: Final = web.AppKey("streams", Streams)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)


def full_application(appliance: Appliance) -> web.Application:
    """Everything: for the Unix socket, whose file mode says who may."""
    app = web.Application(middlewares=[errors_as_json], client_max_size=MAX_BODY)
    app[APPLIANCE] = appliance
    app[STREAMS] = Streams()
    app.on_shutdown.append(close_streams)
    app.add_routes(
        [
            web.get("/api/devices", reading(lambda appliance: appliance.devices())),
            web.get("/api/exports", reading(lambda appliance: appliance.exports())),
            web.get("/api/rules", reading(lambda appliance: appliance.rules())),
            web.post("/api/rules", share),
            web.post("/api/unshare", unshare),
            web.get("/api/suggest", suggest),
            web.get("/api/sessions", sessions),
            web.post("/api/kick", kick),
            web.get("/api/capture", capture),
            web.post("/api/local", local),
            web.get("/api/gadgets", reading(lambda appliance: appliance.gadgets())),
            web.get("/api/gadgets/catalogue", reading(lambda appliance: appliance.catalogue())),
            web.get("/api/gadgets/show", show_gadget),
            web.post("/api/gadgets/add", add_gadget),
            web.post("/api/gadgets/remove", remove_gadget),
            web.get("/api/gadgets/events", gadget_events),
            web.get("/api/gadgets/record", record_gadget),
            web.post("/api/gadgets/record/end", end_recording),
            web.get("/api/pair", pair),
            web.post("/api/pair/code", pair_code),
            web.post("/api/pair/join", pair_join),
            web.post("/api/pair/unpair", unpair),
            web.post("/api/pair/order", order),
            web.get("/api/events", events),
            web.get("/api/status", status),
            web.get("/api/audit", audit),
        ]
    )
    return app


def local_application(appliance: Appliance) -> web.Application:
    """Read-only figures, for a loopback TCP port that every local user reaches, and every browser."""
    app = web.Application(middlewares=[errors_as_json, loopback_names_only], client_max_size=MAX_BODY)
    app[APPLIANCE] = appliance
    app.add_routes([web.get("/metrics", metrics), web.get("/status", status)])
    return app


# ---------------------------------------------------------------------------- middlewares


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except TwinhubError as error:
        return failure(error, error.http_status)
    except web.HTTPRequestEntityTooLarge as refusal:
        return failure(UsageError(f"the request is larger than {MAX_BODY} bytes"), refusal.status)
    except web.HTTPException as refusal:
        kind = NotFound if refusal.status == 404 else UsageError
        return failure(kind(f"{request.method} {request.path}: {refusal.reason}"), refusal.status)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return failure(TwinhubError("the daemon failed at this request; its log has the details"), 500)


def failure(error: TwinhubError, status: int) -> web.Response:
    return web.json_response(describe(error), status=status)


@web.middleware
async def loopback_names_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """DNS rebinding: a page of evil.example that resolves to 127.0.0.1 still says `Host: evil.example`."""
    if not is_loopback(request.headers.get("Host", "")):
        raise web.HTTPMisdirectedRequest(reason="only names of this machine's loopback are answered")
    return await handler(request)


def is_loopback(host: str) -> bool:
    """Whether a Host header, with or without port, names loopback: `localhost`, 127.0.0.0/8, [::1]."""
    found = re.fullmatch(r"(\[(?P<v6>[^]]+)\]|(?P<name>[^:]+))(:[0-9]+)?", host, re.ASCII)
    if not found:
        return False
    name = found["name"] or found["v6"]
    try:
        return name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


# ---------------------------------------------------------------------------- what a request may say


async def body(request: web.Request) -> Json:
    """The JSON object that is the request's body. UsageError for anything else."""
    try:
        parsed = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise UsageError("the body is not JSON") from None
    if not isinstance(parsed, dict):
        raise UsageError("the body has to be a JSON object")
    return parsed


def fields(given: Json, **types: type) -> list[Any]:
    """The values of exactly these fields; UsageError names the first unknown, missing or wrong one."""
    for name in given:
        if name not in types:
            raise UsageError(f"unknown field {name!r}; there is {', '.join(types) or 'none'}")
    for name, wanted in types.items():
        if not isinstance(given.get(name), wanted):
            raise UsageError(f"field {name!r} has to be there and be {JSON_NAMES[wanted]}")
    return [given[name] for name in types]


JSON_NAMES: Final[dict[type, str]] = {
    str: "a string",
    dict: "an object",
    bool: "true or false",
    int: "a whole number",
}


def named(request: web.Request, name: str, what: str) -> str:
    """The value of the one parameter, which has to be there."""
    (value,) = query(request, name)
    if not value:
        raise UsageError(f"parameter {name!r} is missing: say {what}")
    return value


def query(request: web.Request, *names: str) -> list[str | None]:
    """The values of these query parameters, `None` where one is absent. UsageError names an unknown one."""
    for name in request.query:
        if name not in names:
            raise UsageError(f"unknown parameter {name!r}; there is {', '.join(names) or 'none'}")
    return [request.query.get(name) for name in names]


# ---------------------------------------------------------------------------- handlers


def reading(what: Callable[[Appliance], list[Json]]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        query(request)
        return web.json_response(what(request.app[APPLIANCE]))

    return handler


async def share(request: web.Request) -> web.Response:
    """The body is a rule's table; `appliance.exports.rules` knows its fields."""
    return web.json_response(await request.app[APPLIANCE].share(await body(request)), status=201)


async def unshare(request: web.Request) -> web.Response:
    (target,) = fields(await body(request), target=str)
    return web.json_response(await request.app[APPLIANCE].unshare(target))


async def suggest(request: web.Request) -> web.Response:
    (busid,) = query(request, "busid")
    return web.json_response({"rule": request.app[APPLIANCE].suggest(busid)})


async def sessions(request: web.Request) -> web.Response:
    query(request)
    return web.json_response(await request.app[APPLIANCE].sessions())


async def kick(request: web.Request) -> web.Response:
    target, reason = fields(await body(request), target=str, reason=str)
    return web.json_response(await request.app[APPLIANCE].kick(target, reason))


async def local(request: web.Request) -> web.Response:
    said = {"folder": "", **await body(request)}
    export, given, folder = fields(said, export=str, input=dict, folder=str)
    return web.json_response(await request.app[APPLIANCE].local(export, given, folder or None))


async def show_gadget(request: web.Request) -> web.Response:
    name = named(request, "name", "which gadget")
    return web.json_response(await request.app[APPLIANCE].gadget(name))


async def add_gadget(request: web.Request) -> web.Response:
    """`gadget`: a table as `[[gadget]]` has it, whose definition may be one itself; `keep`: over restarts."""
    table, keep = fields(await body(request), gadget=dict, keep=bool)
    return web.json_response(await request.app[APPLIANCE].add_gadget(table, keep), status=201)


async def remove_gadget(request: web.Request) -> web.Response:
    (name,) = fields(await body(request), name=str)
    await request.app[APPLIANCE].remove_gadget(name)
    return web.json_response({})


async def end_recording(request: web.Request) -> web.Response:
    (name,) = fields(await body(request), name=str)
    await request.app[APPLIANCE].end_recording(name)
    return web.json_response({})


async def pair(request: web.Request) -> web.Response:
    query(request)
    return web.json_response(request.app[APPLIANCE].pair())


async def pair_code(request: web.Request) -> web.Response:
    fields(await body(request))
    return web.json_response(request.app[APPLIANCE].pair_code())


async def pair_join(request: web.Request) -> web.Response:
    """`host` shows the `code`; `port`: 0 is the one that is our own."""
    host, port, code = fields({"port": 0, **await body(request)}, host=str, port=int, code=str)
    return web.json_response(await request.app[APPLIANCE].pair_join(host, port, code))


async def unpair(request: web.Request) -> web.Response:
    fields(await body(request))
    return web.json_response(await request.app[APPLIANCE].unpair())


async def order(request: web.Request) -> web.Response:
    group, wish = fields(await body(request), group=str, wish=str)
    return web.json_response(await request.app[APPLIANCE].order(group, wish))


async def status(request: web.Request) -> web.Response:
    query(request)
    return web.json_response(await request.app[APPLIANCE].status())


async def audit(request: web.Request) -> web.Response:
    (limit,) = query(request, "limit")
    wanted = limit or "100"
    if not re.fullmatch("[0-9]{1,5}", wanted) or not 1 <= int(wanted) <= MAX_AUDIT:
        raise UsageError(f"parameter 'limit' has to be a number from 1 to {MAX_AUDIT}")
    return web.json_response(request.app[APPLIANCE].audit(int(wanted)))


async def metrics(request: web.Request) -> web.Response:
    query(request)
    collector = request.app[APPLIANCE].metrics()
    await collector.refresh()
    text = generate_latest(collector)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


# ---------------------------------------------------------------------------- streams


async def events(request: web.Request) -> web.StreamResponse:
    query(request)
    async with request.app[APPLIANCE].events() as source:
        return await request.app[STREAMS].send(
            request, "application/x-ndjson", event_lines(source), HEARTBEAT_LINE
        )


async def gadget_events(request: web.Request) -> web.StreamResponse:
    name = named(request, "name", "whose events")
    async with request.app[APPLIANCE].gadget_events(name) as source:
        return await request.app[STREAMS].send(
            request, "application/x-ndjson", event_lines(source), HEARTBEAT_LINE
        )


async def record_gadget(request: web.Request) -> web.StreamResponse:
    name = named(request, "name", "which gadget to record")
    async with request.app[APPLIANCE].record_gadget(name) as chunks:
        return await request.app[STREAMS].send(request, "application/octet-stream", chunks)


async def capture(request: web.Request) -> web.StreamResponse:
    session = named(request, "session", "whose URBs to capture")
    async with request.app[APPLIANCE].capture(session) as chunks:
        return await request.app[STREAMS].send(request, "application/x-pcapng", chunks)


async def close_streams(app: web.Application) -> None:
    await app[STREAMS].close()
