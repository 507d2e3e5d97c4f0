"""Masked image modeling: predict the visual tokens of the hidden patches (paper 2.3).

:class:`PixelHead` and ``predict_all`` are the paper's ablations (3.3).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..component import Component, Plan
from ..registry import MODELS
from .data_preprocessor import stack_masks

# A feature map is of more pixels than those of its own patch.
HAS_A_STEM = (
    'has a stem, whose features at seen places tell of hidden pixels; pre-train on patches of the '
    'image itself, stem=None'
)


def views_of(inputs: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The views of a batch, one or several."""
    return [inputs] if isinstance(inputs, Tensor) else list(inputs)


def _built(part: dict | nn.Module) -> Any:
    return part if isinstance(part, nn.Module) else MODELS.build(part)


@MODELS.register_module()
class MaskedImageModeling(BaseModel):
    """BEiT's pre-training task.

    Args:
        backbone: Config of a :class:`BEiT` with ``out_type='raw'`` and a mask token; this and the
            next two may be modules themselves.
        target_generator: Config of what turns the second view into targets, such as
            :class:`DVAETargetGenerator`.
        head: Config of a :class:`MIMHead`, or of a :class:`PixelHead` for targets that are values.
        data_preprocessor: Config of a preprocessor that yields ``inputs`` as two views: images
            for the backbone, normalised, and for the tokenizer, in [0, 1].
        predict_all: Whether every place is predicted, not the masked ones alone; then an image
            without masked places is something to learn from too.

    Raises:
        ValueError: If head and target generator differ in the size of the vocabulary, or in the
            number of values a place; if the backbone has a stem, which would see what is hidden.
    """

    # Of an image, for the loss.
    LEAST_VIEWS = 2
    # The part whose hidden states the head is given.
    BEFORE_HEAD = 'backbone'

    def __init__(
        self,
        backbone: dict | nn.Module,
        target_generator: dict | nn.Module,
        head: dict | nn.Module,
        data_preprocessor: dict | None = None,
        predict_all: bool = False,
    ) -> None:
        super().__init__(data_preprocessor)
        self.predict_all = predict_all
        self.backbone = _built(backbone)
        self.target_generator = _built(target_generator)
        self.head = _built(head)
        self._check_head()
        if getattr(getattr(self.backbone, 'patch_embed', None), 'stem', None) is not None:
            raise ValueError(f'model.backbone {HAS_A_STEM}')

    @classmethod
    def check_config(cls, component: Component, plan: Plan) -> Iterator[str]:
        """Mask, views, backbone, targets and head agree; see :class:`beit_mm.component.Component`.

        Whoever makes masks has ``check_grid``, whoever makes views ``check_views``.
        """
        backbone, generator, head = (
            component.part(name) for name in ('backbone', 'target_generator', 'head')
        )
        grid, stride = backbone.ask('grid_of'), generator.ask('stride_of')
        if grid is not None:
            for loader, step in plan.steps():
                yield from step.ask('check_grid', grid, backbone) or ()
                yield from step.ask('check_views', grid, backbone, stride) or ()
                if loader == 'train_dataloader' and hasattr(step.kind, 'check_grid'):
                    yield from cls._check_room(component, step, head, grid)
        if backbone.get('out_type') not in (None, 'raw'):
            yield f"{backbone.key}.out_type is {backbone['out_type']!r}; it must be 'raw'"
        if backbone.get('stem') is not None:
            yield f'{backbone.key} {HAS_A_STEM}'
        before = component.part(cls.BEFORE_HEAD)
        width = before.ask('width_of')
        if width is not None and head.get('embed_dims') != width:
            yield (
                f'{head.key}.embed_dims is {head.get("embed_dims")}; it must be the width of '
                f'{before.key}, {width}'
            )
        key, vocab_size = generator.ask('vocab_size_of') or ('', None)
        if vocab_size is not None and head.get('vocab_size') != vocab_size:
            yield (
                f'{head.key}.vocab_size is {head.get("vocab_size")}; it must be {key}, {vocab_size}'
            )
        key, in_place = generator.ask('tokens_per_place_of') or ('', 1)
        if in_place != (head.get('tokens_per_place') or 1):
            yield (
                f'{head.key}.tokens_per_place is {head.get("tokens_per_place") or 1}; it must be '
                f'{key or "1"}, {in_place}'
            )

    @classmethod
    def _check_room(
        cls, component: Component, masks: Component, head: Component, grid: tuple[int, int]
    ) -> Iterator[str]:
        """The head has room for the places of an image; a GPU would not say which has more."""
        most = head.get('num_masked')
        if most is None:
            return
        of, places = masks.ask('hidden_of') or ('', None)
        if component['predict_all']:
            places, of = grid[0] * grid[1], 'with predict_all the number of patches'
        if places is not None and places > most:
            yield (
                f'{head.key}.num_masked is {most}; it must be at least {places}, {of}, or None to '
                'count the places in every step'
            )

    def _check_head(self) -> None:
        """Both have classes or both values, and as many."""
        for name, usual in (('vocab_size', None), ('num_values', None), ('tokens_per_place', 1)):
            given, wanted = (
                getattr(part, name, usual) for part in (self.head, self.target_generator)
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
            inputs: The two views, (B, bands, H, W) normalised for the backbone and
                (B, bands, h', w') in [0, 1] for the tokenizer; 'tensor' and 'predict' do with the
                first alone.
            data_samples: B data samples with ``mask``, (h, w) bool; 'tensor' and 'predict' run
                without a mask if there are none.
            mode: 'tensor' for the backbone's outputs, 'loss' for the training loss, 'predict' for
                the predicted targets.
            mask: (B, h, w) bool, the masks of the samples in one, from a preprocessor that has
                put them together.

        Returns:
            What the backbone returns; or the head's losses; or :meth:`predict`'s.
        """
        views = views_of(inputs)
        if mask is None:
            mask = stack_masks(data_samples)
        if mode == 'tensor':
            return self.backbone(views[0], mask)
        if mode == 'predict':
            return self.predict(views[0], mask)
        if mode == 'loss':
            if len(views) < self.LEAST_VIEWS or mask is None:
                raise ValueError(
                    f"mode 'loss' takes {self.LEAST_VIEWS} view(s) and a mask for each image, not "
                    f'{len(views)} view(s) and {"no" if mask is None else "a"} mask'
                )
            return self.loss(views[0], views[-1], mask)
        raise ValueError(f"mode {mode!r} is none of 'tensor', 'loss', 'predict'")

    def extract_feat(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of whole images, as MMPretrain's tools ask for them.

        Args:
            images: (B, bands, H, W) normalised.

        Returns:
            What the backbone returns without a mask.
        """
        return self.backbone(images)

    def loss(
        self,
        images: Tensor,
        tokenizer_images: Tensor,
        mask: Tensor,
        places: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The journey of a batch: tokens, hidden states, loss at the masked places.

        Args:
            images: (B, bands, H, W) normalised.
            tokenizer_images: (B, bands, h', w') in [0, 1].
            mask: (B, h, w) bool.
            places: (B, h, w) bool, True at the places to predict; None where that follows from the
                mask.

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
        hidden = self.hidden_states(images, mask)
        return self.head.loss(hidden, targets, self._places(mask) if places is None else places)

    def hidden_states(self, images: Tensor, mask: Tensor | None) -> Tensor:
        """What the head predicts by.

        Args:
            images: (B, bands, H, W) normalised.
            mask: (B, h, w) bool, or None to hide nothing.

        Returns:
            (B, h w, C), the patches' hidden states.
        """
        return self.backbone(images, mask)[-1][:, self.backbone.num_extra_tokens :]

    def _places(self, mask: Tensor) -> Tensor:
        """(B, h, w) bool, True at the places to predict."""
        return torch.ones_like(mask) if self.predict_all else mask

    @torch.no_grad()
    def predict(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Most likely visual token, or predicted values, of every patch, hidden or not.

        Args:
            images: (B, bands, H, W) normalised.
            mask: (B, h, w) bool, or None to hide nothing.

        Returns:
            (B, h, w) int64, (B, h, w, n) where the head predicts n in parallel; (B, h, w,
            num_values) of a :class:`PixelHead`.
        """
        return self.head.predict(self._in_grid(images, mask))

    @torch.no_grad()
    def outputs(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the head makes of every patch: the logits that :meth:`predict` takes the largest of.

        Args:
            images: (B, bands, H, W) normalised.
            mask: (B, h, w) bool, or None to hide nothing.

        Returns:
            (B, h, w, V) logits of a :class:`MIMHead`, (B, h, w, n, V) of n predictions in
            parallel; (B, h, w, num_values) of a :class:`PixelHead`.
        """
        return self.head(self._in_grid(images, mask))

    def _in_grid(self, images: Tensor, mask: Tensor | None) -> Tensor:
        """:meth:`hidden_states` as (B, h, w, C)."""
        return self.hidden_states(images, mask).unflatten(1, self.backbone.grid_for(images))

    def given(self, images: Tensor, mask: Tensor, data: Mapping) -> tuple[Tensor, Tensor]:
        """What of a batch the backbone is given.

        Args:
            images: (B, bands, H, W), normalised or not.
            mask: (B, h, w) bool, the masks of the batch.
            data: The batch, behind the preprocessor.

        Returns:
            The images, and (B, h, w) bool, True where the mask token stands.
        """
        return images, mask

    def val_step(self, data: dict) -> list[BaseDataElement]:
        """Predictions, targets and the places to predict of each image, for the metrics."""
        data = self.data_preprocessor(data, False)
        views = views_of(data['inputs'])
        images, tokenizer_images = views[0], views[-1]
        masks: Any = data.get('mask')
        if masks is None:
            masks = stack_masks(data['data_samples'])
        predicted = self.predict(*self.given(images, masks, data))
        targets = self.target_generator(tokenizer_images)
        return [
            BaseDataElement(predicted=p, targets=t, places=m)
            for p, t, m in zip(predicted, targets, self._places(masks), strict=True)
        ]

    test_step = val_step
