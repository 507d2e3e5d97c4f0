"""Files that are whole or not there."""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

# Under which key each library keeps the weights in a .pth file; the others keep them bare.
WRAPPERS = dict(beit_mm='state_dict', mmpretrain='state_dict', mmseg='state_dict', unilm='model')

# Under which key a file says what its weights are; in .pth beside others of 'meta', which
# mmengine's tools take for a dict and look for their own keys in.
ABOUT = 'about'
# How files of JAX's layouts end, whose libraries read no others.
NPZ = '.npz'
# How files end that are being written beside those that they become.
TEMPORARY = '.tmp'
# How many characters of their names are in those, of 4 bytes at most.
LONGEST = 50


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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors of writing a file name it, as those of opening one do; a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that is there as a whole or not at all, whenever the process stops."""
    # Processes on two machines may have one number. Systems take names of 255 bytes.
    temporary = path.with_name(f'{path.name[:LONGEST]}.{uuid.uuid4().hex}{TEMPORARY}')
    try:
        with naming(path):
            with temporary.open('wb') as file:
                yield file
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def written_elsewhere(path: Path) -> Iterator[Path]:
    """As :func:`written_whole`, for what opens its file itself and goes by the name's ending."""
    temporary = path.with_name(f'.{uuid.uuid4().hex}{TEMPORARY}{path.suffix}')
    try:
        with naming(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all, whenever the process is stopped."""
    with written_whole(path) as file:
        file.write(content)


def _as_array(tensor: Tensor) -> np.ndarray:
    """For numpy, which has no bfloat16: float32 holds the same numbers."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def write_weights(
    path: Path,
    weights: Mapping[str, Tensor],
    layout: str,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write weights as a library keeps them.

    Args:
        path: Ends in .safetensors or .npz (without ``about``), or is written by ``torch.save``.
        weights: Name -> tensor, under that library's names.
        layout: One of ``LAYOUTS``.
        about: What :func:`beit_mm.checkpoints.read_about` shall find: numbers, texts, lists and
            dicts of them. Under ``images`` this project keeps what the weights were trained on:
            ``bands``, names or how many; ``value_range``; ``mean`` and ``std``, a number a band,
            for pixels in [0, 255].

    Raises:
        ValueError: If something else is in ``about``, or the library keeps no place for it.
    """
    # Copies: parts of a matrix that was cut up would be saved with all of it.
    weights = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    text = _as_json(about) if about else ''
    # Beside the target first: whoever stops the program finds the old file or the new one.
    unfinished = path.with_name(f'.{path.name}.unfinished')
    if path.suffix == NPZ:
        with written_whole(path) as file:
            arrays: dict[str, Any] = {name: _as_array(tensor) for name, tensor in weights.items()}
            np.savez(file, **arrays)
        return
    if path.suffix == '.safetensors':
        metadata = {'format': 'pt', **({ABOUT: text} if text else {})}
        safetensors.torch.save_file(weights, unfinished, metadata=metadata)
    else:
        wrapper = WRAPPERS.get(layout)
        if text and wrapper is None:
            raise ValueError(
                f'{path}: a .pth file of {layout} is bare weights, with no place for what they are '
                'of (about); write .safetensors'
            )
        said = {'meta': {ABOUT: json.loads(text)}} if text else {}
        torch.save({wrapper: weights, **said} if wrapper else weights, unfinished)
    unfinished.replace(path)


def _as_json(about: Mapping[str, Any]) -> str:
    try:
        return json.dumps(about, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'about is {about!r}; it must be numbers, texts, lists and dicts: {error}'
        ) from None
