"""One picture for each section, drawn from what was measured."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import Measured, Spread

OURS, THEIRS = "#c2410c", "#64748b"


def require_matplotlib() -> None:
    """Raises: SystemExit, with one line, if charts cannot be drawn."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("charts need matplotlib: pip install 'kinetoken[bench]'") from None
    matplotlib.use("Agg")


def draw(section: str, raw: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = CHARTS[section](raw)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _training(raw: dict[str, Any]) -> Any:
    return _panels({"training, clips/s": _rates(raw["seconds"], raw["batch"])})


def _sampling(raw: dict[str, Any]) -> Any:
    return _panels({f"{case}, seconds": times for case, times in raw["seconds"].items()})


def _tokenizer(raw: dict[str, Any]) -> Any:
    seconds, batch = raw["seconds"], raw["batch"]
    megapixels = batch * 17 * 64 * 64 / 1e6
    return _panels(
        {
            "training, clips/s": _rates(seconds["step"], batch),
            "encoding, Mpx/s": _rates(seconds["encode"], megapixels),
            "decoding, Mpx/s": _rates(seconds["decode"], megapixels),
            f"PSNR after {raw['minutes']:g} min, dB": {
                name: found if isinstance(found, str) else [float(np.mean(found))]
                for name, found in raw["psnr"].items()
            },
        }
    )


def _cold(raw: dict[str, Any]) -> Any:
    dearest = list(raw["imports"].items())[:12]
    return _panels(
        {"stages, seconds": raw["stages"], "imports by package, seconds": {name: [value] for name, value in dearest}}
    )


def _growth(raw: dict[str, Any]) -> Any:
    """Two rows (time, memory) of two panels (frames, pixels), log axes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharex="col")
    figures: dict[str, Callable[[dict[str, Any]], float]] = {
        "seconds": lambda point: Spread.of(point["seconds"]).median,
        "peak memory, GB": lambda point: point["memory_mb"] / 1024,
    }
    labels = {"frames": "frames of 64x64", "pixels": "width and height of 17 frames, pixels"}
    for row, (what, value) in zip(axes, figures.items(), strict=True):
        for axis, (growing, label) in zip(row, labels.items(), strict=True):
            _lines(axis, raw[growing], value)
            axis.set(xlabel=label, ylabel=what)
    axes[0, 0].legend()
    return figure


def _lines(axis: Any, points: dict[str, dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> None:
    """A line for every system, through the points that it can reach."""
    for system in next(iter(points.values())):
        reached = {int(size): value(both[system]) for size, both in points.items() if "cannot" not in both[system]}
        axis.plot(list(reached), list(reached.values()), "o-", color=_colour(system), label=system)
    sizes = [int(size) for size in points]
    axis.set(xscale="log", yscale="log")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.xaxis.minorticks_off()
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(alpha=0.3)


def _panels(panels: Mapping[str, Mapping[str, Measured]]) -> Any:
    """Bars of medians, with lines from the least to the most, one panel for each figure."""
    import matplotlib.pyplot as plt

    most = max(len(systems) for systems in panels.values())
    figure, axes = plt.subplots(len(panels), 1, figsize=(9, len(panels) * (0.7 + 0.33 * most)), squeeze=False)
    for axis, (title, systems) in zip(axes[:, 0], panels.items(), strict=True):
        _bars(axis, systems)
        axis.set_title(title, loc="left", fontsize=10)
    figure.tight_layout()
    return figure


def _bars(axis: Any, systems: Mapping[str, Measured]) -> None:
    names = [name for name, values in systems.items() if not isinstance(values, str)]
    spreads = [Spread.of([float(value) for value in systems[name]]) for name in names]
    middles = np.array([spread.median for spread in spreads])
    errors = np.array([[s.median - s.least for s in spreads], [s.most - s.median for s in spreads]])
    axis.barh(names, middles, xerr=errors, color=[_colour(name) for name in names], height=0.7, ecolor="black")
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)


def _colour(system: str) -> str:
    return OURS if system.startswith("kinetoken") else THEIRS


def _rates(seconds: Mapping[str, Measured], amount: float) -> dict[str, Measured]:
    return {
        name: times if isinstance(times, str) else [amount / value for value in times]
        for name, times in seconds.items()
    }


CHARTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "training": _training,
    "sampling": _sampling,
    "tokenizer": _tokenizer,
    "growth": _growth,
    "cold": _cold,
}
