"""The files that a program is written to, and how each is read and run again."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.utils import digit_version
from torch import Tensor

from ..component import ConfigError
from ..layers.resize_positions import MOST_PATCHES
from .program import Program

# Operators that every onnxruntime from 1.14 on has.
OPSET = 18
# The first whose exporter takes every model here; 2.9 stops at segmentors, 2.6 at classifiers.
MIN_TORCH = '2.10'
METADATA_FILE = 'metadata.json'
# Patches of an axis, where a size is open: MMSegmentation's pyramid halves a grid and wants two.
FEWEST_PATCHES = 4
# Images at a time, where their number is open.
MOST_IMAGES = 2**16
# What runs a program: images (B, C, H, W) to its outputs.
Run = Callable[[Tensor], list[Tensor]]


class Shapes(NamedTuple):
    """Of the images that a program takes.

    Attributes:
        size: Height and width; None for any multiple of the patch.
        batch: Whether any number of images; else one.
    """

    size: tuple[int, int] | None
    batch: bool


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        write: Write a program to a path: (program, example images, shapes, metadata, path, opset).
        read: A function that runs what is in a file.
    """

    write: Callable
    read: Callable[[Path], Run]


def dimensions(program: Program, shapes: Shapes) -> list[dict] | None:
    """The open sizes of the images, as torch.export takes them; None if there is none."""
    from torch.export import Dim

    open_sizes: dict[int, Any] = {0: Dim('batch', min=1, max=MOST_IMAGES)} if shapes.batch else {}
    if shapes.size is None:
        for axis, name, patch in zip((2, 3), ('rows', 'columns'), program.patch_size, strict=True):
            open_sizes[axis] = patch * Dim(name, min=FEWEST_PATCHES, max=MOST_PATCHES)
    return [open_sizes] if open_sizes else None


def write_onnx(
    program: Program, images: Tensor, shapes: Shapes, metadata: Mapping, path: Path, opset: int
) -> None:
    """By torch's exporter on top of torch.export; in one file, weights included."""
    import_extra('onnx', 'onnxscript', 'onnxruntime')
    check_torch()
    with quietly():
        exported = torch.onnx.export(
            program,
            (images,),
            dynamo=True,
            opset_version=opset,
            input_names=['images'],
            output_names=program.output_names,
            dynamic_shapes=dimensions(program, shapes),
            verbose=False,
        )
    assert exported is not None
    # An ONNX file's metadata are texts.
    exported.model.metadata_props.update(
        {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    )
    exported.save(path, external_data=False)


def quantize_onnx(path: Path) -> None:
    """Keep an ONNX file's weight matrices in 8 bits, with a scale for each output.

    What is multiplied by them is turned into 8 bits on the way. By onnxruntime, since PyTorch's own
    dynamic quantisation is deprecated and moves to another package.
    """
    import_extra('onnx', 'onnxruntime')
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = path.with_name(f'{path.name}.int8')
    try:
        with quietly():
            # 7 of the 8 bits: with all of them sums overflow on processors without AVX-VNNI.
            quantize_dynamic(
                path,
                quantized,
                op_types_to_quantize=['MatMul', 'Gemm'],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
        quantized.replace(path)
    finally:
        quantized.unlink(missing_ok=True)


def read_onnx(path: Path) -> Run:
    """In onnxruntime, on the CPU."""
    onnxruntime = import_extra('onnxruntime')
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda images: [
        torch.from_numpy(o) for o in session.run(None, {'images': images.numpy()})
    ]


def write_pt2(
    program: Program, images: Tensor, shapes: Shapes, metadata: Mapping, path: Path, opset: int
) -> None:
    """By torch.export."""
    check_torch()
    with quietly():
        exported = torch.export.export(
            program, (images,), dynamic_shapes=dimensions(program, shapes), strict=False
        )
    extra = {METADATA_FILE: json.dumps(metadata)}
    # A full disk under torch's own writing ends the process.
    content = io.BytesIO()
    torch.export.save(exported, content, extra_files=extra)
    path.write_bytes(content.getbuffer())


def read_pt2(path: Path) -> Run:
    """By torch.export.load."""
    with path.open('rb') as file:
        module = torch.export.load(file).module()
    return lambda images: list(module(images))


def write_torchscript(
    program: Program, images: Tensor, shapes: Shapes, metadata: Mapping, path: Path, opset: int
) -> None:
    """By torch.jit.trace."""
    if shapes.size is None:
        raise ConfigError('a traced program is of one size: give size, or write .onnx or .pt2')
    with quietly():
        traced = torch.jit.trace(program, (images,), check_trace=False)
        content = io.BytesIO()
        torch.jit.save(traced, content, _extra_files={METADATA_FILE: json.dumps(metadata)})
    path.write_bytes(content.getbuffer())


def read_torchscript(path: Path) -> Run:
    """By torch.jit.load."""
    with quietly():
        module = torch.jit.load(str(path))
    return lambda images: list(module(images))


FORMATS = {
    'onnx': Format(write_onnx, read_onnx),
    'pt2': Format(write_pt2, read_pt2),
    'torchscript': Format(write_torchscript, read_torchscript),
}
SUFFIXES = {'.onnx': 'onnx', '.pt2': 'pt2', '.pt': 'torchscript', '.torchscript': 'torchscript'}


def import_extra(*names: str) -> Any:
    """Import packages of the extra ``export`` and return the first.

    Raises:
        ConfigError: If one is missing.
    """
    import importlib

    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ImportError as error:
            raise ConfigError(
                f"this needs the package {name} ({error}): pip install 'beit-mm[export]'"
            ) from error
    return modules[0]


def check_torch() -> None:
    """Refuse a torch whose exporter cannot do this.

    Raises:
        ConfigError: If it is too old.
    """
    if digit_version(torch.__version__) < digit_version(MIN_TORCH):
        raise ConfigError(
            f'.onnx and .pt2 take PyTorch {MIN_TORCH}, this is {torch.__version__}; .pt (traced) '
            'works here'
        )


@contextmanager
def quietly() -> Iterator[None]:
    """Without what exporters warn of: their own deprecations, and sizes fixed on purpose."""
    # The root's are onnxruntime's, which advises a step that torch's exporter has done.
    loggers = [logging.getLogger(name) for name in ('torch.onnx', None)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
