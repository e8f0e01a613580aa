"""The page that explains pasted hex."""

import pytest
from playwright.sync_api import expect

from tests.browser.center import PATIENCE_S, location_report
from tests.browser.conftest import Picture, SignIn

pytestmark = pytest.mark.browser

expect.set_options(timeout=PATIENCE_S * 1000)


def test_pasted_bytes_are_explained_with_what_is_wrong(sign_in: SignIn, picture: Picture) -> None:
    page = sign_in()
    page.get_by_test_id("nav-explain").click()
    page.get_by_test_id("explain-example").click()
    unit = page.get_by_test_id("explain-unit")
    expect(unit).to_have_attribute("data-findings", "")
    expect(page.locator("[data-testid=explain-part][data-field=speed_kmh]")).to_contain_text("km/h")
    broken = bytearray(location_report("13900000099"))
    broken[-2] ^= 1
    page.get_by_test_id("explain-hex").fill(broken.hex())
    page.get_by_test_id("explain-submit").click()
    expect(unit).to_have_attribute("data-findings", "bad_checksum")
    expect(page.get_by_test_id("explain-finding")).to_contain_text("校验码错误")
    picture(page, "explain")
    page.get_by_test_id("explain-hex").fill("报警")
    page.get_by_test_id("explain-submit").click()
    expect(page.get_by_test_id("explain-problem")).to_contain_text("报")
