"""MAE's pre-training step: this project's beside MMPretrain's, in one run; and by mask share.

    python benchmarks/step.py --method mae --device cpu --batch-size 8
    python benchmarks/step.py --method mae --device cuda --precision bfloat16 --batch-size 256

Both models are built from their own recipes with random weights and get the same images; the two
take turns, and every figure is a median. This project's step is timed again with 0, 25, 50, 75 and
90 % of the patches hidden, beside the FLOP that each takes, counted as in step.py; with --out a
plot of it, .png, goes beside the JSON.
"""

import statistics
from pathlib import Path

import mmpretrain
import step
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as PEERS
from this_machine import describe
from vit_flop import blocks_flop

from beit_mm.datasets import random_mask
from beit_mm.engine.optimizing.param_groups import share_groups_of_config
from beit_mm.models.sizes import ARCHS
from beit_mm.registry import MODELS

PEER_CONFIG = '.mim/configs/mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py'
PATCHES, SHARES = 196, (0.0, 0.25, 0.5, 0.75, 0.9)
DECODER = dict(embed_dims=512, num_layers=8, num_heads=16, feedforward_channels=2048)


class Contestant:
    """A model with its optimizer, and its whole step.

    Args:
        cfg: Whole config; ``model`` and ``optim_wrapper`` are used.
        registry: That builds the model.
        inputs: What the model's forward is given, by name.
        device, precision: Where and in what precision it runs.
    """

    def __init__(self, cfg, registry, inputs, device, precision) -> None:
        torch.manual_seed(0)
        self.model = registry.build(cfg.model).to(device).train()
        settings = {**cfg.optim_wrapper, 'type': 'OptimWrapper'}
        settings.pop('loss_scale', None)
        self.optim_wrapper = build_optim_wrapper(self.model, settings)
        self.inputs, self.device, self.dtype = inputs, device, precision

    def step(self) -> None:
        """Loss, gradients, update, as the Runner does."""
        with step.in_precision(self.device, self.dtype):
            loss = self.model(mode='loss', **self.inputs)['loss']
        loss.backward()
        self.optim_wrapper.step()
        self.optim_wrapper.zero_grad()

    def time_step(self) -> float:
        """Seconds of a step."""
        return step.seconds(self.device, self.step)


def own_config(arch: str, quick: bool, num_masked: int) -> Config:
    """This project's recipe."""
    cfg = Config.fromfile(str(step.ROOT / 'configs' / 'mae_pretrain.py'))
    size = dict(step.QUICK if quick else ARCHS[arch])
    cfg.model.backbone.arch = size
    cfg.model.decoder.encoder_dims = size['embed_dims']
    cfg.model.head.num_masked = num_masked
    if quick:
        cfg.model.decoder.num_layers = 1
    share_groups_of_config(cfg)
    return cfg


def peer_config(arch: str, quick: bool) -> Config:
    """MMPretrain's own recipe."""
    cfg = Config.fromfile(str(Path(mmpretrain.__file__).parent / PEER_CONFIG))
    cfg.model.backbone.arch = dict(step.QUICK if quick else ARCHS[arch])
    cfg.model.neck.embed_dim = cfg.model.backbone.arch['embed_dims']
    if quick:
        cfg.model.neck.decoder_depth = 1
    return cfg


def flop(arch: dict, decoder_layers: int, hidden: int) -> float:
    """FLOP of one image, 224 x 224 in patches of 16, forward and backward."""
    seen, width, narrow = PATCHES - hidden, arch['embed_dims'], DECODER['embed_dims']
    embedding = 2 * PATCHES * width * 768 + 2 * (1 + seen) * width * narrow
    encoder = blocks_flop(arch, arch['num_layers'], 1 + seen)
    decoder = blocks_flop(DECODER, decoder_layers, 1 + PATCHES)
    return 3 * (embedding + encoder + decoder + 2 * hidden * narrow * 768)


def own_contestant(args, images, share: float) -> Contestant:
    """This project's, with a share of the patches hidden."""
    # With nothing hidden there is no loss.
    hidden = max(1, round(PATCHES * share))
    masks = [torch.from_numpy(random_mask((14, 14), hidden)) for _ in images]
    mask = torch.stack(masks).to(images.device)
    inputs = dict(inputs=images, mask=mask)
    precision = step.PRECISIONS[args.precision]
    return Contestant(
        own_config(args.arch, args.quick, hidden), MODELS, inputs, images.device, precision
    )


def time_share(args, images, share: float) -> float:
    """Seconds of this project's step; one model at a time, for the memory of several is large."""
    contestant = own_contestant(args, images, share)
    contestant.step()
    return statistics.median(contestant.time_step() for _ in range(args.repeats))


def measure(args) -> dict:
    """Time both, taking turns, and this project's by mask share."""
    device, precision = torch.device(args.device), step.PRECISIONS[args.precision]
    images = torch.randn(args.batch_size, 3, 224, 224, device=device)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        ours = own_contestant(args, images, 0.75)
        peer = Contestant(
            peer_config(args.arch, args.quick), PEERS,
            dict(inputs=images, data_samples=None), device, precision,
        )  # fmt: skip
    runs = {'ours': ours, 'MMPretrain': peer}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for contestant in runs.values():  # warm up, compile
        contestant.step()
    for _ in range(args.repeats):
        for name, contestant in runs.items():
            times[name].append(contestant.time_step())
    medians = {name: statistics.median(values) for name, values in times.items()}
    arch = step.QUICK if args.quick else ARCHS[args.arch]
    layers = 1 if args.quick else DECODER['num_layers']
    by_share = {
        f'{share:.0%}': dict(
            seconds=time_share(args, images, share),
            flop=flop(arch, layers, max(1, round(PATCHES * share))),
        )
        for share in SHARES
    }
    report = dict(
        benchmark='mae_step',
        machine=describe(device),
        seconds=medians,
        all_seconds=times,
        faster_than_mmpretrain=medians['MMPretrain'] / medians['ours'],
        by_share=by_share,
    )
    if device.type == 'cuda':
        report['cuda'] = {
            f'{name} {what}': value
            for name, contestant in (('ours', ours), ('MMPretrain', peer))
            for what, value in _of_gpu(contestant, args.batch_size).items()
        }
    return report


def _of_gpu(contestant: Contestant, batch_size: int) -> dict[str, float]:
    """Memory that a step takes beside weights and optimizer, and the host's waits in it."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    contestant.step()
    step.synchronize(contestant.device)
    used = (torch.cuda.max_memory_allocated() - before) / batch_size / 2**20
    return {'MiB an image': round(used, 1), 'waits a step': step.count_waits(contestant.step)}


def draw(report: dict) -> Figure:
    """Time and FLOP of a step by the share of the patches that is hidden."""
    by_share, settings = report['by_share'], report['settings']
    shares = [float(share.rstrip('%')) for share in by_share]
    figure = Figure(figsize=(5.2, 3.6), layout='constrained')
    axis = figure.subplots()
    for name, label, style in (('seconds', 'time', 'o-'), ('flop', 'FLOP', 's--')):
        whole = by_share['0%'][name]
        axis.plot(shares, [row[name] / whole for row in by_share.values()], style, label=label)
    axis.set_title(
        f"MAE's step, {settings['arch']}, {settings['precision']}, batch {settings['batch_size']}",
        fontsize=10,
    )
    axis.set_xlabel('patches hidden (%)', fontsize=8)
    axis.set_ylabel('of the step with none hidden', fontsize=8)
    axis.set_ylim(0, 1.1)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=8, frameon=False)
    axis.grid(color='0.92')
    axis.spines[['top', 'right']].set_visible(False)
    return figure


def print_table(report: dict) -> None:
    """A row a contestant."""
    for name in ('ours', 'MMPretrain'):
        print(f'{name:20}{report["seconds"][name] * 1e3:10.1f} ms a step')
    print(f'{report["faster_than_mmpretrain"]:.2f} x as fast')
    whole = report['by_share']['0%']
    for share, row in report['by_share'].items():
        time, work = (row[name] / whole[name] for name in ('seconds', 'flop'))
        print(f'{share:>4} hidden: time {time:.2f}, FLOP {work:.2f} of all of them')
    for name, value in report.get('cuda', {}).items():
        print(f'{name:30}{value}')
