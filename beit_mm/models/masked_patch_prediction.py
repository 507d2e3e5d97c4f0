"""Masked patch prediction: ViT's pre-training without labels (arXiv 2010.11929, B.1.2)."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ..component import Component, Plan
from ..registry import MODELS
from .data_preprocessor import stack_field, stack_masks
from .masked_image_modeling import MaskedImageModeling, views_of


def move_patches(images: Tensor, sources: Tensor) -> Tensor:
    """Images with other patches in the places of some.

    Args:
        images: (B, C, H, W).
        sources: (B, h, w) int64, the patch that shall stand at each place, counted row by row; of
            H / h x W / w pixels each. What stands where it is negative is not said.

    Returns:
        (B, C, H, W).
    """
    height, width = sources.shape[1:]
    rows, columns = images.shape[2] // height, images.shape[3] // width
    cut = images.unflatten(3, (width, columns)).unflatten(2, (height, rows))
    patches = cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (B, h w, C, rows, columns)
    images_of = torch.arange(len(images), device=images.device)[:, None]
    moved = patches[images_of, sources.flatten(1).clamp(min=0)].unflatten(1, (height, width))
    return moved.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


@MODELS.register_module()
class MaskedPatchPrediction(MaskedImageModeling):
    """ViT's pre-training task without labels, after BERT's.

    Half of the patch embeddings are corrupted: of these 80 % are replaced by the mask token, 10 %
    by the embedding of another patch, and 10 % stay. The targets of all of them are predicted: mean
    colours, a :class:`MeanColorTargetGenerator` with a :class:`MIMHead`; those of the patch
    downsized to 4 x 4 pixels, ``cells=4`` with ``tokens_per_place=16``; or all pixels, a
    :class:`PixelTargetGenerator` with a :class:`PixelHead`.

    What is corrupted, and by what, comes with the samples, from
    :class:`beit_mm.datasets.PatchCorruptionGenerator`: so it follows from the seed and the place of
    a sample, whatever the number of processes. Positions are added to what stands at a place. A
    patch's embedding is a product with its own pixels, so to put the pixels of another patch in its
    place is to put that one's embedding there, and costs nothing in the backward pass.

    Args:
        backbone: Config of a :class:`VisionTransformer` with ``out_type='raw'`` and a mask token.
        target_generator, head, data_preprocessor, predict_all: See :class:`MaskedImageModeling`.

    Raises:
        ValueError: See :class:`MaskedImageModeling`.
    """

    @classmethod
    def check_config(cls, component: Component, plan: Plan) -> Iterator[str]:
        """The samples tell what is corrupted; see :class:`beit_mm.component.Component`."""
        yield from super().check_config(component, plan)
        backbone = component.part('backbone')
        if not backbone.get('with_mask_token'):
            yield f'{backbone.key}.with_mask_token is False; it must be True'
        for loader, pipeline in plan.pipelines.items():
            masks = [step for step in pipeline if hasattr(step.kind, 'check_grid')]
            if not any(getattr(step.kind, 'GIVES_SOURCES', False) for step in masks):
                yield (
                    f'{loader} has {masks[0].given["type"] if masks else "no mask"}; '
                    f'{component.given["type"]} takes beit_mm.PatchCorruptionGenerator, which says '
                    'what stands in the place of a patch'
                )
            elif not any('sources' in (step.get('algorithm_keys') or ()) for step in pipeline):
                yield (
                    f'{loader} does not pack what stands in the place of a patch; PackInputs needs '
                    "algorithm_keys=('sources',)"
                )

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: list | None = None,
        mode: str = 'tensor',
        mask: Tensor | None = None,
        sources: Tensor | None = None,
    ) -> tuple[Tensor, ...] | dict[str, Tensor] | Tensor:
        """The Runner's entry.

        Args:
            inputs, data_samples, mode, mask: See :meth:`MaskedImageModeling.forward`; the mask is
                True where a patch is corrupted.
            sources: (B, h, w) int64, the patch whose embedding stands at each place, counted row by
                row, negative for the mask token; None takes those of the samples. 'tensor' and
                'predict' put the mask token at all masked places if there are none.

        Raises:
            ValueError: In mode 'loss', if a view, a mask or sources are missing.
        """
        views = views_of(inputs)
        if mask is None:
            mask = stack_masks(data_samples)
        if sources is None:
            sources = stack_field(data_samples, 'sources')
        if mask is None or sources is None:
            if mode == 'loss':
                raise ValueError(
                    "mode 'loss' takes a mask and the sources of each image: the pipeline needs a "
                    "PatchCorruptionGenerator, and PackInputs algorithm_keys=('sources',)"
                )
            return super().forward(views, None, mode, mask)
        images, hidden = self.given(views[0], mask, dict(sources=sources))
        if mode != 'loss':
            return super().forward(images, None, mode, hidden)
        return self.loss(images, views[-1], hidden, places=self._places(mask))

    def given(self, images: Tensor, mask: Tensor, data: Mapping) -> tuple[Tensor, Tensor]:
        """Images with other patches in the places of some, and where the mask token stands.

        Args:
            images, mask: See :meth:`MaskedImageModeling.given`.
            data: With ``sources`` (B, h, w) int64, of its own or of its ``data_samples``.

        Raises:
            ValueError: If the sources are of another grid than the images.
        """
        sources = data.get('sources')
        if sources is None:
            sources = stack_field(data.get('data_samples'), 'sources')
        if sources is None:
            return images, mask
        if sources.shape[1:] != (grid := self.backbone.grid_for(images)):
            raise ValueError(
                f'the corruption is of {sources.shape[1]} x {sources.shape[2]} patches, the image '
                f'has {grid[0]} x {grid[1]}: grid_size of PatchCorruptionGenerator must be '
                'img_size / patch_size'
            )
        return move_patches(images, sources), sources < 0
