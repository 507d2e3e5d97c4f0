"""The image tokenizer: a discrete VAE of DALL-E's shape (paper 2.1.2; arXiv 2102.12092, A)."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor

from ..checkpoints import BAND_NAMES, pack_names
from ..component import Component, Plan
from ..layers.compiling import is_compiling
from ..layers.fit_bands import check_names
from ..registry import MODELS
from .codebook import Codebook
from .dvae_networks import build_decoder, build_encoder, padded_conv
from .tokenizer_bands import fit_tokenizer

QUANTIZERS = ('gumbel', 'vector')
# Weight of what holds the encoder to its codes (arXiv 1711.00937, 3.2).
COMMITMENT = 0.25
# Pixels are squeezed into [EPS, 1 - EPS], where the logit of the likelihood is finite.
PIXEL_EPS = 0.1
# Places whose logits are held at a time: 128 MiB in float32 for a vocabulary of 8192.
PLACES_AT_ONCE = 4096
# Of the largest activation of the images that a CPU encodes at a time: about what its caches hold.
# Two images of DALL-E's network in float32, five in half precision.
BYTES_AT_ONCE = 2**25
# The sharpest likelihood: a scale of half an 8-bit grey level in the middle of the range. Without
# a floor, flat regions (paper white, black frames) are fitted with a density that grows for ever
# and drown everything else in the loss.
MIN_LOG_SCALE = math.log(0.5 / 255 * (1 - 2 * PIXEL_EPS) * 4)


def map_pixels(images: Tensor) -> Tensor:
    """[0, 1] -> [0.1, 0.9]."""
    return (1 - 2 * PIXEL_EPS) * images + PIXEL_EPS


def unmap_pixels(images: Tensor) -> Tensor:
    """[0.1, 0.9] -> [0, 1], clamped."""
    return ((images - PIXEL_EPS) / (1 - 2 * PIXEL_EPS)).clamp(0, 1)


def logit_laplace_nll(pixels: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Negative log-likelihood of pixels whose logit is Laplace distributed.

    With m = ``mean`` and b = exp(``log_scale``) the density of a pixel x is
    exp(-|logit(x) - m| / b) / (2 b x (1 - x))   (arXiv 2102.12092, A.3).

    Args:
        pixels: Mapped pixels in (0, 1), any shape.
        mean, log_scale: Of the same shape.

    Returns:
        Of the same shape, in nats.
    """
    distance = (torch.logit(pixels) - mean).abs()
    return distance * torch.exp(-log_scale) + log_scale + torch.log(2 * pixels * (1 - pixels))


def stride_of_groups(num_groups: int) -> int:
    """Pixels a token stands for along each axis: groups halve the size, but for the last."""
    return 2 ** (num_groups - 1)


@MODELS.register_module()
class DiscreteVAE(BaseModel):
    """Image <-> grid of visual tokens; trained by the Runner, used by BEiT's pre-training.

    The defaults are DALL-E's network: stride 8, 8192 tokens. There are two ways to train it:

    - ``quantizer='gumbel'``, the paper's: the evidence lower bound with codes drawn by the
      Gumbel-softmax relaxation and the logit-Laplace likelihood; :class:`DVAEAnnealingHook` moves
      ``temperature`` and ``kl_weight`` along their schedules. It takes long runs on many images:
      in short ones on few images most codes are never used.
    - ``quantizer='vector'``, for one's own images: each place takes the nearest of
      :class:`beit_mm.models.codebook.Codebook`'s vectors, and pixels are fitted by squared error
      (VQ-VAE). Codes that fall out of use are set on images that are badly served.

    Args:
        vocab_size: Number of visual tokens V.
        hidden: Width of the outermost group; the innermost is 2^(num_groups - 1) times as wide.
        num_groups: Groups of blocks in encoder and decoder; the stride is 2^(num_groups - 1).
        blocks_per_group: Residual blocks a group.
        decoder_input: Width of the decoder's first layer, the embedding of a token.
        quantizer: 'gumbel' or 'vector'.
        code_dims: Width of the vectors of ``quantizer='vector'``.
        in_channels: Channels of the images.
        with_decoder: Whether to hold the decoder; tokenizing alone does without.
        data_preprocessor: Config of a preprocessor that yields images in [0, 1].
        bands: Names of the channels; they are kept among the weights. None names three channels
            red, green and blue, and no others.
        fit_bands: Whether weights for other bands than these are fitted as they are loaded, see
            :func:`beit_mm.models.tokenizer_bands.fit_tokenizer`; else they are refused.

    Attributes:
        temperature: Of the Gumbel-softmax relaxation.
        kl_weight: DALL-E's beta.
    """

    def __init__(
        self,
        vocab_size: int = 8192,
        hidden: int = 256,
        num_groups: int = 4,
        blocks_per_group: int = 2,
        decoder_input: int = 128,
        in_channels: int = 3,
        with_decoder: bool = True,
        data_preprocessor: dict | None = None,
        quantizer: str = 'gumbel',
        code_dims: int = 32,
        bands: Sequence[str] | None = None,
        fit_bands: bool = True,
    ) -> None:
        super().__init__(data_preprocessor)
        if quantizer not in QUANTIZERS:
            raise ValueError(f'quantizer {quantizer!r} is none of {", ".join(QUANTIZERS)}')
        self.quantizer = quantizer
        self.vocab_size = vocab_size
        self.in_channels = in_channels
        self.bands, self.fit_bands = check_names(bands, in_channels), fit_bands
        self.stride = stride_of_groups(num_groups)
        self.temperature = 1.0
        self.kl_weight = 0.0
        size = hidden, num_groups, blocks_per_group
        if quantizer == 'gumbel':
            # The decoder is given one-hot codes, and makes mean and scale of each pixel value.
            encoded, decoded, made = vocab_size, vocab_size, 2 * in_channels
        else:
            encoded, decoded, made = code_dims, code_dims, in_channels
        self.encoder: Any = build_encoder(in_channels, *size, encoded)
        layers: Any = self.encoder
        if self.bands is not None:
            layers.input.register_buffer(BAND_NAMES, pack_names(self.bands))
        if quantizer == 'vector':
            layers.output.add_module('codebook', Codebook(vocab_size, code_dims))
        self.decoder: Any = (
            build_decoder(*size, decoded, decoder_input, made) if with_decoder else None
        )
        self._register_load_state_dict_pre_hook(self._fit_state_dict)

    @staticmethod
    def check_config(component: Component, plan: Plan) -> Iterator[str]:
        """What cannot work in a config, see :class:`beit_mm.component.Component`."""
        try:
            check_names(component['bands'], component['in_channels'])
        except ValueError as error:
            yield f'{component.key}: {error}'

    @staticmethod
    def bands_of(component: Component) -> tuple[str, int, Sequence[str] | None]:
        """Where a config says how many bands there are, how many, and their names if it has any."""
        return f'{component.key}.in_channels', component['in_channels'], component['bands']

    @staticmethod
    def stride_of(component: Component) -> int:
        """Pixels a token stands for along each axis, of the tokenizer that a config describes."""
        return stride_of_groups(component['num_groups'])

    def init_weights(self) -> None:
        """Nothing to do: the constructor initialises as DALL-E does."""

    def _fit_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Let every way of loading take weights for other bands."""
        names = [name for name in state_dict if name.startswith(prefix)]
        own = {name.removeprefix(prefix): state_dict.pop(name) for name in names}
        fitted, said = fit_tokenizer(self, own)
        state_dict.update({f'{prefix}{name}': tensor for name, tensor in fitted.items()})
        if said:
            print_log(said, logger='current')

    def encode(self, images: Tensor) -> Tensor:
        """Logits over the vocabulary.

        Args:
            images: (B, in_channels, H, W) float in [0, 1]; H and W multiples of ``stride``.

        Returns:
            (B, V, H / stride, W / stride).

        Raises:
            ValueError: If the images have another shape.
        """
        self._check_images(images)
        return self.encoder(map_pixels(images))

    def _check_images(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f'images of shape {tuple(images.shape)} were given, the tokenizer takes '
                f'(B, {self.in_channels}, H, W)'
            )
        if images.shape[2] % self.stride or images.shape[3] % self.stride:
            raise ValueError(
                f'images of {images.shape[2]} x {images.shape[3]} pixels do not divide into the '
                f"tokenizer's {self.stride} x {self.stride} cells"
            )

    @torch.no_grad()
    def tokenize(self, images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Visual tokens z of images as in :meth:`encode`: (B, h, w) int64 in [0, V).

        The most likely tokens of :meth:`encode`, its plain twin, but computed in the memory
        format that convolutions are fastest in, and without the logits of all places at once.

        Args:
            images: As in :meth:`encode`.
            dtype: Half precision for all but the last layer, whose close logits decide; that one
                is computed in float32, as in DALL-E's released encoder. None computes as
                :meth:`encode` does.
        """
        self._check_images(images)
        images = map_pixels(images).contiguous(memory_format=torch.channels_last)
        if dtype is None:
            return self._most_likely(self._features(images, images.dtype))
        with torch.autocast(images.device.type, dtype=dtype):
            features = self._features(images, dtype)
        with torch.autocast(images.device.type, enabled=False):
            return self._most_likely(features.float())

    def _features(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """What the encoder's last layer is given, computed in ``dtype``."""
        if images.device.type != 'cpu' or is_compiling():
            if dtype in (torch.float16, torch.bfloat16):
                return self.encoder[1:-1](padded_conv(self.encoder.input, images))
            return self.encoder[:-1](images)
        layers = self.encoder[:-1]
        # The largest activations, the first layers', are read before they leave the cache.
        one_image = self.encoder.input.out_channels * images[0, 0].numel() * dtype.itemsize
        pieces = images.split(max(1, BYTES_AT_ONCE // one_image))
        return torch.cat([layers(piece) for piece in pieces]) if len(pieces) > 1 else layers(images)

    def _most_likely(self, features: Tensor) -> Tensor:
        batch, _, height, width = features.shape
        # A column of places is an image of width 1.
        places = features.permute(0, 2, 3, 1).flatten(0, 2)[None].permute(0, 2, 1)[..., None]
        ids = [
            self.encoder.output(some).flatten(2)[0].argmax(dim=0)
            for some in places.split(PLACES_AT_ONCE, dim=2)
        ]
        return torch.cat(ids).view(batch, height, width)

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Images of visual tokens.

        Args:
            ids: (B, h, w) int64 in [0, V).

        Returns:
            (B, in_channels, h * stride, w * stride) in [0, 1].
        """
        if self.quantizer == 'vector':
            return self._decoded(self.encoder.output.codebook.look_up(ids)).clamp(0, 1)
        codes = F.one_hot(ids, self.vocab_size).permute(0, 3, 1, 2)
        mean, _ = self._decode_codes(codes.to(self.encoder.input.weight.dtype))
        return unmap_pixels(mean.sigmoid())

    def _decoded(self, codes: Tensor) -> Tensor:
        """What the decoder makes of codes."""
        if self.decoder is None:
            raise ValueError('this tokenizer was built with with_decoder=False')
        return self.decoder(codes)

    def _decode_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """(B, V, h, w) one-hot or relaxed codes -> mean and log-scale, (B, C, H, W) each."""
        mean, log_scale = self._decoded(codes).chunk(2, dim=1)
        # A smooth floor: behind a hard one a scale that went too far could not come back.
        return mean, torch.logaddexp(log_scale, log_scale.new_tensor(MIN_LOG_SCALE))

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Tensor | dict[str, Tensor]:
        """The Runner's entry.

        Args:
            inputs: (B, in_channels, H, W) in [0, 1].
            data_samples: Not used.
            mode: 'tensor' for logits, 'loss' for the training losses, 'predict' for token ids.

        Returns:
            See :meth:`encode`, :meth:`loss` and :meth:`tokenize`.
        """
        if mode == 'tensor':
            return self.encode(inputs)
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'predict':
            return self.tokenize(inputs)
        raise ValueError(f"mode {mode!r} is none of 'tensor', 'loss', 'predict'")

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """:meth:`evidence_loss` or :meth:`vector_loss`, by ``quantizer``.

        Args:
            images: (B, in_channels, H, W) in [0, 1].
        """
        if self.quantizer == 'vector':
            return self.vector_loss(images)
        return self.evidence_loss(images)

    def evidence_loss(self, images: Tensor) -> dict[str, Tensor]:
        """Negative evidence lower bound (BEiT, equation 2) a pixel value; a tokenizer's health.

        Reconstruction is averaged over pixel values, so the KL divergence from the uniform prior,
        a sum over tokens, is divided by the pixel values a token stands for (192 in DALL-E).

        Args:
            images: (B, in_channels, H, W) in [0, 1].

        Returns:
            ``loss_recon`` and ``loss_kl``, which add up to the loss, and for the log: ``kl``
            (nats a token), ``recon_mse`` (of pixels in [0, 1]), ``codes_used`` and ``perplexity``
            (of this batch's most likely tokens), ``temperature``, ``beta``.
        """
        logits = self.encode(images)
        codes = F.gumbel_softmax(logits, tau=self.temperature, dim=1)
        mean, log_scale = self._decode_codes(codes)
        recon = logit_laplace_nll(map_pixels(images), mean, log_scale).mean()

        log_q = F.log_softmax(logits, dim=1)
        kl = (log_q.exp() * log_q).sum(dim=1).mean() + math.log(self.vocab_size)
        values_per_token = self.stride**2 * self.in_channels

        with torch.no_grad():
            mse = F.mse_loss(unmap_pixels(mean.sigmoid()), images)
            counts = torch.bincount(logits.argmax(dim=1).flatten(), minlength=self.vocab_size)
        return dict(
            loss_recon=recon,
            loss_kl=self.kl_weight / values_per_token * kl,
            kl=kl.detach(),
            recon_mse=mse,
            codes_used=(counts > 0).sum().float(),
            perplexity=codebook_perplexity(counts),
            temperature=images.new_tensor(self.temperature),
            beta=images.new_tensor(self.kl_weight),
        )

    def vector_loss(self, images: Tensor) -> dict[str, Tensor]:
        """Squared error of pixels, and what holds the encoder to its codes (arXiv 1711.00937, 3).

        Args:
            images: (B, in_channels, H, W) in [0, 1].

        Returns:
            ``loss_recon`` and ``loss_commit``, and for the log ``recon_mse``, ``codes_used`` and
            ``perplexity`` of this batch's tokens.
        """
        self._check_images(images)
        codebook = self.encoder.output.codebook
        vectors = self.encoder.output[:-1](self.encoder[:-1](map_pixels(images)))
        if self.training:
            codebook.follow(vectors.detach())
        ids = codebook.nearest(vectors)
        codes = codebook.look_up(ids)
        # Backwards as if the code were the vector itself.
        error = F.mse_loss(self._decoded(vectors + (codes - vectors).detach()), images)
        counts = torch.bincount(ids.flatten(), minlength=self.vocab_size)
        return dict(
            loss_recon=error,
            loss_commit=COMMITMENT * F.mse_loss(vectors, codes),
            recon_mse=error.detach(),
            codes_used=(counts > 0).sum().float(),
            perplexity=codebook_perplexity(counts),
        )

    def val_step(self, data: dict) -> list[BaseDataElement]:
        """Token ids and reconstruction error of each image, for :class:`TokenizerMetric`."""
        images = self.data_preprocessor(data, False)['inputs']
        ids = self.tokenize(images)
        errors = (self.decode(ids) - images).square().flatten(1).mean(dim=1)
        return [
            BaseDataElement(tokens=tokens, recon_mse=error, vocab_size=self.vocab_size)
            for tokens, error in zip(ids, errors, strict=True)
        ]

    test_step = val_step


def codebook_perplexity(counts: Tensor) -> Tensor:
    """exp(entropy) of how often each code was used: V if all equally, 1 if only one was.

    Args:
        counts: (V,) number of uses.

    Returns:
        Scalar float.

    >>> codebook_perplexity(torch.tensor([5, 5, 5, 5])).item()
    4.0
    """
    share = counts.float() / counts.sum()
    return torch.exp(torch.special.entr(share).sum())
