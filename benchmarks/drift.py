"""The drift curve of docs/tasks.md: whether a clip of eight times the model's length still shows at its end what was
asked for.

python -m benchmarks.drift 40
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.charts import OURS, require_matplotlib
from kinetoken import Generator
from kinetoken.evaluation.generation import drift, summary

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "drift.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="clips")
    parser.add_argument("--model", default="toybox")
    parser.add_argument("--steps", type=int, help="of the sampler, instead of the model's own")
    arguments = parser.parse_args()
    require_matplotlib()
    generator = Generator.from_pretrained(arguments.model).with_sampling(steps=arguments.steps)
    figures = summary(list(drift(generator, count=arguments.count)))
    draw(figures, arguments.count, generator.config.frames, PICTURE)
    print(figures)
    print(PICTURE)


def draw(figures: dict[str, Any], count: int, length: int, path: Path) -> None:
    import matplotlib.pyplot as plt

    shares = [100 * share for share in figures["by_attribute"].values()]
    figure, axis = plt.subplots(figsize=(7, 2.6))
    axis.plot([length * window for window in range(1, len(shares) + 1)], shares, "o-", color=OURS)
    axis.axhline(shares[0] - 10, color="grey", linestyle=":", label="10 points below the first")
    axis.set(xlabel="frames so far", ylabel="attributes right, %", ylim=(60, 101), title=f"{count} clips")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main()
