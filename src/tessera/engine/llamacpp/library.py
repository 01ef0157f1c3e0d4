"""Finds a library of llama.cpp: the one that is named, or else one that a Python package brings."""

import ctypes as c
import importlib.util
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal

import msgspec

from tessera.engine.llamacpp.api import LlamaApi
from tessera.errors import StartupError

# What a package calls its library, below its folder; the first package that is there is taken. Built where
# it runs, llama-cpp-python's uses all that the processor can do.
PACKAGES = {
    "llama-cpp-python": ("llama_cpp", ("lib/libllama.so", "lib/libllama.dylib")),
    "xllamacpp": ("xllamacpp", ("xllamacpp.abi3.so",)),
}

DeviceKind = Literal["cpu", "gpu", "igpu", "accelerator"]
_KINDS: tuple[DeviceKind, ...] = ("cpu", "gpu", "igpu", "accelerator")


@dataclass(frozen=True, slots=True)
class Device:
    """Something that the library computes on; its memory in bytes, 0 where that is not known."""

    name: str
    description: str
    kind: DeviceKind
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Library:
    """A library whose layout was checked. `name` is that of its package, or "library" for a file that was
    named; `features` are the instructions that it was built for, as llama.cpp names them.
    """

    name: str
    version: str
    path: Path
    devices: tuple[Device, ...]
    features: tuple[str, ...]

    @property
    def gpus(self) -> tuple[Device, ...]:
        """The devices beside the processor that have memory of their own."""
        return tuple(device for device in self.devices if device.kind == "gpu")


def find_library(explicit: Path | None) -> Library:
    """The library that is used, loaded into this process; `explicit` is the file that a setting names.

    Raises `StartupError` if there is none, or if its layout is not known.
    """
    return open_library(explicit)[0]


def open_library(explicit: Path | None) -> tuple[Library, LlamaApi]:
    """The same, with its functions."""
    name, path = locate(explicit)
    api = LlamaApi(path)
    package = _version(name, path)
    library = Library(
        name=name,
        version=f"{package} ({api.version})" if package else api.version,
        path=path,
        devices=tuple(_devices(api)),
        features=_features(api.llama_print_system_info().decode()),
    )
    return library, api


def locate(explicit: Path | None) -> tuple[str, Path]:
    """The name of the library, as `Library` has it, and its path; raises `StartupError` if there is none."""
    if explicit is not None:
        if not explicit.is_file():
            raise StartupError(f"llama_library is {explicit}: there is no such file.")
        path = explicit.resolve()
        return next((name for name in PACKAGES if _package_folder(name, path)), "library"), path
    for name, (package, files) in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            for file in files:
                if (path := Path(folder) / file).is_file():
                    return name, path
    raise StartupError(
        "The engine llamacpp needs a library of llama.cpp, and there is none. "
        "Get one with: tessera engines install llamacpp."
    )


def library_in(folder: Path) -> Path | None:
    """The library of a package that lies in `folder`, if there is one."""
    for package, files in PACKAGES.values():
        for file in files:
            if (path := folder / package / file).is_file():
                return path
    return None


def _package_folder(name: str, path: Path) -> Path | None:
    """The folder that the package was installed into, if the file is its library."""
    package, files = PACKAGES[name]
    return next(
        (path.parents[file.count("/") + 1] for file in files if path.match(f"{package}/{file}")), None
    )


def _version(package: str, path: Path) -> str:
    folder = _package_folder(package, path) if package in PACKAGES else None
    found = distributions(name=package, path=[str(folder)]) if folder else ()
    return next((distribution.version for distribution in found), "")


def _devices(api: LlamaApi) -> list[Device]:
    found: list[Device] = []
    for index in range(api.ggml_backend_dev_count()):
        device = api.ggml_backend_dev_get(index)
        free, total = c.c_size_t(), c.c_size_t()
        api.ggml_backend_dev_memory(device, c.byref(free), c.byref(total))
        found.append(
            Device(
                name=api.ggml_backend_dev_name(device).decode(),
                description=api.ggml_backend_dev_description(device).decode(),
                kind=_KINDS[min(int(api.ggml_backend_dev_type(device)), len(_KINDS) - 1)],
                free_bytes=free.value,
                total_bytes=total.value,
            )
        )
    return found


def _features(listed: str) -> tuple[str, ...]:
    """Of "CPU : AVX = 1 | AVX2 = 1 | …" the names that are on."""
    pairs = (part.rpartition(":")[2].split("=") for part in listed.split("|"))
    return tuple(pair[0].strip() for pair in pairs if len(pair) == 2 and pair[1].strip() == "1")


def main() -> None:
    """Prints as JSON what the library is that is named on the command line, or the one that is used."""
    explicit = Path(sys.argv[1]) if sys.argv[1:] else None
    try:
        print(msgspec.json.encode(find_library(explicit), enc_hook=str).decode())
    except StartupError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
