"""Every way to sign in: device, password, second factor, first password, disabled, locked out, setting."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Literal

import httpx
import pytest
from argon2 import PasswordHasher

from monitor.center import Center
from monitor.options import SecondFactor
from monitor.throttle import TRIES_PER_NAME_AND_ADDRESS, Attempt, Throttle
from store import people, second_factor
from store.second_factor import code_of
from store.select import Connection, Row
from tests.monitor.conftest import PASSWORD, Served

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
FAR = 1 << 40
"""A half minute that is not soon."""
Factor = Literal["none", "no code", "right", "wrong", "used"]
FACTORS: tuple[Factor, ...] = ("none", "no code", "right", "wrong", "used")
YES_NO = (False, True)


def expected(
    policy: SecondFactor,
    factor: Factor,
    *,
    is_known: bool,
    is_right: bool,
    must_change: bool,
    disabled: bool,
    locked: bool,
) -> tuple[int, str | None]:
    """Say what comes of it: the status, and the code of the problem or what must be done first."""
    if locked and not is_known:
        return 429, "too_many_attempts"
    if disabled or not is_right:
        return 401, "sign_in_failed"
    if policy != "off":
        if factor == "no code":
            return 401, "second_factor_needed"
        if factor in ("wrong", "used"):
            return 401, "wrong_code"
    if must_change:
        return 200, "change_password"
    return 200, "set_up_second_factor" if policy == "all" and factor == "none" else None


@pytest.fixture
async def cheap(db: Connection, monitor: Served) -> None:
    """Anna's password costs next to nothing to be checked."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await db.execute("UPDATE users SET password_hash = %s WHERE name = 'anna'", (quick,))


async def arrange(db: Connection, factor: Factor, must_change: bool, disabled: bool) -> None:
    await db.execute(
        "UPDATE users SET must_change_password = %s, disabled = %s WHERE name = 'anna'",
        (must_change, disabled),
    )
    await db.execute("DELETE FROM second_factors")
    if factor != "none":
        await db.execute(
            "INSERT INTO second_factors (user_id, secret, last_step)"
            " SELECT id, %s, %s FROM users WHERE name = 'anna'",
            (SECRET, FAR if factor == "used" else 0),
        )


def code(factor: Factor) -> str | None:
    if factor in ("none", "no code"):
        return None
    right = code_of(SECRET, datetime.now(UTC))
    return right if factor != "wrong" else "not a code"


def forget(client: httpx.AsyncClient, *, but: str) -> None:
    """Remove its cookies but those whose names begin so."""
    for cookie in list(client.cookies.jar):
        if not cookie.name.startswith(but):
            client.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)


@pytest.mark.parametrize("policy", ["off", "optional", "all"])
async def test_every_way_to_sign_in(
    monitor: Served, db: Connection, cheap: None, policy: SecondFactor
) -> None:
    center: Center = monitor.app.state.center
    given = {"name": "anna", "password": PASSWORD}
    async with monitor.client() as known, monitor.client() as new:
        assert (await known.post("/api/v1/sign-in", json=given)).status_code == 200
        center.options = replace(center.options, second_factor=policy)
        for factor, is_known, is_right, must_change, disabled, locked in product(FACTORS, *[YES_NO] * 5):
            await arrange(db, factor, must_change, disabled)
            center.throttle = Throttle()
            for _ in range(TRIES_PER_NAME_AND_ADDRESS * locked):
                center.throttle.begin(Attempt("anna", "127.0.0.1", None), asyncio.get_running_loop().time())
            client = known if is_known else new
            forget(client, but="northwatch_device" if is_known else "nothing")
            body = {"name": "anna", "password": PASSWORD if is_right else "wrong", "code": code(factor)}
            answer = await client.post("/api/v1/sign-in", json=body)
            told = answer.json()
            case = {
                "is_known": is_known,
                "is_right": is_right,
                "must_change": must_change,
                "disabled": disabled,
                "locked": locked,
            }
            found = answer.status_code, told.get("must") if answer.status_code == 200 else told["code"]
            assert (factor, case, found) == (factor, case, expected(policy, factor, **case))
            opens = (await client.get("/api/v1/settings")).status_code
            assert (case, opens) == (case, 401 if found[0] != 200 else 403 if found[1] else 200)


async def test_a_second_factor_is_set_up_used_and_removed(anna: httpx.AsyncClient, monitor: Served) -> None:
    wrong = await anna.post("/api/v1/me/second-factor", json={"password": "wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_password")
    given = (await anna.post("/api/v1/me/second-factor", json={"password": PASSWORD})).json()
    assert given["url"].startswith("otpauth://totp/Northwatch:anna?") and given["secret"] in given["url"]
    refused = await anna.post("/api/v1/me/second-factor/confirm", json={"code": "12345"})
    assert (refused.status_code, refused.json()["code"]) == (403, "code_not_confirmed")
    right = {"code": code_of(given["secret"], datetime.now(UTC))}
    codes = (await anna.post("/api/v1/me/second-factor/confirm", json=right)).json()["recovery_codes"]
    assert (await anna.get("/api/v1/me")).json()["has_second_factor"]
    async with monitor.client() as other:
        body = {"name": "anna", "password": PASSWORD}
        needed = await other.post("/api/v1/sign-in", json=body)
        assert (needed.status_code, needed.json()["code"]) == (401, "second_factor_needed")
        assert (await other.post("/api/v1/sign-in", json=body | {"code": codes[0]})).status_code == 200
    gone = {"password": PASSWORD, "code": codes[1]}
    assert (await anna.post("/api/v1/me/second-factor/remove", json=gone)).status_code == 204
    assert not (await anna.get("/api/v1/me")).json()["has_second_factor"]


async def test_a_second_factor_is_replaced_with_a_code_of_it(
    anna: httpx.AsyncClient, db: Connection, cheap: None
) -> None:
    await arrange(db, "right", False, False)
    for given, problem in (
        (None, "second_factor_needed"),
        ("not a code", "wrong_code"),
    ):
        refused = await anna.post("/api/v1/me/second-factor", json={"password": PASSWORD, "code": given})
        assert (given, refused.status_code, refused.json().get("code")) == (given, 401, problem)
    body = {"password": PASSWORD, "code": code("right")}
    new = (await anna.post("/api/v1/me/second-factor", json=body)).json()["secret"]
    assert (await anna.post("/api/v1/me/second-factor", json=body)).json()["code"] == "wrong_code"  # used
    right = {"code": code_of(new, datetime.now(UTC))}
    codes = (await anna.post("/api/v1/me/second-factor/confirm", json=right)).json()["recovery_codes"]
    lost = {"password": PASSWORD, "code": codes[0]}
    assert (await anna.post("/api/v1/me/second-factor", json=lost)).status_code == 200


async def test_who_must_have_a_second_factor_sets_it_up_first(
    anna: httpx.AsyncClient, root: httpx.AsyncClient, monitor: Served
) -> None:
    center: Center = monitor.app.state.center
    center.options = replace(center.options, second_factor="administrators")
    assert (await anna.get("/api/v1/vehicles")).status_code == 200
    refused = await root.get("/api/v1/vehicles")
    assert (refused.status_code, refused.json()["code"]) == (403, "must_set_up_second_factor")
    given = (await root.post("/api/v1/me/second-factor", json={"password": PASSWORD})).json()
    right = {"code": code_of(given["secret"], datetime.now(UTC))}
    assert (await root.post("/api/v1/me/second-factor/confirm", json=right)).status_code == 200
    assert (await root.get("/api/v1/vehicles")).status_code == 200
    me = (await root.get("/api/v1/me")).json()["id"]
    own = await root.post(f"/api/v1/users/{me}/second-factor/reset")
    assert (own.status_code, own.json()["code"]) == (409, "not_for_oneself")


async def test_an_admin_resets_the_second_factor_of_somebody_else(
    anna: httpx.AsyncClient, root: httpx.AsyncClient, db: Connection
) -> None:
    await arrange(db, "right", False, False)
    user = (await anna.get("/api/v1/me")).json()
    assert user["has_second_factor"]
    assert (await root.post(f"/api/v1/users/{user['id']}/second-factor/reset")).status_code == 204
    assert (await anna.get("/api/v1/me")).status_code == 401
    body = {"name": "anna", "password": PASSWORD}
    assert (await anna.post("/api/v1/sign-in", json=body)).status_code == 200


@pytest.mark.parametrize("change", ["password", "factor", "first factor", "disabled"])
async def test_what_changes_while_somebody_signs_in_keeps_that_one_out(
    monitor: Served, db: Connection, cheap: None, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The change is done when the password has been found right, and before the sign-in is opened."""
    await arrange(db, "none" if change == "first factor" else "right", False, False)
    user = await people.user_named(db, "anna")
    find = people.still_holds

    async def change_first(connection: Connection, known: Row) -> bool:
        if change == "password":
            await people.set_password(db, user["id"], "something else", by="root")
        elif change == "factor":
            await second_factor.remove(db, user["id"], by="root")
        elif change == "first factor":
            secret = await second_factor.propose(db, user["id"])
            now = datetime.now(UTC)
            assert await second_factor.confirm(db, user, code_of(secret, now), at=now, keep="no cookie")
        else:
            await people.edit_user(db, user["id"], {"disabled": True}, by="root")
        return await find(connection, known)

    monkeypatch.setattr(people, "still_holds", change_first)
    async with monitor.client() as client:
        body: dict[str, str | None] = {"name": "anna", "password": PASSWORD, "code": code("right")}
        refused = await client.post("/api/v1/sign-in", json=body)
        assert (refused.status_code, refused.json().get("code")) == (401, "sign_in_failed")
    assert not await (await db.execute("SELECT FROM sign_ins WHERE user_id = %s", (user["id"],))).fetchall()


async def test_codes_are_not_guessed_by_who_knows_the_password(
    monitor: Served, db: Connection, cheap: None
) -> None:
    await arrange(db, "right", False, False)
    async with monitor.client() as stranger:
        for number in range(TRIES_PER_NAME_AND_ADDRESS):
            body = {"name": "anna", "password": PASSWORD, "code": f"no{number}"}
            assert (await stranger.post("/api/v1/sign-in", json=body)).status_code == 401
            asked = {"name": "anna", "password": PASSWORD}  # which is right, and lets nobody try more codes
            assert (await stranger.post("/api/v1/sign-in", json=asked)).status_code == 401
        body = {"name": "anna", "password": PASSWORD, "code": code("right")}
        assert (await stranger.post("/api/v1/sign-in", json=body)).status_code == 429
