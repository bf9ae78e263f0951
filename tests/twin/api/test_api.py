"""The API without a network: numbers, formats, roles, sessions, refusals, audit."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from tests.in_process import EPOCH, ROOT
from tests.servers import until
from tests.twin.api.client import PASSWORD, Asked, asked
from twin.alarms import Report
from twin.api.headers import LARGEST
from twin.api.problems import FORMS, _sentence
from twin.api.replaying import Control
from twin.desk.door import Door

LOADING = "coating.mass_loading"
WHOLE = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as found:
        yield found


async def test_api_desk_and_historian_say_the_same_numbers(api: Asked) -> None:
    await api.served.advance(400)
    desk, core, store = api.served.desk, api.served.service.core, api.served.service.store
    line = (await api.viewer.get("/line")).json()
    assert line == (await desk.line()).model_dump(mode="json")
    coating = next(step for step in line["steps"] if step["name"] == "coating")
    shown = next(each for each in coating["parameters"] if each["name"] == LOADING)
    name = f"{LOADING}.measured"
    stored = await store.call(
        lambda: store.historian.read([core.tags.index(name)], EPOCH, EPOCH + 10**13)
    )
    assert shown["compared"] == len(stored) > 3
    assert shown["measured"]["value"] == pytest.approx(stored.value[-1] * 1e3, rel=1e-9)

    ask = {"names": [name, f"{LOADING}.predicted"], "points": 5000, **WHOLE}
    json = (await api.viewer.get("/trend", params=ask)).json()
    assert json["series"][0]["mean"] == pytest.approx((stored.value * 1e3).tolist(), rel=1e-12)
    accept = {"Accept": "text/html, application/vnd.apache.arrow.stream;q=0.9"}
    arrow = await api.viewer.get("/trend", params=ask, headers=accept)
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert table.schema.field("time").type == pa.timestamp("ns", "UTC")
    rows = table.filter(pa.compute.equal(table["series"], name))
    assert rows["mean"].to_pylist() == json["series"][0]["mean"]
    text = await api.viewer.get("/trend", params={**ask, "format": "csv"})
    assert text.headers["content-type"].startswith("text/csv")
    read = [row for row in csv.DictReader(io.StringIO(text.text)) if row["series"] == name]
    assert [float(row["mean"]) for row in read] == pytest.approx(json["series"][0]["mean"])

    raw = await api.viewer.get("/samples", params={"names": [name], **WHOLE})
    samples = pa.ipc.open_stream(raw.content).read_all()
    assert samples["value"].to_numpy() == pytest.approx(stored.value * 1e3, rel=1e-12)
    assert samples["time"].cast(pa.int64()).to_numpy() == pytest.approx(stored.time, abs=0)
    ever = {"names": [name], "format": "csv", "start": "0001-01-01T00:00:00Z"}
    raw = await api.viewer.get("/samples", params=ever)
    assert raw.text.count("\n") == len(stored) + 1
    snapshot = (await api.viewer.get("/stream")).json()
    assert snapshot["line"] == (await desk.line()).model_dump(mode="json")


async def test_a_residual_of_a_temperature_is_a_difference(api: Asked) -> None:
    await api.served.advance(400)
    series = (await api.viewer.get("/series")).json()["series"]
    assert series["drying.web_temperature.predicted"] == "degC"
    assert series["drying.web_temperature.residual"] == "K"
    ask = {"names": ["drying.web_temperature.residual"], **WHOLE}
    found = (await api.viewer.get("/trend", params=ask)).json()["series"][0]
    assert found["mean"]
    assert np.abs(found["mean"]).max() < 100


async def test_rolls_are_exported_for_the_slitter(api: Asked) -> None:
    await api.served.advance(400)
    found = await api.viewer.get("/rolls/1/cuts")
    assert found.headers["content-disposition"] == 'attachment; filename="roll-1-cuts.csv"'
    (stretch, *_) = csv.DictReader(io.StringIO(found.text))
    assert stretch["parameter"] == LOADING
    assert float(stretch["to_m"]) > float(stretch["from_m"]) >= 0
    whole = await api.viewer.get("/rolls/1", params={"format": "arrow"})
    table = pa.ipc.open_stream(whole.content).read_all()
    assert table.num_rows > 10
    for path in ("/rolls/../../etc/passwd/cuts", "/rolls/%2e%2e%2fledger.sqlite", "/rolls/99/cuts"):
        refused = await api.viewer.get(path)
        assert refused.status_code in (400, 404, 422)
        assert refused.headers["content-type"] == "application/problem+json"


async def test_a_recording_is_never_looked_for_elsewhere(api: Asked) -> None:
    here = api.served.folder / "recordings" / "shift"
    here.mkdir(parents=True)
    (here / "manifest.json").write_text("{}")
    outside = ("../recordings/shift", "..", ".", "/etc", "shift/../shift", "shift\x00", "", "other")
    for name in outside:
        refused = await api.viewer.post("/replays", json={"recording": name})
        assert refused.status_code in (404, 422), name
    climbing = await api.nobody.get("/%2e%2e/%2e%2e/etc/passwd")
    assert climbing.status_code == 400
    await until(lambda: not api.served.service.entries.waiting)
    names = [what for _, what in await api.audited()]
    # of one reason and address once a minute
    assert names.count("path refused") == 1
    # what is there is found, and said to be damaged
    damaged = await api.viewer.post("/replays", json={"recording": "shift"})
    assert damaged.status_code == 409
    assert "no manifest of this version" in damaged.json()["detail"]


async def test_roles_are_kept_and_refusals_are_audited(api: Asked) -> None:
    identity = await api.served.advised()
    accept = f"/recommendations/{identity}/accept"
    assert (await api.nobody.post(accept, json={})).status_code == 401
    refused = await api.viewer.post(accept, json={})
    assert refused.status_code == 403
    assert refused.json()["detail"] == "viewer is viewer; to accept takes the role operator"
    mode = await api.operator.put("/steps/coating/mode", json={"mode": "twin"})
    assert mode.status_code == 403
    assert (await api.operator.get("/accounts")).status_code == 403

    edited = {"setpoints": {"coater.pump_flow_setpoint": 301}}
    guard = await api.operator.post(accept, json=edited)
    assert guard.status_code == 409
    assert guard.json()["type"] == "urn:linetwin:problem:guard-refuses"
    assert "would leave its limits" in guard.json()["reasons"][0]
    accepted = await api.operator.post(accept, json={})
    assert (accepted.status_code, accepted.json()["by"]) == (200, "operator")

    replayed = await api.operator.post(accept, json={})
    assert replayed.status_code == 409
    problem = replayed.json()
    assert problem["type"] == "urn:linetwin:problem:decided"
    assert (problem["decided"]["state"], problem["decided"]["by"]) == ("accepted", "operator")
    other = await api.engineer.post(
        f"/recommendations/{identity}/reject", json={"reason": "too much"}
    )
    assert other.status_code == 409
    last = api.served.service.status.recommendations
    await until(lambda: last["coater"].state == "verified")
    whole = (await api.viewer.get(f"/recommendations/{identity}")).json()
    assert [each["status"] for each in whole["writes"]] == ["applied"]
    assert len(api.served.wire.moves) == 1

    await until(lambda: not api.served.service.entries.waiting)
    names = await api.audited()
    assert names.count(("operator", "accept")) == 1
    assert ("viewer", "refused: accept") in names
    assert ("operator", "refused: set mode") in names
    assert names.count(("operator", "refused: accept")) == 2
    assert ("engineer", "refused: reject") in names


async def test_a_session_is_a_cookie_that_scripts_and_other_sites_cannot_use(api: Asked) -> None:
    api.served.desk.door.users.add("engineer-user", "engineer", PASSWORD)
    login = {"name": "engineer-user", "password": PASSWORD}
    found = await api.nobody.post("/session", json=login)
    assert found.json() == {"name": "engineer-user", "role": "engineer"}
    cookie = found.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # the address is http
    assert (await api.nobody.get("/line")).status_code == 200
    mode = {"mode": "advisory"}
    for headers in ({}, {"Origin": "http://evil.test"}, {"Sec-Fetch-Site": "cross-site"}):
        refused = await api.nobody.put("/steps/drying/mode", json=mode, headers=headers)
        assert refused.status_code == 403, headers
        assert refused.json()["type"] == "urn:linetwin:problem:other-origin"
    own = {"Origin": "http://twin.test"}
    allowed = await api.nobody.put("/steps/drying/mode", json=mode, headers=own)
    assert allowed.status_code == 200
    assert (await api.nobody.delete("/session", headers=own)).status_code == 204
    api.nobody.cookies.set("linetwin_session", found.cookies["linetwin_session"])
    over = await api.nobody.get("/line")
    assert over.status_code == 401
    assert "log in again" in over.json()["detail"]
    await until(lambda: not api.served.service.entries.waiting)
    names = await api.audited()
    assert [what for who, what in names if who == "engineer-user"] == [
        "logout",
        "set mode",
        "login",
    ]
    assert names.count(("", "request of another site refused")) == 1


async def test_wrong_passwords_are_slowed_down(api: Asked) -> None:
    desk = api.served.desk
    desk.door.close()
    desk.door = Door(desk.door.users, api.served.service.audit, lambda: 0.0)  # time stands
    for role in ("operator", "viewer"):
        api.served.desk.door.users.add(f"{role}-user", role, PASSWORD)
    wrong = {"name": "operator-user", "password": "a wrong password"}
    for _ in range(5):
        assert (await api.nobody.post("/session", json=wrong)).status_code == 401
    right = {"name": "operator-user", "password": PASSWORD}
    throttled = await api.nobody.post("/session", json=right)
    assert throttled.status_code == 429
    assert int(throttled.headers["retry-after"]) >= 1
    # another name from the same place is not held up
    other = {"name": "viewer-user", "password": PASSWORD}
    assert (await api.nobody.post("/session", json=other)).status_code == 200
    await until(lambda: not api.served.service.entries.waiting)
    names = await api.audited()
    assert names.count(("operator-user", "login refused")) == 5
    assert names.count(("operator-user", "login throttled")) == 1


async def test_tokens_expire_and_can_be_taken_away(api: Asked) -> None:
    users = api.served.desk.door.users
    short = users.issue_token("short", "viewer", 1e-6)
    bearer = {"Authorization": f"Bearer {short}"}
    await until(lambda: users.of_token(short) is None)
    expired = await api.nobody.get("/line", headers=bearer)
    assert expired.status_code == 401
    assert expired.headers["www-authenticate"] == "Bearer"
    assert "expired" in expired.json()["detail"]
    assert (await api.engineer.delete("/accounts/viewer")).status_code == 204
    assert (await api.viewer.get("/line")).status_code == 401
    own = await api.engineer.delete("/accounts/engineer")
    assert own.status_code == 409
    for bad in ("", "x", "linetwin_" + "A" * 43):
        headers = {"Authorization": f"Bearer {bad}"}
        assert (await api.nobody.get("/line", headers=headers)).status_code == 401
    await until(lambda: not api.served.service.entries.waiting)
    # one address is audited once a minute
    assert (await api.audited()).count(("", "token refused")) == 1


async def test_every_response_is_guarded(api: Asked) -> None:
    for path in ("/line", "/nothing", "/openapi.json"):
        headers = (await api.nobody.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
    large = await api.engineer.post("/what-if", content=b"x" * (LARGEST + 1))
    assert large.status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(LARGEST // 1024 + 2):
            yield b"[" * 1024

    chunked = await api.engineer.post("/what-if", content=endless())
    assert chunked.status_code == 413
    await until(lambda: not api.served.service.entries.waiting)
    assert (await api.audited()).count(("", "large request refused")) == 1


async def test_a_shelved_alarm_is_not_acknowledged(api: Asked) -> None:
    report = Report(EPOCH, "store", "not writing", "historian", True, "high", "", ("disk full",))
    api.served.service.report(report)
    (alarm,) = (await api.viewer.get("/alarms")).json()
    here = f"/alarms/{alarm['id']}"
    shelved = await api.operator.post(f"{here}/shelve", json={"seconds": 600})
    assert (shelved.json()["state"], shelved.json()["by"]) == ("shelved", "operator")
    refused = await api.operator.post(f"{here}/acknowledge")
    assert (refused.status_code, refused.json()["type"]) == (
        409,
        "urn:linetwin:problem:cannot-be-used",
    )
    assert refused.json()["detail"] == "it is shelved; end that first"
    ended = await api.engineer.post(f"{here}/shelve", json={"seconds": 0})
    assert (ended.json()["state"], ended.json()["by"]) == ("unacknowledged", "")
    seen = await api.operator.post(f"{here}/acknowledge")
    assert (seen.json()["state"], seen.json()["by"]) == ("acknowledged", "operator")


async def test_times_are_words_and_methods_are_named(api: Asked) -> None:
    for start in ("0.5", "1767225600", "yesterday"):
        refused = await api.viewer.get("/events", params={"start": start})
        assert refused.status_code == 422, start
        assert refused.headers["content-type"] == "application/problem+json"
    for start in ("2026-01-01T00:00:00Z", "2026-01-01 00:00", "2026-01-01T01:00:00+01:00"):
        assert (await api.viewer.get("/events", params={"start": start})).status_code == 200, start
    wrong = await api.viewer.options("/session")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "DELETE, GET, POST")


async def test_unexpected_errors_tell_nothing(api: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret of the machine")

    monkeypatch.setattr(api.served.desk, "values", broken)
    transport = api.viewer._transport
    transport.raise_app_exceptions = False  # type: ignore[attr-defined]  # as a real server
    answer = await api.viewer.get("/values")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text


async def test_accounts_are_kept_by_engineers(api: Asked) -> None:
    new = {"name": "nora", "role": "operator", "password": "a good long password"}
    assert (await api.operator.post("/accounts", json=new)).status_code == 403
    assert (await api.engineer.post("/accounts", json=new)).status_code == 204
    assert (await api.engineer.post("/accounts", json=new)).status_code == 409
    short = {"password": "short"}
    assert (await api.engineer.put("/accounts/nora/password", json=short)).status_code == 422
    listed = (await api.engineer.get("/accounts")).json()
    assert [each["name"] for each in listed if each["kind"] == "user"] == ["nora"]
    assert "good long" not in str(listed)
    assert "argon2" not in str(listed)


REJECT = "/recommendations/1/reject"


@pytest.mark.parametrize(
    ("path", "content", "reasons"),
    [
        (REJECT, b'{"reason": " "}', ["reason is blank; write some text"]),
        (REJECT, b'{"reason": ""}', ["reason should have at least 1 character"]),
        (REJECT, b'{"why": "no"}', ["reason is missing", "why is not known here"]),
        (REJECT, b"", ["the body is missing"]),
        (REJECT, b"[1]", ["the body should be a JSON object"]),
        (
            REJECT,
            b"{reason",
            [
                "the body is no JSON: "
                "Expecting property name enclosed in double quotes at character 1"
            ],
        ),
        (
            "/what-if",
            b'{"values": {"gap": "wide", "": 1}}',
            ["values.gap should be a valid number", "a name in values should have at least 1"],
        ),
        ("/design", b'{"targets": {}}', ["targets should have at least 1 item"]),
        (
            "/laboratory",
            b'{"tag": "a", "value": 1, "unit": "m", "sampled": "noon"}',
            ["sampled: write a time such as 2026-11-21T10:15:00Z"],
        ),
        ("/accounts", b'{"name": "a b", "role": "viewer", "password": "long enough"}',
         ["name has to be 1 to 64 letters, digits and"]),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_said_in_sentences(
    api: Asked, path: str, content: bytes, reasons: list[str]
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await api.engineer.post(path, content=content, headers=headers)
    assert answer.status_code == 422
    said = answer.json()
    assert said["detail"] == said["reasons"][0]
    assert len(said["reasons"]) == len(reasons)
    for found, reason in zip(said["reasons"], reasons, strict=True):
        assert found.startswith(reason)


async def test_what_does_not_fit_in_an_address_is_said_in_sentences(api: Asked) -> None:
    asked = {"names": "a", "start": "x", "along": "y"}
    said = (await api.viewer.get("/trend", params=asked)).json()
    assert said["reasons"] == [
        "start: write a time such as 2026-11-21T10:15:00Z",
        "along should be 'time' or 'web'",
    ]
    nowhere = (await api.viewer.get("/nowhere")).json()
    assert nowhere["detail"].startswith("there is nothing at /api/v1/nowhere; /api/v1/openapi")


def test_of_several_types_that_a_value_may_have_none_is_named() -> None:
    with pytest.raises(ValidationError) as caught:
        Control.model_validate({"speed": -1})
    said = [_sentence({**each, "loc": ("body", *each["loc"])}) for each in caught.value.errors()]
    assert said == ["speed should be greater than or equal to 0.1", "speed should be 'fastest'"]


async def test_every_form_that_is_asked_for_has_words(api: Asked) -> None:
    def patterns(part: object) -> Iterator[str]:
        if isinstance(part, dict):
            yield from (value for key, value in part.items() if key == "pattern")
        for each in part.values() if isinstance(part, dict) else part:
            if isinstance(each, dict | list):
                yield from patterns(each)

    assert set(patterns((await api.viewer.get("/openapi.json")).json())) == set(FORMS)


def test_every_kind_of_problem_is_documented() -> None:
    source = "".join(file.read_text() for file in (ROOT / "twin" / "api").glob("*.py"))
    kinds = set(re.findall(r'(?:problem|RefusedError)\(\s*[\w.]+, "([\w-]+)"', source))
    table = re.findall(r"^\| \d+ \| (.+?) \|", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert kinds == {kind for row in table for kind in re.findall(r"`(.+?)`", row)}


async def test_laboratory_and_questions_go_through(api: Asked) -> None:
    await api.served.advance(300)
    asked = {"values": {"pump_flow": 95}}
    said = (await api.viewer.post("/what-if", json=asked)).json()
    assert any(each["origin"] == "given" for each in said["variables"])
    unknown = await api.viewer.post("/what-if", json={"values": {"nonsense": 1}})
    assert unknown.status_code == 409
    value = {
        "tag": "laboratory.viscosity",
        "value": 1e6,
        "unit": "Pa*s",
        "sampled": "2026-01-01T00:01:00Z",
        "batch": 1,
    }
    assert (await api.viewer.post("/laboratory", json=value)).status_code == 403
    far = await api.operator.post("/laboratory", json=value)
    assert far.json()["type"] == "urn:linetwin:problem:implausible"
    meant = await api.operator.post("/laboratory", json={**value, "confirmed": True})
    assert meant.status_code == 201
    number = meant.json()["id"]
    better = {"value": 3000, "unit": "mPa*s", "note": "units", "confirmed": True}
    path = f"/laboratory/{number}/correction"
    assert (await api.operator.post(path, json=better)).status_code == 201
    entries = (await api.viewer.get("/laboratory")).json()["entries"]
    assert [each["corrects"] for each in entries] == [number, None]
