"""Canvas: a row of text ids and a grid of codes, each place either known or to be filled."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from kinetoken.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A batch of canvases of one shape. All ids are of the one vocabulary: the grid holds text_end + code.

    What an unknown place holds does not matter: nobody reads it (`masked` hides it). loop: time is a circle, and the
    layer before the first is the last.
    """

    text: Int[Tensor, "batch words"]
    grid: Int[Tensor, "batch time rows columns"]
    text_known: Bool[Tensor, "batch words"]
    grid_known: Bool[Tensor, "batch time rows columns"]
    loop: bool = False

    def __post_init__(self) -> None:
        assert self.text.shape == self.text_known.shape and self.grid.shape == self.grid_known.shape
        assert len(self.text) == len(self.grid)

    @property
    def masked(self) -> tuple[Int[Tensor, "batch words"], Int[Tensor, "batch time rows columns"]]:
        """What the network sees: MASK in every unknown place."""
        return (
            self.text.masked_fill(~self.text_known, Vocabulary.MASK),
            self.grid.masked_fill(~self.grid_known, Vocabulary.MASK),
        )

    def without_text(self) -> "Canvas":
        """The unconditional case: the text is unknown."""
        return replace(self, text_known=torch.zeros_like(self.text_known))

    def with_text(self, places: Bool[Tensor, "batch words"], ids: Int[Tensor, " places"]) -> "Canvas":
        """Fill unknown places of the row. Known places never change."""
        assert not (places & self.text_known).any()
        return replace(self, text=_filled(self.text, places, ids), text_known=self.text_known | places)

    def with_grid(self, places: Bool[Tensor, "batch time rows columns"], ids: Int[Tensor, " places"]) -> "Canvas":
        """Fill unknown places of the grid. Known places never change."""
        assert not (places & self.grid_known).any()
        return replace(self, grid=_filled(self.grid, places, ids), grid_known=self.grid_known | places)

    def without_grid(self, places: Bool[Tensor, "batch time rows columns"]) -> "Canvas":
        """Take back what was filled at these places. Only a sampler may, and only what it filled itself."""
        assert (places <= self.grid_known).all()
        return replace(self, grid_known=self.grid_known & ~places)

    def to(self, device: torch.device) -> "Canvas":
        return replace(
            self,
            text=self.text.to(device),
            grid=self.grid.to(device),
            text_known=self.text_known.to(device),
            grid_known=self.grid_known.to(device),
        )


def _filled(row: Int[Tensor, "*shape"], places: Bool[Tensor, "*shape"], ids: Int[Tensor, " places"]) -> Tensor:
    filled = row.clone()
    filled[places] = ids
    return filled
