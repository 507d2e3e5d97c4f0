"""From bytes to what networks take, on the device."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from ..registry import MODELS


def stack_masks(data_samples: list | None) -> Tensor | None:
    """The masks (h, w) of B data samples as one (B, h, w) bool; None if they have none."""
    return stack_field(data_samples, 'mask')


def stack_field(data_samples: list | None, name: str) -> Tensor | None:
    """Tensors of one name of B data samples as one (B, ...); None if they have none."""
    if not data_samples or name not in data_samples[0]:
        return None
    return torch.stack([sample.get(name) for sample in data_samples])


def in_colors(preprocessor: Any, images: Tensor) -> Tensor:
    """Images (B, bands, H, W) as they were before they were normalised, in [0, 1].

    Args:
        preprocessor: With ``mean`` and ``std`` of the bands, for pixels in [0, 255]; or without.
        images: Normalised by it.
    """
    mean, std = (
        torch.as_tensor(getattr(preprocessor, name, otherwise)).view(-1, 1, 1).to(images)
        for name, otherwise in (('mean', 0.0), ('std', 255.0))
    )
    return (images * std + mean) / 255


@MODELS.register_module()
class TwoViewDataPreprocessor(BaseDataPreprocessor):
    """Move the views and the masks to the device and normalise each view its own way.

    Does what MMPretrain's ``TwoNormDataPreprocessor`` does, and leaves the second view as it is
    where it is tokens already, read from a cache. Masks go to the device in one piece, and the
    data samples, of which a network reads nothing else, stay where they are: to move those of a
    batch one by one takes the host milliseconds. Pinned memory is copied while the host goes on.

    Args:
        mean, std: Of the first view's bands, for pixels in [0, 255]: a number for each, or one for
            all of them.
        second_mean, second_std: Of the second view's; not needed where there is one view.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        second_mean: Sequence[float] = (0.0,),
        second_std: Sequence[float] = (255.0,),
    ) -> None:
        super().__init__(non_blocking=True)
        settings = dict(mean=mean, std=std, second_mean=second_mean, second_std=second_std)
        for name, values in settings.items():
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch.

        Args:
            data: ``inputs``, in a list (B, bands, H, W) and, if there is a second view,
                (B, bands, h', w') uint8 or float32 in [0, 255], or in place of the latter
                (B, h, w) int64 tokens; and data samples.
            training: Not used: nothing here is random.

        Returns:
            ``inputs``, a list of float32 views, or a view and tokens; ``mask``, (B, h, w) bool, or
            None if the samples have none; ``sources``, (B, h, w) int64, if they have any; and
            ``data_samples``.

        Raises:
            ValueError: If a view has other bands than there are means for.
        """
        samples = data.get('data_samples')
        first, *second = self.cast_data(data['inputs'])
        mask = self.cast_data(stack_masks(samples))
        views = [self._normalised(first, '')]
        for view in second:
            is_tokens = view.dtype == torch.int64
            views.append(view if is_tokens else self._normalised(view, 'second_'))
        batch = dict(inputs=views, mask=mask, data_samples=samples)
        if (sources := stack_field(samples, 'sources')) is not None:
            batch['sources'] = self.cast_data(sources)
        return batch

    def _normalised(self, images: Tensor, prefix: str) -> Tensor:
        for name in (f'{prefix}mean', f'{prefix}std'):
            # One band and three means would make three bands of it.
            if len(getattr(self, name)) not in (1, images.shape[1]):
                raise ValueError(
                    f'data_preprocessor.{name} has {len(getattr(self, name))} numbers, and images '
                    f'of {images.shape[1]} bands came; there must be one number for each band'
                )
        return (images.float() - getattr(self, f'{prefix}mean')) / getattr(self, f'{prefix}std')
