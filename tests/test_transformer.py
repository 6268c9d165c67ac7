from dataclasses import replace

import pytest
import torch

from kinetoken.data.toybox_layout import LOOKS, THINGS
from kinetoken.layer import Layer, attend, mixed, rotate, rotation_by
from kinetoken.transformer import Transformer, TransformerConfig
from kinetoken.vocabulary import Vocabulary
from tests.conftest import noisy

CONFIG = TransformerConfig(text_codes=300, visual_codes=50, levels=(5, 10), depth=2)


@pytest.fixture
def network() -> Transformer:
    torch.manual_seed(0)
    network = Transformer(CONFIG)
    for parameter in network.parameters():  # the branches start at zero: wake them
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def _grid(*sizes: int) -> torch.Tensor:
    return torch.randint(CONFIG.vocabulary.text_end, CONFIG.vocabulary.size, sizes)


@pytest.mark.parametrize("sizes", [(1, 4, 4), (5, 16, 16), (3, 8, 20), (9, 4, 32)])
def test_any_grid_of_whole_patches_runs(network: Transformer, sizes: tuple[int, int, int]) -> None:
    words, _, cells = network(torch.randint(4, 300, (2, 7)), _grid(2, *sizes))
    assert cells.shape[:4] == (2, *sizes)
    assert network.grid_logits(cells[cells[..., 0] < 0]).shape[1] == 50
    assert network.text_logits(words).shape == (2, 7, CONFIG.vocabulary.text_end)


def test_logits_for_some_places_are_those_of_all_places(network: Transformer) -> None:
    cells = network(torch.randint(4, 300, (2, 7)), _grid(2, 2, 8, 8)).cells
    some = torch.rand(2, 2, 8, 8) < 0.3
    everything = network.grid_logits(cells.flatten(0, 3))
    torch.testing.assert_close(network.grid_logits(cells[some]), everything[some.flatten()])


@pytest.mark.parametrize("looks", [(), LOOKS], ids=["gist", "layout"])
@torch.inference_mode()
def test_cells_that_are_asked_for_are_those_of_the_whole_grid(looks: tuple[int, ...]) -> None:
    network = noisy(replace(CONFIG, levels=(8, 3), visual_codes=24, squares=True, looks=looks, things=THINGS))
    text, vocabulary = torch.randint(4, 300, (2, 7)), network.config.vocabulary
    grid = torch.randint(vocabulary.text_end, vocabulary.size, (2, 3, 8, 8))
    asked = torch.rand(grid.shape) < 0.3
    canvas = text, grid.masked_fill(asked, Vocabulary.MASK)
    if looks:
        layout = torch.zeros(2, 3, network.config.slots, network.config.untold(1, 1).shape[-1], dtype=torch.int64)
        layout[:, :, :3] = 1
        canvas = *canvas, layout
    whole = network(*canvas).cells
    torch.testing.assert_close(network(*canvas, asked=asked).cells, whole[asked], atol=1e-5, rtol=1e-5)
    assert network(*canvas, asked=torch.zeros_like(asked)).cells.shape == (0, network.config.head_code_width)


def test_mask_is_never_an_answer(network: Transformer) -> None:
    assert network.text_logits(torch.randn(3, CONFIG.width))[:, 2].eq(-torch.inf).all()


def test_attention_knows_only_relative_places() -> None:
    """The product of a rotated query and key depends on the distance of their places alone (Su et al. 2021)."""
    query, key = torch.randn(2, 1, 1, 1, 8)
    angles = torch.rand(4)

    def turned(x: torch.Tensor, place: float) -> torch.Tensor:
        return rotate(x, rotation_by((place * angles)[None]))

    near = (turned(query, 3.0) * turned(key, 5.0)).sum()
    far = (turned(query, 10.0) * turned(key, 12.0)).sum()
    torch.testing.assert_close(near, far)


@pytest.mark.parametrize("sizes", [(3, 5), (0, 8), (8, 0), (2, 0, 6), (0, 0)])
def test_a_row_in_parts_is_seen_as_a_whole(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = Layer(32, 16, 64)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, rotation = torch.randn(2, sum(sizes), 32), rotation_by(torch.rand(sum(sizes), 8))
    parts = mixed([layer] * len(sizes), x.split(sizes, dim=1), rotation)
    torch.testing.assert_close(torch.cat(parts, dim=1), layer(x, rotation))


def test_words_and_patches_have_weights_of_their_own(network: Transformer) -> None:
    """With equal weights for both kinds a network says what one with a single kind does; and those of words are used
    where nothing but words is asked about."""
    one_kind = Transformer(replace(CONFIG, mixture=False)).eval()
    one_kind.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("told_layers")})
    network.load_state_dict(one_kind.state_dict())
    text, grid = torch.randint(4, 300, (2, 7)), _grid(2, 2, 8, 8)
    for of_both, of_one in zip(network(text, grid), one_kind(text, grid), strict=True):
        torch.testing.assert_close(of_both, of_one)
    for kind, changes in ((network.layers, False), (network.told_layers, True)):
        before = network(text, grid[:, :, :0, :0]).words
        torch.nn.init.zeros_(kind[0].gated_out.weight)
        assert (network(text, grid[:, :, :0, :0]).words != before).any() == changes


def test_a_words_place_does_not_depend_on_the_grid_or_the_texts_length(network: Transformer) -> None:
    from kinetoken.grid import GridShape

    small = network._rotation(5, GridShape(time=1, rows=4, columns=4))
    large = network._rotation(9, GridShape(time=5, rows=16, columns=16))
    torch.testing.assert_close(small[:, :5], large[:, :5])


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="halvings"):
        TransformerConfig(text_codes=300, visual_codes=50, halvings=-1)
    with pytest.raises(ValueError, match="digits"):
        TransformerConfig(text_codes=300, visual_codes=50, levels=(5, 9))
    with pytest.raises(ValueError, match="depth"):
        TransformerConfig(text_codes=300, visual_codes=50, depth=0)
    with pytest.raises(ValueError, match="squeeze"):
        TransformerConfig(text_codes=300, visual_codes=50, squeeze=3)
    with pytest.raises(ValueError, match="digit_first"):
        TransformerConfig(text_codes=300, visual_codes=50, levels=(50,), digit_first=True)


@pytest.mark.parametrize("halvings", [0, 1, 3])
def test_patches_of_any_power_of_two(halvings: int) -> None:
    network = Transformer(TransformerConfig(text_codes=300, visual_codes=50, depth=2, halvings=halvings))
    grid = torch.randint(network.config.vocabulary.text_end, network.config.vocabulary.size, (1, 2, 8, 16))
    cells = network(torch.randint(4, 300, (1, 3)), grid).cells
    assert cells.shape[1:4] == (2, 8, 16)


@pytest.mark.parametrize("blocks", [0, 2])
def test_blocks_before_the_transformer_are_as_many_as_are_asked_for(blocks: int) -> None:
    network = Transformer(TransformerConfig(text_codes=300, visual_codes=50, depth=1, coarse_blocks=blocks))
    assert [len(at) for at in network.near_in] == [2, blocks] and [len(at) for at in network.near_out] == [2, 2]
    with pytest.raises(ValueError, match="coarse_blocks"):
        TransformerConfig(text_codes=300, visual_codes=50, coarse_blocks=-1)


def test_digits_are_those_of_the_quantizer() -> None:
    """Two codes share a digit where their quantized vectors share a coordinate."""
    from kinetoken.tokenizer.quantizer import Quantizer, QuantizerConfig

    config = QuantizerConfig(levels=(4, 3, 5))
    vectors = Quantizer(config).lookup(torch.arange(config.codes))
    network = Transformer(TransformerConfig(text_codes=300, visual_codes=config.codes, levels=config.digits, depth=2))
    same_digit = network.digits[:, None] == network.digits[None]
    assert (same_digit == (vectors[:, None] == vectors[None])).all()
    assert network.digits.unique().tolist() == list(range(4 + 3 + 5))


@pytest.mark.parametrize("squeeze", [1, 4])
def test_flops_are_those_of_the_matrix_products(squeeze: int) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from kinetoken.grid import GridShape

    network = noisy(replace(CONFIG, squeeze=squeeze, digit_first=squeeze > 1))
    shape = GridShape(time=2, rows=8, columns=8)
    with FlopCounterMode(display=False) as counter:
        cells = network(torch.randint(4, 300, (1, 6)), _grid(1, *shape.sizes)).cells.flatten(0, 3)[:50]
        network.grid_logits(cells)
        if squeeze > 1:
            network.grid_logits(cells, torch.randint(5, (50,)))
    assert network.flops(6, shape, 50) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_training_goes_on_after_sampling_the_same_shape(network: Transformer) -> None:
    """Angles are kept from call to call; a tensor that inference mode made cannot be trained through."""
    text, grid = torch.randint(4, 300, (1, 13)), _grid(1, 2, 8, 4)
    with torch.inference_mode():
        network(text, grid)
    words, _, cells = network.train()(text, grid)
    (words.sum() + cells.sum()).backward()
    assert network.embedding.weight.grad is not None


def test_attention_by_its_definition_is_that_of_the_kernel() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 32)
    plain = attend(query, key, value)
    half = attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), plain, rtol=0.02, atol=0.02)


def test_words_are_taken_from_a_network_of_other_codes(network: Transformer) -> None:
    other = Transformer(replace(CONFIG, visual_codes=24, levels=(8, 3)))
    other.begin_by_words(network)
    text, unturned = CONFIG.vocabulary.text_end, rotation_by(torch.zeros(9, 16))

    def said(by: Transformer) -> torch.Tensor:
        words = by.word_in(by.embedding.weight[2 : text : text // 9][:9])[None]
        gist = torch.zeros(1, by.config.width)
        for layer in by.told_layers:
            words = layer(words, unturned, gist)
        return by.text_logits(by.norm(words))[..., Vocabulary.SPECIAL :]

    assert said(network).std() > 0.01 and (said(other) == said(network)).all()


def test_codes_that_look_alike_begin_alike() -> None:
    """Two kinds of look with small differences within each: both tables keep the kinds apart."""
    torch.manual_seed(0)
    network = Transformer(CONFIG)
    kinds = torch.arange(CONFIG.visual_codes) % 2
    looks = torch.randn(2, 192)[kinds] + 0.05 * torch.randn(CONFIG.visual_codes, 192)
    network.begin_by_looks(looks)
    ids = network.embedding.weight[CONFIG.vocabulary.text_end :]
    for table in (ids, network.code_out.weight):
        apart = torch.cdist(table, table)
        same = kinds[:, None] == kinds
        assert apart[same].max() < apart[~same].min()
    assert 0.9 < ids.square().mean().sqrt().item() < 1.1
