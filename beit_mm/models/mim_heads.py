"""What reads the hidden patches out of their hidden states (BEiT 2.3; pixels: ablation, 3.3)."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers.initial_values import init_projection_
from ..layers.linear import Linear
from ..registry import MODELS

# Of a place that is not masked.
NO_TARGET = -1
# Places whose logits are held at a time, and computed again in the backward pass; 128 MiB in
# float32 for a vocabulary of 8192. A batch of so few places keeps them.
PLACES_AT_ONCE = 4096


def _first_masked(mask: Tensor, num_masked: int) -> tuple[Tensor, Tensor]:
    """So many places of each image, the masked ones first: by image, and in the whole batch.

    Args:
        mask: (B, N) bool.
        num_masked: Most masked places of an image.

    Returns:
        (B, num_masked) int64 in [0, N), and (B * num_masked,) in [0, B * N).
    """
    # On a GPU the check is made there, later, without a wait.
    torch.ops.aten._assert_async.msg(
        (mask.sum(dim=1) <= num_masked).all(),
        f'an image has more masked places than model.head.num_masked, {num_masked}',
    )
    order = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    places = order[:, :num_masked]
    rows = places + torch.arange(len(mask), device=mask.device)[:, None] * mask.shape[1]
    return places, rows.flatten()


@MODELS.register_module()
class MIMHead(BaseModule):
    """Softmax over the visual vocabulary: p(z | x^M) = softmax(W_c h + b_c).

    Args:
        embed_dims: Width of the backbone's output.
        vocab_size: Number of visual tokens.
        num_masked: Most masked places of an image, where the masks are made so; then the host
            need not wait for a GPU to count them, and shapes are the same in every step. None
            counts them.
        tokens_per_place: How many tokens of each place are predicted in parallel, each by weights
            of its own.
    """

    def __init__(
        self,
        embed_dims: int,
        vocab_size: int,
        num_masked: int | None = None,
        tokens_per_place: int = 1,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.num_masked = num_masked
        self.tokens_per_place = tokens_per_place
        self.classifier = Linear(embed_dims, tokens_per_place * vocab_size)
        init_projection_(self.classifier)

    def init_weights(self) -> None:
        """Nothing to do: the constructor initialises."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., C) -> logits (..., V), or (..., n, V) of n tokens a place."""
        logits = self.classifier(hidden)
        if self.tokens_per_place == 1:
            return logits
        return logits.unflatten(-1, (self.tokens_per_place, self.vocab_size))

    def loss(self, hidden: Tensor, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Mean over the masked places of -log p(z_i | x^M); no other place is projected.

        Args:
            hidden: (B, h w, C) the backbone's output without [S].
            tokens: (B, h, w) int64 visual tokens, or (B, h, w, n) of n tokens a place.
            mask: (B, h, w) bool, True at the places to predict.

        Returns:
            ``loss``, the mean over all tokens of these places, and for the log ``mim_acc``, per
            cent of them that were predicted; ``mim_commonest``, per cent that are the batch's
            commonest token, which is what the same answer everywhere would score at most; and
            ``mim_codes``, how many different tokens there were.

        Raises:
            ValueError: If no place of the batch is masked.
        """
        hidden, targets = self._masked_places(hidden, tokens.flatten(1, 2), mask.flatten(1))
        if not len(targets):
            raise ValueError('the mask hides no patch of the whole batch: nothing to learn from')
        pieces = list(zip(hidden.split(PLACES_AT_ONCE), targets.split(PLACES_AT_ONCE), strict=True))
        if len(pieces) == 1:
            sums = [self._sums(*pieces[0])]
        else:
            sums = [checkpoint(self._sums, *piece, use_reentrant=False) for piece in pieces]
        losses, hits = zip(*sums, strict=True)
        there = targets != NO_TARGET
        count = there.sum()
        # Not bincount, for whose size the host would wait.
        uses = count.new_zeros(self.vocab_size).index_add_(
            0, targets.flatten().clamp(min=0), there.flatten().long()
        )
        return dict(
            loss=sum(losses) / count,
            mim_acc=sum(hits) / count * 100,
            mim_commonest=uses.max() / count * 100,
            mim_codes=(uses > 0).sum().float(),
        )

    def _masked_places(self, hidden: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (M, C) and tokens (M, ...) of masked places.

        Args:
            hidden: (B, N, C).
            tokens: (B, N) or (B, N, n).
            mask: (B, N) bool.
        """
        if self.num_masked is None:
            return hidden[mask], tokens[mask]
        _, rows = _first_masked(mask, self.num_masked)
        unmasked = ~mask if tokens.ndim == 2 else ~mask[..., None]
        targets = tokens.masked_fill(unmasked, NO_TARGET).flatten(0, 1)
        return hidden.flatten(0, 1).index_select(0, rows), targets.index_select(0, rows)

    def _sums(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the losses of some places, and how many were predicted."""
        logits = self(hidden)
        # In float32 at least.
        flat = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, -2)
        loss = F.cross_entropy(flat, targets.flatten(), ignore_index=NO_TARGET, reduction='sum')
        return loss, (logits.detach().argmax(dim=-1) == targets).sum()

    @torch.no_grad()
    def predict(self, hidden: Tensor) -> Tensor:
        """Most likely token at every place: (B, N, C) -> (B, N) int64, or (B, N, n)."""
        return self(hidden).argmax(dim=-1)


@MODELS.register_module()
class PixelHead(BaseModule):
    """Linear regression of a patch's pixels, for a :class:`PixelTargetGenerator`.

    Args:
        embed_dims: Width of the backbone's output.
        num_values: Values a patch: height * width * channels.
        num_masked: As in :class:`MIMHead`.
    """

    def __init__(self, embed_dims: int, num_values: int, num_masked: int | None = None) -> None:
        super().__init__()
        self.num_values = num_values
        self.num_masked = num_masked
        self.regressor = nn.Linear(embed_dims, num_values)
        init_projection_(self.regressor)

    def init_weights(self) -> None:
        """Nothing to do: the constructor initialises."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., C) -> values (..., num_values)."""
        return self.regressor(hidden)

    def loss(self, hidden: Tensor, values: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Mean squared error over the values of the masked places; no other is projected.

        Args:
            hidden: (B, h w, C) the backbone's output without [S].
            values: (B, h, w, num_values).
            mask: (B, h, w) bool, True at the places to predict.

        Returns:
            ``loss``.

        Raises:
            ValueError: If no place of the batch is masked.
        """
        if self.num_masked is None:
            targets = values[mask]
            if not len(targets):
                raise ValueError(
                    'the mask hides no patch of the whole batch: nothing to learn from'
                )
            return dict(loss=F.mse_loss(self(hidden[mask.flatten(1)]).float(), targets))
        places, rows = _first_masked(mask.flatten(1), self.num_masked)
        hidden, targets = (
            t.flatten(0, 1).index_select(0, rows) for t in (hidden, values.flatten(1, 2))
        )
        errors = (self(hidden).float() - targets).square().mean(dim=1)
        masked = mask.flatten(1).gather(1, places).flatten()
        return dict(loss=(errors * masked).sum() / masked.sum())

    @torch.no_grad()
    def predict(self, hidden: Tensor) -> Tensor:
        """Values at every place: (B, N, C) -> (B, N, num_values)."""
        return self(hidden)
