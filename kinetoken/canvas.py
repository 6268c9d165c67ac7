"""Canvas: a row of text ids, a layout and a grid of codes, each place of them either known or to be filled."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from kinetoken.layout import HIDDEN
from kinetoken.vocabulary import Vocabulary

NO_LAYOUT, NOTHING_KNOWN = torch.zeros(0, 0, 0, 1, dtype=torch.int64), torch.zeros(0, 0, 0, dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A batch of canvases of one shape. All ids are of the one vocabulary: the grid holds text_end + code.

    layout: things in every layer of time (layout.py); without any, the network writes one if it has learned to. What an
    unknown place holds does not matter: nobody reads it (`masked` hides it). loop: time is a circle, and the layer
    before the first is the last.
    """

    text: Int[Tensor, "batch words"]
    grid: Int[Tensor, "batch time rows columns"]
    text_known: Bool[Tensor, "batch words"]
    grid_known: Bool[Tensor, "batch time rows columns"]
    layout: Int[Tensor, "told layers things digits"] = NO_LAYOUT
    layout_known: Bool[Tensor, "told layers things"] = NOTHING_KNOWN
    loop: bool = False

    def __post_init__(self) -> None:
        assert self.layout.shape[:3] == self.layout_known.shape
        assert self.layout.shape[:2] in ((0, 0), self.grid.shape[:2])
        assert self.text.shape == self.text_known.shape and self.grid.shape == self.grid_known.shape
        assert len(self.text) == len(self.grid)

    @property
    def masked(
        self,
    ) -> tuple[
        Int[Tensor, "batch words"],
        Int[Tensor, "batch time rows columns"],
        Int[Tensor, "told layers things digits"],
    ]:
        """What the network sees: MASK, or HIDDEN, in every unknown place."""
        return (
            self.text.masked_fill(~self.text_known, Vocabulary.MASK),
            self.grid.masked_fill(~self.grid_known, Vocabulary.MASK),
            self.layout.masked_fill(~self.layout_known[..., None], HIDDEN),
        )

    def untold(self) -> "Canvas":
        """The unconditional case: text and layout are unknown."""
        return replace(
            self,
            text_known=torch.zeros_like(self.text_known),
            layout_known=torch.zeros_like(self.layout_known),
        )

    def with_text(self, places: Bool[Tensor, "batch words"], ids: Int[Tensor, " places"]) -> "Canvas":
        """Fill unknown places of the row. Known places never change."""
        assert not (places & self.text_known).any()
        return replace(self, text=_filled(self.text, places, ids), text_known=self.text_known | places)

    def with_things(self, places: Bool[Tensor, "told layers things"], things: Int[Tensor, "places digits"]) -> "Canvas":
        """Fill unknown places of the layout. Known places never change."""
        assert not (places & self.layout_known).any()
        return replace(self, layout=_filled(self.layout, places, things), layout_known=self.layout_known | places)

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
            layout=self.layout.to(device),
            layout_known=self.layout_known.to(device),
            text_known=self.text_known.to(device),
            grid_known=self.grid_known.to(device),
        )


def _filled(row: Int[Tensor, "..."], places: Bool[Tensor, "..."], ids: Int[Tensor, "places ..."]) -> Tensor:
    filled = row.clone()
    filled[places] = ids
    return filled
