"""A Vision Transformer's forward and training step: this project's, timm's and MMPretrain's.

    python benchmarks/step.py --method vit --device cpu --batch-size 8
    python benchmarks/step.py --method vit --device cuda --precision bfloat16 --batch-size 128

The same network, by its own class in each library, with a linear head on [S], learned positions,
random weights and cross-entropy; each with the AdamW that its library takes. They take turns part
by part in an order that moves on, and a ratio is the median of the rounds' ratios, so that what
slows a shared machine for a while counts little.
"""

import statistics
from collections.abc import Callable, Sequence

import step
import timm.models.vision_transformer
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import VisionTransformer as PeerTransformer
from this_machine import describe
from torch import Tensor, nn
from vit_flop import forward_flop

from beit_mm.engine import FusedAdamW
from beit_mm.models import VisionTransformer
from beit_mm.models.sizes import ARCHS

OURS, PEERS = 'ours', ('timm', 'MMPretrain')
CLASSES = 1000
# Without gradients; loss and gradients; those and the optimizer's update.
PARTS = ('forward', 'forward and backward', 'step')


class OfBackbone(nn.Module):
    """A backbone of OpenMMLab's kind, with a linear head on [S]."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes)."""
        return self.head(self.backbone(x)[-1])


def own_model(size: dict, pixels: int, patch: int) -> nn.Module:
    """This project's."""
    backbone = VisionTransformer(
        arch=size, img_size=pixels, patch_size=patch, positions='learned', out_type='cls_token'
    )
    return OfBackbone(backbone, size['embed_dims'])


def timm_model(size: dict, pixels: int, patch: int) -> nn.Module:
    """timm's, by its class, since not every size has a name there."""
    return timm.models.vision_transformer.VisionTransformer(
        img_size=pixels, patch_size=patch, embed_dim=size['embed_dims'], depth=size['num_layers'],
        num_heads=size['num_heads'], num_classes=CLASSES,
        mlp_ratio=size['feedforward_channels'] / size['embed_dims'],
    )  # fmt: skip


def peer_model(size: dict, pixels: int, patch: int) -> nn.Module:
    """MMPretrain's."""
    backbone = PeerTransformer(arch=dict(size), img_size=pixels, patch_size=patch)
    return OfBackbone(backbone, size['embed_dims'])


MODELS: dict[str, Callable[[dict, int, int], nn.Module]] = {
    OURS: own_model,
    'timm': timm_model,
    'MMPretrain': peer_model,
}


class Contestant:
    """A model with its optimizer and a batch.

    Args:
        name: Of ``MODELS``.
        size: As in :data:`beit_mm.models.sizes.ARCHS`.
        images: (B, 3, H, W).
        patch: Its height and width.
        precision: float32, or what autocast takes.
    """

    def __init__(
        self, name: str, size: dict, images: Tensor, patch: int, precision: torch.dtype
    ) -> None:
        torch.manual_seed(0)
        self.model = MODELS[name](size, images.shape[-1], patch).to(images.device)
        adamw = FusedAdamW if name == OURS else torch.optim.AdamW
        self.optimizer = adamw(self.model.parameters(), lr=1e-3, weight_decay=0.3)
        self.images, self.device, self.dtype = images, images.device, precision
        self.labels = torch.arange(len(images), device=self.device) % CLASSES

    def logits(self) -> Tensor:
        """(B, classes), in the precision."""
        with step.in_precision(self.device, self.dtype):
            return self.model(self.images)

    @torch.no_grad()
    def infer(self) -> None:
        """A forward pass without gradients."""
        self.model.eval()
        self.logits()

    def loss(self) -> Tensor:
        """Of the batch, with what the backward pass needs."""
        self.model.train()
        return F.cross_entropy(self.logits().float(), self.labels)

    def backward(self) -> None:
        """Loss and gradients."""
        self.loss().backward()

    def step(self) -> None:
        """Loss, gradients, update."""
        self.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def time(self, part: str) -> float:
        """Seconds of one of ``PARTS``."""
        work = dict(zip(PARTS, (self.infer, self.backward, self.step), strict=True))[part]
        taken = step.seconds(self.device, work)
        self.optimizer.zero_grad()
        return taken


def take_turns(
    contestants: dict[str, Contestant], repeats: int, parts: Sequence[str] = PARTS
) -> dict[str, dict[str, list[float]]]:
    """Part -> name -> seconds of each round; warmed up, in an order that moves on."""
    names = list(contestants)
    for contestant in contestants.values():
        for part in parts:
            contestant.time(part)
    times = {part: {name: list[float]() for name in names} for part in parts}
    for index in range(repeats):
        begin = index % len(names)
        for part in parts:
            for name in names[begin:] + names[:begin]:
                times[part][name].append(contestants[name].time(part))
    return times


def ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """Peer -> how many times as fast ours is, the median of the rounds."""
    return {
        peer: statistics.median(
            theirs / ours for theirs, ours in zip(times[peer], times[OURS], strict=True)
        )
        for peer in times
        if peer != OURS
    }


def measure(args) -> dict:
    """Time all parts, taking turns."""
    device, precision = torch.device(args.device), step.PRECISIONS[args.precision]
    size = step.QUICK if args.quick else ARCHS[args.arch]
    images = torch.randn(args.batch_size, 3, args.pixels, args.pixels, device=device)
    contestants = {name: Contestant(name, size, images, args.patch, precision) for name in MODELS}
    times = take_turns(contestants, args.repeats)
    flop = forward_flop(size, (args.pixels // args.patch) ** 2, args.patch)
    return dict(
        benchmark='vit_step',
        machine=describe(device),
        flop_an_image=flop,
        seconds={
            part: {name: statistics.median(values) for name, values in of_part.items()}
            for part, of_part in times.items()
        },
        ratios={part: ratios(of_part) for part, of_part in times.items()},
        all_seconds=times,
    )


def print_table(report: dict) -> None:
    """A row a part."""
    images, flop = report['settings']['batch_size'], report['flop_an_image']
    print(f'{"":22}' + ''.join(f'{name:>21}' for name in MODELS) + f'{"x timm":>9}{"x MMPre.":>9}')
    for part, seconds in report['seconds'].items():
        work = flop * images * (1 if part == PARTS[0] else 3)
        cells = (f'{s * 1e3:10.1f} ms{work / s / 1e9:6.0f} GF' for s in seconds.values())
        faster = ''.join(f'{report["ratios"][part][peer]:9.2f}' for peer in PEERS)
        print(f'{part:22}' + ''.join(cells) + faster)
