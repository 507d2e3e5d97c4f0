"""Write a model for other programs, and hold what was written against the model."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..checkpoints.writing import partial_path, put_in_place
from ..component import ConfigError, in_a_line
from ..layers.patch_embed import patch_grid, to_pair
from .building import Built, build_from_config, build_from_model
from .formats import FORMATS, OPSET, SUFFIXES, Run, Shapes, quantize_onnx
from .program import Program

# Of the greatest output: float32 sums in another order differ by less than a tenth of this.
TOLERANCE = 1e-3
# Of 8 bits, which differ by a few hundredths; what differs so much has lost the model.
INT8_TOLERANCE = 0.3


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        images: Shape of the images, with a name for each size that is open.
        outputs: Name of each output, and its shape for the images that were tried first.
        difference: Greatest difference from the model's outputs, on random images.
        greatest: Greatest of the model's outputs there, without its sign.
    """

    path: Path
    images: tuple[int | str, ...]
    outputs: dict[str, tuple[int, ...]]
    difference: float
    greatest: float

    def __str__(self) -> str:
        images = ', '.join(str(n) for n in self.images)
        # As many as there are images, however many were tried.
        outputs = ', '.join(
            f'{name} ({", ".join(map(str, (self.images[0], *shape[1:])))})'
            for name, shape in self.outputs.items()
        )
        return (
            f'{self.path}: images ({images}) -> {outputs}; differs from the model by at most '
            f'{self.difference:.2g}, with outputs up to {self.greatest:.3g}'
        )


def export(
    model: Config | str | Path | nn.Module,
    checkpoint: str | Path | None,
    out: str | Path,
    *,
    size: int | Sequence[int] | str | None = None,
    format: str | None = None,
    dynamic: bool = True,
    int8: bool = False,
    opset: int | None = None,
) -> Exported:
    """Write a model for other programs: plain images in, logits or features out.

    What goes in and comes out is said by :class:`beit_mm.exporting.Program`.

    Args:
        model: Config of a classifier, a segmentor or a pre-training run, or its file; or a model.
        checkpoint: Its weights, in any layout; None takes those of a model as they are, and random
            ones of a config.
        out: File to write; what it ends in chooses the format: .onnx, .pt2 (torch.export), .pt or
            .torchscript (torch.jit.trace).
        size: Height and width of the images; 'any' for every multiple of the patch from 4 to 64
            patches an axis, not in .pt; None for the size that the model is made for.
        format: 'onnx', 'pt2' or 'torchscript', for a file that ends in something else.
        dynamic: Whether to take any number of images at a time; else one.
        int8: Whether weights are kept and multiplied in 8 bits, in .onnx alone: a quarter of the
            size; see docs/export.md for what that costs.
        opset: Version of ONNX's operators, of .onnx alone; 18 by default.

    Returns:
        What was written; it is printed too.

    Raises:
        ConfigError: If the model cannot be exported as is asked for, or what was written gives
            other outputs than the model; no file is left then.
        CheckpointError: If the weights are not those of the model.
    """
    out = Path(out)
    chosen = _format_of(out, format)
    form = FORMATS[chosen]
    if int8 and chosen != 'onnx':
        raise ConfigError(f'int8 goes with .onnx alone, and {out} is {chosen}')
    if opset is not None and chosen != 'onnx':
        raise ConfigError(f'opset is {opset}, which goes with .onnx alone, and {out} is {chosen}')
    if isinstance(size, str) and size != 'any':
        raise ConfigError(f"size is {size!r}; it must be a number, a pair of numbers, or 'any'")
    fixed = None if size is None or isinstance(size, str) else to_pair(size)
    if isinstance(model, nn.Module):
        built = build_from_model(model, checkpoint)
    else:
        cfg = model if isinstance(model, Config) else Config.fromfile(model)
        built = build_from_config(cfg, checkpoint, fixed)
    program = built.program
    shapes = Shapes(None if size == 'any' else _checked(fixed or built.size, program), dynamic)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(out)
    try:
        with torch.no_grad():
            trials = _images(program, shapes, built.size)
            with _told(out, shapes):
                form.write(
                    program, trials[0], shapes, _metadata(built, shapes), partial, opset or OPSET
                )
            if int8:
                quantize_onnx(partial)
            tolerance = INT8_TOLERANCE if int8 else TOLERANCE
            exported = _compare(program, form.read(partial), trials, shapes, out, tolerance)
        put_in_place(out)
    finally:
        partial.unlink(missing_ok=True)
    print(exported)
    return exported


def _format_of(out: Path, format: str | None) -> str:
    if format is None:
        format = SUFFIXES.get(out.suffix)
    if format not in FORMATS:
        raise ConfigError(
            f'{out}: what to write is said by the ending, one of {", ".join(SUFFIXES)}, or by '
            f'format, one of {", ".join(FORMATS)}'
        )
    return format


def _checked(size: tuple[int, int], program: Program) -> tuple[int, int]:
    if patch_grid(size, program.patch_size) is None:
        patch = program.patch_size
        raise ConfigError(
            f'size is {size[0]} x {size[1]}; it must be a multiple of the patch, '
            f'{patch[0]} x {patch[1]}'
        )
    return size


def _metadata(built: Built, shapes: Shapes) -> dict:
    """What a file says of itself."""
    program, norm = built.program, built.program.normalization
    known = dict(
        producer='beit_mm',
        task=program.kind,
        images=program.describe_images(),
        bands=program.bands,
        size=shapes.size,
        patch_size=program.patch_size,
        classes=built.classes,
        mean=norm and norm.mean,
        std=norm and norm.std,
        probabilities=built.probabilities,
        **built.reading,
    )
    # A step of somebody's own may be set by what no text can hold.
    plain = json.loads(json.dumps(known, default=str))
    return {name: value for name, value in plain.items() if value is not None}


def _images(program: Program, shapes: Shapes, size: tuple[int, int]) -> list[Tensor]:
    """Random images, of every kind of shape that the program takes."""
    sizes, batches = [shapes.size or size], [1]
    if shapes.size is None:
        patch_h, patch_w = program.patch_size
        sizes += [(size[0] + patch_h, size[1] + 2 * patch_w), (5 * patch_h, 4 * patch_w)]
    if shapes.batch:
        batches = [2, 1, 3]
    random = torch.Generator().manual_seed(0)
    return [
        torch.rand(
            batches[trial % len(batches)],
            program.in_channels,
            *sizes[trial % len(sizes)],
            generator=random,
        )
        for trial in range(max(len(batches), len(sizes)))
    ]


@contextmanager
def _told(out: Path, shapes: Shapes) -> Iterator[None]:
    """Say in a line what torch's exporter, what runs its file, or the disk cannot do.

    Raises:
        ConfigError: With the first line of the error and, of the former, what to try.
    """
    try:
        yield
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f'{out} cannot be written: {error.strerror or error}') from error
    except Exception as error:
        hint = "give a size in place of 'any'" if shapes.size is None else 'try dynamic=False'
        # torch.onnx's own error says that there is another.
        cause: Any = error.__cause__ or error
        raise ConfigError(
            f'{out}: PyTorch {torch.__version__} cannot export this model so '
            f'({in_a_line(cause)}); {hint}'
        ) from error


def _compare(
    program: Program, run: Run, trials: list[Tensor], shapes: Shapes, out: Path, tolerance: float
) -> Exported:
    """Hold a file against the model.

    Raises:
        ConfigError: If their outputs differ by more than a tolerance times the greatest.
    """
    difference = greatest = 0.0
    outputs: dict[str, tuple[int, ...]] = {}
    for images in trials:
        expected = program(images)
        with _told(out, shapes):
            found = run(images)
        for name, theirs, ours in zip(program.output_names, found, expected, strict=True):
            outputs.setdefault(name, tuple(ours.shape))
            # A maximum that keeps NaN.
            difference = float(torch.maximum(torch.tensor(difference), (theirs - ours).abs().max()))
            greatest = max(greatest, float(ours.abs().max()))
    if not difference <= tolerance * greatest:
        raise ConfigError(
            f'{out}: what was written differs from the model by {difference:.2g} where its outputs '
            f'go to {greatest:.3g}; the file is removed'
        )
    batch = 'batch' if shapes.batch else 1
    size = shapes.size or ('height', 'width')
    return Exported(out, (batch, program.in_channels, *size), outputs, difference, greatest)
