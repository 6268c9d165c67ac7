import numpy as np
import pytest

from kinetoken.clip import Clip
from kinetoken.evaluation.generation import Record
from kinetoken.evaluation.tasks import JOBS, broken_promises, every_job, seam, summary_by_job
from kinetoken.generator import Generator


def moving_bar(frames: int = 9) -> Clip:
    """A white bar that crosses the picture by two pixels a frame."""
    pixels = np.zeros((frames, 32, 32, 3), dtype=np.uint8)
    for time in range(frames):
        pixels[time, :, 4 + 2 * time : 8 + 2 * time] = 255
    return Clip(frames=pixels, fps=8.0)


def record(job: str, figure: float | None = None, **verdict: bool) -> Record:
    return Record(seed=0, text=f"{job}: a ball", verdict=verdict, figure=figure)


def test_truth_has_no_seam_and_a_jump_has() -> None:
    clip = moving_bar()
    kept = np.broadcast_to((np.arange(9) < 5)[:, None, None], clip.frames.shape[:3])
    assert seam(clip, kept, clip) == pytest.approx(1.0)
    jumped = clip.frames.copy()
    jumped[5:] = 255 - jumped[5:]
    assert (seam(Clip(frames=jumped, fps=8.0), kept, clip) or 0) > 3
    assert seam(clip, np.ones_like(kept), clip) is None


def test_a_join_within_frames_is_compared_with_what_was_there() -> None:
    clip = moving_bar()
    kept = np.ones(clip.frames.shape[:3], dtype=bool)
    kept[:, 8:24, 8:24] = False
    assert seam(clip, kept, clip) == pytest.approx(1.0)
    framed = clip.frames.copy()
    framed[:, 8:24, 8:24] = 128
    assert (seam(Clip(frames=framed, fps=8.0), kept, clip) or 0) > 1


def test_a_join_at_a_border_is_compared_with_what_is_beside_it() -> None:
    stripes = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    stripes[:, :, ::2] = 200
    kept = np.zeros(stripes.shape[:3], dtype=bool)
    kept[:, :, 8:24] = True
    source = Clip(frames=stripes[:, :, 8:24], fps=8.0)
    assert (seam(Clip(frames=stripes, fps=8.0), kept, source) or 2) <= 1
    plain = Clip(frames=np.full_like(source.frames, 9), fps=8.0)
    pasted = np.where(kept[..., None], 9, stripes).astype(np.uint8)
    assert (seam(Clip(frames=pasted, fps=8.0), kept, plain) or 0) > 1


def test_broken_promises_are_told_job_by_job() -> None:
    whole = [
        record("extend", 0.9, kept=True, exact=True, seam=True, prompt=False),
        record("remix 0.25", 0.9, kept=True),
        record("remix 0.75", 0.4, kept=True),
    ]
    assert broken_promises(whole) == [], "a prompt that is not followed is a figure, not a promise"
    broken = [*whole, record("extend", 1.4, seam=False), record("remix 0.75", 1.5, kept=True)]
    assert broken_promises(broken) == ["extend: seam, 1 of 2", "remix: monotonic, 0.90 then 0.95"]


def test_every_job_is_measured() -> None:
    """On the bundled model, hastily: what is kept and how long it is must be right all the same, or it raises."""
    hasty = Generator.from_pretrained("toybox", device="cpu").with_sampling(steps=2)
    figures = summary_by_job(list(every_job(hasty, count=1)))
    assert set(figures) == set(JOBS) and all(figures[job]["count"] == 1 for job in JOBS)
    assert figures["loop"]["by_attribute"]["seam"] == figures["extend"]["by_attribute"]["seam"] == 1
