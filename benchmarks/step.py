"""The pre-training step, part by part: this project's beside MMPretrain's `BEiT`, in one run.

    python benchmarks/step.py --device cpu --precision float32 --batch-size 8
    python benchmarks/step.py --device cuda --precision bfloat16 --batch-size 128

Both models are built from their own configs with random weights and get the same images and
masks; the two take turns, and every figure is a median. MMPretrain's step is always its whole one,
tokenizer included; this project's is timed with tokens computed in the step and with tokens given,
as from a cache. A part is timed with the device idle before and after; a whole step is timed apart.
With --method mae it is MAE's step, see mae_step.py; with --method vit a classifier's, timm's beside
it, see vit_step.py.

FLOP are multiply-adds times two of the products and convolutions alone, counted from the shapes:

    block      2 N (4 C^2 + 2 C F) + 4 N^2 C         N tokens, width C, feed-forward width F
    forward    2 P C 3 p^2 + blocks + 2 M C V        P patches of p x p, M masked, V visual tokens
    backward   2 x forward
    tokenizer  sum over convolutions of 2 k^2 C_in C_out h w

Their rate is given as a share of PyTorch's fastest matrix product measured in the same run.
"""

import argparse
import importlib
import json
import logging
import statistics
import sys
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import mmpretrain
import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from this_machine import describe
from torch import Tensor, nn
from vit_flop import forward_flop

from beit_mm.datasets import blockwise_mask
from beit_mm.engine.optimizing.gradient_norm import clip_in_order
from beit_mm.engine.optimizing.param_groups import GROUPED, share_groups_of_config
from beit_mm.layers.linear import linear
from beit_mm.models.sizes import ARCHS
from beit_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
PEER_CONFIG = '.mim/configs/beit/beit_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'
PRECISIONS = dict(float32=torch.float32, bfloat16=torch.bfloat16)
PARTS = ('tokenizer', 'forward', 'backward', 'optimizer')
# For trying the benchmark itself.
QUICK = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
QUICK_TOKENIZER_WIDTH = 8


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


# Wall time, or the process's own time on the CPU, which other programs on a shared machine disturb
# less: for one thread.
CLOCKS = dict(wall=time.perf_counter, cpu=time.process_time)
clock = CLOCKS['wall']


def seconds(device: torch.device, work) -> float:
    """Time of one call, the device idle before and after."""
    synchronize(device)
    start = clock()
    work()
    synchronize(device)
    return clock() - start


class GivenTokens(nn.Module):
    """Stands in a model's target generator: targets that were computed before."""

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        self.targets = targets
        self.vocab_size = None

    def forward(self, images: Tensor) -> Tensor:
        """Targets of the benchmark's one batch."""
        return self.targets


class Batch:
    """Random images in both views and one blockwise mask each.

    Args:
        size: Images.
        device: Where they are.
        pixels: Height and width; the tokenizer's view has half of it, a mask a sixteenth.
    """

    def __init__(self, size: int, device: torch.device, pixels: int = 224) -> None:
        generator = torch.Generator().manual_seed(0)
        self.size = size
        images = torch.randn(size, 3, pixels, pixels, generator=generator)
        small = torch.rand(size, 3, pixels // 2, pixels // 2, generator=generator)
        self.images, self.tokenizer_images = images.to(device), small.to(device)
        side = pixels // 16
        self.masked = 75 * side**2 // 14**2
        self.samples = []
        for seed in range(size):
            rng = np.random.default_rng(seed)
            mask = blockwise_mask((side, side), self.masked, rng=rng)
            sample = DataSample()
            sample.mask = torch.from_numpy(mask).to(device)
            self.samples.append(sample)


def in_precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager:
    """Autocast to it; for float32 nothing, which PyTorch 2.1 takes for no precision of a CPU."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


class Contestant:
    """A model with its optimizer, and its step cut into parts.

    Args:
        name: For the table.
        cfg: Whole config; ``model`` and ``optim_wrapper`` are used.
        registry: That builds the model.
        batch: What every step sees.
        device, precision: Where and in what precision it runs.
    """

    def __init__(self, name, cfg, registry, batch, device, precision) -> None:
        self.name, self.batch, self.device = name, batch, device
        torch.manual_seed(0)
        self.model = registry.build(cfg.model).to(device).train()
        # Gradient scaling is float16's; autocast below is what remains of mixed precision.
        optim_wrapper = {**cfg.optim_wrapper, 'type': 'OptimWrapper'}
        optim_wrapper.pop('loss_scale', None)
        self.optim_wrapper = build_optim_wrapper(self.model, optim_wrapper)
        if optim_wrapper.get('constructor') == GROUPED:
            clip_in_order(self.optim_wrapper, self.model)
        self.dtype = precision
        self.computed = self.model.target_generator
        self.given = None

    def autocast(self):
        """The precision's context."""
        return in_precision(self.device, self.dtype)

    def give_tokens(self, given: bool) -> None:
        """Take targets that were computed before, or compute them in the step."""
        if given and self.given is None:
            self.given = GivenTokens(self.tokenize())
        self.model.target_generator = self.given if given else self.computed

    def tokenize(self) -> Tensor:
        """The targets of the batch, by the tokenizer."""
        with torch.no_grad(), self.autocast():
            return self.computed(self.batch.tokenizer_images)

    def forward(self) -> Tensor:
        """Loss of the batch."""
        images = [self.batch.images, self.batch.tokenizer_images]
        with self.autocast():
            losses = self.model(images, self.batch.samples, mode='loss')
        return losses['loss']

    def update(self) -> None:
        """Clip, step, drop the gradients, as the Runner does."""
        self.optim_wrapper.step()
        self.optim_wrapper.zero_grad()

    def step(self, given: bool) -> None:
        """One whole training step."""
        self.give_tokens(given)
        self.forward().backward()
        self.update()

    def time_parts(self) -> dict[str, float]:
        """Seconds of each of ``PARTS``."""
        self.give_tokens(True)
        loss = []
        return dict(
            tokenizer=seconds(self.device, self.tokenize),
            forward=seconds(self.device, lambda: loss.append(self.forward())),
            backward=seconds(self.device, lambda: loss.pop().backward()),
            optimizer=seconds(self.device, self.update),
        )

    def time_step(self, given: bool) -> float:
        """Seconds of a whole step."""
        return seconds(self.device, lambda: self.step(given))


def own_config(arch: str, quick: bool, options: dict | None) -> Config:
    """This project's recipe, without weights to load."""
    name = 'beit_large_pretrain.py' if arch == 'large' else 'beit_pretrain.py'
    cfg = Config.fromfile(str(ROOT / 'configs' / name))
    cfg.model.target_generator.checkpoint = None
    cfg.model.backbone.arch = QUICK if quick else arch
    cfg.model.head.embed_dims = (QUICK if quick else ARCHS[arch])['embed_dims']
    if quick:
        cfg.model.target_generator.tokenizer.hidden = QUICK_TOKENIZER_WIDTH
    cfg.merge_from_dict(options or {})
    # As the tools do, see beit_mm/engine/starting/launch.py.
    share_groups_of_config(cfg)
    return cfg


def peer_config(arch: str, quick: bool) -> Config:
    """MMPretrain's own recipe, without weights to load."""
    cfg = Config.fromfile(str(Path(mmpretrain.__file__).parent / PEER_CONFIG))
    cfg.model.target_generator.init_cfg = None
    cfg.model.backbone.arch = dict(QUICK if quick else ARCHS[arch])
    cfg.model.head.embed_dims = cfg.model.backbone.arch['embed_dims']
    if quick:
        cfg.model.target_generator.n_hid = QUICK_TOKENIZER_WIDTH
    return cfg


def tokenizer_flop(tokenizer: nn.Module, size: int = 112) -> float:
    """FLOP of one image through the encoder."""
    total = 0

    def count(layer: nn.Conv2d, inputs: tuple, output: Tensor) -> None:
        nonlocal total
        total += 2 * layer.weight.numel() * output.shape[-1] * output.shape[-2]

    encoder = tokenizer.encoder
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        encoder(torch.zeros(1, 3, size, size, device=next(encoder.buffers()).device))
    for hook in hooks:
        hook.remove()
    return total


def transformer_flop(arch: dict, masked: int, vocab_size: int = 8192) -> float:
    """FLOP of one image, 224 x 224 in patches of 16, forward and backward."""
    head = 2 * masked * arch['embed_dims'] * vocab_size
    return 3 * (forward_flop(arch, 196, 16) + head)


def product_rate(device, dtype, rows: int, arch: dict, product=torch.matmul) -> float:
    """FLOP/s of the faster of two products: a large square one and the network's own FFN's."""
    side = 8192 if device.type == 'cuda' else 2048
    shapes = [(side, side, side), (rows, arch['embed_dims'], arch['feedforward_channels'])]
    rates = []
    for m, k, n in shapes:
        a = torch.randn(m, k, device=device, dtype=dtype)
        b = torch.randn(k, n, device=device, dtype=dtype)
        times = [seconds(device, lambda a=a, b=b: product(a, b)) for _ in range(6)][1:]
        rates.append(2 * m * k * n / statistics.median(times))
    return max(rates)


def peak_memory(contestant: Contestant, given: bool) -> int:
    """Bytes on the GPU at the worst moment of a step, without those of the other model."""
    own = {id(t): t for t in (*contestant.model.parameters(), *contestant.model.buffers())}
    states = contestant.optim_wrapper.optimizer.state.values()
    own.update({id(t): t for s in states for t in s.values() if isinstance(t, Tensor)})
    held = sum(t.numel() * t.element_size() for t in own.values())
    synchronize(contestant.device)
    before = torch.cuda.memory_allocated(contestant.device)
    torch.cuda.reset_peak_memory_stats(contestant.device)
    contestant.step(given)
    synchronize(contestant.device)
    return torch.cuda.max_memory_allocated(contestant.device) - before + held


def count_waits(work) -> int:
    """How often something makes the host wait for the GPU."""
    torch.cuda.set_sync_debug_mode('warn')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        work()
    torch.cuda.set_sync_debug_mode('default')
    return sum('synchronizing' in str(warning.message) for warning in caught)


def ids_as_in_float32(ours: Contestant) -> float:
    """Share of the tokenizer's ids, of random images and weights, that float32 gives too."""
    generator, ids = ours.computed, ours.tokenize()
    precision, generator.precision = generator.precision, 'float32'
    exact = ours.tokenize()
    generator.precision = precision
    return (ids == exact).float().mean().item()


def measure(ours: Contestant, peer: Contestant, tokens: str, repeats: int, flop, arch) -> dict:
    """Everything that is timed, taking turns; medians."""
    device, batch = ours.device, ours.batch.size
    runs = {(ours.name, part): [] for part in PARTS} | {(peer.name, part): [] for part in PARTS}
    whole = {(ours.name, kind): [] for kind in ('computed', 'cached') if tokens in (kind, 'both')}
    whole[peer.name, 'computed'] = []
    for contestant in (ours, peer):  # warm up, compile
        contestant.step(given=False)
        contestant.step(given=True)
    rates, own_rates = [], []
    for _ in range(repeats):
        rates.append(product_rate(device, ours.dtype, batch * 197, arch))
        own_rates.append(
            product_rate(device, ours.dtype, batch * 197, arch, lambda a, b: linear(a, b.T))
        )
        for contestant in (ours, peer):
            for part, time_taken in contestant.time_parts().items():
                runs[contestant.name, part].append(time_taken)
        for name, kind in whole:
            contestant = ours if name == ours.name else peer
            whole[name, kind].append(contestant.time_step(given=kind == 'cached'))
    rate = statistics.median(rates)

    def row(times: dict, key: tuple, work: float | None) -> dict:
        taken = statistics.median(times[key])
        result = dict(seconds=taken, images_per_second=batch / taken, all_seconds=times[key])
        if work:
            result.update(flop_per_second=work * batch / taken)
            result.update(share_of_product=work * batch / taken / rate)
        return result

    work = dict(
        tokenizer=flop['tokenizer'],
        forward=flop['transformer'] / 3,
        backward=flop['transformer'] * 2 / 3,
    )
    rows = {f'{name} {part}': row(runs, (name, part), work.get(part)) for name, part in runs}
    for name, kind in whole:
        total = flop['transformer'] + (flop['tokenizer'] if kind == 'computed' else 0)
        rows[f'{name} step, tokens {kind}'] = row(whole, (name, kind), total)
    return dict(
        product_flop_per_second=rate,
        own_product_flop_per_second=statistics.median(own_rates),
        rows=rows,
    )


def ratios(rows: dict, ours: str, peer: str) -> dict:
    """How many times faster than the peer; a step with cached tokens against the peer's whole."""
    result = {}
    for name, row in rows.items():
        if name.startswith(f'{ours} '):
            part = name.removeprefix(f'{ours} ')
            other = f'{peer} step, tokens computed' if part.startswith('step') else f'{peer} {part}'
            result[part] = rows[other]['seconds'] / row['seconds']
    names = [f'{{}} {part}' for part in PARTS[1:]]
    transformer = [sum(rows[name.format(who)]['seconds'] for name in names) for who in (peer, ours)]
    result['transformer'] = transformer[0] / transformer[1]
    return result


def print_table(report: dict) -> None:
    """A row a part."""
    settings = report['settings']
    print(
        f'{settings["arch"]}, {settings["precision"]}, batch {settings["batch_size"]}, '
        f'{report["machine"]["device"]}; matrix product '
        f"{report['product_flop_per_second'] / 1e12:.3f} TFLOP/s, by this project's linear layer "
        f'{report["own_product_flop_per_second"] / 1e12:.3f}'
    )
    print(f'{"":38}{"ms":>10}{"images/s":>10}{"TFLOP/s":>9}{"of product":>11}{"faster":>8}')
    for name, row in report['rows'].items():
        rate = row.get('flop_per_second')
        speed = report['ratios'].get(name.partition(' ')[2]) if name.startswith('ours') else None
        print(
            f'{name:38}{row["seconds"] * 1e3:10.1f}{row["images_per_second"]:10.2f}'
            + (f'{rate / 1e12:9.3f}{row["share_of_product"]:11.0%}' if rate else ' ' * 20)
            + (f'{speed:8.2f}' if speed else '')
        )
    print(f'{"ids as in float32":38}{report["ids_as_in_float32"]:10.1%}')
    for name, value in report.get('cuda', {}).items():
        print(f'{name:38}{value}')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--method', choices=('beit', 'mae', 'vit'), default='beit')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--precision', choices=PRECISIONS, default='float32')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--arch', choices=ARCHS, default='base')
    parser.add_argument('--pixels', type=int, default=224, help='of --method vit')
    parser.add_argument('--patch', type=int, default=16, help='of --method vit')
    parser.add_argument('--tokens', choices=['computed', 'cached', 'both'], default='both')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='ours only')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, help='CPU threads')
    parser.add_argument('--clock', choices=CLOCKS, default='wall')
    parser.add_argument('--quick', action='store_true', help='tiny networks, to try the command')
    parser.add_argument('--out', type=Path, help='JSON file')
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    args = parse_args()
    logging.disable(logging.INFO)  # mmengine's line a parameter
    warnings.simplefilter('ignore')
    global clock
    clock = CLOCKS[args.clock]
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = {key: value for key, value in vars(args).items() if key != 'out'}
    if args.method != 'beit':
        # It imports this file by its name, which would be a second one, with its own clock.
        sys.modules['step'] = sys.modules['__main__']
        module = importlib.import_module(f'{args.method}_step')
        report = dict(module.measure(args), settings=settings)
        module.print_table(report)
        write(report, args.out)
        if args.out and hasattr(module, 'draw'):
            module.draw(report).savefig(args.out.with_suffix('.png'), dpi=150)
        return
    device, precision = torch.device(args.device), PRECISIONS[args.precision]
    batch = Batch(args.batch_size, device)
    cfg = own_config(args.arch, args.quick, args.cfg_options)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        ours = Contestant('ours', cfg, MODELS, batch, device, precision)
        peer = Contestant(
            'MMPretrain',
            peer_config(args.arch, args.quick),
            mmpretrain.registry.MODELS,
            batch,
            device,
            precision,
        )
    arch = QUICK if args.quick else ARCHS[args.arch]
    flop = dict(
        tokenizer=tokenizer_flop(ours.computed.tokenizer), transformer=transformer_flop(arch, 75)
    )
    report = dict(benchmark='step', settings=settings, machine=describe(device))
    report.update(flop_per_image=flop)
    report.update(measure(ours, peer, args.tokens, args.repeats, flop, arch))
    report['ratios'] = ratios(report['rows'], ours.name, peer.name)
    report['ids_as_in_float32'] = ids_as_in_float32(ours)
    if device.type == 'cuda':
        report['cuda'] = {}
        for contestant in (ours, peer):
            for given in (False, True) if contestant is ours else (False,):
                kind = 'cached' if given else 'computed'
                used = peak_memory(contestant, given) / args.batch_size / 2**20
                report['cuda'][f'{contestant.name} MiB an image, tokens {kind}'] = round(used, 1)
            report['cuda'][f'{contestant.name} waits a step'] = count_waits(
                lambda contestant=contestant: contestant.step(given=False)
            )
    print_table(report)
    write(report, args.out)


def write(report: dict, path: Path | None) -> None:
    """Write a report where one is wanted, whole or not at all."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix('.part')
        partial.write_text(json.dumps(report, indent=1) + '\n')
        partial.replace(path)


if __name__ == '__main__':
    main()
