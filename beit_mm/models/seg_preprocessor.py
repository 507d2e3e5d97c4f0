"""MMSegmentation's preprocessor for images of any bands."""

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models import SegDataPreProcessor as OfMMSegmentation


class SegDataPreProcessor(OfMMSegmentation):
    """MMSegmentation's, which in its later versions takes one mean or three alone.

    Args:
        mean, std: Of the bands, for pixels in [0, 255]: a number for each, or one for all of them.
            None leaves images as they are.
        **settings: The others of MMSegmentation's ``SegDataPreProcessor``.

    Raises:
        ValueError: If one of ``mean`` and ``std`` is None, or they differ in length.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        if mean is None and std is None:
            return
        if mean is None or std is None or len(mean) != len(std):
            raise ValueError(
                f'mean is {mean} and std is {std}; they must be as many numbers, or both None'
            )
        self._enable_normalize = True
        for name, values in dict(mean=mean, std=std).items():
            numbers = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, numbers, persistent=False)
