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

    Raises:
        ValueError: If that is none.
        ConfigError: Before training, if the model is neither.
    """

    NAME = 'reconstructions'

    def __init__(self, num_images: int = 8) -> None:
        if num_images < 1:
            raise ValueError(f'num_images is {num_images}; it must be at least 1')
        self.num_images = num_images
        self.paint: Callable[[Tensor], Tensor] | None = None
        self.labels = ('', '')

    def before_train(self, runner: Runner) -> None:
        """See what can be drawn, and read the tokenizer's decoder where there is one."""
        model = _bare(runner)
        if isinstance(model, DiscreteVAE):
            return
        if not isinstance(model, MaskedImageModeling):
            raise ConfigError(
                f'ReconstructionsHook draws what a DiscreteVAE or MaskedImageModeling makes, and '
                f'model.type is {type(model).__name__}; remove the hook'
            )
        self._choose_paint(runner)

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
        panel = panel_of(of_model(model, data, shown))
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


def _in_colors(preprocessor: Any, images: Tensor) -> Tensor:
    """Images as they were before they were normalised, in [0, 1]."""
    mean, std = getattr(preprocessor, 'mean', 0.0), getattr(preprocessor, 'std', 255.0)
    return (images * std + mean) / 255
