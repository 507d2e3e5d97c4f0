"""The segmentation task layer: progressive upsampling to full resolution (paper 2.6, SETR)."""

import math

from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn

from ..layers.block import NORM_EPS

UPSAMPLES = ('bilinear', 'deconv')


class SETRPUPHead(BaseDecodeHead):
    """Double the resolution of the patch grid until a pixel of logits is a pixel of the image.

    SETR's progressive upsampling (arXiv 2012.15840, 3.2): LayerNorm over the channels of each
    patch, then log2(patch) steps, then a 1x1 classifier. Of a patch that is no power of two, such
    as 14, logits of the last step are brought to the image bilinearly. The names of the weights are
    those of MMSegmentation's ``SETRUPHead``, and so are those of its auxiliary heads, for which
    that class serves (``num_convs=1, up_scale=4``).

    Args:
        in_channels: Width C of the backbone.
        channels: Channels of the steps; 256 in SETR.
        patch_size: Height and width of a patch in pixels, from 2; 16 takes 4 steps, 14 takes 3.
        upsample: What a step is. 'bilinear': 3x3 convolution, norm, activation, bilinear x2, as in
            SETR. 'deconv': 4x4 transposed convolution of stride 2, norm, activation. The BEiT
            paper has "several deconvolution layers" and does not say which; 4 is a multiple of the
            stride, so that every pixel is the sum of equally many terms and no checkerboard arises
            (Odena et al. 2016), and bilinear upsampling is one of the weights it can learn.
        **kwargs: Of MMSegmentation's ``BaseDecodeHead``: ``num_classes``, ``in_index``,
            ``norm_cfg``, ``act_cfg``, ``dropout_ratio``, ``align_corners``, ``loss_decode`` and so
            on.

    Raises:
        ValueError: If ``patch_size`` or ``upsample`` is none of the above.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        *,
        patch_size: int = 16,
        upsample: str = 'bilinear',
        **kwargs,
    ) -> None:
        if not isinstance(patch_size, int) or patch_size < 2:
            raise ValueError(f'patch_size is {patch_size!r}; it must be a whole number from 2')
        if upsample not in UPSAMPLES:
            raise ValueError(f'upsample {upsample!r} is none of {", ".join(UPSAMPLES)}')
        super().__init__(in_channels, channels, **kwargs)
        self.norm = nn.LayerNorm(self.in_channels, eps=NORM_EPS)
        self.patch_size, steps = patch_size, int(math.log2(patch_size))
        step = self._bilinear_step if upsample == 'bilinear' else self._deconv_step
        self.up_convs = nn.Sequential(
            *(step(self.in_channels if index == 0 else channels) for index in range(steps))
        )

    def _bilinear_step(self, in_channels: int) -> nn.Sequential:
        return nn.Sequential(
            ConvModule(
                in_channels,
                self.channels,
                kernel_size=3,
                padding=1,
                norm_cfg=self.norm_cfg,
                act_cfg=self.act_cfg,
            ),
            nn.Upsample(scale_factor=2, mode='bilinear', align_corners=self.align_corners),
        )

    def _deconv_step(self, in_channels: int) -> nn.Sequential:
        return nn.Sequential(
            ConvModule(
                in_channels,
                self.channels,
                kernel_size=4,
                stride=2,
                padding=1,
                conv_cfg=dict(type='deconv'),
                norm_cfg=self.norm_cfg,
                act_cfg=self.act_cfg,
            )
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Logits of every pixel.

        Args:
            inputs: Feature maps of the backbone; that of ``in_index`` is used, (B, C, h, w).

        Returns:
            (B, num_classes, h * patch_size, w * patch_size).
        """
        x = self._transform_inputs(inputs)
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        height, width = (patches * self.patch_size for patches in x.shape[2:])
        logits = self.cls_seg(self.up_convs(x))
        if logits.shape[2:] == (height, width):
            return logits
        return resize(logits, (height, width), mode='bilinear', align_corners=self.align_corners)
