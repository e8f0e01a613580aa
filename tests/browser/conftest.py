"""Debian's Chromium, driven through Playwright, before a whole center whose vehicles the tests drive.

Without a browser or a built page the tests skip and say so: `make browser`, `make web`.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from tests.browser.center import ADMIN, PATIENCE_S, Center, Vehicle

ROOT = Path(__file__).parents[2]
SCREEN = ViewportSize(width=1600, height=900)
ARGUMENTS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",  # a map without a graphics card
    "--enable-unsafe-swiftshader",
)

Picture = Callable[[Page, str], None]
SignIn = Callable[..., Page]
Arrive = Callable[[str, str], Vehicle]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The machine's Chromium. Of the package, because while Playwright runs no other test can have a loop."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("NO BROWSER: chromium is not installed; `make browser` does it as root")
    if not (ROOT / "web/dist/index.html").is_file():
        pytest.skip("NO PAGE: web/dist is not built; `make web` does it")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield launched
        launched.close()


@contextmanager
def running_center(demo: int = 0) -> Iterator[Center]:
    # Not pytest's own directory: its path may be too private for the account that the database runs under.
    directory = Path(tempfile.mkdtemp(prefix="northwatch-browser-"))
    running = Center(directory / "data", demo)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="package")
def center(browser: Browser) -> Iterator[Center]:
    """The center that the browser tests look at; nothing happens there but what they do."""
    with running_center() as running:
        yield running


@pytest.fixture
def arrive(center: Center) -> Iterator[Arrive]:
    """Let a vehicle register and report."""
    vehicles: list[Vehicle] = []

    def new_vehicle(identity: str, plate: str) -> Vehicle:
        vehicles.append(Vehicle(center, identity, plate))
        vehicles[-1].report()
        return vehicles[-1]

    yield new_vehicle
    for vehicle in vehicles:
        vehicle.leave()


@pytest.fixture
def sign_in(browser: Browser, center: Center) -> Iterator[SignIn]:
    """Sign in, in a window of its own, and give the desk; a password that is the first one is changed to
    another one. Errors of the page fail the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def new_page(name: str = ADMIN, password: str = "", locale: str = "zh-CN", *, own: str = "") -> Page:
        context = browser.new_context(viewport=SCREEN, locale=locale, reduced_motion="reduce")
        contexts.append(context)
        context.set_default_timeout(PATIENCE_S * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(center.url)
        page.get_by_test_id("sign-in-name").fill(name)
        page.get_by_test_id("sign-in-password").fill(password or center.password)
        page.get_by_test_id("sign-in-submit").click()
        if own:
            page.get_by_test_id("me-old-password").fill(password)
            page.get_by_test_id("me-new-password").fill(own)
            page.get_by_test_id("form-submit").click()
        page.locator("[data-testid=lamp-live][data-state=open]").wait_for()
        return page

    yield new_page
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Picture:
    """Keep a picture for the documentation, where `--screenshots FOLDER` asks for them."""
    folder = request.config.getoption("--screenshots")

    def take(page: Page, name: str) -> None:
        if folder:
            page.wait_for_timeout(1500)  # let the map come to rest: nothing depends on it but beauty
            page.screenshot(path=Path(folder) / f"{name}.png")

    return take
