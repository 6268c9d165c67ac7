"""Stand-ins for what the peers import and nothing here uses: readers of files, pretrained networks, launchers."""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ABSENT = {
    "torchvision", "transformers", "kornia", "cv2", "PIL", "accelerate", "tqdm", "pytorch_warmup",
    "pytorch_custom_utils", "gateloop_transformer", "taylor_series_linear_attention",
}  # fmt: skip


class _Whatever(type):
    def __getattr__(cls, name: str) -> "Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return cls()


class Anything(metaclass=_Whatever):
    """A class, a value, a function or a decorator: whatever is asked of it at import."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> "Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *given: Any, **_: Any) -> Any:
        """As a decorator it changes nothing."""
        return given[0] if given and callable(given[0]) else self


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


class _Stubs(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in ABSENT else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


def install() -> None:
    """After the real modules: one that is there is used."""
    sys.meta_path.append(_Stubs())
