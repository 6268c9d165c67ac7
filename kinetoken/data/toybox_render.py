"""Scene to clip: signed distance functions, evaluated per pixel inside each actor's bounding box.

A distance is in units of the actor's radius, negative inside; coverage is the distance in pixels, clipped to one pixel.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8

from kinetoken.clip import Clip
from kinetoken.data.toybox_motion import OUTLINE, CameraPath, Path, camera_path, paths
from kinetoken.data.toybox_scene import (
    BACKGROUND_RGB,
    COLOUR_RGB,
    FLOOR_HEIGHT,
    Actor,
    Background,
    BackgroundColour,
    Colour,
    Scene,
    Shape,
    Texture,
)

Patch = Float[np.ndarray, "frames rows columns"]
Frames = UInt8[np.ndarray, "frames height width 3"]
Colours = Float[np.ndarray, "*places 3"]

FLOOR_TONE: Final = 0.4
MARK_TONE: Final = 0.3
MARK_PITCH: Final = 0.25
MARK_RADIUS: Final = 0.035
DARK_TONE: Final = 0.45
"""Stripes and spots are the actor's colour times this."""
RIM: Final = 0.12
"""Width, in radii, of the edge that they leave free, so that the outline shows on dark backgrounds too."""
STRIPE: Final = 0.5
"""Width of a stripe, in radii: 3 pixels on a small actor at 64 x 64."""
SPOT_RADIUS: Final = 0.3


def _spots_around(count: int, distance: float, first_angle: float) -> tuple[tuple[float, float], ...]:
    angles = first_angle + np.arange(count) * 2 * np.pi / count
    return tuple((float(distance * np.cos(angle)), float(distance * np.sin(angle))) for angle in angles)


SPOTS: Final = {
    **dict.fromkeys(Shape, _spots_around(3, 0.5, np.pi / 2)),
    Shape.HEART: _spots_around(3, 0.5, -np.pi / 2),
    Shape.RING: _spots_around(6, 0.82, np.pi / 2),
}
"""Centres of the spots on a shape of radius 1."""


def render(
    scene: Scene,
    *,
    frames: int = 17,
    width: int = 64,
    height: int = 64,
    fps: float = 8.0,
    loop: bool = False,
    beyond: int = 0,
) -> Clip:
    """The scene at times k / fps, at any size; anti-aliased. loop: after the last frame comes the first. beyond: on
    every side, so many of the picture's pixels show what lies outside of the scene's own frame.

    Raises: ValueError for a size, a length or a rate that is not positive, or if nothing of the frame is left.
    """
    if min(frames, width, height) < 1 or fps <= 0:
        raise ValueError(f"frames, width, height and fps must be positive; found {frames}, {width}, {height}, {fps}")
    short = min(width, height) - 2 * beyond
    if beyond < 0 or short < 1:
        raise ValueError(f"{beyond} pixels on every side leave nothing of {width}x{height}")
    times, circle = np.arange(frames) / fps, frames / fps if loop else None
    camera = camera_path(scene.camera, times, circle=circle)
    view_width, view_height = ((side - 2 * beyond) / short for side in (width, height))
    canvas = _background(scene.background, camera, width=width, height=height, beyond=beyond)
    trajectories = paths(scene, times, view_width=view_width, view_height=view_height, circle=circle)
    for actor, path in zip(scene.actors, trajectories, strict=True):
        _paint(canvas, actor, path, camera, beyond)
    return Clip(frames=canvas, fps=fps)


# Backgrounds


def _background(background: Background, camera: CameraPath, *, width: int, height: int, beyond: int) -> Frames:
    """The canvas. Where the camera stands still, one view serves every frame."""
    moves = np.ptp(camera.x) > 0 or np.ptp(camera.zoom) > 0
    views = slice(None) if moves else slice(1)
    short = min(width, height) - 2 * beyond
    scale = camera.zoom[views, None] * short
    x = (np.arange(width) + 0.5 - width / 2) / scale + camera.x[views, None]
    y = (height - beyond - short / 2 - np.arange(height) - 0.5) / scale + 0.5
    rows = _rows(background, y, scale, top=(height - 2 * beyond) / short)
    canvas = np.repeat(rows[:, :, None], width, axis=2)
    if background.marks:
        canvas += _marks(x, y, scale)[..., None] * (_away_from(rows, MARK_TONE) - rows)[:, :, None]
    painted = (canvas + np.float32(0.5)).astype(np.uint8)
    return painted if moves else np.repeat(painted, len(camera.x), axis=0)


def _rows(
    background: Background, y: Float[np.ndarray, "views height"], scale: Float[np.ndarray, "views 1"], *, top: float
) -> Float[np.ndarray, "views height 3"]:
    upper, lower = (background_rgb(background.colours[i]) for i in (0, -1))
    rows = lower + np.clip(y / top, 0, 1).astype(np.float32)[..., None] * (upper - lower)
    if background.floor:
        covered = np.clip((FLOOR_HEIGHT - y) * scale + 0.5, 0, 1).astype(np.float32)[..., None]
        rows += covered * (floor_rgb(background) - rows)
    return rows


def _marks(
    x: Float[np.ndarray, "views width"], y: Float[np.ndarray, "views height"], scale: Float[np.ndarray, "views 1"]
) -> Float[np.ndarray, "views height width"]:
    """Coverage by dots on a square lattice of the world."""
    across, down = ((axis / MARK_PITCH % 1 - 0.5).astype(np.float32) * MARK_PITCH for axis in (x, y))
    distance = np.hypot(across[:, None, :], down[:, :, None]) - np.float32(MARK_RADIUS)
    return np.clip(0.5 - distance * scale[..., None].astype(np.float32), 0, 1)


def floor_rgb(background: Background) -> Float[np.ndarray, "3"]:
    return _away_from(background_rgb(background.colours[-1]), FLOOR_TONE)


def dark_tone(colour: Colour) -> tuple[float, ...]:
    """RGB of the stripes and spots on an actor of this colour."""
    return tuple(DARK_TONE * level for level in COLOUR_RGB[colour])


def background_rgb(colour: BackgroundColour) -> Float[np.ndarray, "3"]:
    return np.array(BACKGROUND_RGB[colour], dtype=np.float32)


def _away_from(colour: Colours, strength: float) -> Colours:
    """A lighter tone of dark colours, a darker one of light colours."""
    goal = np.where(colour.mean(axis=-1, keepdims=True) < 90, np.float32(200), np.float32(0))
    return colour + np.float32(strength) * (goal - colour)


# Actors


def _paint(canvas: Frames, actor: Actor, path: Path, camera: CameraPath, beyond: int) -> None:
    """Lay the actor over the canvas, frame by frame, inside one bounding box per frame."""
    height, width = canvas.shape[1:3]
    short = min(width, height) - 2 * beyond
    radius = (path.radius * camera.zoom * short).astype(np.float32)
    centre_x = width / 2 + (path.x - camera.x) * camera.zoom * short
    centre_y = height - beyond - short / 2 - (path.y - 0.5) * camera.zoom * short
    half = int(np.ceil(OUTLINE[actor.shape].reach * radius.max())) + 1
    left, top = (np.floor(centre).astype(int) - half for centre in (centre_x, centre_y))
    steps = np.arange(2 * half + 1)
    across = ((left - centre_x)[:, None] + 0.5 + steps) / radius[:, None]
    up = -((top - centre_y)[:, None] + 0.5 + steps) / radius[:, None]
    x, y = _turn(across.astype(np.float32)[:, None, :], up.astype(np.float32)[:, :, None], path.angle)
    pixels = radius[:, None, None]
    distance = DISTANCE[actor.shape](x, y)
    coverage = np.clip(0.5 - distance * pixels, 0, 1)
    colours = _texture(actor, x, y, distance, pixels)
    for frame in np.flatnonzero(path.visible):
        _blend(canvas[frame], coverage[frame], colours[frame], int(left[frame]), int(top[frame]))


def _blend(frame: np.ndarray, coverage: np.ndarray, colours: np.ndarray, left: int, top: int) -> None:
    """Lay a patch over a frame, with its upper left corner at (left, top), which may be outside."""
    rows, columns = coverage.shape
    y, x = slice(max(top, 0), max(top + rows, 0)), slice(max(left, 0), max(left + columns, 0))
    target = frame[y, x]
    inside = (
        slice(y.start - top, y.start - top + target.shape[0]),
        slice(x.start - left, x.start - left + target.shape[1]),
    )
    patch = colours if colours.ndim == 1 else colours[inside]
    target[...] = target + coverage[inside][..., None] * (patch - target) + np.float32(0.5)


def _turn(
    x: Float[np.ndarray, "frames 1 columns"], y: Float[np.ndarray, "frames rows 1"], angle: Float[np.ndarray, "frames"]
) -> tuple[Patch, Patch]:
    """From the world's axes to the body's, which has turned by `angle` anticlockwise."""
    cos, sin = (part(angle).astype(np.float32)[:, None, None] for part in (np.cos, np.sin))
    return cos * x + sin * y, cos * y - sin * x


def _texture(actor: Actor, x: Patch, y: Patch, distance: Patch, pixels: Float[np.ndarray, "frames 1 1"]) -> np.ndarray:
    """The actor's colour in every frame, or in every pixel of every frame."""
    colour = np.array(COLOUR_RGB[actor.colour], dtype=np.float32)
    if actor.texture == Texture.PLAIN:
        return np.broadcast_to(colour, (len(x), 3))
    pattern = _stripes(y) if actor.texture == Texture.STRIPED else _spots(x, y, actor.shape)
    if actor.shape != Shape.RING:  # which is too thin for a rim
        pattern = np.maximum(pattern, distance + np.float32(RIM))
    dark = np.clip(0.5 - pattern * pixels, 0, 1)
    return colour + dark[..., None] * (np.array(dark_tone(actor.colour), dtype=np.float32) - colour)


def _stripes(y: Patch) -> Patch:
    """Distance to level dark stripes; the middle one is light."""
    return STRIPE / 2 - np.abs((y / (2 * STRIPE) + 0.5) % 1 - 0.5) * (2 * STRIPE)


def _spots(x: Patch, y: Patch, shape: Shape) -> Patch:
    """Distance to dark spots."""
    squared = np.full(x.shape, np.inf, dtype=np.float32)
    for spot_x, spot_y in SPOTS[shape]:
        np.minimum(squared, (x - np.float32(spot_x)) ** 2 + (y - np.float32(spot_y)) ** 2, out=squared)
    return np.sqrt(squared) - np.float32(SPOT_RADIUS)


# Signed distances, after Inigo Quilez's articles


def _ball(x: Patch, y: Patch) -> Patch:
    return np.sqrt(x * x + y * y) - 1


def _square(x: Patch, y: Patch) -> Patch:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.9)


def _triangle(x: Patch, y: Patch) -> Patch:
    return np.maximum(np.float32(0.8660254) * np.abs(x) + 0.5 * y, -y) - np.float32(0.675)


def _star(x: Patch, y: Patch) -> Patch:
    """Five points: the plane is folded onto a tenth of it, where the outline is one straight edge."""
    x = np.abs(x)
    for fold_x, fold_y in ((0.809017, -0.587785), (-0.809017, -0.587785)):
        over = 2 * np.maximum(np.float32(fold_x) * x + np.float32(fold_y) * y, 0)
        x, y = x - over * np.float32(fold_x), y - over * np.float32(fold_y)
    x = np.abs(x)
    return _STAR_NORMAL[0] * x + _STAR_NORMAL[1] * (y - np.float32(1.35))


def _star_normal(outer: float = 1.35, inner: float = 0.65) -> tuple[np.float32, np.float32]:
    edge_x, edge_y = inner * np.sin(np.pi / 5), inner * np.cos(np.pi / 5) - outer
    length = np.hypot(edge_x, edge_y)
    return np.float32(-edge_y / length), np.float32(edge_x / length)


_STAR_NORMAL: Final = _star_normal()


def _heart(x: Patch, y: Patch) -> Patch:
    scale = np.float32(1.85)
    x, y = np.abs(x) / scale, y / scale + np.float32(0.52)
    lobe = np.hypot(x - np.float32(0.25), y - np.float32(0.75)) - np.float32(0.3535534)
    diagonal = np.maximum(x + y, 0) / 2
    corner = np.minimum(x * x + (y - 1) ** 2, (x - diagonal) ** 2 + (y - diagonal) ** 2)
    return scale * np.where(x + y > 1, lobe, np.sqrt(corner) * np.sign(x - y))


def _ring(x: Patch, y: Patch) -> Patch:
    return np.abs(np.sqrt(x * x + y * y) - np.float32(0.82)) - np.float32(0.28)


DISTANCE: Final[dict[Shape, Callable[[Patch, Patch], Patch]]] = {
    Shape.BALL: _ball,
    Shape.SQUARE: _square,
    Shape.TRIANGLE: _triangle,
    Shape.STAR: _star,
    Shape.HEART: _heart,
    Shape.RING: _ring,
}
"""Of a shape of radius 1, upright, centred at the origin."""
