"""Scene to layout: where its actors are in the last frame of every layer of time, for a network that plans what it
paints."""

from typing import Final

import numpy as np
from jaxtyping import Int

from kinetoken.data.toybox_motion import Times, camera_path, paths
from kinetoken.data.toybox_render import MARK_PITCH
from kinetoken.data.toybox_scene import Colour, Scene, Shape, Texture
from kinetoken.grid import CellSize, GridShape
from kinetoken.layout import ANGLES, EIGHTHS, MARGIN, PLACES, SIZES, digits

LOOKS: Final = (len(Shape) + 1, len(Colour), len(Texture))
THINGS: Final = 1 + 3  # the view, and as many actors as a scene may have
VIEW: Final = len(Shape)  # what the view has for a shape
SHAPES, COLOURS, TEXTURES = (list(kind) for kind in (Shape, Colour, Texture))


def layout(
    scene: Scene, cell: CellSize, *, frames: int = 17, width: int = 64, height: int = 64, fps: float = 8.0
) -> Int[np.ndarray, "time things digits"]:
    """Things are the view, then actors, in the order in which they are painted, seen by the camera. What is not to be
    seen at that moment, as one that blinks, is not there; nor is the view, if the ground has no marks to see it by. Its
    place is where the camera began, its radius the marks' distance from each other."""
    layers = GridShape.of_clip(frames, height, width, cell).time
    times, short = np.arange(layers) * cell.frames / fps, min(width, height)
    view = camera_path(scene.camera, times)
    told = np.zeros((layers, THINGS, len(digits(LOOKS))), np.int64)
    trajectories = paths(scene, times, view_width=width / short, view_height=height / short)
    scale = view.zoom * short

    def numbers(x: Times, y: Times, radius: Times, angle: Times) -> list[Times]:
        return [
            np.floor(((x - view.x) * scale + width / 2) * EIGHTHS / cell.width + MARGIN).clip(0, PLACES - 1),
            np.floor((height - short / 2 - (y - 0.5) * scale) * EIGHTHS / cell.height + MARGIN).clip(0, PLACES - 1),
            np.round(radius * scale * EIGHTHS / cell.width).clip(0, SIZES - 1),
            np.round(angle * ANGLES / (2 * np.pi)) % ANGLES,
        ]

    if scene.background.marks:
        nothing = np.zeros(layers)
        marks = numbers(nothing, nothing + 0.5, nothing + MARK_PITCH, nothing)
        told[:, 0] = np.stack((nothing + 1, nothing + VIEW, nothing, nothing, *marks), axis=1)
    for slot, (actor, path) in enumerate(zip(scene.actors, trajectories, strict=True), start=1):
        looks = SHAPES.index(actor.shape), COLOURS.index(actor.colour), TEXTURES.index(actor.texture)
        digit = [np.full(layers, value) for value in (1, *looks)]
        told[:, slot] = np.stack((*digit, *numbers(path.x, path.y, path.radius, path.angle)), axis=1)
        told[~path.visible, slot] = 0
    return told
