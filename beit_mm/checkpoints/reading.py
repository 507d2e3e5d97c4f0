"""Read the tensors of a checkpoint without running code from the file."""

import hashlib
import pickle
import re
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import safetensors.torch
import torch
from filelock import FileLock
from torch import Tensor

# Keys under which training frameworks keep the weights: mmengine, the authors' code, others; and
# their averages over training.
WRAPPERS = ('state_dict', 'model', 'module')
EMA_WRAPPERS = ('ema_state_dict', 'model_ema', 'state_dict_ema')
# Beside averaged weights: how many were averaged, in torch's AveragedModel and mmengine's.
COUNTERS = ('n_averaged', 'steps')
# A pickle may hold a container that holds itself.
MAX_WRAPPERS = 8
ZIP_MAGIC = b'PK\x03\x04'

# All that the pickle of a checkpoint may ask for. Each only builds a value; none can reach the
# file system, import a module or call what the file names.
ALLOWED_GLOBALS = frozenset(
    {
        ('collections', 'OrderedDict'),
        ('collections', 'defaultdict'),
        ('collections', 'Counter'),
        ('builtins', 'set'),
        ('torch._utils', '_rebuild_tensor_v2'),
        ('torch._utils', '_rebuild_parameter'),
        ('torch', 'Size'),
        ('torch', 'device'),
        ('numpy', 'ndarray'),
        ('numpy.core.multiarray', '_reconstruct'),
        ('numpy.core.multiarray', 'scalar'),
        ('numpy._core.multiarray', '_reconstruct'),
        ('numpy._core.multiarray', 'scalar'),
        ('_codecs', 'encode'),
    }
    | {
        ('torch', str(value).removeprefix('torch.'))
        for value in vars(torch).values()
        if isinstance(value, torch.dtype)
    }
)

# What checkpoints name beside the weights, replaced by an empty object: nothing of it is run.
# mmengine's HistoryBuffer pickles its bound methods, as calls of getattr.
INERT = frozenset(
    {
        ('argparse', 'Namespace'),
        ('builtins', 'getattr'),
        ('mmengine.logging.history_buffer', 'HistoryBuffer'),
    }
)


# OpenAI publishes its tokenizer as pickled modules. Of their classes nothing is needed but the
# tensors in them, so objects without code stand in for all.
MODULES = frozenset(
    {
        ('dall_e.encoder', 'Encoder'),
        ('dall_e.encoder', 'EncoderBlock'),
        ('dall_e.decoder', 'Decoder'),
        ('dall_e.decoder', 'DecoderBlock'),
        ('dall_e.utils', 'Conv2d'),
        ('torch.nn.modules.activation', 'ReLU'),
        ('torch.nn.modules.container', 'Sequential'),
        ('torch.nn.modules.linear', 'Identity'),
        ('torch.nn.modules.pooling', 'MaxPool2d'),
        ('torch.nn.modules.upsampling', 'Upsample'),
    }
)


# What NumPy writes for numbers and for text. Others declare the bytes to be object pointers.
PLAIN_FLAGS = (0, 8)


class CheckpointError(ValueError):
    """A file that is no checkpoint, is damaged, or asks for code to be run."""


class _Inert(SimpleNamespace):
    """Stands in for an object whose attributes nobody here needs."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__()


class _Module(_Inert):
    """Stands in for a pickled module."""

    def tensors(self, prefix: str = '') -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers, named as ``torch.nn.Module`` would."""
        for name, tensor in {**self._parameters, **self._buffers}.items():
            if tensor is not None:
                yield f'{prefix}{name}', tensor.detach()
        for name, child in self._modules.items():
            yield from child.tensors(f'{prefix}{name}.')


def _plain_dtype(code: str, *args) -> np.dtype:
    """``numpy.dtype`` of numbers and text; bytes of the file must never become object pointers."""
    if not isinstance(code, str) or not re.fullmatch(r'[<>|=]?[?bhilqBHILQefdgFDSUuc]\d*', code):
        raise CheckpointError(f'its pickle asks for a NumPy array of {code!r}')
    # A copy: what follows in the pickle sets its byte order, which NumPy's own must keep.
    return np.dtype(code, False, True)


# pickle's twin in Python, whose steps can be overridden; its type is nowhere declared.
_PYTHONS_UNPICKLER: Any = pickle._Unpickler


class _Unpickler(_PYTHONS_UNPICKLER):
    dispatch = dict(_PYTHONS_UNPICKLER.dispatch)

    def find_class(self, module: str, name: str):
        # The names of Python 2, which pickle protocol 2 and so torch.save still writes.
        module = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}.get(module, module)
        if (module, name) in ALLOWED_GLOBALS:
            return super().find_class(module, name)
        if (module, name) == ('numpy', 'dtype'):
            return _plain_dtype
        if (module, name) in INERT:
            return _Inert
        if (module, name) in MODULES:
            return _Module
        raise CheckpointError(
            f'its pickle asks for {module}.{name}, which no checkpoint needs; it was not run'
        )

    def load_build(self) -> None:
        """Set the state of objects that the file made itself, never of live functions or types."""
        target, state = self.stack[-2:]
        if isinstance(target, np.dtype):
            if not isinstance(state, tuple) or any(part is not None for part in state[2:5]):
                raise CheckpointError('its pickle asks for a NumPy array of structures')
            if len(state) > 7 and state[7] not in PLAIN_FLAGS:
                raise CheckpointError(f'its pickle asks for a NumPy array with flags {state[7]!r}')
        elif not isinstance(target, (_Inert, OrderedDict, np.ndarray)):
            raise CheckpointError(f'its pickle sets attributes of {target!r}')
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build

    def load_binpersid(self) -> None:
        """Take storages from torch; classes of modules without comparing their source.

        torch would write the difference to a file that the pickle may name.
        """
        pid = self.stack[-1]
        if isinstance(pid, tuple) and pid and pid[0] in ('module', b'module'):
            self.stack[-1] = pid[1]
        else:
            super().load_binpersid()

    dispatch[pickle.BINPERSID[0]] = load_binpersid


class _SafePickle:
    """The part of the pickle module that ``torch.load`` uses, with the unpickler above."""

    Unpickler = _Unpickler

    @staticmethod
    def load(file, **kwargs):
        return _Unpickler(file, **kwargs).load()


def read_checkpoint(path: str | Path) -> object:
    """Read a whole checkpoint, tensors on the CPU.

    Args:
        path: A file that ``torch.save`` wrote, a .safetensors file, or an http(s) URL of one,
            which is downloaded into torch's hub cache once.

    Returns:
        What was saved; objects of other classes than containers, numbers and tensors are inert.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read or its pickle asks for anything else. Damage
            is found by checksums in files that torch 1.6 or later wrote; older files and
            .safetensors carry none for the values of their tensors.
    """
    path = _fetch(str(path))
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such checkpoint')
    try:
        if path.suffix == '.safetensors':
            return safetensors.torch.load_file(path)
        with path.open('rb') as file:
            zipped = file.read(4) == ZIP_MAGIC
        if zipped:
            _refuse_torchscript(path)
            _check_sums(path)
        elif tarfile.is_tarfile(path):
            # torch would unpack it, links and pipes too.
            raise CheckpointError('it is a tar archive, as torch before 0.1.10 wrote them')
        return torch.load(path, map_location='cpu', pickle_module=_SafePickle, weights_only=False)
    except CheckpointError as error:
        raise CheckpointError(f'{path} was refused: {error}') from None
    except Exception as error:
        raise CheckpointError(f'{path} is damaged or no checkpoint: {error}') from error


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


def _fetch(path: str) -> Path:
    if not path.startswith(('http://', 'https://')):
        if '://' in path:
            raise CheckpointError(
                f'{path}: only files and http(s) URLs are read; download it, or mount its storage'
            )
        return Path(path).expanduser()
    # Many a checkpoint is called latest.pth: the digest keeps those of two places apart.
    name = f'{hashlib.sha256(path.encode()).hexdigest()[:8]}-{Path(urlsplit(path).path).name}'
    cached = Path(torch.hub.get_dir()) / 'checkpoints' / name
    if cached.is_file():
        return cached
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        # One process of a machine downloads, the others wait for it.
        with FileLock(f'{cached}.lock'):
            if not cached.is_file():
                torch.hub.download_url_to_file(path, str(cached))
    except OSError as error:
        raise FileNotFoundError(f'{path} could not be downloaded: {error}') from error
    return cached


def load_state_dict(path: str | Path, ema: bool = False) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, without the wrappers that training put around them.

    Args:
        path: As in :func:`read_checkpoint`; also OpenAI's ``encoder.pkl`` and ``decoder.pkl``,
            pickled modules, of which the tensors are taken.
        ema: Whether to take the weights averaged over training, which some frameworks keep
            beside the others.

    Returns:
        Name -> tensor on the CPU; DDP's ``module.`` prefix is taken off.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read, asks for code to be run, or holds no tensors,
            or no averaged ones where ``ema`` asks for them.
    """
    return take_tensors(read_checkpoint(path), ema, source=str(path))


def take_tensors(content: object, ema: bool = False, source: str = '') -> dict[str, Tensor]:
    """Tensors by name of what :func:`read_checkpoint` gave; see :func:`load_state_dict`.

    Args:
        content: What the file ``source`` holds.
        ema: As there.
        source: For messages.
    """
    try:
        return _named_tensors(_unwrap(content, ema))
    except CheckpointError as error:
        raise CheckpointError(f'{source} {error}') from None
    except Exception as error:
        # Modules without their parts, containers that hold themselves.
        raise CheckpointError(f'{source} is damaged or no checkpoint: {error}') from error


def _unwrap(content: Any, ema: bool) -> Any:
    if ema:
        wrapper = next((key for key in EMA_WRAPPERS if _holds(content, key)), None)
        if wrapper is None:
            raise CheckpointError(f'holds no averaged weights ({", ".join(EMA_WRAPPERS)})')
        # mmengine's EMAHook changes places before it saves: the averages are in state_dict.
        if not (_holds(content, 'meta') and 'mmengine_version' in content['meta']):
            content = content[wrapper]
    for _ in range(MAX_WRAPPERS):
        wrapper = next((key for key in WRAPPERS if _holds(content, key)), None)
        if wrapper is None:
            break
        content = content[wrapper]
    return content


def _named_tensors(content: object) -> dict[str, Tensor]:
    if isinstance(content, _Module):
        content = dict(content.tensors())
    if not isinstance(content, Mapping):
        raise CheckpointError(f'holds a {type(content).__name__}, not tensors by name')
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(value, Tensor) and name not in COUNTERS
    }
    if not tensors:
        raise CheckpointError('holds no tensors')
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(
                f'holds values that are not finite in {name!r}: of no use as weights'
            )
    nameless = next((name for name in tensors if not isinstance(name, str)), None)
    if nameless is not None:
        raise CheckpointError(f'holds a tensor under {nameless!r}, which is no name')
    # DDP, and torch's and mmengine's averages, put it before every name.
    if all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): value for name, value in tensors.items()}
    return tensors


def _holds(content: object, key: str) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
