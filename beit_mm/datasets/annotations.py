"""Segmentation annotations that cannot be right, found before they reach the loss."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from ..registry import TRANSFORMS
from .label_files import (
    MOST_LABELS,
    as_whole,
    labels_of_colors,
    narrow,
    read_colors,
    read_labels,
    renumber,
    resize_labels,
    same_in_all,
)


@TRANSFORMS.register_module()
class LoadLabels(BaseTransform):
    """Read a mask of any kind, in the place of MMSegmentation's ``LoadAnnotations``.

    That one keeps the lower 8 bits of a label, so that 300 becomes 44, takes a grey PNG of 4 bits
    for one of 8, and knows no colours. Reads ``seg_map_path``, see
    :func:`beit_mm.datasets.label_files.read_labels`, and, where they are there,
    ``reduce_zero_label`` (0 is ignored, and all others move down) and ``label_map``, which
    MMSegmentation's data sets set. Sets ``gt_seg_map``, (H, W) uint8, or uint16 where a label is
    above 255, and adds it to ``seg_fields``. Single photos without a mask pass.

    Args:
        colors: Colour as '#rrggbb' -> label, of masks whose colours stand for classes, palettes
            among them. Without, the numbers in the file are the labels.
        ignored: Numbers in the files that are no class.
        divide_by: Numbers from this one on are class * divide_by + instance, such as 1000 in
            Cityscapes; the class is taken.
        ignore_index: What becomes of the ignored, the ``ignore_index`` of heads and metrics. With
            more than 255 classes it must be another than 255, such as 65535.

    Raises:
        BrokenImage: By ``transform``, if the file is none.
        ValueError: By ``transform``, with the name of the file, if it has colours in place of
            numbers, a colour without a label, or a number below 0 or above 65,535.
    """

    def __init__(
        self,
        colors: Mapping[str, int] | None = None,
        ignored: Sequence[int] = (-1,),
        divide_by: int | None = None,
        ignore_index: int = 255,
    ) -> None:
        self.colors = None if colors is None else dict(colors)
        self.ignored = [int(label) for label in ignored]
        self.divide_by = divide_by
        self.ignore_index = ignore_index

    def read(self, path: str) -> np.ndarray:
        """The labels of a file, (H, W) uint8 or uint16."""
        if self.colors is not None:
            labels = labels_of_colors(read_colors(path), self.colors, path)
        else:
            labels = as_whole(numbers_in(path), path)
        out = np.isin(labels, self.ignored)
        if self.divide_by:
            labels = np.where(labels >= self.divide_by, labels // self.divide_by, labels)
        wrong = labels[~out & ((labels < 0) | (labels >= MOST_LABELS))]
        if len(wrong):
            raise ValueError(
                f'{path} has the number {wrong[0]}; labels are 0 to {MOST_LABELS - 1:,}, and '
                f'{", ".join(map(str, self.ignored)) or "none"} are ignored'
            )
        return narrow(np.where(out, self.ignore_index, labels))

    def transform(self, results: dict) -> dict:
        """Add the labels, if the sample has a mask."""
        if results.get('seg_map_path') is None:
            return results
        labels = self.read(results['seg_map_path'])
        if results.get('reduce_zero_label'):
            out = (labels == 0) | (labels == self.ignore_index)
            labels = narrow(np.where(out, self.ignore_index, labels.astype(np.int64) - 1))
        if results.get('label_map'):
            labels = renumber(labels, results['label_map'])
        results['gt_seg_map'] = labels
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(colors={self.colors}, ignored={self.ignored}, '
            f'divide_by={self.divide_by}, ignore_index={self.ignore_index})'
        )


def numbers_in(path: str) -> np.ndarray:
    """The numbers of a mask, (H, W), those that are saved as three equal channels too.

    Raises:
        ValueError: If it has colours.
    """
    labels = read_labels(path)
    if labels.ndim == 2:
        return labels
    if same_in_all(labels):
        return labels[..., 0]
    raise ValueError(
        f'{path} has colours in place of numbers; LoadLabels takes what they stand for as '
        "colors={'#ff0000': 1, ...}"
    )


@TRANSFORMS.register_module()
class MapLabels(BaseTransform):
    """Give labels of an annotation other numbers, behind the step that loads them.

    Such as masks of 0 and 255, whose 255 would be ignored: ``label_map={255: 1}``. Reads and
    writes ``gt_seg_map``, (H, W) uint8 or uint16; single photos without one pass.

    Args:
        label_map: Old label -> new label, in [0, 65535]; others stay. Keys may be text, as in JSON.
    """

    def __init__(self, label_map: dict) -> None:
        self.label_map = {int(old): int(new) for old, new in label_map.items()}

    def transform(self, results: dict) -> dict:
        """Return ``results`` with the new labels."""
        labels = results.get('gt_seg_map')
        if labels is not None and self.label_map:
            results['gt_seg_map'] = renumber(labels, self.label_map)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(label_map={self.label_map})'


@TRANSFORMS.register_module()
class CheckAnnotation(BaseTransform):
    """Check the annotation that the step before has loaded.

    Out-of-range labels end in an assertion inside the loss, on a GPU in one that does not say
    which file it was; an annotation of another size is cropped beside its photo unnoticed. Reads
    ``gt_seg_map``, (H, W), ``ori_shape`` and, for the message, ``seg_map_path``. Changes nothing,
    but for a photo so large that it was reduced as it was read, whose (height, width) in the file
    are in ``file_shape``: every so many pixels of its annotation are taken, as many as the photo
    has. Without an annotation, as on single photos, there is nothing to check.

    Args:
        num_classes: Labels must be in [0, num_classes) or ``ignore_index``. They are those that
            the loss sees, after ``reduce_zero_label``.
        ignore_index: The label of pixels that do not count.

    Raises:
        ValueError: By ``transform``, with the name of the file, if the annotation has another
            size than the photo, more than one channel, or a label out of range.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Return ``results``, or raise."""
        labels = results.get('gt_seg_map')
        if labels is None:
            return results
        path, size = (
            results.get('seg_map_path'),
            results.get('file_shape', results['ori_shape'])[:2],
        )
        if labels.ndim != 2:
            raise ValueError(
                f'{path} has the shape {labels.shape}: an annotation must be a picture of one '
                'channel, whose values are labels'
            )
        if labels.shape != size:
            raise ValueError(
                f'{path} is {labels.shape[0]} x {labels.shape[1]} pixels and its photo '
                f'{results.get("img_path")} {size[0]} x {size[1]}; they must be of one size'
            )
        wrong = np.unique(labels[(labels >= self.num_classes) & (labels != self.ignore_index)])
        if len(wrong):
            shift = 1 if results.get('reduce_zero_label') else 0
            raise ValueError(
                f'{path} has the label(s) {", ".join(map(str, wrong[:10] + shift))}; with '
                f'{self.num_classes} classes labels are {shift} to {self.num_classes - 1 + shift}'
                f'{", 0 for unlabelled" if shift else ""} and {self.ignore_index} for ignored: '
                'correct the file, or num_classes of the heads and of CheckAnnotation'
            )
        if 'file_shape' in results:
            results['gt_seg_map'] = resize_labels(labels, results['ori_shape'][:2])
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_classes={self.num_classes}, '
            f'ignore_index={self.ignore_index})'
        )
