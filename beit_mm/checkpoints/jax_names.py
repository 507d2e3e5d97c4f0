"""Vision Transformers of JAX: their names and arrays, in both directions.

Those of the ViT paper's release (AugReg too) and of big_vision, which came after it. Kernels lie
with the inputs first, attention is cut into heads, and the names are paths.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .checkpoint_error import CheckpointError
from .layouts import OF_JAX_BLOCK

# Where the weights are, in the files of both; in those of two towers the image's.
PLACES = ('', 'opt/target/', 'params/', 'params/img/')
PROJECTION, NORM, HEAD_OF_QUERIES = 'embedding/kernel', 'Transformer/encoder_norm', 'MAPHead_0/'
OF_ATTENTION = re.compile(r'Transformer/.*/(query|key|value|out)/kernel')
STEM = 'patch_embed.stem.'
# What the layers of a block are called: the attention, the second norm, and the MLP.
LAYERS = dict(
    jax=dict(attention='MultiHeadDotProductAttention_1', norm='LayerNorm_2', mlp='MlpBlock_3'),
    big_vision=dict(
        attention='MultiHeadDotProductAttention_0', norm='LayerNorm_1', mlp='MlpBlock_0'
    ),
)
POSITIONS = dict(jax='Transformer/posembed_input/pos_embedding', big_vision='pos_embedding')


class Form(NamedTuple):
    """How an array here and there stand to each other.

    Attributes:
        read: One tensor from theirs.
        write: Theirs from one tensor, for a number of heads.
    """

    read: Callable[[Sequence[Tensor]], Tensor]
    write: Callable[[Tensor, int], Sequence[Tensor]]


def _cut_weight(tensor: Tensor, heads: int) -> list[Tensor]:
    """(3 C, C) -> three times (C, heads, C / heads)."""
    return [part.T.unflatten(1, (heads, -1)) for part in tensor.chunk(3)]


SAME = Form(lambda arrays: arrays[0], lambda tensor, heads: [tensor])
# The scale of a norm may have axes of 1 before its own.
VECTOR = Form(lambda arrays: arrays[0].flatten(), lambda tensor, heads: [tensor])
# (inputs, outputs).
DENSE = Form(lambda arrays: arrays[0].transpose(0, 1), lambda tensor, heads: [tensor.T])
# (height, width, inputs, outputs).
CONVOLUTION = Form(
    lambda arrays: arrays[0].permute(3, 2, 0, 1), lambda tensor, heads: [tensor.permute(2, 3, 1, 0)]
)
# (C, heads, C / heads), (heads, C / heads), and for the way out (heads, C / heads, C).
INWARD = Form(lambda arrays: torch.cat([array.flatten(1).T for array in arrays]), _cut_weight)
INWARD_BIAS = Form(
    lambda arrays: torch.cat([array.flatten() for array in arrays]),
    lambda tensor, heads: [part.unflatten(0, (heads, -1)) for part in tensor.chunk(3)],
)
OUTWARD = Form(
    lambda arrays: arrays[0].flatten(0, 1).T,
    lambda tensor, heads: [tensor.T.unflatten(0, (heads, -1))],
)


class Row(NamedTuple):
    """One weight.

    Attributes:
        ours: Its name here, of a backbone or a head.
        theirs: Its names there.
        form: How the arrays stand to each other.
    """

    ours: str
    theirs: tuple[str, ...]
    form: Form


def _affine(ours: str, theirs: str, form: Form = DENSE) -> list[Row]:
    """Weight and bias of a layer."""
    return [
        Row(f'{ours}.weight', (f'{theirs}/kernel',), form),
        Row(f'{ours}.bias', (f'{theirs}/bias',), VECTOR),
    ]


def _norm(ours: str, theirs: str) -> list[Row]:
    return [
        Row(f'{ours}.weight', (f'{theirs}/scale',), VECTOR),
        Row(f'{ours}.bias', (f'{theirs}/bias',), VECTOR),
    ]


def _block(layout: str, number: int) -> list[Row]:
    ours, theirs = f'blocks.{number}', f'Transformer/encoderblock_{number}'
    layers = LAYERS[layout]
    attention, mlp = f'{theirs}/{layers["attention"]}', f'{theirs}/{layers["mlp"]}'

    def parts(leaf: str) -> tuple[str, ...]:
        return tuple(f'{attention}/{part}/{leaf}' for part in ('query', 'key', 'value'))

    return [
        *_norm(f'{ours}.norm1', f'{theirs}/LayerNorm_0'),
        Row(f'{ours}.attn.qkv.weight', parts('kernel'), INWARD),
        Row(f'{ours}.attn.qkv.bias', parts('bias'), INWARD_BIAS),
        *_affine(f'{ours}.attn.proj', f'{attention}/out', OUTWARD),
        *_norm(f'{ours}.norm2', f'{theirs}/{layers["norm"]}'),
        *_affine(f'{ours}.mlp.fc1', f'{mlp}/Dense_0'),
        *_affine(f'{ours}.mlp.fc2', f'{mlp}/Dense_1'),
    ]


def _stem(names: Iterable[str], pattern: str, first: int) -> list[Row]:
    """Of the ResNet before a hybrid's patches.

    Args:
        names: Of all weights, here or there.
        pattern: What matches those of its units, with the numbers of stage and unit.
        first: The first number.
    """
    found = {(int(m[1]), int(m[2])) for name in names if (m := re.match(pattern, name))}
    rows = [
        Row(f'{STEM}root.conv.weight', ('conv_root/kernel',), CONVOLUTION),
        *_norm(f'{STEM}root.norm', 'gn_root'),
    ]
    for stage, unit in sorted((i - first, j - first) for i, j in found):
        ours, theirs = f'{STEM}stages.{stage}.{unit}', f'block{stage + 1}/unit{unit + 1}'
        for layer, norm, convolution, scale in (
            ('shortcut.conv', 'shortcut.norm', 'conv_proj', 'gn_proj'),
            *((f'conv{k}', f'norm{k}', f'conv{k}', f'gn{k}') for k in (1, 2, 3)),
        ):
            kernel = (f'{theirs}/{convolution}/kernel',)
            rows.append(Row(f'{ours}.{layer}.weight', kernel, CONVOLUTION))
            rows += _norm(f'{ours}.{norm}', f'{theirs}/{scale}')
    return rows


def _rows(layout: str, blocks: Iterable[int], head: str) -> list[Row]:
    return [
        Row('cls_token', ('cls',), SAME),
        Row('pos_embed', (POSITIONS[layout],), SAME),
        *_affine('patch_embed.proj', 'embedding', CONVOLUTION),
        *(row for number in blocks for row in _block(layout, number)),
        *_norm('norm', NORM),
        *_affine('head.layers.pre_logits', 'pre_logits'),
        *_affine(head, 'head'),
    ]


def read_jax(
    arrays: Mapping[str, Tensor], layout: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """Weights under this project's names.

    Args:
        arrays: Name -> array of a file, with what is beside the weights in it.
        layout: 'jax' or 'big_vision'.

    Returns:
        Those of the backbone, with ``num_heads``, int64 (), which the shapes tell; those of a
        head; and names of what has no place.

    Raises:
        CheckpointError: If an array has another shape than a Vision Transformer's, or blocks have
            other numbers of heads.
    """
    place = _place_of(arrays)
    named = _unstacked({n.removeprefix(place): t for n, t in arrays.items() if n.startswith(place)})
    # Those that are there: a name may have any number in it.
    numbers = {int(m[2][1:]) for name in named if (m := re.match(OF_JAX_BLOCK, name))}
    head = 'head.layers.head' if 'pre_logits/kernel' in named else 'head.fc'
    rows = _rows(layout, sorted(numbers), head) + _stem(named, r'block(\d+)/unit(\d+)/', first=1)
    if any(name.startswith(HEAD_OF_QUERIES) for name in named):
        # What is behind it reads what it makes of the tokens.
        rows = [row for row in rows if not row.ours.startswith('head.')]
    ours: dict[str, Tensor] = {}
    used: set[str] = set()
    for row in rows:
        if found := [named[name] for name in row.theirs if name in named]:
            ours[row.ours] = _read_row(row, found)
            used.update(row.theirs)
    _put_token_into_positions(ours, layout)
    heads = _heads_in(named)
    if heads is not None:
        ours['num_heads'] = torch.tensor(heads)
    of_head = {name: ours.pop(name) for name in [*ours] if name.startswith('head.')}
    return ours, of_head, [name for name in named if name not in used]


def _place_of(names: Iterable[str]) -> str:
    """What stands before the names of the weights of the network for images."""
    names = set(names)
    for place in PLACES:
        if f'{place}{PROJECTION}' in names:
            return place
    places = [name.removesuffix(PROJECTION) for name in names if name.endswith(f'/{PROJECTION}')]
    return min(places, key=len, default='')


def _unstacked(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays of all blocks at once, first axis the depth (``scan``), as arrays of one each."""
    stacked = re.compile(r'Transformer/encoderblock/(.*)')
    result = {}
    for name, array in named.items():
        if match := stacked.fullmatch(name):
            each = array.unbind() if array.ndim else ()
            result.update(
                {f'Transformer/encoderblock_{i}/{match[1]}': part for i, part in enumerate(each)}
            )
        else:
            result[name] = array
    return result


def _read_row(row: Row, found: list[Tensor]) -> Tensor:
    if len(found) < len(row.theirs):
        raise CheckpointError(f'it lacks one of {", ".join(row.theirs)}')
    try:
        return row.form.read(found)
    except (RuntimeError, IndexError):
        shapes = ', '.join(str(tuple(array.shape)) for array in found)
        raise CheckpointError(
            f"{', '.join(row.theirs)}: no arrays of a Vision Transformer's, of shape {shapes}"
        ) from None


def _put_token_into_positions(ours: dict[str, Tensor], layout: str) -> None:
    """Give [S] a position of zero: big_vision adds positions before it is there."""
    positions, token = ours.get('pos_embed'), ours.get('cls_token')
    if layout != 'big_vision':
        return
    if positions is None:
        raise CheckpointError(
            "it has no pos_embedding: big_vision computes such positions (posemb='sincos2d'), "
            'which is not read'
        )
    if token is not None and positions.ndim == 3 == token.ndim:
        ours['pos_embed'] = torch.cat([torch.zeros_like(token), positions], dim=1)


def _heads_in(named: Mapping[str, Tensor]) -> int | None:
    """The number of heads, which is the same in all kernels of all blocks."""
    found = {}
    for name, array in named.items():
        match = OF_ATTENTION.fullmatch(name)
        if match and array.ndim == 3:
            found[array.shape[0 if match[1] == 'out' else 1]] = name
    if len(found) > 1:
        said = ', '.join(f'{heads} in {name}' for heads, name in found.items())
        raise CheckpointError(f'its attention has not the same number of heads everywhere: {said}')
    return next(iter(found), None)


def write_jax(
    backbone: Mapping[str, Tensor], of_head: Mapping[str, Tensor], layout: str, num_heads: int
) -> tuple[dict[str, Tensor], list[str]]:
    """The opposite of :func:`read_jax`.

    Args:
        backbone, of_head: Weights under this project's names.
        layout: 'jax' or 'big_vision'.
        num_heads: Of a block.

    Returns:
        Name -> array, and names of what has no place.

    Raises:
        CheckpointError: If the heads do not divide the width.
    """
    ours = {**backbone, **of_head}
    ours.pop('num_heads', None)
    numbers = {int(m[1]) for name in ours if (m := re.match(r'blocks\.(\d+)\.', name))}
    if layout == 'big_vision' and 'cls_token' in ours and 'pos_embed' in ours:
        positions = ours['pos_embed']
        ours['cls_token'] = ours['cls_token'] + positions[:, :1]
        ours['pos_embed'] = positions[:, 1:]
    place = 'params/' if layout == 'big_vision' else ''
    head = 'head.layers.head' if 'head.layers.head.weight' in ours else 'head.fc'
    written = {}
    units = re.escape(f'{STEM}stages.') + r'(\d+)\.(\d+)\.'
    for row in _rows(layout, sorted(numbers), head) + _stem([*ours], units, first=0):
        if row.ours in ours:
            tensor = ours.pop(row.ours)
            try:
                arrays = row.form.write(tensor, num_heads)
            except RuntimeError:
                raise CheckpointError(
                    f'{row.ours}, {tuple(tensor.shape)}, cannot be cut into {num_heads} heads'
                ) from None
            written.update({f'{place}{n}': a for n, a in zip(row.theirs, arrays, strict=True)})
    return written, list(ours)
