"""A whole video through the tokenizer and back, in bounded memory."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path

import numpy as np

from kinetoken.clip import Clip, ClipWriter, open_frames
from kinetoken.evaluation.reconstruction import ssim
from kinetoken.tokenizer.video_tokenizer import VideoTokenizer


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """What is known after some frames: psnr in dB over all of them, ssim their mean."""

    frames: int
    height: int
    width: int
    psnr: float
    ssim: float


def reconstruct_file(
    tokenizer: VideoTokenizer, source: Path, output: Path | None, *, refine: int = 0
) -> Iterator[Reconstruction]:
    """Encode and decode a file piece by piece, yielding after every piece; write the result unless output is None.
    refine: as `encode_stream` does.

    Raises: ValueError if the source is no readable video or the output cannot be written.
    """
    with ExitStack() as opened:
        stream = opened.enter_context(open_frames(source))
        height, width = stream.height, stream.width
        writer = None
        if output is not None:
            writer = opened.enter_context(ClipWriter(output, fps=stream.fps, width=width, height=height))
        originals, encoded = tee(stream)  # the decoder lags behind by one piece, so that little is kept
        count, squares, similarity = 0, 0.0, 0.0
        for decoded in tokenizer.decode_stream(tokenizer.encode_stream(encoded, refine=refine)):
            before = np.stack(list(islice(originals, len(decoded))))
            after = np.ascontiguousarray(decoded[: len(before), :height, :width])
            squares += float(np.square(after.astype(np.float32) - before).sum(dtype=np.float64))
            similarity += ssim(Clip(frames=before, fps=1.0), Clip(frames=after, fps=1.0)) * len(before)
            count += len(before)
            if writer is not None:
                writer.write(after)
            mean_square = max(squares / (count * height * width * 3), 1e-10)
            yield Reconstruction(
                frames=count,
                height=height,
                width=width,
                psnr=10 * np.log10(255**2 / mean_square),
                ssim=similarity / count,
            )
