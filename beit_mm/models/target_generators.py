"""What a masked patch must predict."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..checkpoints import load_tokenizer_state_dict
from ..registry import MODELS


def _turn_parameters_into_buffers(module: nn.Module) -> None:
    """Put every parameter out of reach of optimizers and of DDP's gradient traffic.

    ``requires_grad=False`` is not enough: optimizer constructors list such parameters all the
    same. Buffers move between devices and are saved as parameters are.
    """
    for child in module.modules():
        for name, parameter in list(child._parameters.items()):
            if parameter is not None:
                del child._parameters[name]
                child.register_buffer(name, parameter.detach())


@MODELS.register_module()
class DVAETargetGenerator(BaseModule):
    """Visual tokens of a frozen :class:`DiscreteVAE` (paper 2.1.2).

    The tokenizer runs in float32 whatever the precision around it: in half precision the most
    likely token of an image changes here and there. It stays in eval mode, and its weights are
    buffers, so that no optimizer updates or decays them.

    Args:
        tokenizer: Config of the :class:`DiscreteVAE`, or the module itself; its decoder is not
            needed.
        checkpoint: Its weights: a checkpoint that this project trained, or the encoder of DALL-E
            as MMPretrain publishes it; a path or a URL. None leaves the weights as they are, for
            a tokenizer that is given as a module or comes with a checkpoint of the whole model.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is of a tokenizer of another size.
    """

    def __init__(self, tokenizer: dict | nn.Module, checkpoint: str | None = None) -> None:
        super().__init__()
        if isinstance(tokenizer, nn.Module):
            self.tokenizer = tokenizer
        else:
            self.tokenizer = MODELS.build({'with_decoder': False, **tokenizer})
        # Whoever tests a whole model need not find these weights in the model's checkpoint.
        self.checkpoint = checkpoint
        if checkpoint is not None:
            self._load(checkpoint)
        _turn_parameters_into_buffers(self.tokenizer)
        self.tokenizer.eval()

    def _load(self, checkpoint: str) -> None:
        weights = load_tokenizer_state_dict(checkpoint)
        weights = {name: w for name, w in weights.items() if name.startswith('encoder.')}
        try:
            self.tokenizer.encoder.load_state_dict(
                {name.removeprefix('encoder.'): weight for name, weight in weights.items()}
            )
        except RuntimeError as error:
            raise ValueError(
                f'{checkpoint} is a tokenizer of another size than '
                f'model.target_generator.tokenizer describes: {error}'
            ) from None

    @property
    def vocab_size(self) -> int:
        """Number of visual tokens."""
        return self.tokenizer.vocab_size

    @property
    def stride(self) -> int:
        """Pixels of the tokenizer's view a token stands for, along each axis."""
        return self.tokenizer.stride

    def train(self, mode: bool = True):
        """Set the mode of this module alone; the tokenizer stays in eval mode."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def init_weights(self) -> None:
        """Nothing to do: the constructor has loaded the weights."""

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Visual tokens.

        Args:
            images: (B, 3, H, W) in [0, 1], the tokenizer's view.

        Returns:
            (B, H / stride, W / stride) int64 in [0, vocab_size).
        """
        with torch.autocast(images.device.type, enabled=False):
            return self.tokenizer.tokenize(images.float())
