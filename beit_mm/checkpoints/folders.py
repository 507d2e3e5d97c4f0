"""Folders of weights as Hugging Face writes them: a config, and one file or several."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint_error import CheckpointError

CONFIG = 'config.json'
# What images must be like, in transformers.
PREPROCESSOR = 'preprocessor_config.json'
INDEX_ENDING = '.index.json'
WEIGHT_ENDINGS = ('.pth', '.pt', '.bin', '.safetensors', '.npz')
# In the order in which they are looked for; an index names the files that the weights are cut into.
WEIGHT_FILES = tuple(
    f'{name}{ending}'
    for name in ('model.safetensors', 'pytorch_model.bin')
    for ending in ('', INDEX_ENDING)
)


def find_weights(folder: Path) -> Path:
    """The file of a folder that its weights are in, or the index of several.

    Raises:
        FileNotFoundError: If there is none.
    """
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    others = [p for p in folder.iterdir() if p.suffix in WEIGHT_ENDINGS]
    there = f'; name one of {", ".join(sorted(p.name for p in others))}' if others else ''
    raise FileNotFoundError(
        f'{folder}: no such checkpoint; a folder of weights has one of '
        f'{", ".join(WEIGHT_FILES)}{there}'
    )


def parts_of(index: Path) -> dict[str, list[str]]:
    """The files that an index names, and the names of the weights in each.

    Raises:
        CheckpointError: If it is no index, or names files of other folders.
    """
    weight_map = read_json(index).get('weight_map')
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f'{index} is no index of weights: it has no weight_map')
    parts: dict[str, list[str]] = {}
    for name, file in weight_map.items():
        if not isinstance(file, str) or not re.fullmatch(r'[\w-][\w.-]*', file):
            raise CheckpointError(f'{index} has {name} in {file!r}, which is no file beside it')
        parts.setdefault(file, []).append(name)
    return parts


def read_parts(index: Path, read_file: Callable[[Path], Any]) -> dict[str, Tensor]:
    """The weights that an index names.

    Args:
        index: Such as ``model.safetensors.index.json``; its files lie beside it.
        read_file: What reads one of them.

    Raises:
        FileNotFoundError: If one is missing.
        CheckpointError: If one cannot be read, or lacks weights.
    """
    weights = {}
    for file, names in parts_of(index).items():
        path = index.parent / file
        if not path.is_file():
            raise FileNotFoundError(
                f'{path}: no such file; {index.name} has {len(names)} tensors in it'
            )
        content = read_file(path)
        for name in names:
            if not isinstance(content, dict) or name not in content:
                raise CheckpointError(f'{path} lacks {name}, which {index.name} has in it')
            weights[name] = content[name]
    return weights


def read_config(weights: Path) -> dict[str, Any]:
    """The config beside weights that lie as Hugging Face's libraries write them; else nothing.

    Args:
        weights: A file, or a folder of them.

    Raises:
        CheckpointError: If there is one that cannot be read.
    """
    return _read_beside(weights, CONFIG)


def read_mean_and_std(weights: Path) -> tuple[list[float], list[float]] | None:
    """How images of values in [0, 1] are normalised; None if nothing says so.

    transformers and timm write it beside the weights. JAX files have no place for it: all public
    ones are of images in [-1, 1].

    Raises:
        CheckpointError: If there is a config that cannot be read.
    """
    if weights.suffix == '.npz':
        return [0.5] * 3, [0.5] * 3
    images = _read_beside(weights, PREPROCESSOR)
    mean, std = images.get('image_mean'), images.get('image_std')
    if not (mean and std):
        config = read_config(weights)
        images = config.get('pretrained_cfg') or config
        mean, std = images.get('mean'), images.get('std')
    return (mean, std) if mean and std else None


def _read_beside(weights: Path, name: str) -> dict[str, Any]:
    folder = weights if weights.is_dir() else weights.parent
    if not weights.is_dir() and weights.name not in WEIGHT_FILES:
        return {}
    path = folder / name
    return read_json(path) if path.is_file() else {}


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file has under names.

    Raises:
        CheckpointError: If it is none.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path} is damaged or no JSON: {error}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not values by name')
    return content
