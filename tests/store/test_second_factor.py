"""Codes of an authenticator serve once, about their time; recovery codes serve once."""

import asyncio
from base64 import b32encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.rows import dict_row

from store import people, second_factor
from store.second_factor import RECOVERY_CODES, STEP_S, code_of
from store.select import Connection, Row

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
KEPT = "no cookie"


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Connection]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as opened:
        yield opened


@pytest.fixture
async def anna(db: Connection) -> Row:
    return await people.add_user(db, "anna", role="operator", password="quiet at night", by="test")


async def set_up(db: Connection, user: Row, at: datetime = NOW) -> tuple[str, list[str]]:
    """Give the secret and the recovery codes."""
    secret = await second_factor.propose(db, user["id"])
    codes = await second_factor.confirm(db, user, code_of(secret, at), at=at, keep=KEPT)
    assert codes is not None
    return secret, codes


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(at: int, code: str) -> None:
    """Appendix B, the last six of its eight digits."""
    secret = b32encode(b"12345678901234567890").decode()
    assert code_of(secret, datetime.fromtimestamp(at, UTC)) == code


async def test_a_secret_counts_when_a_code_of_it_was_confirmed(db: Connection, anna: Row) -> None:
    secret = await second_factor.propose(db, anna["id"])
    assert not await second_factor.accepts(db, anna, code_of(secret, NOW), at=NOW)
    assert await second_factor.confirm(db, anna, "000000x", at=NOW, keep=KEPT) is None
    assert not (await people.user_named(db, "anna"))["has_second_factor"]
    await set_up(db, anna)
    assert (await people.user_named(db, "anna"))["has_second_factor"]


async def test_a_code_serves_once_and_none_before_it_any_more(db: Connection, anna: Row) -> None:
    secret, _ = await set_up(db, anna)
    assert not await second_factor.accepts(db, anna, code_of(secret, NOW), at=NOW)  # confirmed with it
    later = NOW + timedelta(seconds=3 * STEP_S)
    assert await second_factor.accepts(db, anna, code_of(secret, later), at=later)
    assert not await second_factor.accepts(db, anna, code_of(secret, later), at=later)
    before = code_of(secret, later - timedelta(seconds=STEP_S))
    assert not await second_factor.accepts(db, anna, before, at=later)


@pytest.mark.parametrize(("steps", "counts"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
async def test_codes_count_about_their_time(db: Connection, anna: Row, steps: int, counts: bool) -> None:
    secret, _ = await set_up(db, anna, NOW - timedelta(hours=1))
    code = code_of(secret, NOW + timedelta(seconds=steps * STEP_S))
    assert await second_factor.accepts(db, anna, f" {code[:3]} {code[3:]} ", at=NOW) == counts


async def test_recovery_codes_serve_once_however_they_are_typed(db: Connection, anna: Row) -> None:
    _, codes = await set_up(db, anna)
    assert len(set(codes)) == RECOVERY_CODES
    rows = await (await db.execute("SELECT code_hash FROM recovery_codes")).fetchall()
    assert not {code.encode() for code in codes} & {bytes(row["code_hash"]) for row in rows}
    assert await second_factor.accepts(db, anna, codes[0], at=NOW)
    assert not await second_factor.accepts(db, anna, codes[0], at=NOW)
    assert await second_factor.accepts(db, anna, codes[1].upper().replace("-", " "), at=NOW)
    _, renewed = await set_up(db, anna)
    assert not await second_factor.accepts(db, anna, codes[2], at=NOW)
    assert await second_factor.accepts(db, anna, renewed[0], at=NOW)


@pytest.mark.parametrize("code", ["", " ", "１２３４５６", "\ud800", "-", "x" * 64])
async def test_no_text_is_a_code_by_chance(db: Connection, anna: Row, code: str) -> None:
    await set_up(db, anna)
    assert not await second_factor.accepts(db, anna, code, at=NOW)


async def test_a_reset_waits_for_a_sign_in_that_is_being_opened_and_ends_it(
    db: Connection, dsn: str, anna: Row
) -> None:
    await set_up(db, anna)
    known = await people.credentials(db, "anna")
    assert known is not None
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as opening:
        assert await people.still_holds(opening, known)
        cookie = await people.open_sign_in(opening, anna["id"])
        removing = asyncio.create_task(second_factor.remove(db, anna["id"], by="root"))
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        while not removing.done() and not await (await opening.execute(waiting)).fetchall():
            pass
    await removing
    assert await people.signed_in(db, cookie) is None
    assert not await people.still_holds(db, known)


async def test_a_reset_ends_sign_ins_and_stands_in_the_audit(db: Connection, anna: Row) -> None:
    _, codes = await set_up(db, anna)
    cookie = await people.open_sign_in(db, anna["id"])
    await second_factor.remove(db, anna["id"], by="root")
    assert await people.signed_in(db, cookie) is None
    assert not await second_factor.accepts(db, anna, codes[0], at=NOW)
    rows = await (await db.execute("SELECT user_name, action FROM audit ORDER BY id")).fetchall()
    assert [tuple(row.values()) for row in rows][-2:] == [
        ("anna", "user.second_factor_set_up"),
        ("root", "user.second_factor_removed"),
    ]
