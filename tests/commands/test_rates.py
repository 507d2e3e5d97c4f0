"""Learning rates and their decay with depth that the commands write, against figures by hand."""

import pytest
from mmengine.config import Config
from PIL import Image

from beit_mm.commands import classifier_runs, segmenting
from beit_mm.commands.choices import Machine
from beit_mm.commands.how_to_read import PHOTOS
from beit_mm.commands.label_numbers import Numbering
from beit_mm.commands.mask_pairs import MaskPairs
from beit_mm.commands.photos import Photos
from beit_mm.commands.run_folder import RunFolder
from beit_mm.commands.starting_weights import Start, values_of_weights
from beit_mm.models import VisionTransformer

ONE, FOUR = Machine(1, 16, 80 * 2**30), Machine(4, 64, 80 * 2**30)


@pytest.mark.parametrize(
    ('machine', 'batch', 'width', 'rate'),
    [
        # 4e-3 of 1,024 images by 768 numbers: the root for fewer images, more for the narrow.
        (ONE, 64, 768, 1e-3),
        (FOUR, 16, 768, 1e-3),
        (ONE, 256, 1024, 1.5e-3),
        (ONE, 16, 384, 1e-3),
        # And 2e-3 at most.
        (FOUR, 256, 768, 2e-3),
    ],
)
def test_a_classifiers_rate(tmp_path, machine, batch, width, rate):
    photos = Photos(tmp_path, ['a'], ['b'], dict(a='cat', b='dog'), 30, PHOTOS)
    own = dict(batch_size=batch, embed_dims=width)
    run = RunFolder(tmp_path, 'finetune.py')
    cfg = Config.fromstring(classifier_runs.text_of(run, photos, machine, own, 50), '.py')
    assert cfg.optim_wrapper.optimizer.lr == rate


@pytest.mark.parametrize(
    ('machine', 'batch', 'width', 'rate'),
    [
        # 1e-3 of 16 crops by 768 numbers, a quarter of the images of a classifier.
        (ONE, 64, 768, 1e-3),
        (FOUR, 16, 768, 1e-3),
        (ONE, 16, 768, 2.5e-4),
        (ONE, 256, 1536, 5e-4),
        (ONE, 8, 384, 2.5e-4),
        (ONE, 64, 128, 1e-3),
    ],
)
def test_a_segmentors_rate(tmp_path, machine, batch, width, rate):
    Image.new('RGB', (40, 30)).save(tmp_path / 'a.png')
    pairs = MaskPairs(tmp_path, tmp_path, ['a', 'b'], '.png', '.png')
    photos = Photos(tmp_path, ['a'], ['b'], {}, 30, PHOTOS)
    own = dict(batch_size=batch, embed_dims=width, image_size=32, patch_size=8)
    numbering = Numbering(['sky', 'road'], [[0, 0, 0], [255, 0, 0]], {})
    run = RunFolder(tmp_path, 'segment.py')
    values = segmenting._values(run, pairs, photos, machine, own, numbering)
    assert values['learning_rate'] == rate


@pytest.mark.parametrize(('layers', 'decay'), [(None, 1.0), (6, 0.75), (12, 0.65), (24, 0.65)])
def test_rates_decay_with_the_depth_of_weights(tmp_path, layers, decay):
    arch = dict(embed_dims=8, num_layers=layers, num_heads=1, feedforward_channels=8)
    model = layers and VisionTransformer(arch, img_size=32, patch_size=8)
    photos = Photos(tmp_path, ['a'], ['b'], {}, 30, PHOTOS)
    start = Start('w.pth', model, PHOTOS, says_how=True)
    assert values_of_weights(start, photos, ONE, None)['layer_decay_rate'] == decay
