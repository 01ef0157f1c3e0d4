"""Examples of the OpenAPI document's responses; a test validates them."""

import json
from typing import Any

Json = dict[str, Any]

_MODEL = "Qwen/Qwen3.6-35B-A3B"
_HEAD: Json = {
    "id": "chatcmpl-019b4a1c2d3e4f5a6b7c8d9e",
    "created": 1767225600,
    "model": _MODEL,
    "system_fingerprint": "fp_0123456789ab",
}
COMPLETION: Json = {
    **_HEAD,
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Madrid.", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {
        "prompt_tokens": 37,
        "completion_tokens": 3,
        "total_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 32},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
CHUNKS: list[Json] = [
    {
        **_HEAD,
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
    }
    for delta, reason in (({"role": "assistant", "content": "Madrid."}, None), ({}, "stop"))
]
STREAM = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS) + "data: [DONE]\n\n"

MODELS: Json = {
    "object": "list",
    "data": [
        {
            "id": _MODEL,
            "object": "model",
            "created": 1767225600,
            "owned_by": "tessera",
            "root": "Qwen3.6-35B-A3B",
            "context_length": 32768,
            "max_model_len": 32768,
            "modes": ["direct", "thinking"],
            "features": ["logprobs", "n", "structured_output", "thinking_budget", "tools"],
        }
    ],
}

_COUNTS: Json = {
    "requests": 2,
    "failed": 0,
    "prompt_tokens": 30,
    "cached_tokens": 16,
    "completion_tokens": 12,
    "reasoning_tokens": 0,
}
USAGE: Json = {
    "object": "usage",
    "rows": [{"day": "2026-01-31", **_COUNTS}],
    "totals": _COUNTS,
    "budgets": [
        {
            "budget": "total_tokens_per_month",
            "key_id": None,
            "period": "2026-01",
            "limit_tokens": 5000000,
            "used_tokens": 42,
            "resets_s": 1769904000.0,
        }
    ],
}

ACCOUNT: Json = {
    "id": "acc_0123456789abcdef0123",
    "name": "acme",
    "tier": "pro",
    "created_s": 1767225600.0,
    "disabled_s": None,
    "limits": {"total_tokens_per_month": 5000000},
}
TIER: Json = {
    "name": "pro",
    "sustained_rpm": 200,
    "burst_rpm": 400,
    "context_tokens": 32768,
    "thinking_tokens_per_day": 1000000,
    "concurrency": 16,
    "priority": 2,
    "budgets": [],
    "default_output_tokens": None,
}
KEY: Json = {
    "id": "key_0123456789abcdef0123",
    "account": "acme",
    "name": "dev",
    "state": "active",
    "last4": "wxyz",
    "account_id": ACCOUNT["id"],
    "created_s": 1767225600.0,
    "last_used_s": None,
    "expires_s": None,
    "revoked_s": None,
    "models": [_MODEL],
    "burst_rpm": None,
    "burst_until_s": None,
    "budgets": {"total_tokens_per_day": 50000},
    "pepper": "0123456789abcdef",
}
NEW_KEY: Json = {"secret": "sk-tessera-0123456789abcdefghijklmnopqrstuvwxyz", **KEY}
REPORT: Json = {"rows": [{"account": "acme", **_COUNTS}], "totals": _COUNTS}
FILES = {
    "text/csv": "account,requests,failed,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens\n"
    "acme,2,0,30,16,12,0\n",
    "application/vnd.apache.parquet": "PAR1",
}
CHANGE: Json = {
    "id": 1,
    "at_s": 1767225600.0,
    "actor": "cli:root",
    "action": "key.create",
    "subject": KEY["id"],
    "detail": {"name": "dev"},
}
BUDGET: Json = {
    "account": "acme",
    "account_id": ACCOUNT["id"],
    "key_id": None,
    "budget": "total_tokens_per_month",
    "period": "2026-01",
    "limit_tokens": 5000000,
    "used_tokens": 4100000,
    "percent": 82,
    "resets_s": 1769904000.0,
}
REQUESTS: Json = {
    "process": 1234,
    "requests": [
        {
            "id": "chatcmpl-019b4a1c2d3e4f5a6b7c8d9e",
            "request_id": "7d0f2e",
            "client": "127.0.0.1",
            "account": ACCOUNT["id"],
            "key_id": KEY["id"],
            "model": _MODEL,
            "step": "first_token",
            "age_s": 1.25,
            "waited_s": 0.01,
            "prompt_tokens": 37,
            "completion_tokens": 12,
        }
    ],
}
TASKS: Json = {
    "process": 1234,
    "tasks": [{"name": "Task-1", "coroutine": "run", "waits_at": "tessera.server.parent:120, run"}],
}
