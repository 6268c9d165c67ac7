"""kinetoken combine"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from kinetoken.apps.train import load_tokenizer, model_folder
from kinetoken.generator import CODEC_FILE, Generator
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer
from kinetoken.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class Command:
    """Put what runs have learned into the model from which they set out, as a model of its own. So parts of a model can
    be trained at the same time, by painting, planning and decoding, say, or one part several times.

    kinetoken combine toybox runs/painting runs/planning runs/decoding -o models/toybox

    Each weight is the mean of what it is in those runs that have changed it, or as it was (model soups: Wortsman et al.
    2022). A decoder of the same codes with more, fewer or wider layers takes the place of the model's.
    """

    model: Positional[str]
    """A bundled model (toybox or emoji), a folder that training wrote, or owner/name on the hub."""
    learned: Positional[tuple[Path, ...]]
    """Runs, or folders of models or tokenizers."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The folder to write."""

    def execute(self) -> None:
        if not self.learned:
            raise ValueError("name the runs whose weights are to be put in")
        combine(Generator.from_pretrained(self.model, device="cpu"), self.learned).save(self.output)
        print(f"wrote {self.output}")


def combine(model: Generator, learned: Sequence[Path]) -> Generator:
    """Says of each run what it has changed. Raises: ValueError if one does not fit the model."""
    tokenizers: dict[Path, VideoTokenizer] = {}
    networks: dict[Path, Transformer] = {}
    for path in learned:
        folder = model_folder(path)
        if not folder.exists():
            raise ValueError(f"{path} is no folder of a run that has written its model, nor of a model")
        tokenizers[path] = load_tokenizer(folder)
        if not _same_codes(tokenizers[path], model.tokenizer):
            raise ValueError(
                f"{path} has other codes than the model: of a tokenizer no more than the decoder may differ"
            )
        if (folder / CODEC_FILE).exists():
            other = Generator.from_pretrained(folder, device="cpu")
            if (other.network.config, other.codec.to_json()) != (model.network.config, model.codec.to_json()):
                raise ValueError(f"the network of {path} has another shape than the model's, or other words")
            networks[path] = other.network
    grown = {path: its for path, its in tokenizers.items() if its.config != model.tokenizer.config}
    config, *others = {its.config for its in grown.values()} or {model.tokenizer.config}
    if others:
        raise ValueError(f"the tokenizers of {' and '.join(map(str, grown))} differ in shape")
    tokenizer, network = VideoTokenizer(config), Transformer(model.network.config)
    fitting = {name: w for name, w in model.tokenizer.state_dict().items() if name in tokenizer.state_dict()}
    tokenizer.load_state_dict(_combined(fitting, grown or tokenizers))
    network.load_state_dict(_combined(model.network.state_dict(), networks))
    return Generator(replace(model.config, tokenizer=config), tokenizer, model.codec, network)


def _same_codes(one: VideoTokenizer, other: VideoTokenizer) -> bool:
    kinds = [(of.config.cell, of.config.quantizer) for of in (one, other)]
    weights = [of.quantizer.state_dict() | of.encoder.state_dict() for of in (one, other)]
    return kinds[0] == kinds[1] and all(weight.equal(weights[1][name]) for name, weight in weights[0].items())


def _combined(before: dict[str, Tensor], after: Mapping[Path, torch.nn.Module]) -> dict[str, Tensor]:
    """before: what there was, by name; of another shape, or not in it, is new."""
    changed: dict[str, list[Tensor]] = {}
    for path, module in after.items():
        new = {name: w for name, w in module.state_dict().items() if name not in before or not w.equal(before[name])}
        for name, weight in new.items():
            changed.setdefault(name, []).append(weight)
        if new:
            parts = ", ".join(sorted({name.split(".")[0] for name in new}))
            print(f"{path}: {sum(weight.numel() for weight in new.values()):,} weights of {parts}")
    return before | {name: torch.stack(weights).mean(0) for name, weights in changed.items()}
