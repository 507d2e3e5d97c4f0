"""Masked image modeling: predict the visual tokens of the hidden patches (paper 2.3).

:class:`PixelHead` and ``predict_all`` are the paper's ablations (3.3).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel, BaseModule
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..registry import MODELS
from .beit import trunc_normal_
from .data_preprocessor import stack_masks
from .linear import Linear

# Of a place that is not masked.
NO_TARGET = -1
# Places whose logits are held at a time, and computed again in the backward pass; 128 MiB in
# float32 for a vocabulary of 8192. A batch of so few places keeps them.
PLACES_AT_ONCE = 4096


def _at_places(hidden: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states (n, C) and targets (n, ...) of the n places to predict."""
    targets = targets[mask]
    if not len(targets):
        raise ValueError('the mask hides no patch of the whole batch: nothing to learn from')
    return hidden[mask.flatten(1)], targets


@MODELS.register_module()
class MIMHead(BaseModule):
    """Softmax over the visual vocabulary: p(z | x^M) = softmax(W_c h + b_c).

    Args:
        embed_dims: Width of the backbone's output.
        vocab_size: Number of visual tokens.
        num_masked: Most masked places of an image, where the masks are made so; then the host
            need not wait for a GPU to count them, and shapes are the same in every step. None
            counts them.
    """

    def __init__(self, embed_dims: int, vocab_size: int, num_masked: int | None = None) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.num_masked = num_masked
        self.classifier = Linear(embed_dims, vocab_size)
        trunc_normal_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def init_weights(self) -> None:
        """Nothing to do: the constructor initialises."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., C) -> logits (..., V)."""
        return self.classifier(hidden)

    def loss(self, hidden: Tensor, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Mean over the masked places of -log p(z_i | x^M); no other place is projected.

        Args:
            hidden: (B, h w, C) the backbone's output without [S].
            tokens: (B, h, w) int64 visual tokens.
            mask: (B, h, w) bool, True at the places to predict.

        Returns:
            ``loss``, and ``mim_acc``: per cent of the masked places whose token was predicted.

        Raises:
            ValueError: If no place of the batch is masked.
        """
        hidden, targets = self._masked_places(hidden, tokens.flatten(1), mask.flatten(1))
        if not len(targets):
            raise ValueError('the mask hides no patch of the whole batch: nothing to learn from')
        pieces = list(zip(hidden.split(PLACES_AT_ONCE), targets.split(PLACES_AT_ONCE), strict=True))
        if len(pieces) == 1:
            sums = [self._sums(*pieces[0])]
        else:
            sums = [checkpoint(self._sums, *piece, use_reentrant=False) for piece in pieces]
        losses, hits = zip(*sums, strict=True)
        count = (targets != NO_TARGET).sum()
        return dict(loss=sum(losses) / count, mim_acc=sum(hits) / count * 100)

    def _masked_places(self, hidden: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (M, C) and tokens (M,) of the masked places of (B, N, C), (B, N) twice."""
        if self.num_masked is None:
            return hidden[mask], tokens[mask]
        # On a GPU the check is made there, later, without a wait.
        torch.ops.aten._assert_async.msg(
            (mask.sum(dim=1) <= self.num_masked).all(),
            f'an image has more masked places than model.head.num_masked, {self.num_masked}',
        )
        order = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        places = order[:, : self.num_masked]
        targets = tokens.masked_fill(~mask, NO_TARGET).gather(1, places)
        rows = places + torch.arange(len(mask), device=mask.device)[:, None] * mask.shape[1]
        return hidden.flatten(0, 1).index_select(0, rows.flatten()), targets.flatten()

    def _sums(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the losses of some places, and how many were predicted."""
        logits = self(hidden)
        loss = F.cross_entropy(logits.float(), targets, ignore_index=NO_TARGET, reduction='sum')
        return loss, (logits.detach().argmax(dim=-1) == targets).sum()

    @torch.no_grad()
    def predict(self, hidden: Tensor) -> Tensor:
        """Most likely token at every place: (B, N, C) -> (B, N) int64."""
        return self(hidden).argmax(dim=-1)


@MODELS.register_module()
class PixelHead(BaseModule):
    """Linear regression of a patch's pixels, for a :class:`PixelTargetGenerator`.

    Args:
        embed_dims: Width of the backbone's output.
        num_values: Values a patch: height * width * channels.
    """

    def __init__(self, embed_dims: int, num_values: int) -> None:
        super().__init__()
        self.num_values = num_values
        self.regressor = nn.Linear(embed_dims, num_values)
        trunc_normal_(self.regressor.weight)
        nn.init.zeros_(self.regressor.bias)

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
        hidden, targets = _at_places(hidden, values, mask)
        return dict(loss=F.mse_loss(self(hidden).float(), targets))

    @torch.no_grad()
    def predict(self, hidden: Tensor) -> Tensor:
        """Values at every place: (B, N, C) -> (B, N, num_values)."""
        return self(hidden)


@MODELS.register_module()
class MaskedImageModeling(BaseModel):
    """BEiT's pre-training task.

    Args:
        backbone: Config of a :class:`BEiT` with ``out_type='raw'`` and a mask token.
        target_generator: Config of what turns the second view into targets, such as
            :class:`DVAETargetGenerator`.
        head: Config of a :class:`MIMHead`, or of a :class:`PixelHead` for targets that are values.
        data_preprocessor: Config of a preprocessor that yields ``inputs`` as two views: images
            for the backbone, normalised, and for the tokenizer, in [0, 1].
        predict_all: Whether every place is predicted, not the masked ones alone; then an image
            without masked places is something to learn from too.

    Raises:
        ValueError: If head and target generator differ in the size of the vocabulary, or in the
            number of values a place.
    """

    def __init__(
        self,
        backbone: dict,
        target_generator: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        predict_all: bool = False,
    ) -> None:
        super().__init__(data_preprocessor)
        self.predict_all = predict_all
        self.backbone = MODELS.build(backbone)
        self.target_generator = MODELS.build(target_generator)
        self.head = MODELS.build(head)
        self._check_head()

    def _check_head(self) -> None:
        """Both have classes or both values, and as many."""
        for name in ('vocab_size', 'num_values'):
            given, wanted = (
                getattr(part, name, None) for part in (self.head, self.target_generator)
            )
            if given != wanted:
                raise ValueError(
                    f'model.head.{name} is {given} ({type(self.head).__name__}); it must be that '
                    f'of the target generator, {wanted} ({type(self.target_generator).__name__})'
                )

    def init_weights(self) -> None:
        """Load what the backbone is configured to load; the parts have initialised themselves."""
        self.backbone.init_weights()

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: list | None = None,
        mode: str = 'tensor',
        mask: Tensor | None = None,
    ) -> tuple[Tensor, ...] | dict[str, Tensor] | Tensor:
        """The Runner's entry.

        Args:
            inputs: The two views, (B, 3, H, W) normalised for the backbone and (B, 3, h', w') in
                [0, 1] for the tokenizer; 'tensor' and 'predict' do with the first alone.
            data_samples: B data samples with ``mask``, (h, w) bool; 'tensor' and 'predict' run
                without a mask if there are none.
            mode: 'tensor' for the backbone's outputs, 'loss' for the training loss, 'predict' for
                the predicted targets.
            mask: (B, h, w) bool, the masks of the samples in one, from a preprocessor that has
                put them together.

        Returns:
            What the backbone returns; or the head's losses; or :meth:`predict`'s.
        """
        views = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if mask is None:
            mask = stack_masks(data_samples)
        if mode == 'tensor':
            return self.backbone(views[0], mask)
        if mode == 'predict':
            return self.predict(views[0], mask)
        if mode == 'loss':
            if len(views) != 2 or mask is None:
                raise ValueError(
                    f"mode 'loss' takes two views and a mask for each image, not {len(views)} "
                    f'view(s) and {"no" if mask is None else "a"} mask'
                )
            return self.loss(*views, mask)
        raise ValueError(f"mode {mode!r} is none of 'tensor', 'loss', 'predict'")

    def loss(self, images: Tensor, tokenizer_images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The journey of a batch: tokens, hidden states, loss at the masked places.

        Args:
            images: (B, 3, H, W) normalised.
            tokenizer_images: (B, 3, h', w') in [0, 1].
            mask: (B, h, w) bool.

        Returns:
            See :meth:`MIMHead.loss`.

        Raises:
            ValueError: If the tokenizer's grid is not the mask's.
        """
        targets = self.target_generator(tokenizer_images)
        if targets.shape[:3] != mask.shape:
            raise ValueError(
                f'the tokenizer gives {targets.shape[1]} x {targets.shape[2]} tokens for its view, '
                f'the mask is {mask.shape[1]} x {mask.shape[2]}: the size of the second view must '
                f"be the mask's grid times the tokenizer's stride, {self.target_generator.stride}"
            )
        hidden = self.backbone(images, mask)[-1][:, 1:]
        return self.head.loss(hidden, targets, self._places(mask))

    def _places(self, mask: Tensor) -> Tensor:
        """(B, h, w) bool, True at the places to predict."""
        return torch.ones_like(mask) if self.predict_all else mask

    @torch.no_grad()
    def predict(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Most likely visual token, or predicted values, of every patch, hidden or not.

        Args:
            images: (B, 3, H, W) normalised.
            mask: (B, h, w) bool, or None to hide nothing.

        Returns:
            (B, h, w) int64; (B, h, w, num_values) of a :class:`PixelHead`.
        """
        hidden = self.backbone(images, mask)[-1][:, 1:]
        patch_h, patch_w = self.backbone.patch_size
        grid = images.shape[2] // patch_h, images.shape[3] // patch_w
        return self.head.predict(hidden).unflatten(1, grid)

    def val_step(self, data: dict) -> list[BaseDataElement]:
        """Predictions, targets and the places to predict of each image, for the metrics."""
        data = self.data_preprocessor(data, False)
        images, tokenizer_images = data['inputs']
        masks = data.get('mask')
        if masks is None:
            masks = stack_masks(data['data_samples'])
        predicted = self.predict(images, masks)
        targets = self.target_generator(tokenizer_images)
        return [
            BaseDataElement(predicted=p, targets=t, places=m)
            for p, t, m in zip(predicted, targets, self._places(masks), strict=True)
        ]

    test_step = val_step
