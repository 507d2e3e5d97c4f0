"""Weights inside what training tools save: their containers and prefixes are looked through."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from .checkpoint_error import CheckpointError
from .layouts import SIGNS, summarize
from .unpickling import PickledModule

# Under which training frameworks keep the weights: mmengine and Lightning, the authors' code and
# MAE's, DeepSpeed. Where there are others beside them, these are taken.
CONTAINERS = ('state_dict', 'model', 'module')
# What averages over training are called.
AVERAGED = re.compile(
    r'(^|[_.])(ema|teacher|momentum|averaged?|swa|target_(encoder|network|model))([_.]|$)'
)
# What is never weights, and may be large.
NOT_WEIGHTS = re.compile(r'optim|sched|message_hub|scaler|grad|accum|^meta$')
# Beside averaged weights: how many were averaged, in torch's AveragedModel and mmengine's.
COUNTERS = ('n_averaged', 'steps')
# A pickle may hold a container that holds itself.
MAX_DEPTH = 8
# What torch.compile, FSDP and its recomputation put into names, at any place.
WRAPPERS = re.compile(
    r'(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.'
)

# What the prefix of a whole model may be, and the name of a weight that every block has. Those of
# MAE's decoder are no set of their own.
BLOCKS = tuple(
    (prefixes, re.compile(rf'((?:.*\.)?)(?<!decoder\.){pattern}')) for _, prefixes, pattern in SIGNS
)


class WeightSet(NamedTuple):
    """One set of weights in a checkpoint.

    Attributes:
        path: The keys that lead to it.
        weights: Name -> tensor, and what else is beside them.
        averaged: Whether they are averages over training.
    """

    path: tuple[str, ...]
    weights: Mapping
    averaged: bool

    @property
    def label(self) -> str:
        """What to call it."""
        return '.'.join(self.path) or 'the top level'

    def is_called(self, which: str) -> bool:
        """Whether a user means this one."""
        label = f'.{self.label}.'
        return self.averaged if which == 'ema' else f'.{which}.' in label


def take_tensors(content: object, source: str = '') -> dict[str, Tensor]:
    """Tensors by name of what :func:`read_checkpoint` gave, as a run's own model names them.

    Args:
        content: What the file ``source`` holds; of several sets of weights the trained one.
        source: For messages.

    Returns:
        Name -> tensor; DDP's ``module.`` is taken off.

    Raises:
        CheckpointError: If there are none, or some that are not finite.
    """
    with _telling(source):
        return _finite(_of_container(content, '', source)[0])


def take_weights(content: object, which: str = '', source: str = '') -> dict[str, Tensor]:
    """As :func:`take_tensors`, without what any training tool has put around the names.

    Args:
        content: As there.
        which: As in :func:`beit_mm.checkpoints.load_state_dict`.
        source: For messages.
    """
    with _telling(source):
        tensors, found = _of_container(content, which, source)
        return _finite(_without_prefix(tensors, '' if found else which, source))


def unwrap_names(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """What :func:`take_tensors` gave, without what training tools have put around the names."""
    with _telling(source):
        return _without_prefix(tensors, '', source)


@contextmanager
def _telling(source: str) -> Iterator[None]:
    """Begin errors with what they are about."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f'{source} {error}') from None
    except Exception as error:
        # Modules without their parts, containers that hold themselves.
        raise CheckpointError(f'{source} is damaged or no checkpoint: {error}') from error


# Containers


def _of_container(content: object, which: str, source: str) -> tuple[dict[str, Tensor], bool]:
    """Tensors of a set of weights, and whether it is the one asked for: names may tell as well."""
    if not isinstance(content, (Mapping, PickledModule)):
        raise CheckpointError(f'holds a {type(content).__name__}, not tensors by name')
    sets = sorted(_sets(content, (), set()), key=_rank)
    if _of_mmengine(content):
        # Its EMAHook changes places before it saves.
        sets = [each._replace(averaged=each.path == ('state_dict',)) for each in sets]
    if not sets:
        raise CheckpointError('holds no tensors')
    called = [each for each in sets if which and each.is_called(which)]
    taken = (called or sets)[0]
    if not which and len(sets) > 1:
        _tell(source, [(each.label, each.averaged) for each in sets], taken.label)
    return _named_tensors(taken.weights), bool(called)


def _sets(content: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[WeightSet]:
    """The sets of weights in a checkpoint, at any depth."""
    averaged = any(AVERAGED.search(key) for key in path)
    if isinstance(content, PickledModule):
        yield WeightSet(path, dict(content.tensors()), averaged)
    if not isinstance(content, Mapping) or id(content) in seen or len(path) > MAX_DEPTH:
        return
    seen.add(id(content))
    inner = [
        each
        for key, value in content.items()
        if isinstance(key, str) and not NOT_WEIGHTS.search(key)
        for each in _sets(value, (*path, key), seen)
    ]
    names = [name for name, value in content.items() if isinstance(value, (Tensor, np.ndarray))]
    known = not path or path[-1] in CONTAINERS
    dotted = any(isinstance(name, str) and '.' in name for name in names)
    if dotted or (known and names and not inner):
        yield WeightSet(path, content, averaged)
    yield from inner


def _rank(weights: WeightSet) -> int:
    """Which set to take where none is asked for: the smallest, the first of equals."""
    if all(key in CONTAINERS for key in weights.path):
        return sum((CONTAINERS.index(key) for key in weights.path[:1]), -len(CONTAINERS))
    return 1 + weights.averaged


def _of_mmengine(content: object) -> bool:
    meta = content.get('meta') if isinstance(content, Mapping) else None
    ours = isinstance(meta, Mapping) and 'mmengine_version' in meta
    return ours and isinstance(content, Mapping) and 'ema_state_dict' in content


def _named_tensors(content: Mapping) -> dict[str, Tensor]:
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(value, Tensor) and name not in COUNTERS
    }
    tensors = tensors or {
        name: _as_tensor(value)
        for name, value in content.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in 'bif' and name not in COUNTERS
    }
    if not tensors:
        raise CheckpointError('holds no tensors')
    nameless = next((name for name in tensors if not isinstance(name, str)), None)
    if nameless is not None:
        raise CheckpointError(f'holds a tensor under {nameless!r}, which is no name')
    return _without_module(tensors)


def _as_tensor(array: np.ndarray) -> Tensor:
    # A copy, in the byte order of this machine: torch takes no other, and none that is read-only.
    return torch.from_numpy(array.astype(array.dtype.newbyteorder('='), order='C'))


def _without_module(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without what DDP, and torch's and mmengine's averages, put before every one."""
    while all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): value for name, value in tensors.items()}
    return tensors


def _finite(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(
                f'holds values that are not finite in {name!r}: of no use as weights'
            )
    return tensors


# Names


# lightly's encoder, with a mask token that it does not use, and its decoder beside it.
LIGHTLY = 'backbone.vit.', 'backbone.mask_token', 'decoder.'


def _of_lightly(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Encoder and decoder of lightly's MAE under the names of its authors, which both bear."""
    encoder, unused, decoder = LIGHTLY
    if f'{decoder}decoder_embed.weight' not in tensors or f'{encoder}cls_token' not in tensors:
        return tensors
    return {
        name.removeprefix(encoder).removeprefix(decoder): tensor
        for name, tensor in tensors.items()
        if name != unused
    }


def _without_prefix(tensors: Mapping[str, Tensor], which: str, source: str) -> dict[str, Tensor]:
    """Names as a BEiT has them; those of no BEiT stay, but for :data:`WRAPPERS`."""
    tensors = _of_lightly(tensors)
    names = {name: WRAPPERS.sub('', name) for name in tensors}
    if len(set(names.values())) < len(names):
        raise CheckpointError('holds several tensors under one name, if wrappers are taken off')
    clean = _without_module({names[name]: tensor for name, tensor in tensors.items()})
    prefixes = _prefixes(clean)
    if which:
        chosen = _under(clean, _prefix_called(which, clean, prefixes))
        return _without_prefix(chosen, '', source)
    if len(prefixes) > 1:
        sets = [
            (prefix.removesuffix('.') or 'without a prefix', _is_average(prefix))
            for prefix in prefixes
        ]
        _tell(source, sets, sets[0][0])
    if not prefixes or not prefixes[0]:
        return clean
    outside = [name for name in clean if not name.startswith(tuple(prefixes))]
    if outside:
        print_log(
            f'{source}: weights of {prefixes[0]}* are taken, {summarize(outside)} are beside them',
            logger='current',
        )
    return _under(clean, prefixes[0])


def _prefixes(names: Iterable[str]) -> list[str]:
    """What stands before the names of each BEiT, the one to take first."""
    found = dict.fromkeys(
        _without_own(match[1], prefixes)
        for name in names
        for prefixes, pattern in BLOCKS
        if (match := pattern.fullmatch(name))
    )
    return sorted(found, key=lambda prefix: (prefix != '', _is_average(prefix)))


def _without_own(prefix: str, own: tuple[str, ...]) -> str:
    for each in own:
        if f'.{prefix}'.endswith(f'.{each}'):
            return prefix.removesuffix(each)
    return prefix


def _is_average(prefix: str) -> bool:
    return AVERAGED.search(prefix) is not None


def _prefix_called(which: str, names: Iterable[str], prefixes: list[str]) -> str:
    """What the names of the weights begin with that a user asks for."""
    if which == 'ema':
        prefix = next(filter(_is_average, prefixes), None)
        if prefix is None:
            raise CheckpointError(
                'holds no averaged weights (ema_state_dict, model_ema, teacher and the like)'
            )
        return prefix
    pattern = re.compile(rf'(?:.*?\.)??{re.escape(which.removesuffix("."))}\.')
    found = [match[0] for name in names if (match := pattern.match(name))]
    if not found:
        first = dict.fromkeys(name.partition('.')[0] for name in names)
        raise CheckpointError(
            f'holds no weights called {which!r}; names in it begin with {summarize(first)}'
        )
    # The outermost: there may be a student.model. and a model.
    return min(found, key=len)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _tell(source: str, sets: list[tuple[str, bool]], taken: str) -> None:
    """Say which sets of weights there are, which is taken, and how to take another."""
    labels = ', '.join(f'{label} (averaged)' if averaged else label for label, averaged in sets)
    other = next(label for label, _ in sets if label != taken)
    print_log(
        f'{source} holds several sets of weights: {labels}; taken: {taken}; which={other!r} '
        f'takes another (prefix={other!r} in init_cfg)',
        logger='current',
    )
