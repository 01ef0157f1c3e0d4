"""A reply of ten thousand tokens stays fluent: it has hardly more long tasks than a plain text node."""

from typing import Any

import pytest
from tests.browser.conftest import Open, Page, Scripted

PIECES = {
    "prose": "## Part\n\nSome **bold** words, `code` and a [link](https://example.org/x).\n\n- one\n- two\n\n"
    "```python\nfor lamp in lamps:\n    print(lamp)\n```\n\n"
    "| lamp | night |\n|------|-------|\n| one | long |"
    "\n\n",
    "one paragraph": "the *little* lamp burned all night long and nobody came to put it out. ",
    "one list": "- the **little** lamp burned all night long\n",
    "one block of code": "lamp = lamps[0]  # burned all night long\n",
    "one table": "| the little lamp | burned all *night* long |\n",
}
BEFORE = {"one block of code": "```python\n", "one table": "| a | b |\n|---|---|\n"}
N_CHARACTERS = 40_000  # four to a token
OBSERVE = """() => {
  window.tasks = [];
  const note = list => window.tasks.push(...list.getEntries().map(each => Math.round(each.duration)));
  new PerformanceObserver(note).observe({ type: "longtask" });
}"""
PLAIN = """async key => {
  const { chat } = await import("/web/stream.js");
  const text = new Text();
  document.querySelector("main").replaceChildren(text);
  const body = { model: "alias", messages: [{ role: "user", content: "x" }], stream: true };
  const show = (data, at, chunk) => text.appendData(chunk?.choices[0]?.delta.content ?? "");
  await chat(body, key, undefined, () => {}, show);
  return text.length;
}"""


def tasks(page: Page) -> list[int]:
    page.wait_for_timeout(300)
    found: list[int] = page.evaluate("window.tasks")
    return sorted(found)


def plain(page: Page, key: str) -> Any:
    page.evaluate(OBSERVE)
    return page.evaluate(PLAIN, key)


@pytest.mark.full
@pytest.mark.parametrize("shape", PIECES)
def test_ten_thousand_tokens_stay_fluent(open_page: Open, scripted: Scripted, shape: str) -> None:
    piece = PIECES[shape]
    text = BEFORE.get(shape, "") + piece * (N_CHARACTERS // len(piece))
    scripted.say(text)
    scripted.pace(0.001)
    page = open_page()
    key = page.locator("input[type=password]").input_value()
    assert plain(page, key) == len(text)
    of_plain = tasks(page)
    page = open_page()
    page.evaluate(OBSERVE)
    page.get_by_label("Your message").fill("x")
    page.keyboard.press("Enter")
    page.get_by_role("status").filter(has_text="The reply is complete.").wait_for(timeout=120_000)
    of_markdown = tasks(page)
    print(f"{shape}: {of_plain} plain, {of_markdown} here; {page.locator('.stats').first.inner_text()}")
    assert page.evaluate("document.querySelector('.markdown').textContent.length") > N_CHARACTERS / 3
    assert len(of_markdown) <= len(of_plain) + 2
