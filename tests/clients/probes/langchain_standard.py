"""LangChain's tests of chat models, on the server that the environment names."""

import os
import sys
from typing import Any

from langchain_tests.integration_tests import ChatModelIntegrationTests

if "langchain-qwq" in sys.argv:
    from langchain_qwq import ChatQwen as Chat
else:
    from langchain_openai import ChatOpenAI as Chat


class TestStandard(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[Chat]:
        return Chat

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": os.environ["PROBE_MODEL"],
            "base_url": f"{os.environ['PROBE_SERVER']}/v1",
            "api_key": os.environ["PROBE_KEY"],
            "max_retries": 0,
            "stream_usage": True,
        }

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "scripted/json-calls"
