"""The Unix socket's API: what is asked of the appliance, and what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import ClientSession

from appliance.errors import BY_NAME, TwinhubError, describe
from tests.unit.api.fake import GADGET, FakeAppliance


async def answer(api: ClientSession, method: str, path: str, **how: Any) -> tuple[int, Any]:
    async with api.request(method, path, **how) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("what", ["devices", "exports", "rules", "pair"])
async def test_a_list_is_told_as_the_appliance_tells_it(
    api: ClientSession, appliance: FakeAppliance, what: str
) -> None:
    assert await answer(api, "GET", f"/api/{what}") == (200, getattr(appliance, what)())


@pytest.mark.parametrize("what", ["sessions", "status"])
async def test_what_has_to_be_collected_is_told_as_the_appliance_tells_it(
    api: ClientSession, appliance: FakeAppliance, what: str
) -> None:
    assert await answer(api, "GET", f"/api/{what}") == (200, await getattr(appliance, what)())


async def test_sharing_gives_the_rule_and_what_it_matched(api: ClientSession) -> None:
    status, told = await answer(api, "POST", "/api/rules", json={"serial": "A7B3"})
    assert (status, told["rule"]["id"], told["exports"][0]["name"]) == (201, "share-2", "hasp")


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        ("/api/unshare", {"target": "hasp"}, ("unshare", "hasp")),
        ("/api/kick", {"target": "hasp", "reason": "maintenance"}, ("kick", "hasp", "maintenance")),
        (
            "/api/local",
            {"export": "keyboard", "input": {"type_text": "hi"}},
            ("local", "keyboard", {"type_text": "hi"}),
        ),
        (
            "/api/local",
            {"export": "disk", "input": {"insert": "disk.img"}, "folder": "/srv"},
            ("local", "disk", {"insert": "disk.img"}, "/srv"),
        ),
        ("/api/pair/code", {}, ("pair_code",)),
        (
            "/api/pair/join",
            {"host": "192.168.7.2", "code": "1234-5678"},
            ("pair_join", "192.168.7.2", 0, "1234-5678"),
        ),
        ("/api/pair/unpair", {}, ("unpair",)),
        ("/api/gadgets/remove", {"name": "keyboard"}, ("remove_gadget", "keyboard")),
        ("/api/gadgets/record/end", {"name": "keyboard"}, ("end_recording", "keyboard")),
    ],
)
async def test_a_wish_reaches_the_appliance(
    api: ClientSession, appliance: FakeAppliance, path: str, body: dict[str, Any], asked: tuple[Any, ...]
) -> None:
    status, _ = await answer(api, "POST", path, json=body)
    assert status == 200
    assert appliance.asked == [asked]


async def test_gadgets_are_listed_and_shown(api: ClientSession, appliance: FakeAppliance) -> None:
    assert await answer(api, "GET", "/api/gadgets") == (200, appliance.gadgets())
    assert await answer(api, "GET", "/api/gadgets/catalogue") == (200, appliance.catalogue())
    shown = await answer(api, "GET", "/api/gadgets/show?name=keyboard")
    assert shown == (200, await appliance.gadget("keyboard"))
    assert (await answer(api, "GET", "/api/gadgets/show?name=nothing"))[0] == 404
    status, told = await answer(api, "GET", "/api/gadgets/events")
    assert (status, told["message"]) == (400, "parameter 'name' is missing: say whose events")


async def test_a_gadget_is_added(api: ClientSession, appliance: FakeAppliance) -> None:
    wish = {"gadget": {"definition": "keyboard"}, "keep": False}
    assert await answer(api, "POST", "/api/gadgets/add", json=wish) == (201, [GADGET])
    assert appliance.asked == [("add_gadget", {"definition": "keyboard"}, False)]


async def test_a_gadgets_events_and_recording_are_streams(
    api: ClientSession, appliance: FakeAppliance
) -> None:
    for event in ({"event": "told"}, None):
        appliance.happening.put_nowait(event)
    async with api.get("/api/gadgets/events?name=keyboard") as stream:
        assert (stream.content_type, await stream.text()) == ("application/x-ndjson", '{"event": "told"}\n')
    for chunk in (b"head", None):
        appliance.captured.put_nowait(chunk)
    async with api.get("/api/gadgets/record?name=keyboard") as stream:
        assert (stream.content_type, await stream.read()) == ("application/octet-stream", b"head")


@pytest.mark.parametrize(("query", "busid"), [("", None), ("?busid=1-1.1", "1-1.1")])
async def test_suggest_is_asked_about_a_busid_or_the_last_device(
    api: ClientSession, appliance: FakeAppliance, query: str, busid: str | None
) -> None:
    assert await answer(api, "GET", f"/api/suggest{query}") == (200, {"rule": appliance.suggest(busid)})
    assert appliance.asked == [("suggest", busid)] * 2


@pytest.mark.parametrize(("query", "limit"), [("", 100), ("?limit=7", 7), ("?limit=10000", 10_000)])
async def test_the_audit_trail_has_a_limit(
    api: ClientSession, appliance: FakeAppliance, query: str, limit: int
) -> None:
    status, entries = await answer(api, "GET", f"/api/audit{query}")
    assert (status, len(entries), appliance.asked) == (200, 1, [("audit", limit)])


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "9" * 5000, "²", "ten"])
async def test_a_limit_that_is_none_is_refused(api: ClientSession, limit: str) -> None:
    status, told = await answer(api, "GET", "/api/audit", params={"limit": limit})
    assert (status, told["error"]) == (400, "UsageError")
    assert "'limit'" in told["message"]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/api/unshare", {"target": "hasp", "force": True}, "unknown field 'force'"),
        ("/api/unshare", {}, "'target' has to be there and be a string"),
        ("/api/kick", {"target": 7, "reason": ""}, "'target' has to be there and be a string"),
        ("/api/local", {"export": "keyboard", "input": "hi"}, "'input' has to be there and be an object"),
        ("/api/rules", {"colour": "red"}, "'colour'"),
        ("/api/gadgets/add", {"gadget": {}, "keep": "yes"}, "'keep' has to be there and be true or false"),
    ],
)
async def test_a_field_that_is_wrong_is_refused_by_its_name(
    api: ClientSession, path: str, body: dict[str, Any], named: str
) -> None:
    status, told = await answer(api, "POST", path, json=body)
    assert (status, told["error"]) == (400, "UsageError")
    assert named in told["message"]


@pytest.mark.parametrize(
    "path",
    ["/api/devices?tree=1", "/api/status?a=1", "/api/capture?session=s-1&x=1", "/api/events?since=0"],
)
async def test_a_parameter_that_is_unknown_is_refused_by_its_name(api: ClientSession, path: str) -> None:
    status, told = await answer(api, "GET", path)
    assert (status, told["error"]) == (400, "UsageError")
    assert f"unknown parameter {path.split('?')[1].split('&')[-1].split('=')[0]!r}" in told["message"]


@pytest.mark.parametrize("body", ["", "{", "[1]", "null", '"text"', "[" * 60_000, "\udcff"])
async def test_a_body_that_is_no_json_object_is_refused(api: ClientSession, body: str) -> None:
    status, told = await answer(api, "POST", "/api/unshare", data=body.encode("utf-8", "surrogateescape"))
    assert (status, told["error"]) == (400, "UsageError")


async def test_a_body_is_bounded(api: ClientSession, appliance: FakeAppliance) -> None:
    status, told = await answer(api, "POST", "/api/unshare", json={"target": "x" * 70_000})
    assert (status, told["error"], appliance.asked) == (413, "UsageError", [])


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [("GET", "/api/nothing", 404, "NotFound"), ("DELETE", "/api/rules", 405, "UsageError")],
)
async def test_what_there_is_not_is_told_in_the_same_words(
    api: ClientSession, method: str, path: str, status: int, error: str
) -> None:
    found, told = await answer(api, method, path)
    assert (found, told["error"]) == (status, error)
    assert path in told["message"]


@pytest.mark.parametrize("kind", BY_NAME.values())
async def test_every_error_has_its_status_and_its_words(
    api: ClientSession, appliance: FakeAppliance, kind: type[TwinhubError]
) -> None:
    error = kind("so it is")

    async def status() -> dict[str, Any]:
        raise error

    appliance.status = status  # type: ignore[method-assign]
    assert await answer(api, "GET", "/api/status") == (kind.http_status, describe(error))


async def test_a_mistake_of_ours_is_logged_and_told_without_its_secrets(
    api: ClientSession, appliance: FakeAppliance, caplog: pytest.LogCaptureFixture
) -> None:
    async def status() -> dict[str, Any]:
        raise ZeroDivisionError("secret")

    appliance.status = status  # type: ignore[method-assign]
    found, told = await answer(api, "GET", "/api/status")
    assert (found, told["error"]) == (500, "TwinhubError")
    assert "secret" not in json.dumps(told)
    assert "secret" in caplog.text
