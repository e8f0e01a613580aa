"""The pages around the desk: people, the fleet, the import, and what could not be read."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from store.second_factor import code_of
from tests.browser.center import PATIENCE_S, Center, location_report
from tests.browser.conftest import Arrive, Picture, SignIn

pytestmark = pytest.mark.browser

expect.set_options(timeout=PATIENCE_S * 1000)

FLEET = "plate,plate_color,identity\n辽A70001,黄,13970000001\n"
GARBAGE = bytes.fromhex("7e0200001c0139000000990001deadbeef7e")


def test_an_operator_watches_and_an_administrator_arranges(sign_in: SignIn, arrive: Arrive) -> None:
    vehicle = arrive("13900000061", "辽A00061")
    admin = sign_in()
    admin.get_by_test_id("nav-users").click()
    admin.get_by_test_id("user-add").click()
    admin.get_by_test_id("user-name").fill("zhao")
    admin.get_by_test_id("user-display-name").fill("赵敏")
    admin.get_by_test_id("user-new-password").fill("night shift 2026")
    admin.get_by_test_id("form-submit").click()
    expect(admin.locator("[data-testid=user-item][data-name=zhao]")).to_be_visible()
    operator = sign_in("zhao", "night shift 2026", own="day shift 2027")
    expect(operator.get_by_test_id("me")).to_contain_text("赵敏")
    expect(operator.get_by_test_id("nav-users")).to_have_count(0)
    operator.get_by_test_id("nav-vehicles").click()
    expect(operator.locator(f"[data-testid=vehicle-item][data-plate={vehicle.plate}]")).to_be_visible()
    expect(operator.get_by_test_id("vehicle-add")).to_have_count(0)


def test_a_second_factor_is_set_up_and_asked_for(sign_in: SignIn) -> None:
    admin = sign_in()
    admin.get_by_test_id("nav-users").click()
    admin.get_by_test_id("user-add").click()
    admin.get_by_test_id("user-name").fill("qian")
    admin.get_by_test_id("user-new-password").fill("night shift 2026")
    admin.get_by_test_id("form-submit").click()
    expect(admin.locator("[data-testid=user-item][data-name=qian]")).to_be_visible()
    page = sign_in("qian", "night shift 2026", own="day shift 2027")
    page.get_by_test_id("me").click()
    page.get_by_test_id("second-factor").click()
    page.get_by_test_id("factor-password").fill("day shift 2027")
    recovery = factor_is_confirmed(page)
    page.get_by_test_id("me").click()
    page.get_by_test_id("second-factor").click()
    page.get_by_test_id("factor-replace").check()
    page.get_by_test_id("factor-password").fill("day shift 2027")
    page.get_by_test_id("factor-old-code").fill(recovery)
    recovery = factor_is_confirmed(page)
    page.get_by_test_id("sign-out").click()
    page.get_by_test_id("sign-in-name").fill("qian")
    page.get_by_test_id("sign-in-password").fill("day shift 2027")
    page.get_by_test_id("sign-in-submit").click()
    page.get_by_test_id("sign-in-code").fill(recovery)
    page.get_by_test_id("sign-in-submit").click()
    page.locator("[data-testid=lamp-live][data-state=open]").wait_for()


def factor_is_confirmed(page: Page) -> str:
    """Send what was filled in, confirm the new factor by a code of it, and give a recovery code."""
    page.get_by_test_id("form-submit").click()
    secret = page.get_by_test_id("factor-secret").inner_text().replace(" ", "")
    page.get_by_test_id("factor-code").fill(code_of(secret, datetime.now(UTC)))
    page.get_by_test_id("form-submit").click()
    recovery: str = page.get_by_test_id("recovery-code").first.inner_text()
    page.get_by_test_id("form-submit").click()
    return recovery


def test_a_terminal_is_claimed_out_of_the_lobby(sign_in: SignIn, center: Center) -> None:
    center.send(location_report("13900000031"))
    page = sign_in()
    page.get_by_test_id("nav-terminals").click()
    page.get_by_test_id("terminals-search").fill("13900000031")
    row = page.locator("[data-testid=terminal-item][data-identity='13900000031']")
    expect(row).to_have_attribute("data-known", "false")
    row.get_by_test_id("terminal-claim").click()
    expect(page.get_by_test_id("claim-unheard")).to_be_visible()
    expect(page.get_by_test_id("claim-without-code")).to_be_checked()
    page.get_by_test_id("claim-plate").fill("辽A00031")
    page.get_by_test_id("form-submit").click()
    expect(row).to_have_attribute("data-known", "true")
    expect(row).to_contain_text("辽A00031")
    expect(row.get_by_test_id("terminal-with-code")).to_be_visible()
    page.once("dialog", lambda asked: asked.accept())
    row.get_by_test_id("terminal-block").click()
    expect(row).to_have_attribute("data-blocked", "true")


def test_many_new_terminals_may_come_for_some_hours(sign_in: SignIn) -> None:
    page = sign_in()
    page.get_by_test_id("nav-terminals").click()
    page.get_by_test_id("terminals-lobby").click()
    page.get_by_test_id("enrolment-open").click()
    page.get_by_test_id("enrolment-hours").fill("2")
    page.get_by_test_id("form-submit").click()
    expect(page.get_by_test_id("enrolment")).to_have_attribute("data-open", "true")
    page.get_by_test_id("enrolment-close").click()
    expect(page.get_by_test_id("enrolment")).to_have_attribute("data-open", "false")


def test_an_import_names_every_bad_line_and_is_done_whole(sign_in: SignIn, tmp_path: Path) -> None:
    page = sign_in()
    page.get_by_test_id("nav-import").click()
    fleet = tmp_path / "fleet.csv"
    fleet.write_text(f"{FLEET}辽A70002,黄,not hex\n", "utf-8")
    page.get_by_test_id("import-file").set_input_files(fleet)
    expect(page.locator("[data-testid=import-fault][data-line='3']")).to_be_visible()
    fleet.write_text(
        "plate,plate_color,identity\n辽A70001,黄,13970000001\n辽A70002,黄,13970000002\n", "gb18030"
    )
    page.get_by_test_id("import-file").set_input_files(fleet)
    expect(page.get_by_test_id("import-report")).to_have_attribute("data-dry-run", "true")
    page.get_by_test_id("import-submit").click()
    expect(page.get_by_test_id("import-report")).to_have_attribute("data-dry-run", "false")
    page.get_by_test_id("nav-vehicles").click()
    page.get_by_test_id("vehicles-search").fill("辽A7000")
    expect(page.get_by_test_id("vehicle-item")).to_have_count(2)


def test_a_period_is_held_and_released(sign_in: SignIn, arrive: Arrive) -> None:
    vehicle = arrive("13900000062", "辽A00062")
    page = sign_in()
    page.get_by_test_id("nav-vehicles").click()
    row = page.locator(f"[data-testid=vehicle-item][data-plate={vehicle.plate}]")
    row.get_by_test_id("vehicle-hold").click()
    page.get_by_test_id("hold-begins").fill("2026-03-01T08:00")
    page.get_by_test_id("hold-ends").fill("2026-03-01T07:00")
    page.get_by_test_id("hold-reason").fill("accident 42")
    page.get_by_test_id("form-submit").click()
    expect(page.get_by_test_id("form-problem")).to_contain_text("ends_at")
    page.get_by_test_id("hold-ends").fill("2026-03-01T09:00")
    page.get_by_test_id("form-submit").click()
    expect(page.get_by_test_id("form-dialog")).to_have_count(0)
    page.get_by_test_id("holds-open").click()
    expect(page.get_by_test_id("hold-item")).to_contain_text("accident 42")
    page.on("dialog", lambda asked: asked.accept())
    page.get_by_test_id("hold-release").click()
    expect(page.get_by_test_id("hold-item")).to_have_count(0)
    page.get_by_test_id("holds-released").check()
    expect(page.get_by_test_id("hold-item")).to_contain_text("admin")


def test_what_cannot_be_read_is_shown_as_it_came(sign_in: SignIn, center: Center, picture: Picture) -> None:
    center.send(GARBAGE)
    page = sign_in()

    def find() -> None:
        page.get_by_test_id("nav-health").click()
        page.get_by_test_id("nav-quarantine").click()
        page.get_by_test_id("quarantine-page").wait_for()

    find()
    row = page.locator("[data-testid=quarantine-row]", has_text="de ad be ef")
    while row.count() == 0:
        page.wait_for_timeout(300)
        find()
    row.click()
    expect(page.get_by_test_id("quarantine-hex")).to_contain_text("de ad be ef")
    picture(page, "quarantine")


def test_health_shows_every_part(sign_in: SignIn, picture: Picture) -> None:
    page = sign_in()
    page.get_by_test_id("nav-health").click()
    for part in ("gateway", "worker", "database", "log"):
        expect(page.locator(f"[data-testid=health-part][data-part={part}]")).to_have_attribute(
            "data-state", "ok"
        )
    picture(page, "health")
