"""What a person does on the pages, in a real browser."""

import itertools
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.browser.conftest import Open, Page, Scripted
from tests.browser.hostile import HOSTILE
from tests.conftest import KEY
from tests.waiting import wait_for

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "León"}}\n</tool_call>'
ORDER = '{"customer": "Ana", "items": [{"product": "lamp", "quantity": 2}], "urgent": true}'


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def send(page: Page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    button(page, "Send").click()


def is_done(page: Page) -> None:
    page.get_by_role("status").filter(has_text="The reply is complete.").wait_for()


def test_a_reply_is_shown_with_its_numbers(open_page: Open, scripted: Scripted) -> None:
    scripted.say("# Title\n\nSome **bold** text.\n\n```py\nx = 1\n```\n\n| a | b |\n|-|-|\n| 1 | 2 |\n")
    page = open_page()
    send(page, "Hi")
    is_done(page)
    card = page.locator(".card.assistant")
    assert card.locator("h4").inner_text() == "Title"
    assert card.locator("strong").inner_text() == "bold"
    assert card.locator("pre").inner_text() == "x = 1"
    assert card.locator("td").all_inner_texts() == ["1", "2"]
    stats = card.locator(".stats").inner_text()
    assert re.search(
        r"stop first token [\d,]+ ms · total .+ s · .+ tokens/s · prompt \d+ \(cached 0\)", stats
    )


def test_thinking_is_folded_and_apart(open_page: Open, scripted: Scripted) -> None:
    scripted.say("because\n</think>\n\nFifty-one.")
    page = open_page()
    page.get_by_label("Thinking", exact=True).check()
    page.get_by_label("Thinking budget").fill("50")
    send(page, "17 x 3?")
    is_done(page)
    assert page.locator(".reasoning").inner_text().strip() == "because"
    assert page.locator(".markdown").inner_text() == "Fifty-one."
    sent = json.loads(page.locator("#wire-panel code").first.inner_text())
    assert sent["thinking_token_budget"] == 50


def test_a_tool_call_is_a_card_and_its_result_is_sent(open_page: Open, scripted: Scripted) -> None:
    scripted.say(CALL)
    page = open_page()
    button(page, "A tool call").click()
    button(page, "Send").click()
    is_done(page)
    call = page.get_by_role("region", name="Call to get_weather").or_(page.locator("section.call"))
    assert '"city": "León"' in call.locator("pre").inner_text()
    assert "✓" in call.inner_text()
    scripted.say("It is sunny.")
    page.get_by_label("Result of the call").fill('{"sky": "clear"}')
    button(page, "Send the results").click()
    page.get_by_text("It is sunny.").wait_for()
    is_done(page)
    messages = json.loads(page.locator("#wire-panel code").first.inner_text())["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant", "tool"]
    assert messages[2] == {
        "role": "tool",
        "content": '{"sky": "clear"}',
        "tool_call_id": messages[1]["tool_calls"][0]["id"],
    }


def test_structured_output_is_checked_and_each_keyword_has_its_treatment(
    open_page: Open, scripted: Scripted
) -> None:
    scripted.say(ORDER)
    page = open_page()
    button(page, "An order as JSON").click()
    page.locator(".treatment tr.enforced").first.wait_for()
    assert page.locator(".treatment tr").count() > 5
    button(page, "Send").click()
    is_done(page)
    assert page.locator(".good").inner_text() == "✓ Valid: keeps to the schema"
    field = page.get_by_label("JSON Schema", exact=True)
    field.fill('{"not": {}, "uniqueItems": true, "type": "array", "x": 1}')
    page.locator(".treatment tr.refused").nth(1).wait_for()
    assert page.locator(".treatment tr.unknown").count() == 1
    page.get_by_label("strict", exact=True).uncheck()
    page.locator(".treatment tr.relaxed").nth(1).wait_for()
    field.fill("{")
    page.get_by_text("This is not valid:").first.wait_for()


def test_stop_keeps_what_came(open_page: Open, scripted: Scripted) -> None:
    scripted.say("lamp " * 5000)
    scripted.pace(0.01)
    page = open_page()
    send(page, "Hi")
    page.locator(".markdown", has_text="lamp lamp lamp").wait_for()
    button(page, "Stop").click()
    page.get_by_role("status").filter(has_text="Stopped.").wait_for()
    assert "lamp lamp" in page.locator(".markdown").inner_text()
    assert button(page, "Send").is_enabled()
    assert button(page, "Try again").count() == 1


def test_the_wire_view_has_request_events_headers_and_code(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    send(page, "It's")
    is_done(page)
    page.get_by_role("tab", name="Events").click()
    rows = page.locator(".events li").all_inner_texts()
    assert re.match(r"[\d.,]+ ms \{", rows[0])
    assert rows[-1].endswith("[DONE]")
    page.get_by_role("tab", name="Headers").click()
    assert "x-request-id" in page.locator("#wire-panel").inner_text()
    page.get_by_role("tab", name="Code").click()
    assert f"curl -N {scripted.url}/v1/chat/completions" in page.locator("#code-panel code").inner_text()
    assert "It'\\''s" in page.locator("#code-panel code").inner_text()
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    assert "from openai import OpenAI" in page.locator("#code-panel code").inner_text()
    page.keyboard.press("ArrowRight")
    assert 'import OpenAI from "openai"' in page.locator("#code-panel code").inner_text()


@pytest.mark.parametrize(
    ("key", "status", "advice"),
    [("sk-wrong-key-of-nobody", "401", "Enter another one"), ("", "", "Enter an API key first")],
    ids=["wrong", "none"],
)
def test_a_bad_key_says_what_to_do(
    open_page: Open, scripted: Scripted, key: str, status: str, advice: str
) -> None:
    page = open_page(key="")
    page.locator("input[type=password]").fill(key)
    send(page, "Hi")
    shown = page.get_by_role("alert")
    shown.filter(has_text=advice).wait_for()
    assert status in shown.inner_text()


def test_a_dead_engine_says_what_to_do(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    scripted.engine.reason = "engine_died"
    send(page, "Hi")
    page.get_by_role("alert").filter(has_text="The model cannot answer now").wait_for()
    scripted.engine.reason = None
    page.get_by_role("alert").get_by_role("button", name="Try again").click()
    is_done(page)
    assert page.locator(".card").count() == 2
    assert page.get_by_role("alert").count() == 0


def test_a_lost_connection_keeps_what_came_and_says_what_to_do(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    cut = 'data: {"choices": [{"index": 0, "delta": {"content": "Half of it"}, "finish_reason": null}]}\n\n'
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=200, content_type="text/event-stream", body=cut),
    )
    send(page, "Hi")
    page.get_by_role("alert").filter(has_text="The connection was lost").wait_for()
    assert page.locator(".markdown").inner_text() == "Half of it"


def sent(page: Page) -> Any:
    """The body of the request in the wire view."""
    page.get_by_role("tab", name="Request").click()
    return json.loads(page.locator("#wire-panel code").first.inner_text())


def test_an_edit_begins_a_branch_and_both_can_be_gone_back_to(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    send(page, "First")
    is_done(page)
    scripted.say("Another one.")
    button(page, "Edit").click()
    page.get_by_label("Edit").fill("Second")
    button(page, "Save and send").click()
    page.get_by_text("Another one.").wait_for()
    is_done(page)
    assert page.locator(".card").count() == 2
    assert sent(page)["messages"] == [{"role": "user", "content": "Second"}]
    branches = page.get_by_role("group", name="Branches")
    assert branches.inner_text().split() == ["‹", "2", "/", "2", "›"]
    button(page, "Next branch").is_disabled()
    button(page, "Previous branch").click()
    assert page.locator(".card").all_inner_texts()[1].startswith("Assistant\n\nHello.")
    assert sent(page)["messages"][0] == {"role": "user", "content": "First"}
    button(page, "Next branch").click()
    assert page.locator(".card.user .text").inner_text() == "Second"


def test_a_retry_keeps_the_reply_that_was_there(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    send(page, "Hi")
    is_done(page)
    for text in ("Two.", "Three."):
        scripted.say(text)
        button(page, "Try again").click()
        page.get_by_text(text).wait_for()
        is_done(page)
    assert page.get_by_role("group", name="Branches").inner_text().split()[1:4] == ["3", "/", "3"]
    scripted.engine.reason = "engine_died"
    button(page, "Try again").click()
    page.get_by_role("alert").filter(has_text="The model cannot answer now").wait_for()
    wait_for(lambda: page.locator(".markdown").all_inner_texts() == ["Three."])
    button(page, "Previous branch").click()
    wait_for(lambda: page.locator(".markdown").all_inner_texts() == ["Two."])
    button(page, "Remove").nth(1).click()
    assert page.get_by_role("group", name="Branches").inner_text().split()[1:4] == ["2", "/", "2"]


def test_several_replies_stand_side_by_side_and_one_is_gone_on_with(
    open_page: Open, scripted: Scripted
) -> None:
    page = open_page()
    page.get_by_text("Sampling", exact=True).click()
    page.get_by_label("Replies (n)").fill("3")
    send(page, "Hi")
    is_done(page)
    wait_for(lambda: page.locator(".lanes .markdown").all_inner_texts() == ["Hello."] * 3)
    assert sent(page)["n"] == 3
    assert "all replies" in page.locator(".stats").first.inner_text()
    button(page, "Continue with this one").nth(1).click()
    assert page.locator(".card.chosen h3").inner_text().endswith("· 3")
    page.get_by_label("Replies (n)").fill("")
    send(page, "More")
    page.locator(".card").nth(4).wait_for()
    is_done(page)
    assert [each["role"] for each in sent(page)["messages"]] == ["user", "assistant", "user"]
    page.get_by_role("tab", name="Code").click()
    assert "for choice in" not in page.locator("#code-panel code").inner_text()


def test_two_models_reply_side_by_side(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    scripted.say("Because.\n</think>\n\nHello.")
    page.get_by_label("Compare with").select_option(label="alias · Thinking")
    send(page, "Hi")
    is_done(page)
    titles = page.locator(".lanes h3").all_inner_texts()
    assert len(titles) == 2
    assert titles[0].endswith("· Direct")
    assert titles[1] == "Assistant · alias · Thinking"
    assert page.locator(".lanes .card").nth(1).locator(".reasoning").inner_text().strip() == "Because."
    bodies: list[Any] = []
    for n in range(2):
        page.locator("#exchange").select_option(index=n)
        bodies.append(sent(page))
    assert [body["model"] == "alias" for body in bodies] == [False, True]
    assert "chat_template_kwargs" not in bodies[0]
    assert bodies[1]["chat_template_kwargs"] == {"enable_thinking": True}


def test_a_comparison_that_is_stopped_keeps_both_parts(open_page: Open, scripted: Scripted) -> None:
    scripted.say("lamp " * 5000)
    scripted.pace(0.01)
    page = open_page()
    page.get_by_label("Compare with").select_option(label="alias · Direct")
    send(page, "Hi")
    page.locator(".lanes .markdown", has_text="lamp lamp").nth(1).wait_for()
    button(page, "Stop").click()
    page.get_by_role("status").filter(has_text="Stopped.").wait_for()
    assert page.locator(".lanes .card").count() == 2


def test_the_code_of_a_call_makes_the_same_call(open_page: Open, scripted: Scripted, tmp_path: Path) -> None:
    scripted.say(CALL)
    page = open_page()
    button(page, "A tool call").click()
    button(page, "Send").click()
    is_done(page)
    page.get_by_role("tab", name="Code").click()
    page.get_by_role("tab", name="Python").click()
    program = page.locator("#code-panel code").inner_text()
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TESSERA_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == 'get_weather{"city": "León"}', done.stderr


Refusal: TypeAlias = tuple[int, str, dict[str, str], tuple[str, ...]]
REFUSALS: list[Refusal] = [
    (401, "invalid_api_key", {}, ("Enter another one.",)),
    (
        429,
        "quota_exceeded",
        {"retry-after": "43000"},
        ("Wait until it starts anew", "Try again in 12 hours."),
    ),
    (429, "thinking_quota_exceeded", {"retry-after": "90000"}, ("Choose the mode Direct", "in 25 hours.")),
    (429, "rate_limit_exceeded", {"retry-after": "7"}, ("Too many requests", "Try again in 7 seconds.")),
    (503, "draining", {}, ("The server is shutting down.",)),
    (503, "store_unavailable", {}, ("The server cannot reach its database.",)),
    (503, "engine_unavailable", {}, ("The model cannot answer now.",)),
    (413, "context_length_exceeded", {}, ("remove messages",)),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal[1])
def test_each_refusal_says_what_to_do(open_page: Open, refusal: Refusal) -> None:
    status, code, headers, advice = refusal
    page = open_page()
    error = {"error": {"message": "Because.", "code": code, "type": "x", "param": None}}
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(
            status=status, headers={"content-type": "application/json", **headers}, body=json.dumps(error)
        ),
    )
    send(page, "Hi")
    page.get_by_role("alert").filter(has_text="Because.").wait_for()
    shown = page.get_by_role("alert").inner_text()
    assert [text for text in (*advice, str(status), code) if text not in shown] == []


def test_a_token_shows_what_else_it_could_have_been(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    tokens = [("Mad", -0.1, "Bar"), ("rid", -3.0, "eira"), ("\n", -0.5, "."), ("!", -1.2, "?")]
    content = [
        {"token": token, "logprob": logprob, "top_logprobs": [{"token": other, "logprob": -2.5}]}
        for token, logprob, other in tokens
    ]
    text = "".join(token for token, _, _ in tokens)
    choice = {
        "index": 0,
        "delta": {"content": text},
        "finish_reason": "stop",
        "logprobs": {"content": content},
    }
    body = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body),
    )
    send(page, "Hi")
    is_done(page)
    shown = page.get_by_role("group", name="Alternatives")
    spans = page.locator(".tokens > span")
    assert [span.replace("⏎", "") for span in spans.all_text_contents()] == [token for token, _, _ in tokens]
    spans.nth(1).hover()
    assert re.findall(r'"\w+"', shown.inner_text()) == ['"rid"', '"eira"']
    assert re.findall(r"[\d.]+ %", shown.inner_text()) == ["5.0 %", "8.2 %"]
    page.mouse.move(0, 0)
    page.get_by_role("listbox", name="Log probabilities").focus()
    for key, chosen in (("Home", '"Mad"'), ("ArrowRight", '"rid"'), ("End", '"!"'), ("ArrowLeft", '"\\n"')):
        page.keyboard.press(key)
        assert shown.locator("tbody code").first.inner_text() == chosen
        marked = page.locator(".tokens > [aria-selected=true]")
        assert marked.count() == 1
        label = str(marked.get_attribute("aria-label"))
        assert label.startswith(chosen)
        assert label.count("%") == 2
        active = page.locator(".tokens").get_attribute("aria-activedescendant")
        assert active == marked.get_attribute("id")


SCRIPTS = {
    'return { sky: "clear", city: args.city };': '{"sky":"clear","city":"León"}',
    "return name;": "get_weather",
    "return await Promise.resolve(7);": "7",
    "return [typeof document, typeof sessionStorage, typeof window].join();": "undefined,undefined,undefined",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_gives_the_results(open_page: Open, scripted: Scripted, script: str) -> None:
    scripted.say(CALL)
    page = open_page()
    button(page, "A tool call").click()
    page.get_by_label("Script for results, in JavaScript").fill(script)
    button(page, "Send").click()
    is_done(page)
    button(page, "Run the script").click()
    wait_for(lambda: page.get_by_label("Result of the call").input_value() == SCRIPTS[script])


LEAVING = (
    "await fetch('/v1/models')",
    "await fetch('https://evil.example/')",
    "importScripts('/web/dom.js')",
    "await import('/web/dom.js')",
    "new WebSocket('wss://evil.example/')",
    "new EventSource('/v1/models')",
    "new Worker('/web/tool_worker.js')",
    "const request = new XMLHttpRequest(); request.open('GET', '/v1/models', false); request.send()",
)


@pytest.mark.parametrize("script", LEAVING)
def test_a_script_reaches_nothing(open_page: Open, scripted: Scripted, script: str) -> None:
    asked: list[str] = []
    page = open_page(tolerated="Content Security Policy")
    page.on("response", lambda response: asked.append(response.url))  # the browser refuses it before that
    outcome = page.evaluate(
        """async script => {
          const { runScript } = await import("/web/tools.js");
          const [came, failed] = [text => `came: ${text}`, error => `failed: ${error.message}`];
          return await runScript(script, "f", {}).then(came, failed);
        }""",
        f"{script}; await new Promise(done => setTimeout(done, 300)); return 'whole'",
    )
    assert [url for url in asked if "/web/" not in url] == []
    assert outcome.startswith("failed:") or outcome == "came: whole"
    if script.startswith(("await", "importScripts", "const")):
        assert outcome.startswith("failed:"), outcome


def test_a_script_that_does_not_end_is_stopped(open_page: Open, scripted: Scripted) -> None:
    outcome = open_page().evaluate(
        """async () => {
          const { runScript } = await import("/web/tools.js");
          const failed = error => error.message;
          const endless = await runScript("for (;;);", "f", {}).catch(failed);
          return [endless, await runScript("throw 5", "f", {}).catch(failed)];
        }"""
    )
    assert outcome == ["The script did not end within 5 seconds.", "5"]


def test_a_conversation_is_exported_and_imported(open_page: Open, scripted: Scripted, tmp_path: Path) -> None:
    page = open_page()
    page.get_by_label("System message").fill("Be brief.")
    send(page, "Hi")
    is_done(page)
    scripted.say("Another.")
    button(page, "Try again").click()
    page.get_by_text("Another.").wait_for()
    is_done(page)
    with page.expect_download() as saved:
        button(page, "Export").click()
    file = tmp_path / "conversation.json"
    saved.value.save_as(file)
    assert "sk-tessera" not in file.read_text()
    button(page, "New conversation").click()
    assert page.locator(".card").count() == 0
    page.locator("input[type=file]").set_input_files(file)
    page.locator(".card.assistant", has_text="Another.").wait_for()
    button(page, "Previous branch").click()
    page.locator(".card.assistant", has_text="Hello.").wait_for()
    assert page.get_by_label("System message").input_value() == "Be brief."


def test_the_language_changes_without_losing_anything(open_page: Open, scripted: Scripted) -> None:
    page = open_page(language="es")
    page.get_by_label("Tu mensaje").fill("Hola")
    button(page, "Enviar").click()
    page.get_by_role("status").filter(has_text="La respuesta está completa.").wait_for()
    button(page, "English").click()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator(".card").count() == 2
    assert button(page, "Send").count() == 1
    wait_for(lambda: page.locator(".top nav a").all_inner_texts() == ["Playground", "Documentation", "Usage"])


def test_everything_can_be_done_by_keyboard(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    page.get_by_label("Your message").focus()
    page.keyboard.type("Hi")
    page.keyboard.press("Enter")
    is_done(page)
    assert page.evaluate("document.activeElement.id") == "message"
    scripted.say("lamp " * 5000)
    scripted.pace(0.01)
    page.keyboard.type("More")
    page.keyboard.press("Enter")
    page.locator(".markdown", has_text="lamp lamp").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("status").filter(has_text="Stopped.").wait_for()


def test_the_key_is_kept_only_if_it_is_asked_for(open_page: Open, scripted: Scripted) -> None:
    page = open_page()
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [0, 0]
    page.get_by_label("Keep until this tab is closed").check()
    assert page.evaluate("sessionStorage.getItem('key')").startswith("sk-")
    page.get_by_label("Keep until this tab is closed").uncheck()
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [0, 0]


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("path", ["/", "/usage", "/docs/es/api", "/docs/en/", "/docs/en/reference"])
def test_no_page_is_wider_than_the_screen(open_page: Open, path: str, width: int) -> None:
    page = open_page(path, width=width, key="")
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [360, 1440])
def test_long_lines_of_a_reply_widen_nothing(open_page: Open, scripted: Scripted, width: int) -> None:
    long = "x" * 400
    scripted.say(f"{long}\n\n```\n{long}\n```\n\n| {long} | b |\n|-|-|\n| `{long}` | {long} |\n")
    page = open_page(width=width)
    send(page, long)
    is_done(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    talk, card = (page.locator(name).first.bounding_box() for name in (".talk", ".card.assistant"))
    assert talk
    assert card
    assert card["width"] <= talk["width"]


def test_usage_is_shown_to_the_holder_of_a_key(open_page: Open, scripted: Scripted) -> None:
    page = open_page("/usage")
    page.locator("input[type=password]").fill("sk-wrong-key-of-nobody")
    button(page, "Show").click()
    page.get_by_role("alert").filter(has_text="Enter another one").wait_for()


SAFE = """(texts) => import("/web/markdown.js").then(({ drawMarkdown, MarkdownStream }) => {
  const wrong = [];
  const tags = "a blockquote br code del div em h4 h5 h6 hr li ol p pre strong " +
    "table tbody td th thead tr ul";
  const allowed = new Set(tags.split(" "));
  for (const text of texts) {
    const whole = document.createElement("div");
    const streamed = document.createElement("div");
    document.body.append(whole, streamed);
    drawMarkdown(whole, text);
    const stream = new MarkdownStream(streamed);
    for (const part of text) stream.push(part);
    stream.end();
    for (const node of [...whole.querySelectorAll("*"), ...streamed.querySelectorAll("*")]) {
      if (!allowed.has(node.tagName.toLowerCase())) wrong.push([text, node.tagName]);
      for (const { name, value } of node.attributes) {
        if (!"href rel target tabindex class start".split(" ").includes(name)) wrong.push([text, name]);
        if (name === "href" && !/^(https?:|mailto:)/.test(value)) wrong.push([text, value]);
      }
    }
  }
  return wrong;
})"""


def test_hostile_replies_become_no_markup(open_page: Open, scripted: Scripted) -> None:
    assert open_page().evaluate(SAFE, HOSTILE) == []


def test_hostile_names_and_results_run_nothing(open_page: Open, scripted: Scripted, tmp_path: Path) -> None:
    """In messages, reasoning, calls, results and schemas of a conversation that is imported."""
    page = open_page()
    file = tmp_path / "hostile.json"
    messages = [
        {
            "role": "assistant",
            "content": text,
            "reasoning": text,
            "finish": text,
            "format": "json_schema",
            "schema": {"properties": {text: {"enum": [text]}}, text: text},
            "calls": [{"id": text, "name": text, "arguments": text, "result": text}],
            "title": text,
            "turn": 1 + n // 2,
            "parent": 199 + n - n % 2,
        }
        for n, text in enumerate(HOSTILE)
    ]
    people = [{"role": "user", "content": text} for text in HOSTILE]
    schema = json.dumps({text: {"type": text} for text in HOSTILE})
    form = {"system": HOSTILE[0], "format": "json_schema", "schema": schema}
    form["tools"] = json.dumps([{"type": "function", "function": {"name": text}} for text in HOSTILE])
    file.write_text(json.dumps({"tessera": 1, "form": form, "messages": people + messages}))
    page.locator("input[type=file]").set_input_files(file)
    page.locator(".card").nth(399).wait_for()
    page.locator(".treatment tr").nth(100).wait_for(state="attached")
    assert (
        page.locator("main :is(script, img, iframe, svg, object, embed, base, link, style, form)").count()
        == 0
    )
    assert page.evaluate("window.ran") is None
    attributes = page.evaluate(
        "[...document.querySelectorAll('main *')].flatMap(node => node.getAttributeNames())"
    )
    assert [name for name in attributes if name.startswith("on")] == []


def fulfilled(route: Any, *, error: dict[str, str]) -> None:
    route.fulfill(status=400, json={"error": error})


def runs_nothing(page: Page) -> None:
    forbidden = "script, img, iframe, object, embed, base, link, style, form"
    assert page.locator(f"main :is({forbidden})").count() == 0
    assert page.evaluate("window.ran") is None


def test_hostile_events_run_nothing(open_page: Open, scripted: Scripted) -> None:
    """In every place of a stream: texts, reasoning, calls, tokens, reasons, headers."""
    page = open_page()
    events: list[str] = []
    for n, text in enumerate(HOSTILE):
        function = {"name": text, "arguments": text}
        token = {"token": text, "logprob": -1.0, "top_logprobs": [{"token": text, "logprob": -2.0}]}
        delta = {
            "content": f"{text}\n\n",
            "reasoning_content": text,
            "tool_calls": [{"index": n, "id": text, "type": "function", "function": function}],
        }
        choice = {"index": 0, "delta": delta, "finish_reason": text, "logprobs": {"content": [token]}}
        events.append(f"data: {json.dumps({'id': text, 'model': text, 'choices': [choice]})}\n\n")
    body = "".join([*events, "data: [DONE]\n\n"])
    headers = {"x-request-id": "<img src=x onerror=top.ran=1>", "content-type": "text/event-stream"}
    page.route("**/v1/chat/completions", lambda route: route.fulfill(status=200, headers=headers, body=body))
    send(page, HOSTILE[0])
    is_done(page)
    page.locator("section.call").nth(199).wait_for()
    for tab in ("Events", "Headers", "Code", "Request"):
        page.get_by_role("tab", name=tab).click()
        runs_nothing(page)
    button(page, "Send the results").click()
    page.locator(".card.tool").nth(199).wait_for()
    runs_nothing(page)


def test_hostile_models_errors_and_usage_run_nothing(open_page: Open, scripted: Scripted) -> None:
    page = open_page(key="")
    models = [{"id": text, "object": "model", "context_length": 100} for text in HOSTILE]
    counts = ("requests", "failed", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    rows = [{"model": text, "day": text, **dict.fromkeys(counts, 1)} for text in HOSTILE]
    budgets = [
        {"budget": text, "key_id": text, "period": text, "limit_tokens": 9, "used_tokens": 1, "resets_s": 1.0}
        for text in HOSTILE
    ]
    report = {"rows": rows, "totals": dict.fromkeys(counts, 200), "budgets": budgets}
    page.route("**/v1/models", lambda route: route.fulfill(json={"data": models}))
    page.route("**/v1/usage?*", lambda route: route.fulfill(json=report))
    page.locator("input[type=password]").fill("sk-x")
    page.keyboard.press("Tab")
    page.locator("option", has_text="<script>").nth(3).wait_for(state="attached")
    runs_nothing(page)
    for text in HOSTILE[:: len(HOSTILE) // 20]:
        error = {"message": text, "type": text, "code": text, "param": text}
        page.route(
            "**/v1/chat/completions",
            partial(fulfilled, error=error),
        )
        send(page, text)
        page.get_by_role("alert").filter(has_text=text.split("\n")[0].strip()[:40]).wait_for()
        runs_nothing(page)
    page.goto(f"{scripted.url}/usage")
    page.locator("input[type=password]").fill("sk-x")
    for by in ("model", "day"):
        page.get_by_label("By").select_option(by)
        page.locator("tbody tr").nth(199).wait_for()
        runs_nothing(page)


PIECES = [
    "# Title\n\ntext\n\n",
    "- a\n- b\n  - c\n  - d\n- e\n\n",
    "3. x\n4. y\n5. **z**\n\n",
    "| a | b |\n|---|:-:|\n| 1 | `2` |\n| 3 | 4 |\n| 5 | 6 |\n\n",
    "```js\nlet a = '<b>';\n\nlet b;\n```\n\n",
    "> quoted\n> - one\n> - two\n\n",
    "Text with &lt;b&gt;, <b>html</b>,\na [link](https://example.org/?a&amp;b) and ~~more~~.\n\n---\n\n",
    "- [x] done\n- [ ] open\n\n",
]
SAME = """async ([texts, step]) => {
  const { drawMarkdown, MarkdownStream } = await import("/web/markdown.js");
  const different = [];
  for (const text of texts) {
    const whole = document.createElement("div");
    const streamed = document.createElement("div");
    drawMarkdown(whole, text);
    const stream = new MarkdownStream(streamed);
    for (let n = 0; n < text.length; n += step) {
      stream.push(text.slice(n, n + step));
      if (n % 3 === 0) stream.draw();
    }
    stream.end();
    for (const each of [whole, streamed]) {
      // Whether there was a blank line between items is not known in time: that makes paragraphs of them.
      for (const paragraph of each.querySelectorAll("li > p")) paragraph.replaceWith(...paragraph.childNodes);
      each.normalize();
    }
    if (!whole.isEqualNode(streamed)) different.push([text, whole.outerHTML, streamed.outerHTML]);
  }
  return different;
}"""


@pytest.mark.parametrize("step", [1, 2, 7, 50])
def test_a_streamed_reply_is_drawn_as_a_whole_one(open_page: Open, step: int) -> None:
    pairs = ["".join(pair) for pair in itertools.product(PIECES, repeat=2)]
    assert open_page().evaluate(SAME, [[*pairs, "".join(PIECES)], step]) == []
