"""`tessera chat`: a conversation in the terminal, streamed from any server that speaks OpenAI's API."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

import click
import httpx2
import msgspec
from rich.console import Console

from tessera.cli.values import FiniteRange, authorization, plain
from tessera.errors import TesseraError
from tessera.urls import with_path

MAX_TOKENS = 2048
MAX_TOKENS_THINKING = 16_384
_CUT = "The reply was cut: it reached its limit of tokens (--max-tokens), or repeated itself."
_HELP = "/new starts over, /exit or Ctrl-D ends, Ctrl-C stops a reply."


class _ReplyDelta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _ReplyChoice(msgspec.Struct):
    delta: _ReplyDelta
    finish_reason: str | None = None


class _ReplyError(msgspec.Struct):
    message: str = "no reason given"


class _ReplyChunk(msgspec.Struct):
    choices: list[_ReplyChoice] = []
    error: _ReplyError | None = None


class ChatFailed(TesseraError):
    """The server refused, or went away; the message says which."""


@click.command()
@click.option(
    "--url",
    envvar="TESSERA_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    show_envvar=True,
    help="URL of the server, with or without /v1.",
)
@click.option("--api-key", envvar="TESSERA_API_KEY", show_envvar=True, help="The key that `serve` printed.")
@click.option("--model", help="Model of the server; without it, the server's default.")
@click.option("--system", help="System message for the whole conversation.")
@click.option("--temperature", type=FiniteRange(0, 2), help="0 always selects the most likely token.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    help=f"Maximum number of tokens of a reply; without it, {MAX_TOKENS}, or {MAX_TOKENS_THINKING} with "
    "--thinking.",
)
@click.option("--thinking", is_flag=True, help="Let the model reason first, if it can.")
@click.argument("message", nargs=-1)
def chat(
    url: str,
    api_key: str | None,
    model: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    thinking: bool,
    message: tuple[str, ...],
) -> None:
    """Chat with a running server. With MESSAGE, ask one question and exit after the answer.

    In a conversation: /new starts over, /exit or Ctrl-D ends, Ctrl-C stops a reply.
    """
    options = {
        "model": model,
        "temperature": temperature,
        "max_completion_tokens": max_tokens or (MAX_TOKENS_THINKING if thinking else MAX_TOKENS),
        "chat_template_kwargs": {"enable_thinking": True} if thinking else None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    timeout = httpx2.Timeout(10.0, read=None)  # the first token of a long prompt takes its time
    with httpx2.Client(
        base_url=with_path(url, "/v1"), headers=authorization(api_key), timeout=timeout
    ) as client:
        conversation = ChatSession(client, given, system)
        if message:
            conversation.say(" ".join(message))
        else:
            _converse(conversation)


class ChatSession:
    """The conversation so far, and the server that continues it."""

    def __init__(self, client: httpx2.Client, options: Mapping[str, object], system: str | None) -> None:
        self._client = client
        self._options = options
        self._system = [{"role": "system", "content": system}] if system else []
        self._console = Console(highlight=False)
        self._said: list[dict[str, str]] = []

    def start_over(self) -> None:
        self._said.clear()

    def say(self, text: str) -> None:
        """Print the reply as it arrives, and keep both messages. Ctrl-C stops it and keeps its beginning.

        Raises `ChatFailed`; the conversation is then unchanged.
        """
        question = {"role": "user", "content": text}
        reply: list[str] = []
        is_cut = False
        try:
            for choice in self._stream([*self._system, *self._said, question]):
                delta = choice.delta
                reply.append(delta.content or "")
                self._console.print(delta.reasoning_content or "", end="", style="dim", markup=False)
                self._console.print(delta.content or "", end="", markup=False, soft_wrap=True)
                is_cut = choice.finish_reason == "length"
        except KeyboardInterrupt:
            self._console.print(" [stopped]", end="", style="dim", markup=False)
            reply.append("")  # the line has something
        finally:
            if reply:
                self._console.print()
        if is_cut:
            click.secho(_CUT, dim=True, err=True)
        self._said += [question, {"role": "assistant", "content": "".join(reply)}]

    def _stream(self, messages: list[dict[str, str]]) -> Iterator[_ReplyChoice]:
        body = {"messages": messages, "stream": True, **self._options}
        n_chunks = 0
        try:
            with self._client.stream("POST", "/chat/completions", json=body) as response:
                if response.status_code != 200:
                    raise ChatFailed(_reason(response) or self._stranger())
                for line in response.iter_lines():
                    if not line.startswith("data:") or "{" not in line:
                        continue
                    chunk = msgspec.json.decode(line.removeprefix("data:"), type=_ReplyChunk)
                    if chunk.error:
                        raise ChatFailed(f"The reply broke off: {chunk.error.message}")
                    n_chunks += 1
                    yield from chunk.choices
        except httpx2.HTTPError as error:
            raise ChatFailed(f"No server answers at {self._client.base_url}: {plain(error)}.") from error
        except msgspec.DecodeError as error:
            raise ChatFailed(self._stranger()) from error
        if not n_chunks:
            raise ChatFailed(self._stranger())

    def _stranger(self) -> str:
        return f"What answers at {self._client.base_url} does not speak OpenAI's API. Check --url."


def _reason(response: httpx2.Response) -> str | None:
    """None if another program answered."""
    problem = None
    with suppress(msgspec.DecodeError):
        problem = msgspec.json.decode(response.read(), type=_ReplyChunk).error
    return problem and f"The server answered {response.status_code}: {problem.message}"


def _converse(conversation: ChatSession) -> None:
    if os.isatty(0):
        import readline  # noqa: F401  # pyright: ignore[reportUnusedImport] - it changes `input`: editing, history

        click.secho(_HELP, dim=True)
    while True:
        try:
            said = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
        match said:
            case "":
                continue
            case "/exit":
                return
            case "/new":
                conversation.start_over()
            case "/help":
                click.secho(_HELP, dim=True)
            case _:
                try:
                    conversation.say(said)
                except ChatFailed as error:
                    click.secho(error.message, fg="red", err=True)
