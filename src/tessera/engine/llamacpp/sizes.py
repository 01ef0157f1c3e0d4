"""How the budgets are divided: cells, ids, and recurrent states."""

from dataclasses import dataclass

from tessera.engine.batch.blocks import BLOCK_TOKENS
from tessera.engine.batch.drafts import DRAFT_TOKENS
from tessera.engine.batch.pace import PROMPT_TOKENS_AT_LEAST
from tessera.engine.llamacpp.config import LlamaOptions
from tessera.engine.llamacpp.context import CELL_STEP, Context, ContextParams, LlamaModel, Span
from tessera.errors import StartupError

MOST_IDS = 256
"""llama.cpp knows no more sequences."""

_LEAST_LANES = 8
# llama.cpp has a row of logits for each id, used or not.
_MOST_LOGITS_BYTES = 2**27
# With more rows than this another kernel computes attention, and rounds otherwise.
_AT_ONCE, _AT_ONCE_EXACT = 512, 63
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """What a token takes in all layers, and what a sequence takes beside its tokens: bytes."""

    cell_bytes: int
    state_bytes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """`n_seats` sequences run at once; the id after them is spare; `n_lanes` more hold what is kept, and as
    many again are their twins if the model has windows.
    """

    context: ContextParams
    n_seats: int
    n_lanes: int
    context_tokens: int
    checkpoint_bytes: int

    @property
    def n_blocks(self) -> int:
        """The blocks of all cells but those of the spare id of an exact context."""
        n_cells, n_ids = self.context.n_cells, self.context.n_ids
        return (n_cells - (n_cells // n_ids if self.context.exact else 0)) // BLOCK_TOKENS


def measure(model: LlamaModel, options: LlamaOptions) -> Measured:
    """Computes two tokens, and looks at how the memory of their sequence grows."""
    params = ContextParams(
        n_cells=CELL_STEP, n_ids=1, n_tokens=2, n_at_once=2, n_sampled=1, threads=1, kv_type=options.kv_type
    )
    probe = Context(model, params)
    whole: list[int] = []
    for n_past in range(2):
        probe.run([Span(0, n_past, [0], 0)])
        whole.append(probe.state_bytes(0, whole=True))
    measured = Measured(whole[1] - whole[0], probe.state_bytes(0) if model.has_states else 0)
    probe.close()
    return measured


def divide(
    options: LlamaOptions,
    measured: Measured,
    *,
    vocabulary_size: int,
    has_windows: bool,
    max_sequences: int,
    context_tokens: int,
    threads: int,
) -> Sizes:
    """The largest sizes within the budgets. Raises `StartupError` naming the budget that is too small."""
    n_seats, n_lane_ids = _ids(options, measured, vocabulary_size, max_sequences)
    n_lanes = n_lane_ids // 2 if has_windows else n_lane_ids
    n_ids = n_seats + 1 + n_lane_ids
    most = -(-(context_tokens + DRAFT_TOKENS) // CELL_STEP) * CELL_STEP
    n_affordable = options.kv_cache_bytes // max(1, measured.cell_bytes)
    if options.exact:
        each = min(n_affordable // n_ids // CELL_STEP * CELL_STEP, most)
        n_cells, context_tokens = each * n_ids, min(context_tokens, each - DRAFT_TOKENS)
    else:
        n_cells = each = min(n_affordable // CELL_STEP * CELL_STEP, most * n_seats)
    if each < options.step_tokens:
        needed = options.step_tokens * measured.cell_bytes * (n_ids if options.exact else 1)
        whose, instead = (" for each sequence", ", or max_sequences lower") if options.exact else ("", "")
        raise StartupError(
            f"kv_cache_bytes holds {each} tokens of {measured.cell_bytes} bytes{whose}, fewer than a step of "
            f"{options.step_tokens}. Set it to {-(-needed // _MIB) + 1}M or more{instead}."
        )
    n_tokens = options.step_tokens + n_seats + PROMPT_TOKENS_AT_LEAST + DRAFT_TOKENS
    params = ContextParams(
        n_cells=n_cells,
        n_ids=n_ids,
        n_tokens=n_tokens,
        # Of a model with windows, what a pass computes must be kept before it is overwritten.
        n_at_once=_AT_ONCE_EXACT if options.exact else n_tokens if has_windows else _AT_ONCE,
        n_sampled=n_seats + DRAFT_TOKENS,
        threads=threads,
        kv_type=options.kv_type,
        exact=options.exact,
    )
    return Sizes(
        context=params,
        n_seats=n_seats,
        n_lanes=n_lanes,
        context_tokens=context_tokens,
        checkpoint_bytes=options.state_bytes - n_ids * measured.state_bytes,
    )


def most_states(options: LlamaOptions, state_bytes: int, max_sequences: int) -> int:
    """How many ids a model with states of that size has; 0 for one without.

    Half of the budget is for states that are kept for reuse, unless none are.
    """
    if not state_bytes:
        return 0
    share = options.state_bytes // (1 if options.exact else 2)
    return min(share // state_bytes, max_sequences + 1 + (0 if options.exact else _LEAST_LANES))


def _ids(
    options: LlamaOptions, measured: Measured, vocabulary_size: int, max_sequences: int
) -> tuple[int, int]:
    """How many seats and lanes there are. Each id of a hybrid model has a whole recurrent state."""
    n_lanes = 0 if options.exact else _LEAST_LANES
    n_seats = min(max_sequences, MOST_IDS - 1 - _LEAST_LANES)
    if measured.state_bytes:
        n_seats = min(n_seats, most_states(options, measured.state_bytes, max_sequences) - 1 - n_lanes)
        if n_seats < 1:
            needed = (2 + n_lanes) * (1 if options.exact else 2) * measured.state_bytes
            raise StartupError(
                f"A recurrent state of this model takes {measured.state_bytes} bytes, for which state_bytes "
                f"is too small. Set it to {-(-needed // _MIB)}M or more."
            )
    elif not options.exact:
        n_rows = _MOST_LOGITS_BYTES // (4 * vocabulary_size)
        n_lanes = max(_LEAST_LANES, min(MOST_IDS, n_rows) - 1 - n_seats)
    return n_seats, n_lanes
