"""What was yesterday: a vehicle's track, who passed through an area, and the file for somebody else."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.center import PATIENCE_S, Center
from tests.browser.conftest import Picture, SignIn
from tests.browser.yesterday import PLATE, arrange

pytestmark = pytest.mark.browser

expect.set_options(timeout=PATIENCE_S * 1000)


PAUSE_WHEN_IT_MOVES = """() => {
    const find = name => document.querySelector(`[data-testid=${name}]`)
    const watching = new MutationObserver(() => {
        watching.disconnect()
        find('replay-play').click()
    })
    watching.observe(find('replay-bar'), {attributes: true, attributeFilter: ['data-at']})
}"""
"""At once: it would be at its end before a slow machine's hand comes."""


def test_from_yesterdays_track_to_the_file(
    sign_in: SignIn, center: Center, picture: Picture, tmp_path: Path
) -> None:
    arrange(center)
    page = sign_in()
    page.locator("[data-testid=map][data-ready=true]").wait_for()
    its_track_is_opened(page)
    trips_and_stops_are_listed(page, center)
    time_is_under_the_hand(page)
    show_the_track(page, picture)
    it_is_found_in_an_area(page)
    its_positions_are_exported(page, tmp_path / "positions.csv")


def its_track_is_opened(page: Page) -> None:
    page.get_by_test_id("vehicle-search").fill(PLATE)
    page.locator(f"[data-testid=vehicle-row][data-plate={PLATE}]").click()
    page.get_by_test_id("card-replay").click()
    expect(page.get_by_test_id("replay-empty")).to_be_visible()  # of today there is nothing
    page.get_by_test_id("vehicle-search").fill("")


def trips_and_stops_are_listed(page: Page, center: Center) -> None:
    """The page asks again when a period is chosen."""

    def ask() -> int:
        page.get_by_test_id("period-today").click()
        page.get_by_test_id("period-yesterday").click()
        page.locator("[data-testid=replay][data-busy=false]:not([data-points='0'])").wait_for()
        return page.get_by_test_id("replay-trip").count()

    if ask() < 2:
        center.kill("keeper")  # it looks at the new reports within a minute, or when it starts
    while ask() < 2:
        page.wait_for_timeout(500)
    expect(page.get_by_test_id("replay-stop")).to_contain_text("停车")
    expect(page.get_by_test_id("replay-distance")).to_contain_text("km")


def time_is_under_the_hand(page: Page) -> None:
    page.get_by_test_id("replay-trip").last.get_by_role("button").click()
    bar = page.get_by_test_id("replay-bar")
    begin = bar.get_attribute("data-at") or "?"
    page.get_by_test_id("replay-rate").select_option("600")
    page.evaluate(PAUSE_WHEN_IT_MOVES)
    page.get_by_test_id("replay-play").click()
    expect(bar).not_to_have_attribute("data-at", begin)
    expect(bar).to_have_attribute("data-playing", "false")


def show_the_track(page: Page, picture: Picture) -> None:
    page.get_by_test_id("period-today").click()
    page.get_by_test_id("period-yesterday").click()
    slider = page.get_by_test_id("replay-slider")
    slider.fill(str(int(slider.get_attribute("min") or 0) + 22 * 60_000))
    picture(page, "track")
    page.get_by_test_id("language").click()
    expect(page.get_by_test_id("replay-stop")).to_contain_text("Stop")
    picture(page, "track.en")
    page.get_by_test_id("language").click()
    page.get_by_test_id("replay-close").click()
    page.get_by_test_id("card-close").click()


def it_is_found_in_an_area(page: Page) -> None:
    page.evaluate("__map.jumpTo({center: [123.2, 41.4], zoom: 8})")
    page.get_by_test_id("area-open").click()
    page.get_by_test_id("period-yesterday").click()
    page.get_by_test_id("area-circle").click()
    map_box = page.get_by_test_id("map").bounding_box()
    assert map_box
    x, y = map_box["x"] + map_box["width"] / 2, map_box["y"] + map_box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y)
    page.mouse.up()
    visit = page.locator(f"[data-testid=area-visit][data-plate={PLATE}]")
    expect(visit).to_be_visible()
    expect(page.get_by_test_id("area-visit")).to_have_count(1)
    visit.get_by_test_id("area-replay").click()
    page.get_by_test_id("replay-bar").wait_for()


def its_positions_are_exported(page: Page, file: Path) -> None:
    with page.expect_download() as download:
        page.get_by_test_id("export-csv").click()
    download.value.save_as(file)
    header, *rows = file.read_text("utf-8-sig").splitlines()
    assert "placed_at" in header and len(rows) > 400
    assert all(PLATE in row for row in rows)
    page.get_by_test_id("replay-back").click()
    expect(page.get_by_test_id("area-visit")).to_have_count(1)
