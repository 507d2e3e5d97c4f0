"""Vectors of images, by frozen weights."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..datasets.decoding import decode_image
from ..datasets.reading.broken_image import BrokenImage
from ..models import BEiT, load
from .starting_weights import check_size, mean_and_std_of, weights_of


class Extractor(NamedTuple):
    """A backbone, and what images must be for it.

    Attributes:
        model: In eval mode, with ``out_type='featmap'``.
        size: Height and width of an image.
        mean, std: (3, 1, 1), for pixels in [0, 255].
    """

    model: BEiT
    size: int
    mean: Tensor
    std: Tensor

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Mean of the patches' last hidden states, (N, C) float32."""
        device = self.model.patch_embed.proj.weight.device
        pixels = np.stack([np.asarray(self._fitted(image)) for image in images])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device).float()
        batch = (batch - self.mean.to(device)) / self.std.to(device)
        return self.model(batch)[-1].mean(dim=(2, 3)).float().cpu().numpy()

    def _fitted(self, image: Image.Image) -> Image.Image:
        """The middle of an image, in the size of the network."""
        return ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)


def extractor(weights: str | Path, size: int | None = None) -> Extractor:
    """The backbone of weights.

    Args:
        weights: What ``beit_mm.load`` takes.
        size: Height and width of an image; without, that of the weights.

    Raises:
        ConfigError: If the size is no multiple of the patch.
    """
    weights = weights_of(str(weights))
    model = load(weights, out_type='featmap')
    check_size(size, model.patch_size[0])
    mean, std = mean_and_std_of(weights)
    if torch.cuda.is_available():
        model.cuda()
    return Extractor(
        model, size or model.grid[0] * model.patch_size[0], _of_channels(mean), _of_channels(std)
    )


def _of_channels(values: Any) -> Tensor:
    return torch.tensor([float(value) for value in values]).view(3, 1, 1)


def features_in_order(
    take: Extractor,
    source: Callable[[str], Path | bytes],
    names: Sequence[str],
    batch_size: int,
    broken: Callable[[str, str], None],
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Vectors of images, a batch at a time.

    Args:
        take: The backbone.
        source: Gives the file of an image, or what is in it.
        names: Of the images.
        batch_size: Images at once.
        broken: Is told the name of an image that cannot be decoded, which is left out, and why.

    Yields:
        Names, and (N, C) float32.
    """
    for begin in range(0, len(names), batch_size):
        kept, images = [], []
        for name in names[begin : begin + batch_size]:
            try:
                images.append(decode_image(source(name)))
                kept.append(name)
            except BrokenImage as error:
                broken(name, error.reason)
        yield kept, take(images) if images else np.zeros((0, take.model.embed_dims), np.float32)
