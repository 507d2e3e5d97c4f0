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
from mmengine.structures import PixelData

from ..checkpoints import load_state_dict
from ..component import ConfigError
from ..datasets.decoding import MOST_PIXELS
from ..datasets.label_files import narrow, resize_labels
from ..datasets.reading.broken_image import BrokenImage
from ..datasets.reading.choosing import TO_8_BITS
from ..datasets.reading.noted import note_changes
from ..datasets.reading.opening import size_of
from ..engine.checking.config_check import enter_scope
from .changed_images import Changes
from .how_to_read import Place
from .moved_runs import config_of_run

# What each command leaves in its folder: a config, and weights when it has come to its end.
PRETRAINED = ('pretrain.py', 'pretrained.pth')
CLASSIFIER = ('finetune.py', 'classifier.pth')
SEGMENTOR = ('segment.py', 'segmentor.pth')
# Work directories of a pre-training, in its folder or in one of the quickstart's runs.
STAGES = ('pretrain', 'mae')
# Steps of a pipeline that are about the mask of an image.
LABELLING = ('LoadAnnotations', 'beit_mm.LoadLabels', 'beit_mm.MapLabels')
# In the place of the one that brings images to the size of those trained with.
RESIZE = dict(type='Resize', keep_ratio=True)


def pretrainings_in(folder: Path) -> list[Path]:
    """Where a pre-training may have been: itself, of a command's folder, of the quickstart's."""
    inside = (each for stage in STAGES for each in (folder / stage, *folder.glob(f'*/{stage}')))
    return [folder, *sorted(inside, reverse=True)]


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
    return _load(config_of_run(config), weights, segments=config.name == SEGMENTOR[0])


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
    trained: Trained,
    files: Sequence[Path],
    place: Place | None = None,
    keep_scale: bool = False,
) -> Iterator[tuple[Path, Any]]:
    """(file, data sample with the prediction) of each, in order; None for a file that is broken.

    The prediction of a segmentor is as large as the image in the file.

    Args:
        trained: The model.
        files: Images.
        place: What gives what is in them, where they are names in shards.
        keep_scale: Of a segmentor, see :func:`beit_mm.commands.predicting.predict`.

    Raises:
        ConfigError: If the scale is to be kept, and the model's config does not tell it.
    """
    steps = [
        step
        for step in trained.cfg.val_dataloader.dataset.pipeline
        if step.type not in (*LABELLING, 'beit_mm.CheckAnnotation')
    ]
    if keep_scale:
        factor = _scale_of(trained)
        steps = [dict(RESIZE, scale_factor=factor) if s.type == 'Resize' else s for s in steps]
    enter_scope(trained.cfg.default_scope)
    pipeline = Compose([_built(step, trained) for step in steps])
    size, changes = 1 if trained.segments else 32, Changes()
    left = iter(files)
    while batch := list(islice(left, size)):
        prepared: dict[Path, Any] = {}
        for file in batch:
            try:
                inside = {} if place is None else dict(img_bytes=place.joinpath(str(file)))
                with changes.of_image() as noted:
                    made = pipeline(dict(img_path=str(file), **inside))
                    if TO_8_BITS in noted:
                        raise BrokenImage(file, 'it is deeper than 8 bits, and the model knows no '
                                                'range of its pixels')  # fmt: skip
                    if trained.segments:
                        _note_size(trained, file, made['data_samples'].ori_shape, keep_scale)
                prepared[file] = made
            except (BrokenImage, OSError) as error:
                print(f'{file}: left out, {getattr(error, "reason", error)}')
            except cv2.error:
                print(f'{file}: left out, it is so narrow that nothing is left of it when resized')
        results: list[Any] = []
        if prepared:
            results = trained.model.test_step(pseudo_collate(list(prepared.values())))
        if trained.segments:
            results = [_as_large_as(f, r) for f, r in zip(prepared, results, strict=True)]
        by_file = dict(zip(prepared, results, strict=True))
        yield from ((file, by_file.get(file)) for file in batch)
    changes.tell()


def _scale_of(trained: Trained) -> float:
    """By what the images trained with were multiplied for the network."""
    if (side := trained.cfg.get('photo_side')) is None:
        raise ConfigError(
            '--keep-scale: the config of this model, which is older, has no photo_side; write '
            'photo_side = N into its segment.py, the short side of the images trained with'
        )
    return min(trained.cfg.scale) / side


def _note_size(trained: Trained, file: Path, read: Sequence[int], keep_scale: bool) -> None:
    """Note an image of another size than those trained with.

    Raises:
        BrokenImage: If the scale is to be kept of an image that was reduced as it was read.
    """
    side = trained.cfg.get('photo_side')
    if keep_scale and size_of(file) != tuple(read):
        raise BrokenImage(file, f'it has more than {MOST_PIXELS:,} pixels; cut it into parts')
    if side and not keep_scale and not side / 2 <= min(size_of(file)) <= side * 2:
        note_changes(
            [
                f'brought to the size of those trained with, whose short side is {side} '
                '(beit-mm predict --keep-scale leaves objects as large as they are)'
            ]
        )


def _as_large_as(file: Path, sample: Any) -> Any:
    """The sample with a prediction for each pixel in the file, of a reduced image too."""
    labels = sample.pred_sem_seg.data[0]
    size = size_of(file)
    if labels.shape != size:
        resized = resize_labels(narrow(labels.cpu().numpy()), size)
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(resized.astype(np.int64))[None])
    return sample


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
