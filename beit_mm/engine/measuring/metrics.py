"""Validation of what has no labels: tokenizers and masked image modeling."""

from itertools import zip_longest

import torch
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ...component import Component
from ...models.discrete_vae import codebook_perplexity
from ...registry import METRICS
from .yardsticks import patches_of, yardsticks

# Of the images that the yardsticks are computed from: 20,000 patches of 8 x 8 pixels.
MOST_VALUES = 20_000 * 192


@METRICS.register_module()
class TokenizerMetric(BaseMetric):
    """How well a tokenizer reconstructs, and how much of its vocabulary it uses.

    Reports ``recon_mse`` (pixels in [0, 1]), ``codes_used`` and ``perplexity`` over the whole
    validation set, and ``places``, the tokens that there are; and beside them two yardsticks of the
    same images, see :func:`beit_mm.engine.measuring.yardsticks.yardsticks`: ``mean_mse``, of the
    mean patch, and ``kmeans_mse`` and ``kmeans_perplexity``, of k-means of patches with as many
    codes, fitted to every other image and measured on the rest. A tokenizer whose error is above
    k-means' has learnt less than patches alone tell.
    """

    default_prefix = 'tokenizer'

    @staticmethod
    def reported(evaluator: Component) -> list[str]:
        """Names of its figures; those beside it are there after the first validation."""
        return ['recon_mse', 'codes_used', 'perplexity', 'places']

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.beside: dict[str, float] = {}
        self.evaluated = False

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Keep each image's error and tokens, which take less room than its counts."""
        images = [] if self.evaluated else (data_batch or {}).get('inputs', [])
        for sample, image in zip_longest(data_samples, images):
            tokens = sample['tokens'].to('cpu', torch.int32)
            row = float(sample['recon_mse']), tokens.flatten(), sample['vocab_size']
            self.results.append((*row, self._patches(image, tokens)))

    def _patches(self, image: Tensor | None, tokens: Tensor) -> Tensor | None:
        """Of the first images of the data set, all processes together."""
        if image is None or len(self.results) * get_world_size() * image.numel() > MOST_VALUES:
            return None
        return patches_of(image[None].cpu().float() / 255, image.shape[-1] // tokens.shape[-1])

    def evaluate(self, size: int) -> dict:
        """The report; the yardsticks' images are the same at every validation."""
        report = super().evaluate(size)
        self.evaluated = True
        return report

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Average the errors, count the tokens, and compute the yardsticks once."""
        errors, tokens, vocab_sizes, patches = zip(*results, strict=True)
        counts = torch.bincount(torch.cat(tokens), minlength=vocab_sizes[0])
        kept = [some for some in patches if some is not None]
        if len(kept) > 1:
            self.beside = yardsticks(torch.cat(kept[::2]), torch.cat(kept[1::2]), vocab_sizes[0])
        return dict(
            recon_mse=sum(errors) / len(errors),
            codes_used=int((counts > 0).sum()),
            perplexity=float(codebook_perplexity(counts)),
            places=int(counts.sum()),
            **self.beside,
        )


@METRICS.register_module()
class MIMAccuracy(BaseMetric):
    """Per cent of the places to predict whose class was predicted: ``mim/acc``.

    And of the classes themselves: ``mim/commonest``, per cent of the places that the commonest one
    has, which is what the same answer everywhere scores; ``mim/codes_used``, how many there are,
    ``mim/perplexity`` of their use, and ``mim/places``, of how many places.
    """

    default_prefix = 'mim'

    @staticmethod
    def reported(evaluator: Component) -> list[str]:
        """Names of its figures."""
        return ['acc', 'commonest', 'codes_used', 'perplexity', 'places']

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Keep each image's number of hits, and its classes at the places to predict."""
        for sample in data_samples:
            # Of several classes a place all count.
            targets, predicted = (
                sample[name][sample['places']].flatten() for name in ('targets', 'predicted')
            )
            hits = int((predicted == targets).sum())
            self.results.append((hits, targets.to('cpu', torch.int32)))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Hits over places, all images together."""
        hits, targets = zip(*results, strict=True)
        _, uses = torch.cat(targets).unique(return_counts=True)
        if not len(uses):
            return dict(acc=0.0, commonest=0.0, codes_used=0, perplexity=0.0, places=0)
        places = int(uses.sum())
        return dict(
            acc=100 * sum(hits) / places,
            commonest=100 * int(uses.max()) / places,
            codes_used=len(uses),
            perplexity=float(codebook_perplexity(uses)),
            places=places,
        )


@METRICS.register_module()
class MIMError(BaseMetric):
    """Mean squared error of the values predicted at the places to predict: ``mim/mse``."""

    default_prefix = 'mim'

    @staticmethod
    def reported(evaluator: Component) -> list[str]:
        """Names of its figures."""
        return ['mse']

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Keep each image's sum of squared errors and its number of values."""
        for sample in data_samples:
            errors = (sample['predicted'] - sample['targets'])[sample['places']].float().square()
            self.results.append((float(errors.sum()), errors.numel()))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Errors over values, all images together."""
        errors, values = (sum(column) for column in zip(*results, strict=True))
        return dict(mse=errors / max(1, values))
