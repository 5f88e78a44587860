"""What all tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.need import need
from tests.places import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


# How long an example takes says nothing about the code on a busy machine.
settings.register_profile("gknet", deadline=None)
settings.load_profile("gknet")


@pytest.fixture(scope="session", autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither the daemon nor the settings of whoever runs the tests have a say in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARMONIZE_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The research photographs in ../shared/data. Without them a test is skipped, but on CI it fails."""
    folder = ROOT.parent / "shared" / "data"
    need(folder.is_dir(), f"the research photographs in {folder}")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium. Without one a test is skipped, but on CI it fails."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    need(chromium is not None, "Chromium: on Debian, apt install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page that reaches no network; an error in a script fails the test."""
    context = browser.new_context(offline=True, accept_downloads=True)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []
