"""The story that the product is for, walked as an operator sees it.

Its pictures are those of the documentation, so it comes before the other tests and finds a fresh desk.
"""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.center import PATIENCE_S
from tests.browser.conftest import Picture, SignIn

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

expect.set_options(timeout=PATIENCE_S * 1000)

PLACE_OF = """plate => {
    const features = window.__map.querySourceFeatures('vehicles')
    const shown = features.find(({properties}) => properties.name === plate)
    return shown ? JSON.stringify(shown.geometry.coordinates) : null
}"""


def test_from_the_alarm_to_the_closed_ticket(sign_in: SignIn, picture: Picture) -> None:
    page = sign_in()
    page.get_by_test_id("start-shift").click()
    a_vehicle_moves(page)
    plate = an_emergency_is_taken(page)
    ticket = a_silent_terminal_gets_a_ticket(page)
    show_the_desk(page, plate, picture)
    it_has_evidence(page, ticket, picture)
    the_alarm_is_handled(page, plate, picture)
    the_ticket_closes_on_proof(page, ticket, picture)


def emergency(page: Page, plate: str) -> Locator:
    return page.locator(f"[data-testid=alarm-row][data-condition=emergency][data-plate={plate}]")


def a_vehicle_moves(page: Page) -> None:
    page.locator("[data-testid=map][data-ready=true]").wait_for()
    row = page.locator("[data-testid=vehicle-row][data-kind=moving]:not([data-plate=''])").first
    plate = row.get_attribute("data-plate")
    assert plate and plate.startswith("辽")
    page.wait_for_function(PLACE_OF, arg=plate)
    before = page.evaluate(PLACE_OF, plate)
    page.wait_for_function(f"([plate, before]) => ({PLACE_OF})(plate) !== before", arg=[plate, before])


def an_emergency_is_taken(page: Page) -> str:
    alarm = page.locator("[data-testid=alarm-row][data-condition=emergency][data-desk=free]").first
    expect(alarm).to_contain_text("紧急报警")
    plate = alarm.get_attribute("data-plate") or ""
    alarm.get_by_test_id("alarm-take").click()
    expect(emergency(page, plate)).to_have_attribute("data-desk", "taken")
    expect(emergency(page, plate).get_by_test_id("alarm-taker")).to_be_visible()
    return plate


def a_silent_terminal_gets_a_ticket(page: Page) -> str:
    row = page.locator("[data-testid=ticket-row][data-fault=silent][data-state=open]").first
    row.wait_for()
    plate = row.get_attribute("data-plate") or ""
    page.get_by_test_id("vehicle-search").fill(plate)
    vehicle = page.locator(f"[data-testid=vehicle-row][data-plate={plate}]")
    expect(vehicle).to_have_attribute("data-kind", "silent")
    page.get_by_test_id("vehicle-search").fill("")
    return row.get_attribute("data-ticket-id") or ""


def show_the_desk(page: Page, plate: str, picture: Picture) -> None:
    emergency(page, plate).click()
    expect(page.get_by_test_id("vehicle-card")).to_have_attribute("data-plate", plate)
    page.get_by_test_id("map-fit").click()
    page.mouse.move(800, 890)
    picture(page, "desk")
    page.get_by_test_id("language").click()
    expect(page.get_by_test_id("nav-tickets")).to_have_text("Tickets")
    picture(page, "desk.en")
    page.get_by_test_id("language").click()
    page.get_by_test_id("card-close").click()


def it_has_evidence(page: Page, ticket: str, picture: Picture) -> None:
    # On a slow machine the terminal reports again by now, and only the list of all tickets still has it.
    page.get_by_test_id("nav-tickets").click()
    page.locator(f"[data-testid=ticket-item][data-ticket-id='{ticket}']").click()
    dialog = page.get_by_test_id("ticket-dialog")
    expect(dialog.get_by_test_id("ticket-evidence")).to_contain_text("0x0200")
    expect(dialog.get_by_test_id("ticket-reason")).to_contain_text("没有任何数据")
    picture(page, "ticket")
    dialog.get_by_test_id("ticket-close-dialog").click()
    page.get_by_test_id("nav-desk").click()


def the_alarm_is_handled(page: Page, plate: str, picture: Picture) -> None:
    row = emergency(page, plate)
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


def the_ticket_closes_on_proof(page: Page, ticket: str, picture: Picture) -> None:
    page.get_by_test_id("nav-tickets").click()
    page.locator(f"[data-testid=ticket-item][data-ticket-id='{ticket}']").click()
    dialog = page.get_by_test_id("ticket-dialog")
    expect(dialog).to_have_attribute("data-state", "closed")
    expect(dialog.get_by_test_id("ticket-proof")).to_contain_text("恢复上报")
    picture(page, "ticket-closed")
    dialog.get_by_test_id("ticket-close-dialog").click()
    page.get_by_test_id("nav-desk").click()
    expect(page.locator(f"[data-testid=ticket-row][data-ticket-id='{ticket}']")).to_have_count(0)
