"""The documentation, the page of usage and the console, in a real browser."""

import importlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.browser.conftest import Open, Page, Scripted
from tests.browser.hostile import HOSTILE
from tests.browser.test_playground import CALL, ORDER, button, is_done, send
from tests.conftest import KEY

from tessera.access.keys import KeyHasher
from tessera.access.tiers import Tiers
from tessera.core.record import RequestRecord
from tessera.core.usage import LedgerEntry, Usage
from tessera.http.admin.app import admin_app
from tessera.http.admin.requests import OwnRequests, request_routes
from tessera.http.admin.routes import admin_routes
from tessera.http.inflight import InFlight
from tessera.http.web.site import CONSOLE, Site
from tessera.store import accounts, keys, usage
from tessera.store.database import Database, open_database, transaction
from tessera.store.keys import Terms
from tessera.store.migration import upgrade
from tessera.store.pages import PageQuestion

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


def test_examples_are_filled_in_with_the_readers_key_and_model(open_page: Open, scripted: Scripted) -> None:
    page = open_page("/docs/en/quickstart")
    code = page.locator(".tab:visible code")
    assert "Bearer $TESSERA_API_KEY" in code.inner_text()
    assert "Qwen/Qwen3.6-35B-A3B" in code.inner_text()
    page.get_by_text("Put my key into the examples").click()
    field = page.get_by_label("API key")
    field.fill("sk-wrong-key-of-nobody")
    field.press("Enter")
    page.get_by_role("status").filter(has_text="The server does not accept this key.").wait_for()
    field.fill(KEY)
    field.press("Enter")
    page.locator(".tab:visible code", has_text=f'"model": "{scripted.engine.info.model_id}"').wait_for()
    assert f"Bearer {KEY}" in code.inner_text()
    assert f"export TESSERA_API_KEY={KEY}" in page.locator("article").inner_text()
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [0, 0]
    field.fill("")
    field.press("Tab")
    assert "Bearer $TESSERA_API_KEY" in code.inner_text()


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


@dataclass
class Running:
    """Requests that the admin API shows, and what it was asked to cancel."""

    rows: Sequence[Mapping[str, object]]
    cancelled: list[str] = field(default_factory=list[str])

    def routes(self) -> list[Route]:
        async def shown(request: Request) -> Response:
            return JSONResponse({"process": 1, "requests": self.rows})

        async def cancel(request: Request) -> Response:
            ended = request.path_params["id"]
            self.cancelled.append(ended)
            return JSONResponse({"process": 1, "requests": [row for row in self.rows if row["id"] == ended]})

        return [
            Route("/admin/requests", shown),
            Route("/admin/requests/{id:path}/cancel", cancel, methods=["POST"]),
        ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    upgrade(opened)
    yield opened
    opened.dispose()


OpenConsole = Callable[..., Page]


@pytest.fixture
def open_console(
    open_page: Open,
    run_app: Callable[[ASGIApp], AbstractContextManager[int]],
    store: Database,
    scripted: Scripted,
) -> Iterator[OpenConsole]:
    """Opens the console on an admin listener with the store, after sign-in; takes what `open_page` takes."""
    with ExitStack() as stack:

        def opened(*more: Route, language: str = "en", **options: Any) -> Page:
            routes = [*admin_routes(store, Tiers(), KeyHasher(b"s" * 32)), *more]
            metrics = b"tessera_num_requests_running 3\ntessera_store_up 1\n"
            app = admin_app(lambda: metrics, ADMIN_KEY, routes, Site(CONSOLE))

            async def without_lifespan(scope: Any, receive: Any, send: Any) -> None:
                await app(scope, receive, send)

            own = f"http://127.0.0.1:{stack.enter_context(run_app(without_lifespan))}"
            scripted.also.append(own)
            page = open_page("/docs/en/", language=language, **options)
            stack.callback(page.context.close)  # or it would ask a server that has stopped
            page.goto(own)
            page.locator("input[type=password]").fill(ADMIN_KEY)
            page.keyboard.press("Enter")
            page.locator(".figures").wait_for()
            return page

        yield opened


@pytest.fixture
def console(open_console: OpenConsole) -> Page:
    """The console of a server whose store is empty."""
    return open_console()


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


def test_the_console_changes_keys_and_the_limits_of_accounts(console: Page, store: Database) -> None:
    console.get_by_role("tab", name="Accounts").click()
    console.get_by_label("account", exact=True).fill("acme")
    button(console, "Create").click()
    console.locator("td", has_text="acme").wait_for()
    button(console, "Limits").click()
    form = console.get_by_role("group", name="Limits of the account acme")
    form.get_by_label("replies at once").fill("3")
    form.get_by_label("total_tokens_per_month").fill("1000")
    button(console, "Save").click()
    form.wait_for(state="detached")
    button(console, "Limits").click()
    assert form.get_by_label("replies at once").input_value() == "3"
    form.get_by_label("replies at once").fill("many")
    button(console, "Save").click()
    console.get_by_role("alert").filter(has_text="concurrency is 'many'").wait_for()
    form.get_by_label("replies at once").fill("")
    button(console, "Save").click()
    form.wait_for(state="detached")
    with transaction(store) as connection:
        account = accounts.find(connection, "acme")
    assert account.limits == {"total_tokens_per_month": 1000}
    console.get_by_role("tab", name="Keys").click()
    console.get_by_label("account", exact=True).fill("acme")
    console.get_by_label("name", exact=True).fill("dev")
    button(console, "Create").click()
    button(console, "Edit").click()
    form = console.get_by_role("group", name="Change the key dev")
    form.get_by_label("expires (UTC)").fill("2099-01-31")
    form.get_by_label("models").fill("m, n")
    form.get_by_label("reasoning_tokens_per_day").fill("50")
    button(console, "Save").click()
    console.locator("td", has_text="2099-01-31 00:00").wait_for()
    with transaction(store) as connection:
        (changed,) = [key for key, _ in keys.page(connection, PageQuestion("name"), account.id).rows]
    assert changed.terms == Terms(
        "dev", expires_s=4_073_500_800, models=("m", "n"), budgets={"reasoning_tokens_per_day": 50}
    )


def put(store: Database, n: int) -> None:
    """Creates an account with `n` keys, each of which has made a request."""
    with transaction(store) as connection:
        account = accounts.create(connection, "acme", "lite", by="test")
        for number in range(n):
            digest = number.to_bytes(32, "big")
            key = keys.create(
                connection, account, Terms(f"key {number:03}"), digest=digest, last4="abcd", by="test"
            )
            used = Usage(number, 0, 2 * number, 0)
            entry = LedgerEntry(
                f"c-{number}", account.id, key.id, "m", "direct", True, time.time(), used, "stop"
            )
            usage.write(connection, "i", [entry])


def test_lists_are_searched_sorted_and_turned_by_the_server(
    open_console: OpenConsole, store: Database
) -> None:
    put(store, 120)
    console = open_console()
    asked: list[str] = []
    console.on("request", lambda request: asked.append(request.url))
    console.get_by_role("tab", name="Keys").click()
    console.get_by_text("1 / 3 · 120").wait_for()
    assert console.locator("tbody tr").count() == 50
    button(console, "name").click()
    console.locator("tbody tr:first-child", has_text="key 000").wait_for()
    for shown in ("2 / 3 · 120", "3 / 3 · 120"):
        button(console, "Next page").click()
        console.get_by_text(shown).wait_for()
    assert console.locator("tbody tr").count() == 20
    assert button(console, "Next page").is_disabled()
    button(console, "Previous page").click()
    console.locator("tbody tr:first-child", has_text="key 050").wait_for()
    button(console, "name ↑").click()
    console.locator("tbody tr:first-child", has_text="key 119").wait_for()
    console.get_by_label("search").fill("key 07")
    console.get_by_text("1 / 1 · 10").wait_for()
    assert console.locator("th[aria-sort=descending]").inner_text() == "name ↓"
    lists = [url for url in asked if "/admin/keys" in url]
    assert lists
    assert all("limit=50" in url for url in lists)


def test_usage_is_shown_and_saved(open_console: OpenConsole, store: Database, tmp_path: Path) -> None:
    put(store, 250)
    console = open_console()
    console.get_by_role("tab", name="Usage").click()
    console.locator("tfoot", has_text="250").wait_for()
    console.get_by_label("By").select_option("key")
    button(console, "Show").click()
    console.get_by_text("The 200 with the most tokens").wait_for()
    assert console.locator("tbody tr").count() == 200
    assert "250" in console.locator("tfoot").inner_text()
    for name, label in (("usage.csv", "Download as CSV"), ("usage.parquet", "Download as Parquet")):
        with console.expect_download() as saved:
            button(console, label).click()
        assert saved.value.suggested_filename == name
        saved.value.save_as(tmp_path / name)
    lines = (tmp_path / "usage.csv").read_text().splitlines()
    assert len(lines) == 251
    parquet = importlib.import_module("pyarrow.parquet")
    rows = parquet.read_table(tmp_path / "usage.parquet").to_pylist()
    assert sum(row["completion_tokens"] for row in rows) == 249 * 250
    assert {row["key"] for row in rows} == {line.split(",")[0] for line in lines[1:]}


def test_budgets_are_shown_with_the_usage(open_console: OpenConsole, store: Database) -> None:
    put(store, 3)
    with transaction(store) as connection:
        limits = {"completion_tokens_per_month": 8, "prompt_tokens_per_day": 100}
        accounts.set_limits(connection, "acme", limits, by="test")
    console = open_console()
    console.get_by_role("tab", name="Usage").click()
    rows = console.get_by_role("group", name="Budgets, in tokens").locator("tbody tr")
    rows.first.wait_for()
    shown = [row.locator("td").all_inner_texts()[:6] for row in rows.all()]
    assert shown == [
        ["acme", "completion_tokens_per_month", "all", "6", "8", "75 %"],
        ["acme", "prompt_tokens_per_day", "all", "3", "100", "3 %"],
    ]
    # A deleted account has usage, but no budgets.
    with transaction(store) as connection:
        gone = accounts.delete(connection, "acme", erases_usage=False, by="test")
    console.get_by_label("account", exact=True).fill(gone.id)
    button(console, "Show").click()
    console.get_by_role("group", name="Budgets, in tokens").wait_for(state="detached")
    assert console.locator("tfoot", has_text="3").count() == 1


def test_the_holder_of_a_key_sees_its_budgets(open_page: Open, scripted: Scripted) -> None:
    counts = ("requests", "failed", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    budget = {"budget": "total_tokens_per_day", "period": "2026-01-31", "resets_s": 1769904000.0}
    budgets = [
        {**budget, "key_id": None, "limit_tokens": 1000, "used_tokens": 999},
        {**budget, "key_id": "key_1", "limit_tokens": 0, "used_tokens": 0},
    ]
    report = {"rows": [], "totals": dict.fromkeys(counts, 0), "budgets": budgets}
    page = open_page("/docs/en/")
    page.route("**/v1/usage?*", lambda route: route.fulfill(json=report))
    page.goto(f"{scripted.url}/usage")
    page.locator("input[type=password]").fill("sk-x")
    button(page, "Show").click()
    rows = page.get_by_role("group", name="Budgets, in tokens").locator("tbody tr")
    rows.nth(1).wait_for()
    assert [row.locator("td").all_inner_texts() for row in rows.all()] == [
        ["total_tokens_per_day", "key_1", "0", "0", "100 %", "2026-02-01 00:00"],
        ["total_tokens_per_day", "all", "999", "1,000", "99 %", "2026-02-01 00:00"],
    ]


def test_the_longest_requests_are_cancelled(open_console: OpenConsole) -> None:
    running = Running(
        [
            {
                "id": f"chatcmpl-{n}",
                "request_id": f"req_{n}",
                "account": "acc_1",
                "key_id": "key_1",
                "client": "10.0.0.1",
                "model": "m",
                "step": "started",
                "age_s": 10.0 * n,
                "waited_s": 0.1,
                "prompt_tokens": 5,
                "completion_tokens": n,
            }
            for n in range(40)
        ]
    )
    console = open_console(*running.routes())
    rows = console.get_by_role("group", name="Longest-running requests").locator("tbody tr")
    assert rows.count() == 30
    assert rows.first.inner_text().startswith("chatcmpl-39")
    first = rows.first.get_by_role("button")
    first.focus()
    first.click()
    console.wait_for_timeout(2500)  # the list is drawn again, and the question stays
    assert first.inner_text() == "Sure?"
    assert console.evaluate("document.activeElement.textContent") == "Sure?"
    first.click()
    rows.first.get_by_text("Cancelled").wait_for()
    assert running.cancelled == ["chatcmpl-39"]
    counted = console.get_by_role("group", name="Running requests by account and model")
    assert counted.locator("tbody").inner_text().split() == ["acc_1", "m", "40"]


def test_a_request_without_a_reply_is_shown_and_cancelled_by_its_own_id(open_console: OpenConsole) -> None:
    in_flight = InFlight()
    with in_flight.hold(RequestRecord("req_1", "acc_1", "key_1")):
        console = open_console(*request_routes(OwnRequests(in_flight)))
        row = console.get_by_role("group", name="Longest-running requests").locator(
            "tbody tr", has_text="req_1"
        )
        row.get_by_role("button").click()
        row.get_by_role("button", name="Sure?").click()
        row.get_by_text("Cancelled").wait_for()


def test_the_tiers_are_shown(console: Page) -> None:
    console.get_by_role("tab", name="Tiers").click()
    console.locator("td", has_text="enterprise").wait_for()
    assert console.locator("tbody tr").count() == len(Tiers().names())
    assert not [head for head in console.locator("th").all_inner_texts() if "_" in head]
    assert console.locator("tbody tr", has_text="enterprise").locator("td").all_inner_texts()[-2:] == [
        "unlimited",
        "set by the model",
    ]


def test_hostile_names_run_nothing_in_the_console(open_console: OpenConsole) -> None:
    hostile = [
        {**dict.fromkeys(("id", "account", "key_id", "model", "client", "step"), text), "age_s": 1.0}
        | {"prompt_tokens": 0, "completion_tokens": 0}
        for text in HOSTILE
    ]
    console = open_console(*Running(hostile).routes())
    console.locator("td", has_text="<").first.wait_for()
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
        [ADMIN_KEY, HOSTILE],
    )
    assert made > 100
    for tab in ("Live", "Accounts", "Keys", "Audit"):
        console.get_by_role("tab", name=tab).click()
        console.locator("td", has_text="<").first.wait_for()
        if console.get_by_label("search").count():
            for text in HOSTILE[::20]:
                console.get_by_label("search").fill(text[:100])
            console.wait_for_timeout(500)
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


@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_no_fault_in_a_comparison(open_page: Open, scripted: Scripted, width: int) -> None:
    page = open_page(width=width, bypass_csp=True)
    if not page.get_by_label("Compare with").is_visible():
        page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Compare with").select_option(index=1)
    page.get_by_label("Your message").fill("Hi")
    button(page, "Send").click()
    is_done(page)
    button(page, "Try again").first.click()
    is_done(page)
    page.get_by_role("group", name="Branches").wait_for()
    assert axe_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_axe_finds_no_fault_in_a_conversation(open_page: Open, scripted: Scripted) -> None:
    scripted.say(CALL)
    page = open_page(bypass_csp=True)
    button(page, "A tool call").click()
    button(page, "Send").click()
    is_done(page)
    for tab in ("Events", "Headers", "Code", "Request"):
        page.get_by_role("tab", name=tab).click()
        assert axe_faults(page) == [], tab


def a_refusal(page: Page, scripted: Scripted) -> None:
    scripted.engine.reason = "engine_died"
    send(page, "Hi")
    page.get_by_role("alert").filter(has_text="The model cannot answer now").wait_for()


def a_lost_connection(page: Page, scripted: Scripted) -> None:
    page.route("**/v1/chat/completions", lambda route: route.abort())
    send(page, "Hi")
    page.get_by_role("alert").filter(has_text="The connection was lost").wait_for()


def an_order(page: Page, scripted: Scripted) -> None:
    scripted.say(ORDER)
    button(page, "An order as JSON").click()
    page.locator(".treatment tr.enforced").first.wait_for(state="attached")
    button(page, "Send").click()
    is_done(page)


def reasoning(page: Page, scripted: Scripted) -> None:
    scripted.say("Because.\n</think>\n\nFifty-one.")
    button(page, "Thinking with a budget").click()
    button(page, "Send").click()
    is_done(page)


def probabilities(page: Page, scripted: Scripted) -> None:
    others = [{"token": "!", "logprob": -2.5}]
    content = [
        {"token": token, "logprob": -0.5, "top_logprobs": others} for token in ("Mad", "rid", "\n", " ")
    ]
    choice = {"index": 0, "delta": {"content": "Madrid"}, "finish_reason": "stop"}
    chunk = {"choices": [{**choice, "logprobs": {"content": content}}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body),
    )
    send(page, "Hi")
    is_done(page)
    page.get_by_role("listbox").focus()


def an_edit(page: Page, scripted: Scripted) -> None:
    send(page, "Hi")
    is_done(page)
    button(page, "Edit").click()


STATES = (a_refusal, a_lost_connection, an_order, reasoning, probabilities, an_edit)


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_axe_finds_no_fault_in_a_state(
    open_page: Open, scripted: Scripted, state: Callable[[Page, Scripted], None], width: int
) -> None:
    page = open_page(width=width, bypass_csp=True, tolerated="net::ERR_FAILED")
    state(page, scripted)
    assert axe_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_no_fault_in_a_report_of_usage(open_page: Open, width: int) -> None:
    page = open_page("/usage", width=width, bypass_csp=True)
    names = ("requests", "failed", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    rows = [{"day": f"2026-01-{day:02}", **dict.fromkeys(names, day)} for day in range(1, 29)]
    report = {"rows": rows, "totals": dict.fromkeys(names, 406)}
    limits = {f"x-ratelimit-{name}-requests": "60" for name in ("limit", "remaining", "reset")}
    page.route("**/v1/usage?*", lambda route: route.fulfill(json=report, headers=limits))
    page.locator("input[type=password]").fill(KEY)
    button(page, "Show").click()
    page.locator("tfoot", has_text="406").wait_for()
    page.get_by_text("60 requests a minute; 60 left now").wait_for()
    assert axe_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_no_fault_while_searching_and_with_a_key(open_page: Open, width: int) -> None:
    page = open_page("/docs/en/quickstart", width=width, bypass_csp=True)
    page.get_by_text("Put my key into the examples").click()
    page.get_by_label("Search the documentation").fill("token")
    page.locator("#results a").first.wait_for()
    assert axe_faults(page) == []


def test_the_console_says_what_to_do_when_the_server_is_gone_and_when_it_is_back(
    open_console: OpenConsole,
) -> None:
    console = open_console(tolerated="net::ERR_FAILED", bypass_csp=True)
    console.route("**/metrics", lambda route: route.abort())
    alert = console.get_by_role("alert").filter(has_text="check that the server is running")
    alert.wait_for()
    assert axe_faults(console) == []
    console.unroute("**/metrics")
    alert.wait_for(state="hidden")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_no_fault_in_the_console(
    open_console: OpenConsole, store: Database, width: int, dark: bool
) -> None:
    put(store, 3)
    console = open_console(width=width, dark=dark, bypass_csp=True)
    for tab in ("Accounts", "Keys", "Tiers", "Usage", "Audit", "Live"):
        console.get_by_role("tab", name=tab).click()
        console.wait_for_timeout(300)
        assert axe_faults(console) == [], tab
        assert console.evaluate("document.documentElement.scrollWidth") == width
