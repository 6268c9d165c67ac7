"""The toybox: an endless synthetic world of captioned clips with real dynamics.

    scene = sample_scene(seed)       # a typed description, the same for the same seed
    clip = render(scene)             # at any size, length and rate
    captions(scene)                  # terse, full, reworded, shuffled: all true

What a scene may hold is in `toybox_scene`, how things move in `toybox_motion`, which scenes there are in
`toybox_sampling`, how they look in `toybox_render`, how they are told in `toybox_captions`.
"""

from kinetoken.data.toybox_captions import Caption, captions, sayings
from kinetoken.data.toybox_motion import CameraPath, Path, camera_path, paths
from kinetoken.data.toybox_render import render
from kinetoken.data.toybox_sampling import sample_scene
from kinetoken.data.toybox_scene import (
    GRAVITY,
    Actor,
    Background,
    BackgroundColour,
    Camera,
    Colour,
    Motion,
    Relation,
    Scene,
    Shape,
    Size,
    Speed,
    Texture,
    is_held_out,
    scene_from_dict,
    scene_to_dict,
)

__all__ = [
    "GRAVITY",
    "Actor",
    "Background",
    "BackgroundColour",
    "Camera",
    "CameraPath",
    "Caption",
    "Colour",
    "Motion",
    "Path",
    "Relation",
    "Scene",
    "Shape",
    "Size",
    "Speed",
    "Texture",
    "camera_path",
    "captions",
    "is_held_out",
    "paths",
    "render",
    "sample_scene",
    "sayings",
    "scene_from_dict",
    "scene_to_dict",
]
