"""The documentation, the page of usage and the console, in a real browser."""

import importlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp
from tests.browser.conftest import Open, Page, Scripted
from tests.browser.hostile import HOSTILE
from tests.browser.test_playground import CALL, button, is_done

from tessera.access.keys import KeyHasher
from tessera.access.tiers import Tiers
from tessera.http.admin.app import admin_app
from tessera.http.admin.routes import admin_routes
from tessera.http.web.site import CONSOLE, Site
from tessera.store.database import open_database
from tessera.store.migration import upgrade

ADMIN_KEY = "admin-" + "k" * 40


def test_the_search_folds_accents(open_page: Open) -> None:
    page = open_page("/docs/es/")
    page.get_by_label("Buscar en la documentación").fill("limites")
    page.locator("#results a", has_text="Límites").first.click()
    page.wait_for_url(re.compile(r"/docs/es/[\w/-]+#l%C3%ADmites$"))
    assert page.locator("#límites").is_visible()


def test_the_language_is_switched_on_the_same_section(open_page: Open) -> None:
    page = open_page("/docs/en/operations/limits#overload")
    # A click of Playwright's would scroll first.
    page.locator("#language").evaluate("node => node.click()")
    page.wait_for_url("**/docs/es/operations/limits#sobrecarga")


def test_one_choice_of_code_holds_everywhere(open_page: Open, scripted: Scripted) -> None:
    page = open_page("/docs/en/concepts/streaming")
    assert f"curl -N {scripted.url}/v1" in page.locator(".tab:visible code").inner_text()
    page.get_by_role("tab", name="Python").click()
    page.goto(f"{scripted.url}/docs/es/concepts/structured-output")
    assert "from openai import OpenAI" in page.locator(".tab:visible code").inner_text()
    page.keyboard.press("Tab")
    page.get_by_role("tab", name="Python").focus()
    page.keyboard.press("ArrowRight")
    assert "import OpenAI from" in page.locator(".tab:visible code").inner_text()


def test_the_theme_is_chosen_and_kept(open_page: Open, scripted: Scripted) -> None:
    page = open_page("/docs/en/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate(ground)
    page.goto(f"{scripted.url}/docs/en/api")
    assert page.evaluate(ground) == dark != light


def test_an_example_of_the_reference_is_tried_in_the_playground(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    page.get_by_label("Keep until this tab is closed").check()
    page.goto(f"{scripted.url}/docs/en/reference")
    page.get_by_role("link", name="Try it in the playground").first.click()
    page.get_by_label("Your message").wait_for()
    assert page.get_by_label("Your message").input_value() == "What is the weather in León?"
    button(page, "Send").click()
    is_done(page)


@pytest.fixture
def console(
    open_page: Open,
    run_app: Callable[[ASGIApp], AbstractContextManager[int]],
    tmp_path: Path,
    scripted: Scripted,
) -> Iterator[Page]:
    """The console on an admin listener with an empty store, after sign-in."""
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    upgrade(store)
    routes = admin_routes(store, Tiers(), KeyHasher(b"s" * 32))
    app = admin_app(
        lambda: b"tessera_num_requests_running 3\ntessera_store_up 1\n", ADMIN_KEY, routes, Site(CONSOLE)
    )

    async def without_lifespan(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    with run_app(without_lifespan) as port:
        page = open_page("/docs/en/")
        own = f"http://127.0.0.1:{port}"
        scripted.also.append(own)
        page.goto(own)
        page.get_by_label("Admin key").fill(ADMIN_KEY)
        page.keyboard.press("Enter")
        page.get_by_text("running requests", exact=True).wait_for()
        yield page
    store.dispose()


def test_the_console_shows_load_and_makes_accounts_and_keys(console: Page) -> None:
    assert "3" in console.locator(".figures").inner_text()
    console.get_by_role("tab", name="Accounts").click()
    console.get_by_label("account", exact=True).fill("acme")
    console.get_by_label("tier", exact=True).select_option("pro")
    button(console, "Create").click()
    console.locator("td", has_text="acme").wait_for()
    button(console, "Disable").click()
    button(console, "Sure?").click()
    button(console, "Enable").click()
    button(console, "Disable").wait_for()
    console.get_by_role("tab", name="Keys").click()
    console.get_by_label("account", exact=True).fill("acme")
    console.get_by_label("name", exact=True).fill("dev")
    button(console, "Create").click()
    secret = console.get_by_role("status").locator("code")
    secret.wait_for()
    assert secret.inner_text().startswith("sk-tessera-")
    button(console, "Revoke").click()
    button(console, "Sure?").click()
    console.locator("td", has_text="revoked").wait_for()
    console.get_by_role("tab", name="Audit").click()
    console.locator("td", has_text="key.revoke").wait_for()
    assert secret.count() == 0
    assert console.evaluate("[sessionStorage.length, localStorage.length]") == [0, 0]


def test_hostile_names_run_nothing_in_the_console(console: Page) -> None:
    made = console.evaluate(
        """async ([key, names]) => {
          const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
          const post = (path, body) => fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
          let n = 0;
          for (const name of names) {
            const account = await post("/admin/accounts", { name, tier: "lite" });
            if (account.ok) n += (await post("/admin/keys", { account: name, name })).ok;
          }
          return n;
        }""",
        [ADMIN_KEY, HOSTILE[:: len(HOSTILE) // 40]],
    )
    assert made > 10
    for tab in ("Accounts", "Keys", "Audit"):
        console.get_by_role("tab", name=tab).click()
        console.locator("td", has_text="<").first.wait_for()
        assert (
            console.locator("main :is(script, img, iframe, object, embed, base, link, style, form)").count()
            == 0
        )
    assert console.evaluate("window.ran") is None


def axe_faults(page: Page) -> list[str]:
    try:
        package = importlib.import_module("axe_playwright_python")
    except ModuleNotFoundError:
        pytest.skip("axe-playwright-python is not installed")
    page.evaluate((Path(str(package.__file__)).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run().then(({ violations }) => violations)")
    return [
        f"{each['impact']} {each['id']} {each['nodes'][0]['html']}"
        for each in found
        if each["impact"] != "minor"
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_no_fault(open_page: Open, scripted: Scripted, width: int, dark: bool) -> None:
    paths = (
        "/docs/en/",
        "/docs/es/api/chat-completions",
        "/docs/en/operations/proxies",
        "/docs/en/concepts/streaming",
        "/docs/es/reference",
        "/docs/en/no",
        "/usage",
        "/",
    )
    for path in paths:
        page = open_page(path, width=width, dark=dark, key="", bypass_csp=True)
        assert axe_faults(page) == [], path


def test_axe_finds_no_fault_in_a_conversation(open_page: Open, scripted: Scripted) -> None:
    scripted.say(CALL)
    page = open_page(bypass_csp=True)
    button(page, "A tool call").click()
    button(page, "Send").click()
    is_done(page)
    for tab in ("Events", "Headers", "Code", "Request"):
        page.get_by_role("tab", name=tab).click()
        assert axe_faults(page) == [], tab


def test_axe_finds_no_fault_in_the_console(console: Page) -> None:
    for tab in ("Accounts", "Keys", "Usage", "Audit", "Live"):
        console.get_by_role("tab", name=tab).click()
        console.wait_for_timeout(300)
        assert axe_faults(console) == [], tab
