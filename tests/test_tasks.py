import numpy as np, time
from kinetoken.clip import Clip


def test_smoke(tiny):
    rng = np.random.default_rng(0)
    c = Clip(frames=rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8), fps=8.0)
    o = dict(seed=1, steps=2)
    e = tiny.extend(c, "a ball", before=3, after=2, **o)
    assert len(e) == 11 and (e.frames[3:9] == c.frames).all()
    e = tiny.animate(c, "a ball", frames=9, **o)
    assert (e.frames[0] == c.frames[0]).all()
    e = tiny.connect([c, c, c], gap=3, **o)
    assert len(e) == 24
    h = np.zeros((1, 32, 32), bool)
    h[:, 3:9, 5:20] = True
    e = tiny.inpaint(c, h, **o)
    assert (e.frames[:, ~h[0]] == c.frames[:, ~h[0]]).all()
    e = tiny.outpaint(c, size=(45, 50), **o)
    assert e.frames.shape == (6, 50, 45, 3)
    assert (tiny.remix(c, strength=0.0, **o).frames == c.frames).all()
    assert (
        tiny.remix(c, "a ball", strength=1.0, **o).frames
        == tiny.generate("a ball", frames=6, size=(32, 32), **o).frames
    ).all()
    tiny.variations(c, count=2, steps=2)
    tiny.recut(c, keep=(2, 4), at=1, frames=7, **o)
    from kinetoken.editing import Card

    b = tiny.storyboard(
        [Card(frame=0, prompt="a ball"), Card(frame=4, prompt="a red", clip=c)], frames=12, size=(32, 32), **o
    )
    assert (b.frames[4:10] == c.frames).all() and len(b) == 12
    tiny.imagine(seed=2)
