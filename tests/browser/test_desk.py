"""The desk under the hand of an operator: keys, rows that do not jump, a link that is lost."""

import pytest
from playwright.sync_api import expect

from tests.browser.center import EMERGENCY, PATIENCE_S, Center
from tests.browser.conftest import Arrive, SignIn

pytestmark = pytest.mark.browser

expect.set_options(timeout=PATIENCE_S * 1000)


NOTE_THE_BANNER = """() => new MutationObserver(() => {
    window.__bannerWasSeen ||= document.querySelector('[data-testid=banner-live]') !== null
}).observe(document.body, {childList: true, subtree: true})"""
"""It may be there for shorter than a test looks away."""
IS_CUT = """all => all.filter(each => {
    const {left, right} = each.getBoundingClientRect()
    const around = each.parentElement.getBoundingClientRect()
    const isInside = left >= around.left && right <= around.right + 0.5 && around.right <= innerWidth
    return each.scrollWidth > each.clientWidth || !isInside
}).map(each => each.innerText)"""
"""Those of which one does not see everything."""


def test_rows_do_not_jump_under_the_hand(sign_in: SignIn, arrive: Arrive) -> None:
    page = sign_in()
    arrive("13900000011", "").report(EMERGENCY)
    page.locator("[data-testid=alarm-row]", has_text="13900000011").wait_for()
    page.get_by_test_id("alarms").hover()
    rows = page.get_by_test_id("alarm-row").evaluate_all("all => all.map(row => row.dataset.alarmId)")
    arrive("13900000012", "").report(EMERGENCY)
    expect(page.get_by_test_id("alarms-new")).to_be_visible()
    assert rows == page.get_by_test_id("alarm-row").evaluate_all("all => all.map(row => row.dataset.alarmId)")
    page.mouse.move(800, 400)
    expect(page.get_by_test_id("alarms-new")).to_have_count(0)
    expect(page.locator("[data-testid=alarm-row]", has_text="13900000012")).to_be_visible()


def test_the_keyboard_takes_and_handles(sign_in: SignIn, arrive: Arrive) -> None:
    page = sign_in()
    arrive("13900000021", "").report(EMERGENCY)
    row = page.locator("[data-testid=alarm-row][data-desk=free]", has_text="13900000021")
    row.wait_for()
    focused = page.locator("[data-testid=alarm-row].focused")
    page.keyboard.press("j")
    while "13900000021" not in focused.inner_text():
        page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("vehicle-card")).to_contain_text("13900000021")
    page.keyboard.press("a")
    mine = page.locator("[data-testid=alarm-row]", has_text="13900000021")
    expect(mine).to_have_attribute("data-desk", "taken")
    page.keyboard.press("h")
    expect(page.get_by_test_id("handle-dialog")).to_be_visible()
    page.keyboard.press("3")
    page.keyboard.press("Control+Enter")
    expect(mine).to_have_count(0)
    # The row may go by the live link before the answer closes the dialog, and an open dialog keeps the keys.
    expect(page.get_by_test_id("handle-dialog")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_test_id("keys-dialog")).to_be_visible()


def test_a_dialog_closes_wherever_the_focus_is(sign_in: SignIn) -> None:
    page = sign_in()
    page.keyboard.press("?")
    expect(page.get_by_test_id("keys-dialog")).to_be_visible()
    page.evaluate("document.activeElement.blur()")  # as when the button that had it goes
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("keys-dialog")).to_have_count(0)


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
@pytest.mark.parametrize("width", [1280, 1440])
def test_figures_and_pages_are_whole_in_an_ordinary_window(sign_in: SignIn, locale: str, width: int) -> None:
    page = sign_in(locale=locale)
    page.set_viewport_size({"width": width, "height": 900})
    expect(page.get_by_test_id("bar-figure")).to_have_count(7)
    assert page.locator("[data-testid=bar-figure], [data-testid^=nav-]").evaluate_all(IS_CUT) == []
    rows = "all => new Set(all.map(({offsetTop}) => offsetTop)).size"
    assert page.locator("[data-testid^=nav-]").evaluate_all(rows) == 1


def test_search_goes_to_a_vehicle(sign_in: SignIn, arrive: Arrive) -> None:
    vehicles = [arrive(f"1390000005{number}", f"辽A0005{number}") for number in range(3)]
    page = sign_in()
    for vehicle in vehicles:
        page.locator(f"[data-testid=vehicle-row][data-plate={vehicle.plate}]").wait_for()
    page.keyboard.press("/")
    page.keyboard.type(vehicles[1].plate)
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("vehicle-card")).to_have_attribute("data-plate", vehicles[1].plate)
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("vehicle-card")).to_have_count(0)


def test_a_lost_link_is_said_and_comes_back_by_itself(sign_in: SignIn, center: Center) -> None:
    page = sign_in()
    expect(page.get_by_test_id("lamp-live")).to_have_attribute("data-state", "open")
    page.evaluate(NOTE_THE_BANNER)
    center.kill("monitor")
    while not page.evaluate(
        "window.__bannerWasSeen"
    ):  # the page's policy forbids what wait_for_function does
        page.wait_for_timeout(100)
    expect(page.get_by_test_id("lamp-live")).to_have_attribute("data-state", "open")
    expect(page.get_by_test_id("banner-live")).to_have_count(0)


def test_a_wrong_password_is_refused_in_the_persons_language(sign_in: SignIn) -> None:
    page = sign_in()
    page.get_by_test_id("sign-out").click()
    page.get_by_test_id("sign-in-name").fill("nobody")
    page.get_by_test_id("sign-in-password").fill("not the password")
    page.get_by_test_id("sign-in-submit").click()
    expect(page.get_by_test_id("sign-in-problem")).to_have_text("用户名或密码不对。")
    page.get_by_test_id("language").click()
    expect(page.get_by_test_id("sign-in-submit")).to_have_text("Sign in")


def test_font_and_map_come_from_our_own_server(sign_in: SignIn, center: Center) -> None:
    page = sign_in()
    page.locator("[data-testid=map][data-ready=true]").wait_for()
    loaded = page.evaluate(
        "document.fonts.ready.then(all => [...all].filter(f => f.status === 'loaded').map(f => f.family))"
    )
    assert any("Noto Sans SC" in family for family in loaded)
    resources = "performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)"
    assert set(page.evaluate(resources)) == {center.url}
