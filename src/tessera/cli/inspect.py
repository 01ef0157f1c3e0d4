"""`tessera inspect`: how a request is processed, with the real format, tokenizer and pipeline.

This is the only command that shows content: the person who runs it has the request already.
"""

import asyncio
import dataclasses
from contextlib import aclosing
from typing import BinaryIO, TextIO

import click

from tessera.catalog import Model
from tessera.cli.options import with_settings
from tessera.cli.progress import TerminalProgress
from tessera.cli.walk import CallTrace, walk
from tessera.core.chat import Caller, ChatRequest
from tessera.core.record import Tally
from tessera.engine.scripted.engine import ScriptedEngine, saying
from tessera.errors import CommandError
from tessera.pipeline import run
from tessera.prompt.compile import compile_prompt
from tessera.server.models import private_model
from tessera.settings import Settings
from tessera.wire.decode import decode_request


@click.command()
@click.argument("request_file", metavar="REQUEST", type=click.File("rb"))
@click.option("--run", "start", is_flag=True, help="Start the engine and show the events of a real reply.")
@click.option(
    "--trace",
    is_flag=True,
    help="Answer the request, and show the functions that run for it, with times.",
)
@click.option(
    "--output",
    type=click.File(encoding="utf-8"),
    help="Show the events that the text of this file would produce.",
)
@with_settings("model", "engine", "cache_dir", "offline", "context_tokens")
def inspect(
    settings: Settings, request_file: BinaryIO, start: bool, trace: bool, output: TextIO | None
) -> None:
    """Show how a request is processed. REQUEST is a file with its JSON body; - is standard input.

    Prints the segments of the rendered prompt, the token ids with their text, the grammar, and the sampling
    parameters. With --output or --run, also prints the events of a reply, one per line: of a given text, in
    which control tokens are written by name, or of the model's real reply. With --trace, prints instead the
    functions of Tessera that run for the request in the HTTP application, in the order of their first call.
    """
    body = request_file.read()
    if trace:
        show_walk(*asyncio.run(walk(settings, body)))
        return
    request, _ = decode_request(body)
    text = _read_text(output) if output else None
    model = private_model(settings, TerminalProgress())
    asyncio.run(_inspect(request, model, text, start=start))


def _read_text(file: TextIO) -> str:
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise CommandError(f"--output: {file.name} is not a text in UTF-8.") from error


async def _inspect(request: ChatRequest, model: Model, output: str | None, *, start: bool) -> None:
    try:
        await _show_prompt(request, model)
        if output is not None:
            _title("Events of the output")
            await _show_events(request, _writing(output, model))
        if start:
            await model.engine.start()
            _title(f"Events of {model.id}")
            await _show_events(request, model)
    finally:
        await model.aclose()


def _writing(output: str, model: Model) -> Model:
    """The same model, if it wrote this text."""
    script = saying(model.tokenizer, output, model.format.syntax.ends[0])
    can, features = model.engine.info, model.engine.info.features
    engine = ScriptedEngine(model.tokenizer, script, context_tokens=can.context_tokens, features=features)
    return dataclasses.replace(model, engine=engine)


async def _show_prompt(request: ChatRequest, model: Model) -> None:
    compiled = await compile_prompt(request, model, Caller())
    _title(f"Segments, format {model.format.name}")
    segments = await model.renderer.render(request) if model.renderer else model.format.render(request)
    for segment in segments:
        click.echo(repr(segment))
    token_ids = compiled.prompt.token_ids
    _title(f"Prompt, {len(token_ids)} tokens")
    for id in token_ids:
        click.echo(f"{id:>8}  {_spelling(model, id)}")
    if compiled.prompt.grammar is not None:
        _title("Grammar")
        click.echo(compiled.prompt.grammar.lark)
    _title("Sampling")
    for each in dataclasses.fields(compiled.sampling):
        click.echo(f"{each.name} = {getattr(compiled.sampling, each.name)!r}")


async def _show_events(request: ChatRequest, model: Model) -> None:
    async with aclosing(run(request, model, Caller(), Tally())) as batches:
        async for batch in batches:
            for event in batch:
                click.echo(repr(event))


def show_walk(walked: CallTrace, answer: bytes) -> None:
    """Print the functions in order, and then the answer."""
    _title("Functions, in the order of their first call")
    calls = list(walked.first_calls())
    for call in calls:
        click.echo(f"{call.at_s * 1000:9.2f} ms  {'  ' * call.depth}{call.function}")
    click.echo(f"\n{len(calls)} functions in {len(walked.files())} files, called {len(walked.calls)} times.")
    _title("Answer")
    click.echo(answer.decode())


def _spelling(model: Model, token_id: int) -> str:
    """Bytes as they are: a token may hold half a character."""
    return repr(model.tokenizer.token_bytes(token_id))[1:]


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)
