from pathlib import Path
from typing import Any

import pytest
import torch

from kinetoken.data.toybox_layout import LOOKS, THINGS
from kinetoken.generator import Generator, ModelConfig
from kinetoken.grid import CellSize
from kinetoken.painting import Painted
from kinetoken.tokenizer.quantizer import QuantizerConfig
from kinetoken.tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import TextCodec


@pytest.fixture(scope="session")
def tiny() -> Generator:
    """A whole model with random weights: it makes noise, by the same rules as a trained one makes clips."""
    return _tiny(
        TokenizerConfig(channels=16, encoder_blocks=2, decoder_blocks=3, quantizer=QuantizerConfig(levels=(4, 4, 4)))
    )


@pytest.fixture(scope="session")
def tiny_mosaic() -> Generator:
    """Likewise, with codes in squares and layouts. Its palette is grey."""
    return _tiny(
        TokenizerConfig(
            channels=16, cell=CellSize(square=2), decoder_blocks=1, quantizer=QuantizerConfig(kind="mosaic")
        ),
        looks=LOOKS,
        things=THINGS,
    )


def _tiny(config: TokenizerConfig, **layout: Any) -> Generator:
    torch.manual_seed(0)
    codec = TextCodec.train(["a red ball bounces while a blue square spins"], size=280)
    tokenizer, codes = VideoTokenizer(config), config.quantizer.codes
    network = Transformer(TransformerConfig(text_codes=codec.size, visual_codes=codes, depth=2, words=24, **layout))
    for module in (tokenizer, network):
        for name, parameter in module.named_parameters():
            if "norm" not in name:
                torch.nn.init.normal_(parameter, std=0.2)
    config = ModelConfig(tokenizer=tokenizer.config, network=network.config, frames=5, width=32, height=32)
    return Generator(config, tokenizer, codec, network)


@pytest.fixture(scope="session")
def tiny_folder(tiny: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.save(folder)
    return folder


def drawn_in_cells(painted: Painted) -> torch.Tensor:
    """batch x time x rows x columns x head_width: zeros where nothing is drawn."""
    return torch.nn.functional.pad(painted.drawn, (0, 0, 1, 0))[painted.row + 1]


def noisy(config: TransformerConfig) -> Transformer:
    """A network whose every weight matters: what sets out from zero is random, too."""
    torch.manual_seed(0)
    network = Transformer(config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network
