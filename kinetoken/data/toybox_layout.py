"""Scene to layout: where its actors are at the end of every layer of time and half-way to it, for a network that
plans what it paints."""

from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Int

from kinetoken.data.toybox_motion import Path, camera_path, paths
from kinetoken.data.toybox_render import MARK_PITCH
from kinetoken.data.toybox_scene import Background, BackgroundColour, Colour, Scene, Shape, Texture
from kinetoken.grid import CellSize, GridShape
from kinetoken.layout import ANGLES, EIGHTHS, MARGIN, PLACES, QUARTERS, SIZES, WAY, digits

GROUNDS: Final = tuple(product((False, True), repeat=2))  # whether there is a floor, and whether there are marks
LOOKS: Final = (len(Shape) + len(GROUNDS), max(len(Colour), len(BackgroundColour)), len(BackgroundColour))
THINGS: Final = 1 + 3  # the view, and as many actors as a scene may have
SHAPES, COLOURS, TEXTURES, GROUND_COLOURS = (list(kind) for kind in (Shape, Colour, Texture, BackgroundColour))


def layout(
    scene: Scene,
    cell: CellSize,
    *,
    frames: int = 17,
    width: int = 64,
    height: int = 64,
    fps: float = 8.0,
    loop: bool = False,
    beyond: int = 0,
) -> Int[np.ndarray, "time things digits"]:
    """Things are the view, then actors, in the order in which they are painted, seen by the camera. One that blinks is
    there when it is not to be seen, too. The view looks like its ground; its place is where the camera began, its
    radius the distance of marks from each other. loop, beyond: as `render` has them; on a circle the first layer has
    as many frames as any other."""
    layers = GridShape.of_clip(frames, height, width, cell, loop=loop).time
    ends = np.arange(layers)
    quarters = ends[:, None] + (np.arange(QUARTERS) + 1) / QUARTERS - 1  # of every layer's time
    times = (quarters * cell.frames + (cell.frames - 1 if loop else 0)).clip(0).ravel() / fps
    circle = frames / fps if loop else None
    view, short = camera_path(scene.camera, times, circle=circle), min(width, height) - 2 * beyond
    view_width, view_height = ((side - 2 * beyond) / short for side in (width, height))
    told = np.zeros((layers, THINGS, len(digits(LOOKS))), np.int64)
    trajectories = paths(scene, times, view_width=view_width, view_height=view_height, circle=circle)
    scale = view.zoom * short

    def thing(looks: tuple[int, ...], path: Path) -> Int[np.ndarray, "time digits"]:
        x = np.floor(((path.x - view.x) * scale + width / 2) * EIGHTHS / cell.width + MARGIN).clip(0, PLACES - 1)
        up = (path.y - 0.5) * scale + short / 2
        y = np.floor((height - beyond - up) * EIGHTHS / cell.height + MARGIN).clip(0, PLACES - 1)
        size = np.round(path.radius * scale * EIGHTHS / cell.width).clip(0, SIZES - 1)
        angle = np.round(path.angle * ANGLES / (2 * np.pi))
        x, y, size, angle = (part.reshape(layers, QUARTERS) for part in (x, y, size, angle))
        ways = [part[:, QUARTERS // 2 - 1] - part[:, -1] for part in (x, y, angle)]
        seen = 1 + path.visible.reshape(layers, QUARTERS) @ 2 ** np.arange(QUARTERS)
        last = [x[:, -1], y[:, -1], size[:, -1], angle[:, -1] % ANGLES]
        way = [*((part + WAY).clip(0, 2 * WAY) for part in ways[:2]), ways[2] % ANGLES]
        return np.stack((seen, *(np.full(layers, look) for look in looks), *last, *way), axis=1).astype(np.int64)

    nothing = np.zeros_like(times)
    marks = Path(x=nothing, y=nothing + 0.5, radius=nothing + MARK_PITCH, angle=nothing, visible=nothing == 0)
    told[:, 0] = thing(ground(scene.background), marks)
    for slot, (actor, path) in enumerate(zip(scene.actors, trajectories, strict=True), start=1):
        told[:, slot] = thing(
            (SHAPES.index(actor.shape), COLOURS.index(actor.colour), TEXTURES.index(actor.texture)), path
        )
    return told


def ground(background: Background) -> tuple[int, int, int]:
    """The looks of the view: floor and marks in a shape's place, the colours at the bottom and at the top in those of
    a colour and a texture."""
    top, bottom = (GROUND_COLOURS.index(background.colours[i]) for i in (0, -1))
    return len(Shape) + GROUNDS.index((background.floor, background.marks)), bottom, top
