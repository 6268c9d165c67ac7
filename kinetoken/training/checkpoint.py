"""Weights and runs on disk: safetensors with a flat JSON file beside them, never pickle."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS_VERSION = 1
RUN_VERSION = 1
MODEL_FORMAT = "kinetoken-model"
RUN_FORMAT = "kinetoken-run"
_STEP = "step-{:09d}"
_STATE_KEYS = {"format", "version", "step", "seconds", "config"}


# Weights: what is published and bundled


def save_weights(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float16
) -> None:
    """config.json and model.safetensors. `config` is flat JSON and may name its "format" (kinetoken-model if not); the
    version is added here. Floating-point tensors are stored as `dtype`.

    Raises: ValueError, before anything is written, if the config is not flat or a tensor is not finite in `dtype`.
    """
    described = {"format": MODEL_FORMAT, "version": WEIGHTS_VERSION, **config}
    if odd := [key for key, value in config.items() if not _is_flat(value) or key == "version"]:
        raise ValueError(f"a weights config is flat JSON and leaves the version to save_weights, found {odd[:3]}")
    stored = {name: _stored(tensor, dtype) for name, tensor in tensors.items()}
    broken = [name for name, tensor in stored.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"weights must be finite as {dtype}, found others in {broken[:3]}: nothing was saved")
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "model.safetensors", lambda path: save_file(stored, path))
    _replace(folder / "config.json", lambda path: _write_json(path, described))


def load_weights(folder: Path, format: str = MODEL_FORMAT) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config without format and version, and the tensors as stored.

    Raises: ValueError if a file is missing or damaged, or if it is of another format or a newer version.
    """
    config = _read_json(folder / "config.json")
    if (found := config.pop("format", None)) != format:
        raise ValueError(f"{folder} holds {found!r}, but {format!r} is needed: give the other folder")
    _check_version(config.pop("version", None), WEIGHTS_VERSION, folder)
    return config, _read_tensors(folder / "model.safetensors")


# Runs: what training resumes from


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped. The place in the data and all randomness are functions
    of the step, so the step stands for both. seconds: spent training so far. config: TrainingConfig's, as a record."""

    step: int
    seconds: float
    config: dict[str, Any]
    model: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def save_checkpoint(run: Path, checkpoint: Checkpoint, *, keep: int = 2) -> Path:
    """Write run/checkpoints/step-N beside the older ones, then drop all but the newest `keep`.

    It appears under its name once it is whole on disk: a kill at any moment leaves the last good one untouched.
    """
    folder = run / "checkpoints" / _STEP.format(checkpoint.step)
    if folder.exists():
        return folder  # a step of a run has one state
    for abandoned in folder.parent.glob(".step-*.partial"):
        shutil.rmtree(abandoned)
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True)
    _write_checkpoint(partial, checkpoint)
    partial.rename(folder)
    _sync(folder.parent)
    for old in _checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def load_checkpoint(run: Path) -> Checkpoint | None:
    """The newest checkpoint of a run, or None if it has none.

    Raises: ValueError if it is damaged, of a newer version, or has unknown keys.
    """
    found = _checkpoints(run)
    if not found:
        return None
    folder = found[-1]
    state = _read_json(folder / "state.json")
    _check_version(state.get("version"), RUN_VERSION, folder)
    if state.get("format") != RUN_FORMAT or set(state) != _STATE_KEYS:
        odd = sorted(set(state) ^ _STATE_KEYS)
        raise ValueError(f"{folder}/state.json is no state of a run: unknown or missing keys {odd}; remove {folder}")
    return Checkpoint(
        step=state["step"],
        seconds=state["seconds"],
        config=state["config"],
        model=_read_tensors(folder / "model.safetensors"),
        average=_read_tensors(folder / "ema.safetensors"),
        optimizer=_read_tensors(folder / "optimizer.safetensors"),
    )


def export_checkpoint(run: Path, destination: Path) -> Path:
    """The newest checkpoint in half the bytes, as a run that can be resumed, though no longer bit for bit.

    Weights become fp16; the optimizer becomes bf16, whose range holds AdamW's tiny second moments.
    """
    checkpoint = load_checkpoint(run)
    if checkpoint is None:
        raise ValueError(f"there is no checkpoint to export in {run}: train first")
    if _checkpoints(destination):
        raise ValueError(f"{destination} holds a run already: export into an empty folder")
    halves = replace(
        checkpoint,
        model={name: _stored(tensor, torch.float16) for name, tensor in checkpoint.model.items()},
        average={name: _stored(tensor, torch.float16) for name, tensor in checkpoint.average.items()},
        optimizer={name: _stored(tensor, torch.bfloat16) for name, tensor in checkpoint.optimizer.items()},
    )
    return save_checkpoint(destination, halves)


def load_average(objective: nn.Module, run: Path) -> int:
    """Give an objective the averaged weights of a run (for evaluation and for publishing); returns the step.

    Raises: ValueError if there is no checkpoint, or it is another network's.
    """
    checkpoint = load_checkpoint(run)
    if checkpoint is None:
        raise ValueError(f"there is no checkpoint in {run}: train first")
    fill(objective, {**checkpoint.model, **checkpoint.average}, run)
    return checkpoint.step


def trained_tensors(objective: nn.Module) -> dict[str, Tensor]:
    """Trained parameters, and buffers. What is frozen belongs to whoever froze it; a tied weight counts once."""
    unique = {name for name, weight in objective.named_parameters() if weight.requires_grad}
    parameters = {name for name, _ in objective.named_parameters(remove_duplicate=False)}
    return {name: t for name, t in objective.state_dict().items() if name in unique or name not in parameters}


@torch.no_grad()
def fill(objective: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy tensors into the objective, in place.

    Raises: ValueError, before any copy, if names or shapes differ.
    """
    own = trained_tensors(objective)
    missing = sorted(own.keys() - tensors.keys())
    strange = sorted(tensors.keys() - own.keys())
    shapes = sorted(name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape)
    if missing or strange or shapes:
        raise ValueError(
            f"the checkpoint in {source} is another network's: missing {missing[:3]}, unknown {strange[:3]}, "
            f"of another shape {shapes[:3]}; build the network it was trained with, or train into an empty folder"
        )
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


# Files


def _write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    save_file(_contiguous(checkpoint.model), folder / "model.safetensors")
    save_file(_contiguous(checkpoint.average), folder / "ema.safetensors")
    save_file(_contiguous(checkpoint.optimizer), folder / "optimizer.safetensors")
    state = {"step": checkpoint.step, "seconds": checkpoint.seconds, "config": checkpoint.config}
    _write_json(folder / "state.json", {"format": RUN_FORMAT, "version": RUN_VERSION, **state})
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def _checkpoints(run: Path) -> list[Path]:
    """Oldest first; unfinished ones have a dot before their name."""
    return sorted((run / "checkpoints").glob("step-*"))


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of its own, so that tied weights may be saved under both names."""
    target = dtype if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", target, copy=True).contiguous()


def _is_flat(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(one, str | int | float | None) for one in values)


def _check_version(version: Any, newest: int, source: Path) -> None:
    if not isinstance(version, int) or not 1 <= version <= newest:
        raise ValueError(f"{source} has version {version!r}, this kinetoken reads 1 to {newest}: update kinetoken")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: it belongs to every checkpoint; fetch or train it again") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}): fetch it again, or remove its folder") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold one JSON object, found {type(values).__name__}: fetch it again")
    return values


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: it belongs to every checkpoint; fetch or train it again") from None
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged ({error}): fetch it again, or remove its folder to fall back on an older checkpoint"
        ) from None


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")


def _replace(path: Path, write: Any) -> None:
    """Write beside it, then rename: a reader sees the old file or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    _sync(partial)
    partial.replace(path)


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
