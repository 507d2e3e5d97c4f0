"""Validation of what has no labels: tokenizers and masked image modeling."""

import torch
from mmengine.evaluator import BaseMetric

from ...models.discrete_vae import codebook_perplexity
from ...registry import METRICS


@METRICS.register_module()
class TokenizerMetric(BaseMetric):
    """How well a tokenizer reconstructs, and how much of its vocabulary it uses.

    Reports ``recon_mse`` (pixels in [0, 1]), ``codes_used`` and ``perplexity`` over the whole
    validation set.
    """

    default_prefix = 'tokenizer'

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Keep each image's error and tokens, which take less room than its counts."""
        for sample in data_samples:
            tokens = sample['tokens'].flatten().to('cpu', torch.int32)
            self.results.append((float(sample['recon_mse']), tokens, sample['vocab_size']))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Average the errors, count the tokens."""
        errors, tokens, vocab_sizes = zip(*results, strict=True)
        counts = torch.bincount(torch.cat(tokens), minlength=vocab_sizes[0])
        return dict(
            recon_mse=sum(errors) / len(errors),
            codes_used=int((counts > 0).sum()),
            perplexity=float(codebook_perplexity(counts)),
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
