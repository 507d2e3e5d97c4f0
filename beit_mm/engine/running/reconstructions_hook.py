"""Pictures of what a model fills in, while it learns."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from ...component import ConfigError
from ...models.data_preprocessor import in_colors, stack_masks
from ...models.discrete_vae import DiscreteVAE
from ...models.masked_image_modeling import MaskedImageModeling
from ...models.painter import painter_of
from ...models.whole_tokenizer import whole_tokenizer
from ...registry import HOOKS
from .held_out import evaluating, held_out_batch

# Of a run, if nobody says how many.
PICTURES = 20


@HOOKS.register_module()
class ReconstructionsHook(Hook):
    """Panels of held-out images for the run's folder and its trackers.

    Of a :class:`DiscreteVAE`: images and their reconstructions. Of :class:`MaskedImageModeling`:
    images, what the model saw of them, their targets as images, those with the predicted ones in
    the hidden places, and the hidden places of that in the images; visual tokens become images
    where the tokenizer's checkpoint has its decoder. Pixels that are normalised by patch, as those
    of :class:`MaskedAutoencoder`, are put back by the patches' own means and spreads, as the panel
    says.

    ``reconstructions`` is drawn at each validation, of its first images, from what it has computed.
    ``learning`` is drawn as training goes on, of images of the validation data, the same with the
    same masks each time: pictures of which ``beit-mm look film`` makes a film. Training goes as it
    would without.

    Args:
        num_images: Most images of a panel.
        shown: Which bands are shown as red, green and blue: three names or numbers, counted from
            1, or one to be shown in grey. None for red, green and blue where the model's ``bands``
            have such names, else the first three, else the first in grey.
        interval: Iterations between two pictures of ``learning``; None for a twentieth of the run,
            0 for no such pictures.

    Raises:
        ValueError: If ``num_images`` is none, or ``interval`` below 0.
        ConfigError: Before training, if the model is neither, or has no such bands.
    """

    NAME, LEARNING = 'reconstructions', 'learning'

    def __init__(
        self,
        num_images: int = 8,
        shown: Sequence[str | int] | None = None,
        interval: int | None = None,
    ) -> None:
        if num_images < 1:
            raise ValueError(f'num_images is {num_images}; it must be at least 1')
        if interval is not None and interval < 0:
            raise ValueError(f'interval is {interval}; it must be at least 0, or None')
        self.num_images, self.shown, self.interval = num_images, shown, interval
        self.tokenizer: DiscreteVAE | None = None
        self.batch: dict | None = None

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
            self._find_decoder(runner)
        self._begin_learning(runner)

    @master_only
    def _check_shown(self, model: DiscreteVAE | MaskedImageModeling) -> None:
        from ...visualization import shown_places

        try:
            shown_places(_first_layer(model).in_channels, self.shown, _taking(model).bands)
        except ValueError as error:
            raise ConfigError(f'ReconstructionsHook: {error}') from None

    @master_only
    def _find_decoder(self, runner: Runner) -> None:
        config = runner.cfg.model.target_generator
        # That of CachedTargetGenerator, which computes the tokens of validation.
        config = config.get('generator') or config
        try:
            if 'tokenizer' in config:
                self.tokenizer = whole_tokenizer(config)
        except RuntimeError as error:
            said = str(error).partition('\n')[0]
            runner.logger.warning(f'No pictures of tokens, as the decoder does not load: {said}')

    @master_only
    def _begin_learning(self, runner: Runner) -> None:
        """Keep the images that are drawn again and again, and draw them before the first step."""
        if self.interval == 0 or runner.val_loop is None:
            return
        if self.interval is None:
            self.interval = max(1, -(-runner.max_iters // PICTURES))
        self.batch = held_out_batch(runner.val_loop.dataloader, self.num_images)
        if runner.iter == 0:
            self._draw_learning(runner, 0)

    @master_only
    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Draw the held-out images at the interval, and after the last iteration."""
        done = runner.iter + 1
        if self.interval and (done % self.interval == 0 or done == runner.max_iters):
            self._draw_learning(runner, done)

    def _draw_learning(self, runner: Runner, done: int) -> None:
        if self.batch is None:
            return
        model = _bare(runner)
        with evaluating(model):
            if isinstance(model, DiscreteVAE):
                images = model.data_preprocessor(self.batch, False)['inputs']
                tokens = model.tokenize(images)
                panel = Panel(_of_tokenizer(model, images, tokens))
            else:
                shown = model.val_step(self.batch)
                panel = self._of_task(model, self.batch, shown)
        self._add(runner, self.LEARNING, panel, done)

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
        model = _bare(runner)
        shown = outputs[: self.num_images]
        if isinstance(model, DiscreteVAE):
            tokens = torch.stack([each.tokens for each in shown])
            images = model.data_preprocessor(data_batch, False)['inputs'][: len(shown)]
            panel = Panel(_of_tokenizer(model, images, tokens))
        else:
            panel = self._of_task(model, data_batch, shown)
        self._add(runner, self.NAME, panel, runner.iter)

    def _of_task(self, model: MaskedImageModeling, batch: Any, shown: Sequence[Any]) -> 'Panel':
        """Of what ``val_step`` has made of a batch, on the CPU, where the decoder is."""
        from ...visualization import filled_in, hide_patches

        data: Mapping[str, Any] = model.data_preprocessor(batch, False)
        masks: Any = data.get('mask')
        if masks is None:
            masks = stack_masks(data['data_samples'])
        targets, predicted = (
            torch.stack([each.get(name) for each in shown]).cpu()
            for name in ('targets', 'predicted')
        )
        views = [view[: len(shown)].cpu() for view in data['inputs']]
        of = model.data_preprocessor
        painter = painter_of(
            model.target_generator,
            self.tokenizer,
            # Where there are two views, the second is in [0, 1].
            functools.partial(in_colors, of) if len(views) == 1 else None,
        )
        images, masks = in_colors(of, views[0]), masks[: len(shown)].cpu()
        given, covered = model.given(
            images, masks, dict(data_samples=data['data_samples'][: len(shown)])
        )
        seen = hide_patches(given, covered)
        rows = filled_in(images, views[-1], masks, targets, predicted, painter, seen)
        return Panel(rows, painter.note if painter is not None else '')

    def _add(self, runner: Runner, name: str, panel: 'Panel', step: int) -> None:
        # matplotlib is no part of training.
        from ...visualization import panel_of

        bands = _taking(_bare(runner)).bands
        picture = panel_of(panel.rows, self.shown, bands, panel.note)
        runner.visualizer.add_image(name, picture, step)


class Panel(NamedTuple):
    """Rows of pictures, label -> (B, C, H, W) in [0, 1], and what is written below them."""

    rows: Mapping[str, Tensor]
    note: str = ''


def _of_tokenizer(model: DiscreteVAE, images: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    return {'original': images.cpu(), 'reconstruction': model.decode(tokens).cpu()}


def _bare(runner: Runner) -> Any:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _taking(model: Any) -> Any:
    """The network that takes the images, whose bands may have names."""
    return model if isinstance(model, DiscreteVAE) else model.backbone


def _first_layer(model: Any) -> Any:
    network = _taking(model)
    return network.encoder.input if network is model else network.patch_embed.input
