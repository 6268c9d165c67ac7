import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from kinetoken.config import from_flat, to_flat
from kinetoken.generator import ModelConfig
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig
from kinetoken.transformer import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3
    rates: tuple[float, ...] = (0.5,)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    limit: float | None = None
    inner: Inner = field(default_factory=Inner)


def test_a_model_config_survives_json() -> None:
    config = ModelConfig(
        tokenizer=TokenizerConfig(channels=64),
        network=TransformerConfig(text_codes=300, visual_codes=1000, levels=(8, 5, 5, 5)),
    )
    assert from_flat(ModelConfig, json.loads(json.dumps(to_flat(config)))) == config


def test_flat_means_dotted() -> None:
    assert to_flat(Outer(name="x"))["inner.size"] == 3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"colour": 1}, "unknown"),
        ({"inner.colour": 1}, "unknown"),
        ({"inner.size": "3"}, "inner.size"),
        ({"inner.size": True}, "inner.size"),
        ({"inner.rates": [float("nan")]}, "inner.rates"),
        ({"limit": float("inf")}, "limit"),
        ({"kind": "c"}, "kind"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_flat(Outer, {"name": "x", **change})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="name"):
        from_flat(Outer, {})
