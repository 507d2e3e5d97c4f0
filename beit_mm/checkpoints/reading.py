"""Read the tensors of a checkpoint without running code from the file."""

import tarfile
import zipfile
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from .checkpoint_error import CheckpointError
from .folders import INDEX_ENDING, find_weights, read_parts
from .sources import locate
from .unpickling import SafePickle
from .wrappers import take_weights

ZIP_MAGIC = b'PK\x03\x04'


def read_checkpoint(source: str | Path) -> object:
    """Read a whole checkpoint, tensors on the CPU.

    Args:
        source: What :func:`beit_mm.checkpoints.sources.locate` finds: a file that ``torch.save``
            wrote, a .safetensors or a .npz file, a folder of Hugging Face's, a model of
            the hub, of timm (``timm:name``) or of MMPretrain (``mmpretrain::name``), or an http(s)
            URL.

    Returns:
        What was saved; objects of other classes than containers, numbers and tensors are inert.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read or its pickle asks for anything else. Damage
            is found by checksums in files that torch 1.6 or later wrote; older files and
            .safetensors carry none for the values of their tensors.
        ImportError: If a package is missing that fetches the source.
    """
    path = locate(source)
    if path.is_dir():
        path = find_weights(path)
    return read_parts(path, _read_file) if path.name.endswith(INDEX_ENDING) else _read_file(path)


def _read_file(path: Path) -> object:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such checkpoint')
    try:
        if path.suffix == '.safetensors':
            return safetensors.torch.load_file(path)
        if path.suffix == '.npz':
            return _read_arrays(path)
        with path.open('rb') as file:
            zipped = file.read(4) == ZIP_MAGIC
        if zipped:
            _refuse_torchscript(path)
            _check_sums(path)
        elif tarfile.is_tarfile(path):
            # torch would unpack it, links and pipes too.
            raise CheckpointError('it is a tar archive, as torch before 0.1.10 wrote them')
        return torch.load(path, map_location='cpu', pickle_module=SafePickle, weights_only=False)
    except CheckpointError as error:
        raise CheckpointError(f'{path} was refused: {error}') from None
    except Exception as error:
        raise CheckpointError(f'{path} is damaged or no checkpoint: {error}') from error


def _read_arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of a .npz file, compressed or not; numpy compares their checksums."""
    if not zipfile.is_zipfile(path):
        raise CheckpointError('it is no .npz archive, or one that has not been written to its end')
    with np.load(path, allow_pickle=False) as arrays:
        return {name: _as_tensor(name, arrays[name]) for name in arrays.files}


def _as_tensor(name: str, array: np.ndarray | bytes) -> Tensor:
    if isinstance(array, bytes) or not (array.dtype.kind in 'biufc' or array.dtype == 'V2'):
        raise CheckpointError(
            f'{name} is no array of numbers; a file of weights must hold these alone'
        )
    if array.dtype == 'V2':
        # numpy has no bfloat16, and keeps JAX's as two bytes.
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).float()
    # In the byte order of this machine: torch takes no other.
    return torch.from_numpy(array.astype(array.dtype.newbyteorder('='), order='C'))


def _refuse_torchscript(path: Path) -> None:
    """Refuse what ``torch.load`` would hand to TorchScript, past the unpickler above.

    The archive is read by torch's own reader: another one might see other names in a crafted file.
    """
    if 'constants.pkl' in torch._C.PyTorchFileReader(str(path)).get_all_records():
        raise CheckpointError('it is a TorchScript program, not weights; it was not run')


def _check_sums(path: Path) -> None:
    """Compare every record with its checksum, which torch's own reader leaves out."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(f'its record {damaged} does not have the checksum it should have')


def load_state_dict(source: str | Path, ema: bool = False, which: str = '') -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, without the wrappers that training put around them.

    Containers (``state_dict``, ``model``, ``teacher`` ...) are looked into at any depth. Taken off
    are ``module.``, ``_orig_mod.``, ``_fsdp_wrapped_module.`` and ``_checkpoint_wrapped_module.``,
    and what stands before all of a BEiT, such as ``model.`` and ``encoder.``.

    Args:
        source: As in :func:`read_checkpoint`; also OpenAI's ``encoder.pkl`` and ``decoder.pkl``,
            pickled modules, of which the tensors are taken.
        ema: As ``which='ema'``.
        which: Which of several sets of weights to take: the name of the container or what its
            names begin with, such as 'teacher', 'model_ema' or 'backbone'; 'ema' takes the set
            averaged over training, whatever it is called. Without, the one that was trained; the
            log says which others there are.

    Returns:
        Name -> tensor on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read, asks for code to be run, holds no tensors or
            some that are not finite, or not the set that is asked for.
        ImportError: If a package is missing that fetches the source.
    """
    return take_weights(read_checkpoint(source), 'ema' if ema else which, str(source))
