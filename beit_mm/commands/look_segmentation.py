"""``beit-mm look segmentation``: what a segmentor says of photos, where it errs, IoU by class."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..component import ConfigError, in_a_line
from ..datasets.coco_masks import CocoAnnotations, read_coco
from ..datasets.reading.measuring import spread
from ..datasets.reading.opening import split_frame
from ..visualization import count_pixels, draw_segmentation_look, intersection_over_union
from .how_to_read import how_of, picture_of
from .looked_images import HowFar, counted
from .looked_segmentor import ignored_by, segmentor_for
from .mask_pairs import find_pairs, pairs_of_coco
from .photos import existing_folder
from .picture_files import picture_path, write_picture
from .predicting import NONE_DECODED, files_of
from .trained import Trained, predict_files, truth_of

# Photos in the picture; pixels of a photo's long side there.
SHOWN, EDGE = 6, 480
# What is no class, whatever number the masks have for it.
NO_CLASS = -1


class Truth(NamedTuple):
    """Where the mask of an image is, and what gives it, (H, W) labels."""

    path: Path
    read: Callable[[], np.ndarray]


class Drawn(NamedTuple):
    """An image of the picture, reduced."""

    file: Path
    photo: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray | None


def look_segmentation(
    model: str | Path,
    images: str | Path,
    masks: str | Path | None = None,
    checkpoint: str | Path | None = None,
    out: str | Path | None = None,
) -> Path:
    """Draw what a segmentor says of photos; with masks, where it errs, and the IoU of each class.

    Of the images of its own run those are left out that it was trained on, unless there are no
    others.

    Args:
        model: Folder that ``beit-mm segment`` has made, or a config.
        images: A file, or a folder of them.
        masks: The file of its mask, or a folder of a mask for each image, under the same name; or a
            .json of instances, as COCO has it.
        checkpoint: Weights of a config.
        out: The picture, .png; by default ``work_dirs/look/segmentation.png``. Beside it ``.npz``:
            of all images ``counts`` (C, C), pixels of each class (rows) by what they are taken for,
            and ``iou`` (C,); ``classes``; and of image n in the picture ``photo_n``,
            ``prediction_n`` and ``truth_n``, reduced, -1 where there is no label, and ``files``.

    Returns:
        The picture.

    Raises:
        ConfigError: If there is no such model or image, or a mask has a number that is no class.
    """
    path = picture_path(out, 'segmentation')
    trained = segmentor_for(model, checkpoint)
    files, truths_of = _files(trained, images, masks)
    files = _held_out(trained, files)
    drawn, counts, seen = _look(trained, files, truths_of)
    palette = trained.cfg.val_dataloader.dataset.metainfo.palette
    truths = [each.truth for each in drawn if each.truth is not None]
    title = f'{Path(model).name}: {counted(seen)}'
    if seen > len(drawn):
        title += f', {len(drawn)} of them shown'
    figure = draw_segmentation_look(
        [each.photo for each in drawn],
        [each.prediction for each in drawn],
        truths if truths_of else None,
        trained.classes,
        palette,
        counts if truths_of else None,
        title,
    )
    arrays: dict[str, Any] = dict(
        classes=np.array(trained.classes),
        palette=np.array(palette),
        files=np.array([str(each.file) for each in drawn]),
    )
    for number, each in enumerate(drawn):
        arrays[f'photo_{number}'] = each.photo
        arrays[f'prediction_{number}'] = each.prediction
        if each.truth is not None:
            arrays[f'truth_{number}'] = each.truth
    if truths_of:
        ious = intersection_over_union(counts)
        arrays.update(counts=counts, iou=ious)
        _tell(trained, ious, counts)
    return write_picture(figure, path, arrays)


def _files(
    trained: Trained, images: str | Path, masks: str | Path | None
) -> tuple[list[Path], dict[Path, Truth]]:
    """Images, and what reads the mask of each if there are masks."""
    if masks is None:
        return list(files_of([images])), {}
    image, mask = Path(images).expanduser(), Path(masks).expanduser()
    read = truth_of(trained)
    if mask.suffix.lower() == '.json' and mask.is_file():
        return _of_annotations(trained, existing_folder(image), mask)
    if image.is_dir():
        found = find_pairs(image, existing_folder(mask), least=1)
        pairs = {found.image(stem): found.mask(stem) for stem in found.stems}
    else:
        # Says so if it is not there. Of a stack the first image has the mask, or the one that is
        # named.
        files_of([image])
        if not Path(split_frame(str(mask))[0]).is_file():
            raise ConfigError(f'{masks} must be the file of a mask, as {images} is one image')
        pairs = {image: mask}
    return list(pairs), {file: Truth(path, partial(read, path)) for file, path in pairs.items()}


def _of_annotations(
    trained: Trained, images: Path, annotations: Path
) -> tuple[list[Path], dict[Path, Truth]]:
    """Images of annotations, whose masks are drawn as ``beit-mm segment`` draws them."""
    coco = read_coco(annotations, trained.classes)
    pairs, drawn = pairs_of_coco(images, coco, annotations, least=1)
    truths = {
        pairs.image(path.removesuffix(pairs.mask_ending)): Truth(
            annotations, partial(_drawn, coco, file, ignored_by(trained))
        )
        for file, path in drawn.items()
    }
    return sorted(truths), truths


def _drawn(coco: CocoAnnotations, file: str, ignored: int) -> np.ndarray:
    """(H, W) int32 labels of an image, what does not count as the segmentor has it."""
    labels = coco.mask(file).astype(np.int32)
    return np.where(labels == coco.ignored, ignored, labels)


def _held_out(trained: Trained, files: list[Path]) -> list[Path]:
    """Without those that the segmentor was trained on."""
    listed = Path(trained.cfg.get('train_list', ''))
    if not listed.is_file() or 'image_root' not in trained.cfg:
        return files
    root, ending = Path(trained.cfg.image_root), trained.cfg.image_ending
    stems = listed.read_text('utf-8').split('\n')
    # The images themselves may be links.
    learned = {(root / f'{stem}{ending}').resolve() for stem in stems}
    others = [file for file in files if file.resolve() not in learned]
    if len(others) == len(files):
        return files
    told = f'{len(files) - len(others)} of {len(files)} images were trained on'
    print(f'{told}, and are left out' if others else f'{told}: others show more', file=sys.stderr)
    return others or files


def _look(
    trained: Trained, files: Sequence[Path], truths_of: dict[Path, Truth]
) -> tuple[list[Drawn], np.ndarray, int]:
    """Some images to draw, the counts of all, and how many there were."""
    classes, how = len(trained.classes), how_of(trained.cfg)
    counts, seen = np.zeros((classes, classes), dtype=np.int64), 0
    # Of images to draw that are left out, others take the place.
    chosen, drawn, owed = set(spread(files, SHOWN)), list[Drawn](), 0
    how_far = HowFar(len(files))
    for file, sample in predict_files(trained, files):
        how_far.done(1)
        owed += file in chosen
        if sample is None:
            continue
        predicted = sample.pred_sem_seg.data[0].cpu().numpy()
        truth = None
        if truths_of:
            try:
                labels = truths_of[file].read()
            except (ValueError, OSError) as error:
                print(f'{file}: left out, its mask: {in_a_line(error)}', file=sys.stderr)
                continue
            truth = _labels(labels, truths_of[file].path, classes, ignored_by(trained))
            if truth.shape != predicted.shape:
                sizes = ' and '.join(f'{h} x {w}' for h, w in (truth.shape, predicted.shape))
                print(f'{file}: left out, its mask and itself have {sizes} pixels', file=sys.stderr)
                continue
            counts += count_pixels(truth, predicted, classes)
        seen += 1
        if owed:
            owed -= 1
            drawn.append(_reduced(file, picture_of(file, how), predicted, truth))
    if not drawn:
        raise ConfigError(NONE_DECODED.format(len(files)))
    return drawn, counts, seen


def _labels(truth: np.ndarray, mask: Path, classes: int, ignored: int) -> np.ndarray:
    """(H, W) int32 labels, -1 where there is none."""
    labels = truth.astype(np.int32)
    labels[labels == ignored] = NO_CLASS
    above = labels[labels >= classes]
    if len(above):
        raise ConfigError(
            f'{mask} has the label {above[0]}, and the segmentor {classes} classes, 0 to '
            f'{classes - 1}; {ignored} is no class'
        )
    return labels


def _reduced(
    file: Path, photo: np.ndarray, prediction: np.ndarray, truth: np.ndarray | None
) -> Drawn:
    """No larger than is seen: photos by a filter, labels by leaving pixels out."""
    height, width = prediction.shape
    share = min(1.0, EDGE / max(height, width))
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    small = Image.fromarray(photo).resize((columns, rows), Image.Resampling.BOX)
    places = np.ix_(np.arange(rows) * height // rows, np.arange(columns) * width // columns)
    reduced = None if truth is None else truth[places]
    return Drawn(file, np.asarray(small), prediction[places].astype(np.int32), reduced)


def _tell(trained: Trained, ious: np.ndarray, counts: np.ndarray) -> None:
    known = np.flatnonzero(~np.isnan(ious))
    if not len(known):
        print('the masks have no labelled pixel')
        return
    right = counts.trace() / counts.sum()
    print(f'mIoU {100 * ious[known].mean():.1f}, {right:.1%} of {counts.sum():,} labelled pixels '
          'right')  # fmt: skip
    for index in known[np.argsort(-ious[known], kind='stable')]:
        print(f'  {trained.classes[index]:20} {100 * ious[index]:5.1f}')
