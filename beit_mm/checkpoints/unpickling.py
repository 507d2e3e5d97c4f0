"""Unpickle a checkpoint without running code from it: values are built, all else is inert."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checkpoint_error import CheckpointError

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
        ('pathlib', 'PosixPath'),
        ('pathlib', 'WindowsPath'),
        # Since Python 3.13.
        ('pathlib._local', 'PosixPath'),
        ('pathlib._local', 'WindowsPath'),
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


class _Inert(SimpleNamespace):
    """Stands in for an object whose attributes nobody here needs."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__()


class PickledModule(_Inert):
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
            return PickledModule
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


class SafePickle:
    """The part of the pickle module that ``torch.load`` uses, with the unpickler above."""

    Unpickler = _Unpickler

    @staticmethod
    def load(file, **kwargs):
        """What the pickle of a file holds."""
        return _Unpickler(file, **kwargs).load()
