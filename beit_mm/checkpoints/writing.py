"""Files that are whole or not there."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

# Under which key each library keeps the weights in a .pth file; the others keep them bare.
WRAPPERS = dict(beit_mm='state_dict', mmpretrain='state_dict', mmseg='state_dict', unilm='model')


def partial_path(path: Path) -> Path:
    """Where a file is written before it is whole: beside it, under a name that nothing reads."""
    return path.with_name(f'.{path.name}.partial')


def put_in_place(path: Path) -> None:
    """Give what was written to :func:`partial_path` its name, once it is known to be on the disk.

    Raises:
        OSError: If the system cannot store it.
    """
    partial = partial_path(path)
    with partial.open('rb') as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    # The new name is an entry of the folder, which is stored by itself.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all, whenever the process is stopped."""
    # Processes on two machines may have one number.
    temporary = path.with_name(f'{path.name}.{uuid.uuid4().hex}.tmp')
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_weights(path: Path, weights: Mapping[str, Tensor], layout: str) -> None:
    """Write weights as a library keeps them.

    Args:
        path: Ends in .safetensors, or is written by ``torch.save``.
        weights: Name -> tensor, under that library's names.
        layout: One of ``LAYOUTS``.
    """
    # Copies: parts of a matrix that was cut up would be saved with all of it.
    weights = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    # Beside the target first: whoever stops the program finds the old file or the new one.
    unfinished = path.with_name(f'.{path.name}.unfinished')
    if path.suffix == '.safetensors':
        safetensors.torch.save_file(weights, unfinished, metadata={'format': 'pt'})
    else:
        wrapper = WRAPPERS.get(layout)
        torch.save({wrapper: weights} if wrapper else weights, unfinished)
    unfinished.replace(path)
