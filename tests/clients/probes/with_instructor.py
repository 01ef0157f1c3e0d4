"""instructor, in each of its modes that a server like this one can be asked in."""

from collections.abc import Iterable
from typing import Any, Literal

import instructor
import openai
from probe import KEY, MODEL, REFUSING_URL, REPORT, URL, equal, holds, prompt, run, shown, wait_until_idle
from pydantic import BaseModel, field_validator

MODES = ("TOOLS", "TOOLS_STRICT", "JSON", "JSON_SCHEMA", "MD_JSON")


class Report(BaseModel, extra="forbid"):
    """What the sky does."""

    sky: Literal["sun", "rain"]
    days: int | None


def create(mode: str, said: str, url: str = URL, key: str = KEY, **options: Any) -> Any:
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    asking = instructor.from_openai(client, mode=getattr(instructor.Mode, mode))
    fields = {"model": MODEL, "response_model": Report, "max_retries": 1, **options}
    return asking.chat.completions.create(messages=[{"role": "user", "content": said}], **fields)


FILLED = {"fill": ["Report", REPORT]}


def reply() -> None:
    equal(create("TOOLS", prompt("Yes."), response_model=None).choices[0].message.content, "Yes.")


def structured() -> None:
    for mode in MODES:
        equal(create(mode, prompt(FILLED)).model_dump(), REPORT)


def stream() -> None:
    for mode in ("TOOLS", "JSON_SCHEMA"):
        said = prompt({"fill": ["PartialReport", REPORT]})
        partial = list(create(mode, said, response_model=instructor.Partial[Report], stream=True))
        equal(partial[-1].model_dump(), REPORT)
        holds(len(partial) > 3, "all came at once")


def parallel() -> None:
    said = prompt({"calls": [["Report", REPORT]] * 2})
    reports = create("PARALLEL_TOOLS", said, response_model=Iterable[Report])
    equal([report.model_dump() for report in reports], [REPORT] * 2)


def retry() -> None:
    """A reply that is not valid is sent back with what is wrong."""

    class Sunny(BaseModel):
        sky: str

        @field_validator("sky")
        @classmethod
        def is_sun(cls, sky: str) -> str:
            if sky != "sun":
                raise ValueError("say sun")
            return sky

    for mode in ("TOOLS", "JSON_SCHEMA"):
        said = prompt({"fill": ["Sunny", {"sky": "rain"}]}, {"fill": ["Sunny", {"sky": "sun"}]})
        equal(create(mode, said, response_model=Sunny, max_retries=2).sky, "sun")


def cancel() -> None:
    client = openai.OpenAI(base_url=REFUSING_URL, api_key=KEY, max_retries=0)
    asking = instructor.from_openai(client, mode=instructor.Mode.MD_JSON)
    chunks = asking.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt({"endless": True})}],
        response_model=None,
        stream=True,
    )
    next(iter(chunks))
    chunks.close()
    wait_until_idle()


def real() -> None:
    for mode in ("TOOLS_STRICT", "JSON_SCHEMA"):
        holds(isinstance(create(mode, prompt(), max_tokens=200, temperature=0), Report), "no report")


def ask(prompt: str, key: str = KEY, model: str = MODEL, temperature: float = 1) -> None:
    options = {"model": model, "temperature": temperature, "response_model": None}
    create("JSON_SCHEMA", prompt, REFUSING_URL, key, **options)


run(
    {
        "reply": reply,
        "stream": stream,
        "parallel": parallel,
        "structured": structured,
        "retry": retry,
        "cancel": cancel,
        "real": real,
        **{str(status): lambda status=status: shown(ask, status) for status in (400, 401, 404, 413, 429)},
    }
)
