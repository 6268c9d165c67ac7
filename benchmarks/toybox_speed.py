"""Clips per second (of processor time) of the toybox on one core: scene, 17 frames of 64 x 64, and captions.

python benchmarks/toybox_speed.py
"""

from time import process_time

from kinetoken.data.toybox import captions, render, sample_scene

total_clips = 500
start = process_time()
for seed in range(total_clips):
    scene = sample_scene(seed)
    render(scene)
    captions(scene)
print(f"{total_clips / (process_time() - start):.0f} clips per second of one core")
