"""From bytes to what networks take, on the device."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor

from ..registry import MODELS


@MODELS.register_module()
class TwoViewDataPreprocessor(BaseDataPreprocessor):
    """Move the two views to the device and normalise each its own way.

    Does what MMPretrain's ``TwoNormDataPreprocessor`` does, and leaves the second view as it is
    where it is tokens already, read from a cache.

    Args:
        mean, std: Of the first view's channels, for pixels in [0, 255].
        second_mean, second_std: Of the second view's.
        non_blocking: Whether to go on while pinned memory is copied.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        second_mean: Sequence[float],
        second_std: Sequence[float],
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        settings = dict(mean=mean, std=std, second_mean=second_mean, second_std=second_std)
        for name, values in settings.items():
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch.

        Args:
            data: ``inputs``, in a list (B, 3, H, W) uint8 and (B, 3, h', w') uint8, or (B, h, w)
                int64 tokens; and data samples.
            training: Not used: nothing here is random.

        Returns:
            ``inputs``, a list of float32 views, or a view and tokens; and ``data_samples``.
        """
        data = self.cast_data(data)
        first, second = data['inputs']
        first = (first.float() - self.mean) / self.std
        if second.dtype != torch.int64:
            second = (second.float() - self.second_mean) / self.second_std
        return dict(inputs=[first, second], data_samples=data.get('data_samples'))
