"""Sketching: where no layout says what is where, what a text says of each place of the picture."""

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinetoken.norm import RMSNorm
from kinetoken.painting import Painted
from kinetoken.things import waves

PICTURE_WAVES: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)  # widths or heights of the picture
STROKES: Final = 3  # residual layers
SKETCH_WIDTH: Final = 256


class PlaceIn(nn.Module):
    """What a patch is told of where it lies in the picture, which rotary positions do not say: they tell distances."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(2 * 2 * len(PICTURE_WAVES), width), nn.Linear(width, width)

    def forward(self, rows: int, columns: int) -> Float[Tensor, "rows columns width"]:
        return self.leave(F.silu(self.enter(_where(rows, columns, self.enter.weight.device))))


class Sketch(nn.Module):
    """What each cell is told by the text, through no patch: a small network of its place in the picture, every layer of
    which the text's gist tunes (as FiLM, Perez et al. 2018, does; a picture as a function of place, Stanley 2007). The
    same for all layers of time, and the cells know of no other."""

    def __init__(self, width: int, cell_width: int, head_width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * 2 * len(PICTURE_WAVES), SKETCH_WIDTH)
        self.tuning = nn.Linear(width, 2 * STROKES * SKETCH_WIDTH)
        self.norms = nn.ModuleList(RMSNorm(SKETCH_WIDTH) for _ in range(STROKES))
        self.strokes = nn.ModuleList(nn.Linear(SKETCH_WIDTH, SKETCH_WIDTH) for _ in range(STROKES))
        self.tell, self.draw = nn.Linear(SKETCH_WIDTH, cell_width), nn.Linear(SKETCH_WIDTH, head_width)
        for layer in (self.tell, self.draw):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, gist: Float[Tensor, "batch width"], rows: int, columns: int) -> Painted:
        """Of one layer of time, for all."""
        cells = self.enter(_where(rows, columns, gist.device))[None, None]
        tuning = self.tuning(gist)[:, None, None, None].chunk(STROKES, dim=-1)
        for norm, stroke, part in zip(self.norms, self.strokes, tuning, strict=True):
            cells = cells + stroke(F.silu(tuned(norm(cells), part)))
        cells = F.silu(cells)
        drawn = self.draw(cells)
        row = torch.arange(drawn[..., 0].numel(), device=drawn.device).reshape(drawn.shape[:-1])
        return Painted(self.tell(cells), drawn.flatten(0, -2), row)

    def multiplications(self, rows: int, columns: int) -> int:
        """For one canvas."""
        per_cell = sum(
            weight.numel() for name, weight in self.named_parameters() if weight.ndim == 2 and "tuning" not in name
        )
        return rows * columns * per_cell + self.tuning.weight.numel()


def tuned(x: Float[Tensor, "... width"], tuning: Float[Tensor, "... two_widths"] | None) -> Float[Tensor, "... width"]:
    """Scaled and shifted, by tunings that may be shared by places; as it is if nothing tunes it."""
    if tuning is None:
        return x
    scale, shift = tuning.chunk(2, dim=-1)
    return x * (1 + scale) + shift


def _where(rows: int, columns: int, device: torch.device) -> Float[Tensor, "rows columns features"]:
    """The middle of each place, in shares of the picture: a picture of another size shows the same, larger."""
    down, across = (
        waves((torch.arange(count, device=device) + 0.5) / count, PICTURE_WAVES) for count in (rows, columns)
    )
    return torch.cat((down[:, None].expand(-1, columns, -1), across.expand(rows, -1, -1)), dim=-1)
