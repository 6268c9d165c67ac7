"""kinetoken: a clip is a grid of codes, a prompt is a row of codes, one network fills in whatever is missing."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinetoken.clip import Clip as Clip
    from kinetoken.generator import Generator as Generator

__version__ = "0.1.0"
__all__ = ["Clip", "Generator"]
_HOME = {"Clip": "kinetoken.clip", "Generator": "kinetoken.generator"}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), so that `import kinetoken` does not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'kinetoken' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
