"""The clients that are tried: to add one, add a line here, a probe, a row in docs/*/clients.md and a page."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]

CHECKS = ("reply", "stream", "tools", "parallel", "structured", "reasoning", "usage", "cancel", "real")
"""What is tried with each client that can do it. Probes may have further checks."""

ERRORS = ("400", "401", "404", "413", "429")
"""The refusals whose class is noted."""


@dataclass(frozen=True)
class Client:
    """`packages` are installed from `source` in an environment of their own; the first has the version.
    `of` is the client whose page it shares.
    """

    name: str
    title: str
    source: Literal["PyPI", "npm"]
    packages: tuple[str, ...]
    probe: str
    limit_s: int = 150
    of: str | None = None

    @property
    def page(self) -> str:
        """Its page, below docs/en and docs/es."""
        return f"clients/{self.of or self.name}.md"

    @property
    def pins(self) -> Path:
        """The compiled requirements; for npm, `packages` are the pins."""
        return ROOT / "requirements" / "clients" / f"{self.name}.txt"

    @property
    def version(self) -> str:
        if self.source == "npm":
            return self.packages[0].rpartition("@")[2]
        package = re.split(r"[\[=<]", self.packages[0])[0]
        found = re.search(rf"^{package}(?:\[.*\])?==(\S+)", self.pins.read_text(), re.MULTILINE)
        assert found, f"{self.pins} does not pin {package}"
        return found.group(1)


CLIENTS = (
    Client("openai", "openai (Python)", "PyPI", ("openai",), "with_openai.py"),
    # Of its time: with a newer httpx it does not start.
    Client(
        "openai-1.40",
        "openai 1.40 (Python)",
        "PyPI",
        ("openai==1.40.0", "httpx<0.28"),
        "with_openai.py",
        of="openai",
    ),
    Client("openai-node", "openai (Node)", "npm", ("openai@7.59.0", "zod@4.6.7"), "with_openai.mjs"),
    Client("langchain", "LangChain", "PyPI", ("langchain-openai", "langchain-tests"), "with_langchain.py"),
    Client(
        "langchain-qwq", "langchain-qwq", "PyPI", ("langchain-qwq", "langchain-tests"), "with_langchain.py"
    ),
    Client("pydantic-ai", "Pydantic AI", "PyPI", ("pydantic-ai-slim[openai]",), "with_pydantic_ai.py"),
    Client("openai-agents", "OpenAI Agents", "PyPI", ("openai-agents",), "with_openai_agents.py"),
    Client("instructor", "Instructor", "PyPI", ("instructor",), "with_instructor.py"),
    Client("litellm", "LiteLLM", "PyPI", ("litellm",), "with_litellm.py"),
    Client("smolagents", "smolagents", "PyPI", ("smolagents[openai]",), "with_smolagents.py"),
    Client("haystack", "Haystack", "PyPI", ("haystack-ai",), "with_haystack.py"),
    Client("llama-index", "LlamaIndex", "PyPI", ("llama-index-llms-openai-like",), "with_llama_index.py"),
    Client(
        "ai-sdk",
        "AI SDK",
        "npm",
        ("ai@7.0.173", "@ai-sdk/openai-compatible@3.0.92", "zod@4.6.7"),
        "with_ai_sdk.mjs",
    ),
    Client("qwen-code", "Qwen Code", "npm", ("@qwen-code/qwen-code@0.24.4",), "with_agents.py", 240),
    Client("opencode", "OpenCode", "npm", ("opencode-ai@1.18.33",), "with_agents.py", 240),
    Client("cline", "Cline", "npm", ("cline@3.0.65",), "with_agents.py", 240),
    Client("aider", "aider", "PyPI", ("aider-chat",), "with_agents.py", 240),
)
