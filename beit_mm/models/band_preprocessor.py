"""Batches for segmentation, of images of any number of bands."""

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models import SegDataPreProcessor


class BandSegDataPreProcessor(SegDataPreProcessor):
    """MMSegmentation's, with a mean and a spread for each of any number of bands.

    MMSegmentation's own takes one or three.

    Args:
        mean, std: Of the bands, for pixels in [0, 255].
        settings: Those of ``SegDataPreProcessor``.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **settings: Any) -> None:
        super().__init__(mean=[0.0], std=[1.0], **settings)
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
