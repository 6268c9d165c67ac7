"""Scene to layout: where its actors are in the last frame of every layer of time, for a network that plans what it
paints."""

from typing import Final

import numpy as np
from jaxtyping import Int

from kinetoken.data.toybox_motion import camera_path, paths
from kinetoken.data.toybox_scene import Colour, Scene, Shape, Texture
from kinetoken.grid import CellSize, GridShape
from kinetoken.layout import ANGLES, EIGHTHS, MARGIN, PLACES, SIZES, digits

LOOKS: Final = (len(Shape), len(Colour), len(Texture))
THINGS: Final = 3  # as many as a scene may have
SHAPES, COLOURS, TEXTURES = (list(kind) for kind in (Shape, Colour, Texture))


def layout(
    scene: Scene, cell: CellSize, *, frames: int = 17, width: int = 64, height: int = 64, fps: float = 8.0
) -> Int[np.ndarray, "time things digits"]:
    """Things are actors, in the order in which they are painted, seen by the camera. What is not to be seen at that
    moment, as one that blinks, is not there."""
    layers = GridShape.of_clip(frames, height, width, cell).time
    times, short = np.arange(layers) * cell.frames / fps, min(width, height)
    view = camera_path(scene.camera, times)
    told = np.zeros((layers, THINGS, len(digits(LOOKS))), np.int64)
    trajectories = paths(scene, times, view_width=width / short, view_height=height / short)
    for slot, (actor, path) in enumerate(zip(scene.actors, trajectories, strict=True)):
        scale = view.zoom * short
        x, y = (path.x - view.x) * scale + width / 2, height - short / 2 - (path.y - 0.5) * scale
        looks = SHAPES.index(actor.shape), COLOURS.index(actor.colour), TEXTURES.index(actor.texture)
        numbers = (
            np.floor(x * EIGHTHS / cell.width + MARGIN).clip(0, PLACES - 1),
            np.floor(y * EIGHTHS / cell.height + MARGIN).clip(0, PLACES - 1),
            np.round(path.radius * scale * EIGHTHS / cell.width).clip(0, SIZES - 1),
            np.round(path.angle * ANGLES / (2 * np.pi)) % ANGLES,
        )
        seen = np.stack((np.ones(layers), *(np.full(layers, digit) for digit in looks), *numbers), axis=1)
        told[:, slot] = seen * path.visible[:, None]
    return told
