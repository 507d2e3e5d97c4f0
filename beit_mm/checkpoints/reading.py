"""Read the tensors of a checkpoint without running code from the file."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

# Keys under which training frameworks keep the weights: mmengine, the authors' code, others.
WRAPPERS = ('state_dict', 'model', 'module')

# All that the pickle of a checkpoint may ask for. Each only builds a value; none can reach the
# file system, import a module or call what the file names.
ALLOWED_GLOBALS = frozenset(
    {
        ('collections', 'OrderedDict'),
        ('collections', 'defaultdict'),
        ('builtins', 'set'),
        ('torch._utils', '_rebuild_tensor_v2'),
        ('torch._utils', '_rebuild_parameter'),
        ('torch', 'Size'),
        ('torch', 'device'),
        ('numpy', 'dtype'),
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


class CheckpointError(ValueError):
    """A file that is no checkpoint, is damaged, or asks for code to be run."""


class _Inert(SimpleNamespace):
    """Stands in for an object whose attributes nobody here needs."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        # The names of Python 2, which pickle protocol 2 and so torch.save still writes.
        module = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}.get(module, module)
        if (module, name) in ALLOWED_GLOBALS:
            return super().find_class(module, name)
        if (module, name) in INERT:
            return _Inert
        raise CheckpointError(
            f'its pickle asks for {module}.{name}, which no checkpoint needs; it was not run'
        )


class _SafePickle:
    """The part of the pickle module that ``torch.load`` uses, with the unpickler above."""

    Unpickler = _Unpickler

    @staticmethod
    def load(file, **kwargs):
        return _Unpickler(file, **kwargs).load()


def read_checkpoint(path: str | Path) -> object:
    """Read a whole checkpoint, tensors on the CPU.

    Args:
        path: A file that ``torch.save`` wrote, or an http(s) URL of one, which is downloaded into
            torch's hub cache once.

    Returns:
        What was saved; objects of other classes than containers, numbers and tensors are inert.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read or its pickle asks for anything else.
    """
    path = _fetch(str(path))
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such checkpoint')
    try:
        _refuse_torchscript(path)
        return torch.load(path, map_location='cpu', pickle_module=_SafePickle, weights_only=False)
    except CheckpointError as error:
        raise CheckpointError(f'{path} was refused: {error}') from None
    except Exception as error:
        raise CheckpointError(f'{path} is damaged or no checkpoint: {error}') from error


def _refuse_torchscript(path: Path) -> None:
    """Refuse what ``torch.load`` would hand to TorchScript, past the unpickler above.

    The archive is read by torch's own reader: another one might see other names in a crafted file.
    """
    with path.open('rb') as file:
        if file.read(4) != b'PK\x03\x04':
            return
    if 'constants.pkl' in torch._C.PyTorchFileReader(str(path)).get_all_records():
        raise CheckpointError('it is a TorchScript program, not weights; it was not run')


def _fetch(path: str) -> Path:
    if not path.startswith(('http://', 'https://')):
        return Path(path)
    # Many a checkpoint is called latest.pth: the digest keeps those of two places apart.
    name = f'{hashlib.sha256(path.encode()).hexdigest()[:8]}-{path.rsplit("/", 1)[-1]}'
    cached = Path(torch.hub.get_dir()) / 'checkpoints' / name
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(path, str(cached))
        except OSError as error:
            raise FileNotFoundError(f'{path} could not be downloaded: {error}') from error
    return cached


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, without the wrappers that training put around them.

    Args:
        path: As in :func:`read_checkpoint`.

    Returns:
        Name -> tensor on the CPU; DDP's ``module.`` prefix is taken off.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read, asks for code to be run, or holds no tensors.
    """
    content = read_checkpoint(path)
    while isinstance(content, Mapping):
        wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        content = content[wrapper]
    if not isinstance(content, Mapping):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not tensors by name')
    tensors = {
        str(name).removeprefix('module.'): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise CheckpointError(f'{path} holds no tensors')
    return tensors
