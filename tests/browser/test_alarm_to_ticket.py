"""The story that the product is for, walked as an operator sees it, and the demo that tells it.

Its pictures are those of the documentation, so the demo's fleet is around, but the vehicle in question is the
test's own: it is silent for as long as the test says nothing, however slow the machine is.
"""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.center import EMERGENCY, PATIENCE_S, Center, Vehicle
from tests.browser.conftest import Arrive, Picture, SignIn, running_center

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1800)]

expect.set_options(timeout=PATIENCE_S * 1000)

VEHICLES = 60
PLATE = "辽A90001"
PLACE_OF = """plate => {
    const features = window.__map.querySourceFeatures('vehicles')
    const shown = features.find(({properties}) => properties.name === plate)
    return shown ? JSON.stringify(shown.geometry.coordinates) : null
}"""


@pytest.fixture(scope="module")
def center(browser: Browser) -> Iterator[Center]:
    """A center with a demo fleet."""
    with running_center(VEHICLES) as running:
        yield running


def test_from_the_alarm_to_the_closed_ticket(sign_in: SignIn, arrive: Arrive, picture: Picture) -> None:
    page = sign_in()
    page.get_by_test_id("start-shift").click()
    vehicle = arrive("13900090001", PLATE)
    it_moves(page, vehicle)
    vehicle.report(EMERGENCY)
    its_emergency_is_taken(page)
    ticket = its_silence_gets_a_ticket(page)
    show_the_desk(page, picture)
    it_has_evidence(page, ticket, picture)
    the_alarm_is_handled(page, picture)
    the_ticket_closes_on_proof(page, vehicle, ticket, picture)


def test_the_demo_tells_that_story(sign_in: SignIn) -> None:
    """What stays of its first cycle: an emergency, and a silence whose ticket is closed."""
    page = sign_in()
    of_the_demo = f":not([data-plate={PLATE}])"
    show(page, "nav-alarms", page.locator(f"[data-testid=alarm-item][data-condition=emergency]{of_the_demo}"))
    show(page, "nav-tickets", page.locator(f"[data-testid=ticket-item][data-state=closed]{of_the_demo}"))


def show(page: Page, where: str, what: Locator) -> None:
    """Open a page anew until it shows something."""
    page.get_by_test_id(where).click()
    while what.count() == 0:
        page.wait_for_timeout(500)
        page.get_by_test_id("nav-desk").click()
        page.get_by_test_id(where).click()


def emergency(page: Page) -> Locator:
    return page.locator(f"[data-testid=alarm-row][data-condition=emergency][data-plate={PLATE}]")


def report_until(page: Page, vehicle: Vehicle, holds: Callable[[], object]) -> None:
    while not holds():
        vehicle.report()
        page.wait_for_timeout(300)


def it_moves(page: Page, vehicle: Vehicle) -> None:
    page.locator("[data-testid=map][data-ready=true]").wait_for()
    page.get_by_test_id("vehicle-search").fill(PLATE)
    row = page.locator(f"[data-testid=vehicle-row][data-plate={PLATE}]")
    row.wait_for()
    report_until(page, vehicle, lambda: row.get_attribute("data-kind") == "moving")
    report_until(page, vehicle, lambda: page.evaluate(PLACE_OF, PLATE))
    before = page.evaluate(PLACE_OF, PLATE)
    report_until(page, vehicle, lambda: page.evaluate(PLACE_OF, PLATE) != before)
    page.get_by_test_id("vehicle-search").fill("")


def its_emergency_is_taken(page: Page) -> None:
    alarm = emergency(page)
    expect(alarm).to_contain_text("紧急报警")
    alarm.get_by_test_id("alarm-take").click()
    expect(alarm).to_have_attribute("data-desk", "taken")
    expect(alarm.get_by_test_id("alarm-taker")).to_be_visible()


def its_silence_gets_a_ticket(page: Page) -> str:
    row = page.locator(f"[data-testid=ticket-row][data-fault=silent][data-state=open][data-plate={PLATE}]")
    row.wait_for()
    page.get_by_test_id("vehicle-search").fill(PLATE)
    vehicle = page.locator(f"[data-testid=vehicle-row][data-plate={PLATE}]")
    expect(vehicle).to_have_attribute("data-kind", "silent")
    page.get_by_test_id("vehicle-search").fill("")
    return row.get_attribute("data-ticket-id") or ""


def show_the_desk(page: Page, picture: Picture) -> None:
    emergency(page).click()
    expect(page.get_by_test_id("vehicle-card")).to_have_attribute("data-plate", PLATE)
    page.get_by_test_id("map-fit").click()
    page.mouse.move(800, 890)
    picture(page, "desk")
    page.get_by_test_id("language").click()
    expect(page.get_by_test_id("nav-tickets")).to_have_text("Tickets")
    picture(page, "desk.en")
    page.get_by_test_id("language").click()
    page.get_by_test_id("card-close").click()


def it_has_evidence(page: Page, ticket: str, picture: Picture) -> None:
    page.get_by_test_id("nav-tickets").click()
    page.locator(f"[data-testid=ticket-item][data-ticket-id='{ticket}']").click()
    dialog = page.get_by_test_id("ticket-dialog")
    expect(dialog.get_by_test_id("ticket-evidence")).to_contain_text("0x0200")
    expect(dialog.get_by_test_id("ticket-reason")).to_contain_text("没有任何数据")
    picture(page, "ticket")
    dialog.get_by_test_id("ticket-close-dialog").click()
    page.get_by_test_id("nav-desk").click()


def the_alarm_is_handled(page: Page, picture: Picture) -> None:
    row = emergency(page)
    alarm_id = row.get_attribute("data-alarm-id")
    row.get_by_test_id("alarm-handle").click()
    page.get_by_test_id("handle-result-real").check()
    page.get_by_test_id("handle-note").fill("已电话联系驾驶员：车辆故障停在应急车道，已通知救援。")
    picture(page, "handle")
    page.get_by_test_id("handle-submit").click()
    page.mouse.move(800, 400)  # rows stay while a hand is over them
    expect(page.locator(f"[data-testid=alarm-row][data-alarm-id='{alarm_id}']")).to_have_count(0)
    page.get_by_test_id("nav-alarms").click()
    item = page.locator(f"[data-testid=alarm-item][data-alarm-id='{alarm_id}']")
    expect(item).to_have_attribute("data-desk", "handled")
    expect(item).to_contain_text("真实报警")


def the_ticket_closes_on_proof(page: Page, vehicle: Vehicle, ticket: str, picture: Picture) -> None:
    page.get_by_test_id("nav-tickets").click()
    page.locator(f"[data-testid=ticket-item][data-ticket-id='{ticket}']").click()
    dialog = page.get_by_test_id("ticket-dialog")
    expect(dialog).to_have_attribute("data-state", "open")
    report_until(page, vehicle, lambda: dialog.get_attribute("data-state") == "closed")
    expect(dialog.get_by_test_id("ticket-proof")).to_contain_text("恢复上报")
    picture(page, "ticket-closed")
    dialog.get_by_test_id("ticket-close-dialog").click()
    page.get_by_test_id("nav-desk").click()
    expect(page.locator(f"[data-testid=ticket-row][data-ticket-id='{ticket}']")).to_have_count(0)
