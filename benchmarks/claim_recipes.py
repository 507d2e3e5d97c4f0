"""What the runs of claims.py are: a recipe of configs/, what is changed in it, and where it starts.

All networks of a scale are of one size, on photos of 64 pixels in patches of 8, whatever
pre-trains them; batches, rates and lengths are one for all runs of a stage, unless a row is about
them. Rates and layer decays of fine-tuning were chosen on training photos kept for it, see
:func:`chosen`. The variable CLAIMS_SCALE takes another scale than ``small``.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from claim_scales import SCALES

SCALE = SCALES[os.environ.get('CLAIMS_SCALE', 'small')]
WIDTH, DEPTH = SCALE.width, SCALE.depth
GRID = (8, 8)
ARCH = dict(
    embed_dims=WIDTH, num_layers=DEPTH, num_heads=SCALE.heads, feedforward_channels=4 * WIDTH
)  # fmt: skip
DECODER, TOKENIZER, STEPS = SCALE.decoder, SCALE.tokenizer, SCALE.steps
# Photos a class with a label, unless a row is about their number; and those of the training photos
# that choose the settings and nothing else.
LABELS, CHOOSING = 50, 25
# All that are left of 500.
ALL = 475
# Validations of a run that is held out.
CURVE_POINTS = 10
# Folder and name of a stage's recipe.
CONFIGS = dict(
    tokenizer='own/dvae',
    beit='own/pretrain',
    mae='own/mae',
    finetune_beit='own/finetune',
    finetune_vit='methods/finetune_mae',
    segment='camvid/finetune',
)
# Top-1 of the settings of fine-tuning that were tried.
CHOSEN = Path(__file__).parent / f'results/{SCALE.results}_chosen.json'
COLORS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


class Run(NamedTuple):
    """A training run, the same for every seed.

    Attributes:
        name: Its own among all runs; its results lie in benchmarks/results/claims/NAME.json.
        stage: Key of :data:`CONFIGS`, or one that trains no network: ``components`` fits the
            patches' principal components, ``cache`` keeps tokens of views, ``frozen`` and
            ``few-shot`` measure frozen features.
        steps: Of training.
        seconds: Of one core that it takes, about, at the small scale.
        options: Place in the config -> what stands there in place of its own value.
        start: The run whose weights it begins with.
        teacher: The run whose tokenizer or components give its targets.
        cache: The run whose kept tokens it learns from.
        labels: Of each class, of the seed's own draw; each draw holds the smaller ones.
        classes: ``all``, or ``target`` or ``other``: every second one.
        held_out: Whether it is validated on training photos kept for that, and ``curve_points``
            times; the others are validated on val/, once.
    """

    name: str
    stage: str
    steps: int
    seconds: float
    options: dict = {}
    start: 'Run | None' = None
    teacher: 'Run | None' = None
    cache: 'Run | None' = None
    labels: int = LABELS
    classes: str = 'all'
    held_out: bool = False

    @property
    def cost(self) -> float:
        """Seconds that it takes, about, of what the scale runs on."""
        return self.seconds * SCALE.pace

    @property
    def needs(self) -> list['Run']:
        """What has to be there before it."""
        return [run for run in (self.start, self.teacher, self.cache) if run]

    @property
    def settings(self) -> dict:
        """What decides its figures, beside the seed, as JSON: results of others are refused."""
        return dict(
            config=CONFIGS.get(self.stage, self.stage),
            steps=self.steps,
            options={key: _plain(value) for key, value in sorted(self.options.items())},
            labels=self.labels,
            classes=self.classes,
            needs=[run.name for run in self.needs],
        )


def _plain(value):
    """As JSON gives it back."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def arch_options(arch: dict = ARCH) -> dict:
    return {f'model.backbone.arch.{key}': value for key, value in arch.items()}


def tokenizer(name: str = 'tokenizer', options: dict | None = None) -> Run:
    """An image tokenizer: 256 codes of 4 x 4 pixels."""
    own = {f'model.{key}': value for key, value in TOKENIZER.items()}
    return Run(name, 'tokenizer', STEPS['tokenizer'], 125, own | (options or {}))


def masks(**generator) -> dict:
    """Options that hide other patches."""
    generator = dict(grid_size=GRID, **generator)
    return {
        'train_dataloader.dataset.pipeline.1': generator,
        'val_dataloader.dataset.pipeline.2': generator,
    }


def random_masks(number: int) -> dict:
    return masks(type='beit_mm.RandomMaskGenerator', num_masked=number)


def second_view(size: int | None, **more) -> dict:
    """Options that set what the targets are made of."""
    options = {}
    for step in ('train_dataloader.dataset.pipeline.0', 'val_dataloader.dataset.pipeline.1'):
        options[f'{step}.second_size'] = size
        options |= {f'{step}.{key}': value for key, value in more.items()}
    return options


# In place of tokens: the pixels of the view that the backbone is given, as it is given them.
PIXELS = {
    'model.target_generator': dict(
        type='beit_mm.PixelTargetGenerator', patch_size=8, normalize=False
    ),
    'model.head': dict(type='beit_mm.PixelHead', embed_dims=WIDTH, num_values=8 * 8 * 3),
    'model.data_preprocessor.second_mean': COLORS['mean'],
    'model.data_preprocessor.second_std': COLORS['std'],
    'val_evaluator': dict(type='beit_mm.MIMError'),
} | second_view(64, second_interpolation='bicubic')


def beit(
    name: str, options: dict | None = None, teacher: Run | None = None, length: int = 1
) -> Run:
    """Pre-training of BEiT: 25 of 64 patches hidden in blocks, 256 visual tokens."""
    own = arch_options() | {'model.head.embed_dims': WIDTH}
    if teacher:
        own |= {f'model.target_generator.tokenizer.{key}': v for key, v in TOKENIZER.items()}
    options = own | (options or {})
    return Run(name, 'beit', STEPS['pretrain'] * length, 235 * length, options, teacher=teacher)


def mae(
    name: str, options: dict | None = None, teacher: Run | None = None, seconds: float = 145
) -> Run:
    """Pre-training of MAE: 48 of 64 patches left out, the others' pixels, normalised."""
    own = arch_options() | {
        'model.decoder.encoder_dims': WIDTH,
        'model.head.embed_dims': DECODER['embed_dims'],
        **{f'model.decoder.{key}': value for key, value in DECODER.items()},
    }
    return Run(name, 'mae', STEPS['pretrain'], seconds, own | (options or {}), teacher=teacher)


def told(kind: str, rate: float, decay: float) -> str:
    """What a setting is called in :data:`CHOSEN`."""
    return f'{kind}, rate {rate:g}, layer decay {decay:g}'


def tried_top1() -> dict[str, float]:
    """Top-1 of the settings of fine-tuning that were tried."""
    return json.loads(CHOSEN.read_text())['top1'] if CHOSEN.is_file() else {}


def is_chosen() -> bool:
    """Whether all settings of fine-tuning were tried."""
    names = {told(kind, *setting) for kind, tried in SCALE.tried.items() for setting in tried}
    return names <= tried_top1().keys()


def chosen(kind: str) -> tuple[float, float]:
    """Rate and layer decay of fine-tuning with the best top-1; the first until all were tried."""
    if not is_chosen():
        return SCALE.tried[kind][0]
    top1 = tried_top1()
    return max(SCALE.tried[kind], key=lambda setting: top1[told(kind, *setting)])


def finetuned(
    name: str,
    start: Run | None,
    network: str | None = None,
    options: dict | None = None,
    steps: int = STEPS['finetune'],
    **more,
) -> Run:
    """Fine-tuning of a pre-trained network, or training from scratch; ``network``: beit or vit."""
    of_vit = start is not None and start.stage in ('mae', 'finetune_vit')
    network = network or ('vit' if of_vit else 'beit')
    kind = {'beit': ('scratch', 'beit'), 'vit': ('scratch_vit', 'mae')}[network][start is not None]
    rate, decay = chosen(kind)
    own = arch_options() | {
        'model.head.in_channels': WIDTH,
        'optim_wrapper.optimizer.lr': rate,
        'optim_wrapper.paramwise_cfg.layer_decay_rate': decay,
    }
    seconds = 6 + 60 * steps / STEPS['finetune']
    return Run(
        name, f'finetune_{network}', steps, seconds, own | (options or {}), start, **more
    )  # fmt: skip


def segmented(name: str, start: Run | None) -> Run:
    """CamVid with the SETR-PUP layer."""
    own = arch_options() | {'model.decode_head.in_channels': WIDTH}
    if start is None:
        # It would hold back blocks that have yet to learn everything.
        own['optim_wrapper.paramwise_cfg.layer_decay_rate'] = 1.0
    return Run(name, 'segment', STEPS['segment'], 170, own, start)


def frozen(of: Run, **more) -> Run:
    """k-NN and a linear classifier on the features of a run's network."""
    return Run(f'{of.name}-frozen', 'frozen', 0, 15, start=of, **more)


def few_shot(of: Run) -> Run:
    """Least squares on frozen features, of five labels of each target class."""
    return Run(f'{of.name}-few-shot', 'few-shot', 0, 10, start=of, labels=5, classes='target')
