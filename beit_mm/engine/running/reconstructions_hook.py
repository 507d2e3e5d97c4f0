"""Pictures of what a model fills in, while it learns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from ...component import ConfigError
from ...models.data_preprocessor import stack_masks
from ...models.discrete_vae import DiscreteVAE
from ...models.masked_image_modeling import MaskedImageModeling
from ...models.whole_tokenizer import whole_tokenizer
from ...registry import HOOKS


@HOOKS.register_module()
class ReconstructionsHook(Hook):
    """At each validation, a panel of its first images for the run's folder and its trackers.

    Of a :class:`DiscreteVAE`: images and their reconstructions. Of :class:`MaskedImageModeling`:
    images, what the model saw of them, their targets as images, and those with the predicted ones
    in the hidden places; visual tokens become images where the tokenizer's checkpoint has its
    decoder. Drawn from what validation has computed: training goes as it would without.

    Args:
        num_images: Most images of a panel.
        shown: Which bands are shown as red, green and blue: three names or numbers, counted from
            1, or one to be shown in grey. None for red, green and blue where the model's ``bands``
            have such names, else the first three, else the first in grey.

    Raises:
        ValueError: If ``num_images`` is none.
        ConfigError: Before training, if the model is neither, or has no such bands.
    """

    NAME = 'reconstructions'

    def __init__(self, num_images: int = 8, shown: Sequence[str | int] | None = None) -> None:
        if num_images < 1:
            raise ValueError(f'num_images is {num_images}; it must be at least 1')
        self.num_images, self.shown = num_images, shown
        self.paint: Callable[[Tensor], Tensor] | None = None
        self.labels = ('', '')

    def before_train(self, runner: Runner) -> None:
        """See what can be drawn, and read the tokenizer's decoder where there is one."""
        model = _bare(runner)
        if not isinstance(model, (DiscreteVAE, MaskedImageModeling)):
            raise ConfigError(
                f'ReconstructionsHook draws what a DiscreteVAE or MaskedImageModeling makes, and '
                f'model.type is {type(model).__name__}; remove the hook'
            )
        self._check_shown(model)
        if isinstance(model, MaskedImageModeling):
            self._choose_paint(runner)

    @master_only
    def _check_shown(self, model: DiscreteVAE | MaskedImageModeling) -> None:
        from ...visualization import shown_places

        try:
            shown_places(_first_layer(model).in_channels, self.shown, _taking(model).bands)
        except ValueError as error:
            raise ConfigError(f'ReconstructionsHook: {error}') from None

    @master_only
    def _choose_paint(self, runner: Runner) -> None:
        from ...visualization.reconstructions import OF_OTHERS, OF_TOKENS

        generator: Any = _bare(runner).target_generator
        if hasattr(generator, 'picture'):
            if not getattr(generator, 'normalize', False):
                self.paint, self.labels = generator.picture, OF_OTHERS
            return
        config = runner.cfg.model.target_generator
        # That of CachedTargetGenerator, which computes the tokens of validation.
        config = config.get('generator') or config
        try:
            tokenizer = whole_tokenizer(config) if 'tokenizer' in config else None
        except RuntimeError as error:
            said = str(error).partition('\n')[0]
            runner.logger.warning(f'No pictures of tokens, as the decoder does not load: {said}')
            return
        if tokenizer is not None:
            self.paint, self.labels = tokenizer.decode, OF_TOKENS

    @master_only
    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Draw the first batch: the weights are those that are validated, an average's too."""
        if batch_idx > 0 or not outputs:
            return
        # matplotlib is no part of training.
        from ...visualization import panel_of

        model = _bare(runner)
        shown = outputs[: self.num_images]
        data = model.data_preprocessor(data_batch, False)
        of_model = self._of_tokenizer if isinstance(model, DiscreteVAE) else self._of_task
        panel = panel_of(of_model(model, data, shown), self.shown, _taking(model).bands)
        runner.visualizer.add_image(self.NAME, panel, runner.iter)

    def _of_tokenizer(
        self, model: DiscreteVAE, data: Mapping[str, Any], shown: Sequence[Any]
    ) -> dict[str, Tensor]:
        tokens = torch.stack([each.tokens for each in shown])
        images = data['inputs'][: len(shown)]
        return {'original': images.cpu(), 'reconstruction': model.decode(tokens).cpu()}

    def _of_task(
        self, model: MaskedImageModeling, data: Mapping[str, Any], shown: Sequence[Any]
    ) -> dict[str, Tensor]:
        from ...visualization import filled_in

        masks: Any = data.get('mask')
        if masks is None:
            masks = stack_masks(data['data_samples'])
        targets, predicted = (
            torch.stack([each.get(name) for each in shown]).cpu()
            for name in ('targets', 'predicted')
        )
        images = _in_colors(model.data_preprocessor, data['inputs'][0][: len(shown)])
        return filled_in(
            images.cpu(), masks[: len(shown)].cpu(), targets, predicted, self.paint, self.labels
        )


def _bare(runner: Runner) -> Any:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _taking(model: Any) -> Any:
    """The network that takes the images, whose bands may have names."""
    return model if isinstance(model, DiscreteVAE) else model.backbone


def _first_layer(model: Any) -> Any:
    network = _taking(model)
    return network.encoder.input if network is model else network.patch_embed.proj


def _in_colors(preprocessor: Any, images: Tensor) -> Tensor:
    """Images as they were before they were normalised, in [0, 1]."""
    mean, std = getattr(preprocessor, 'mean', 0.0), getattr(preprocessor, 'std', 255.0)
    return (images * std + mean) / 255
