"""The model of a folder that ``beit-mm finetune`` or ``segment`` has made."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS

from ..checkpoints import load_state_dict
from ..component import ConfigError
from ..datasets.reading.broken_image import BrokenImage
from ..engine.checking.config_check import enter_scope
from .changed_images import Changes
from .how_to_read import Place

# What each command leaves in its folder: a config, and weights when it has come to its end.
PRETRAINED = ('pretrain.py', 'pretrained.pth')
CLASSIFIER = ('finetune.py', 'classifier.pth')
SEGMENTOR = ('segment.py', 'segmentor.pth')
# Steps of a pipeline that are about the mask of an image.
LABELLING = ('LoadAnnotations', 'beit_mm.LoadLabels', 'beit_mm.MapLabels')


def pretrainings_in(folder: Path) -> list[Path]:
    """Where a pre-training may have been: itself, of a command's folder, of the quickstart's."""
    newest_first = sorted(folder.glob('*/pretrain'), reverse=True)
    return [folder, folder / 'pretrain', *newest_first]


def finished_run(folder: str | Path, *kinds: tuple[str, str]) -> tuple[Path, Path]:
    """Config and weights in a folder.

    Args:
        folder: That a command has made.
        kinds: Which may have made it.

    Raises:
        ConfigError: If none has, or its training did not come to its end.
    """
    path = Path(folder).expanduser()
    for config, weights in kinds:
        if (path / weights).is_file() and (path / config).is_file():
            return path / config, path / weights
        if (path / config).is_file():
            raise ConfigError(
                f'{folder} holds no {weights}: its training has not come to its end; go on with it '
                'by --resume'
            )
    commands = ', '.join(f'beit-mm {Path(config).stem}' for config, _ in kinds)
    raise ConfigError(
        f'{folder} is no folder that one of {commands} has made: it has no '
        f'{" and no ".join(config for config, _ in kinds)}'
    )


class Trained(NamedTuple):
    """A model with its weights, in eval mode.

    Attributes:
        cfg: Its config.
        model: MMPretrain's classifier or MMSegmentation's segmentor.
        classes: Names.
        segments: Whether it is a segmentor.
    """

    cfg: Config
    model: Any
    classes: list[str]
    segments: bool


def load_trained(folder: str | Path) -> Trained:
    """The classifier or segmentor of a folder; see :func:`finished_run`."""
    config, weights = finished_run(folder, CLASSIFIER, SEGMENTOR)
    return _load(Config.fromfile(config), weights, segments=config.name == SEGMENTOR[0])


def _load(cfg: Config, weights: Path, segments: bool) -> Trained:
    enter_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    if segments:
        # SyncBN, which a segmentor is trained with, runs on a GPU alone.
        model = revert_sync_batchnorm(model)
    model.load_state_dict(load_state_dict(weights))
    classes = list(cfg.val_dataloader.dataset.metainfo.classes)
    if torch.cuda.is_available():
        model.cuda()
    return Trained(cfg, model.eval(), classes, segments)


@torch.no_grad()
def predict_files(
    trained: Trained, files: Sequence[Path], place: Place | None = None
) -> Iterator[tuple[Path, Any]]:
    """(file, data sample with the prediction) of each, in order; None for a file that is broken.

    Args:
        trained: The model.
        files: Images.
        place: What gives what is in them, where they are names in shards.
    """
    steps = [
        step
        for step in trained.cfg.val_dataloader.dataset.pipeline
        if step.type not in (*LABELLING, 'beit_mm.CheckAnnotation')
    ]
    enter_scope(trained.cfg.default_scope)
    pipeline = Compose([_built(step, trained) for step in steps])
    size, changes = 1 if trained.segments else 32, Changes()
    left = iter(files)
    while batch := list(islice(left, size)):
        prepared: dict[Path, Any] = {}
        for file in batch:
            try:
                inside = {} if place is None else dict(img_bytes=place.joinpath(str(file)))
                with changes.of_image():
                    prepared[file] = pipeline(dict(img_path=str(file), **inside))
            except (BrokenImage, OSError) as error:
                print(f'{file}: left out, {getattr(error, "reason", error)}')
            except cv2.error:
                print(f'{file}: left out, it is so narrow that nothing is left of it when resized')
        results: list[Any] = []
        if prepared:
            results = trained.model.test_step(pseudo_collate(list(prepared.values())))
        made = dict(zip(prepared, results, strict=True))
        yield from ((file, made.get(file)) for file in batch)
    changes.tell()


def truth_of(trained: Trained) -> Callable[[Path], np.ndarray]:
    """What reads a mask as a segmentor was taught it, (H, W) labels."""
    dataset = trained.cfg.val_dataloader.dataset
    enter_scope(trained.cfg.default_scope)
    steps = Compose([_built(s, trained) for s in dataset.pipeline if s.type in LABELLING])
    about = dict(reduce_zero_label=dataset.get('reduce_zero_label', False))
    return lambda path: steps(dict(about, seg_map_path=str(path), seg_fields=[]))['gt_seg_map']


def _built(step: Config, trained: Trained) -> Any:
    if trained.segments:
        from mmseg.registry import TRANSFORMS
    else:
        from mmpretrain.registry import TRANSFORMS
    return TRANSFORMS.build(step)
