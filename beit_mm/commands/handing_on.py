"""``beit-mm convert`` and ``beit-mm export``: weights and models for other programs."""

from pathlib import Path

from ..component import ConfigError
from ..exporting import export as export_model
from ..exporting.formats import SUFFIXES
from ..models.converting import check_target
from ..models.converting import convert as convert_weights
from .trained import CLASSIFIER, PRETRAINED, SEGMENTOR, finished_run


def convert(source: str, target: str | Path, to: str, which: str = '') -> None:
    """Write weights as another library reads them; see :func:`beit_mm.models.convert`.

    Raises:
        ConfigError: If the target cannot be.
    """
    try:
        check_target(Path(target), to)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    done = convert_weights(source, target, to, which=which)
    print(f'{source} ({done.layout}, {done.num_read} tensors) -> '
          f'{target} ({to}, {done.num_written} tensors)')  # fmt: skip


def export(
    model: str | Path,
    out: str | Path,
    checkpoint: str | Path | None = None,
    *,
    size: int | str | None = None,
    int8: bool = False,
) -> Path:
    """Write a model for programs that know nothing of this project.

    Args:
        model: Folder that ``beit-mm pretrain``, ``finetune`` or ``segment`` has made, or a config;
            of a pre-training the backbone is written.
        out: File to write: .onnx, .pt2 (torch.export) or .pt (TorchScript).
        checkpoint: Weights of a config.
        size: Height and width of the images, or 'any'; see :func:`beit_mm.exporting.export`.
        int8: Whether weights are kept in 8 bits, in .onnx alone.

    Raises:
        ConfigError: If there is no such model, or its weights are missing.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        path, weights = finished_run(path, CLASSIFIER, SEGMENTOR, PRETRAINED)
        checkpoint = checkpoint or weights
    elif path.suffix != '.py':
        raise ConfigError(f'{model} must be the folder of a run, or a config and --checkpoint')
    elif checkpoint is None:
        raise ConfigError(f'{model} is a config: give its weights by --checkpoint')
    if Path(out).suffix not in SUFFIXES:
        raise ConfigError(f'{out}: it must end in {", ".join(SUFFIXES)}')
    try:
        return export_model(path, checkpoint, out, size=size, int8=int8).path
    except ValueError as error:
        raise ConfigError(str(error)) from error
