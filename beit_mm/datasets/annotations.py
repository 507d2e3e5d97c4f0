"""Segmentation annotations that cannot be right, found before they reach the loss."""

import numpy as np
from mmcv.transforms import BaseTransform

from ..registry import TRANSFORMS


@TRANSFORMS.register_module()
class MapLabels(BaseTransform):
    """Give labels of an annotation other numbers, behind MMSegmentation's ``LoadAnnotations``.

    Such as masks of 0 and 255, whose 255 would be ignored: ``label_map={255: 1}``. Reads and
    writes ``gt_seg_map``, (H, W); single photos without one pass.

    Args:
        label_map: Old label -> new label, in [0, 255]; others stay. Keys may be text, as in JSON.
    """

    def __init__(self, label_map: dict) -> None:
        self.label_map = {int(old): int(new) for old, new in label_map.items()}

    def transform(self, results: dict) -> dict:
        """Return ``results`` with the new labels."""
        labels = results.get('gt_seg_map')
        if labels is not None:
            table = np.arange(256, dtype=labels.dtype)
            for old, new in self.label_map.items():
                table[old] = new
            results['gt_seg_map'] = table[labels]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(label_map={self.label_map})'


@TRANSFORMS.register_module()
class CheckAnnotation(BaseTransform):
    """Check the annotation that MMSegmentation's ``LoadAnnotations`` has just loaded.

    Out-of-range labels end in an assertion inside the loss, on a GPU in one that does not say
    which file it was; an annotation of another size is cropped beside its photo unnoticed. Reads
    ``gt_seg_map``, (H, W), ``ori_shape`` and, for the message, ``seg_map_path``. Changes nothing.
    Without an annotation, as on single photos, there is nothing to check.

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
        """Return ``results`` as they are, or raise."""
        labels = results.get('gt_seg_map')
        if labels is None:
            return results
        path, size = results.get('seg_map_path'), tuple(results['ori_shape'][:2])
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
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_classes={self.num_classes}, '
            f'ignore_index={self.ignore_index})'
        )
