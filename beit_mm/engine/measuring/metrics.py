"""Validation of what has no labels: tokenizers and masked image modeling."""

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ...models.discrete_vae import codebook_perplexity
from ...registry import METRICS
from .yardsticks import patches_of, yardsticks

# Of the images that the yardsticks are computed from: 20,000 patches of 8 x 8 pixels.
MOST_VALUES = 20_000 * 192


@METRICS.register_module()
class TokenizerMetric(BaseMetric):
    """How well a tokenizer reconstructs, and how much of its vocabulary it uses.

    Reports ``recon_mse`` (pixels in [0, 1]), ``codes_used`` and ``perplexity`` over the whole
    validation set; and beside them two yardsticks of the same images, see
    :func:`beit_mm.engine.measuring.yardsticks.yardsticks`: ``mean_mse``, of the mean patch, and
    ``kmeans_mse`` and ``kmeans_perplexity``, of k-means of patches with as many codes, fitted to
    every other image and measured on the rest. A tokenizer whose error is above k-means' has
    learnt less than patches alone tell.
    """

    default_prefix = 'tokenizer'

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.kept: tuple[list[Tensor], list[Tensor]] = [], []
        self.beside: dict[str, float] | None = None

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Keep each image's error and tokens, which take less room than its counts."""
        for sample in data_samples:
            tokens = sample['tokens'].flatten().to('cpu', torch.int32)
            self.results.append((float(sample['recon_mse']), tokens, sample['vocab_size']))
        if self.beside is None and 'inputs' in (data_batch or {}):
            self._keep(data_batch['inputs'], data_samples)

    def _keep(self, images: Tensor | list[Tensor], samples: list[dict]) -> None:
        """Keep some images' patches for the yardsticks, in turn to fit and to measure."""
        for image, sample in zip(images, samples, strict=True):
            if sum(patches.numel() for part in self.kept for patches in part) > MOST_VALUES:
                return
            stride = image.shape[-1] // sample['tokens'].shape[-1]
            fitted, held_out = self.kept
            part = fitted if len(fitted) == len(held_out) else held_out
            part.append(patches_of(image[None].cpu().float() / 255, stride))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Average the errors, count the tokens."""
        errors, tokens, vocab_sizes = zip(*results, strict=True)
        counts = torch.bincount(torch.cat(tokens), minlength=vocab_sizes[0])
        if self.beside is None and self.kept[1]:
            # The images are the same at every validation.
            fitted, held_out = (torch.cat(part) for part in self.kept)
            self.beside = yardsticks(fitted, held_out, vocab_sizes[0])
            self.kept[0].clear()
            self.kept[1].clear()
        return dict(
            recon_mse=sum(errors) / len(errors),
            codes_used=int((counts > 0).sum()),
            perplexity=float(codebook_perplexity(counts)),
            **(self.beside or {}),
        )


@METRICS.register_module()
class MIMAccuracy(BaseMetric):
    """Per cent of the places to predict whose class was predicted: ``mim/acc``."""

    default_prefix = 'mim'

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Keep each image's number of hits and of places to predict."""
        for sample in data_samples:
            hits = (sample['predicted'] == sample['targets']) & sample['places']
            self.results.append((int(hits.sum()), int(sample['places'].sum())))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Hits over places, all images together."""
        hits, places = (sum(column) for column in zip(*results, strict=True))
        return dict(acc=100 * hits / max(1, places))


@METRICS.register_module()
class MIMError(BaseMetric):
    """Mean squared error of the values predicted at the places to predict: ``mim/mse``."""

    default_prefix = 'mim'

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Keep each image's sum of squared errors and its number of values."""
        for sample in data_samples:
            errors = (sample['predicted'] - sample['targets'])[sample['places']].float().square()
            self.results.append((float(errors.sum()), errors.numel()))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Errors over values, all images together."""
        errors, values = (sum(column) for column in zip(*results, strict=True))
        return dict(mse=errors / max(1, values))
