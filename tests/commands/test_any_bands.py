"""Four bands of 12 bits and one of 16: from a folder to pictures, by the commands."""

import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config
from PIL import Image

from beit_mm.checkpoints import load_state_dict, read_about
from beit_mm.checkpoints.writing import write_weights
from beit_mm.commands.embedding import embed
from beit_mm.commands.evaluating import evaluate
from beit_mm.commands.finetuning import finetune
from beit_mm.commands.how_to_read import (
    PHOTOS,
    HowToRead,
    how_to_read,
    parse_bands,
    parse_range,
    with_ranges_of,
)
from beit_mm.commands.predicting import predict
from beit_mm.commands.pretraining import pretrain
from beit_mm.commands.segmenting import segment
from beit_mm.commands.starting_weights import Start, start_of
from beit_mm.component import ConfigError
from beit_mm.engine.measuring.feature_evaluation import knn_leave_one_out
from beit_mm.models import BEiT, VisionTransformer, load

pytestmark = pytest.mark.usefixtures('forked_stages')
RNG = np.random.default_rng(0)
LEVEL = dict(dark=700, bright=2500)
NAMES = ('blue', 'green', 'red', 'nir')


def write(root, bands, scale=1):
    """Class folders of dark and bright images with a square in them, and the squares as masks."""
    for label, level in LEVEL.items():
        for folder in ('images', 'masks'):
            (root / folder / label).mkdir(parents=True)
        for index in range(10):
            mask = np.zeros((40, 48), np.uint8)
            mask[8:24, 10 + index : 26 + index] = 1
            pixels = RNG.normal(level, 80, (40, 48, bands)) + 600.0 * mask[..., None]
            pixels = (pixels * scale).clip(0, 65535).astype(np.uint16)
            names = '<GDALMetadata>' + ''.join(
                f'<Item name="DESCRIPTION" sample="{i}" role="description">{name}</Item>'
                for i, name in enumerate(NAMES[:bands])) + '</GDALMetadata>'  # fmt: skip
            tifffile.imwrite(
                root / f'images/{label}/{index}.tif', pixels.squeeze(), photometric='minisblack',
                planarconfig='contig' if bands > 1 else None,
                extratags=[(42112, 2, 0, names, True)] if bands > 1 else [],
            )  # fmt: skip
            Image.fromarray(mask).save(root / f'masks/{label}/{index}.png')
    return root / 'images', root / 'masks'


@pytest.mark.slow
@pytest.mark.usefixtures('known_speed')
@pytest.mark.parametrize(('bands', 'scale', 'method'), [(4, 1, 'beit'), (1, 16, 'mae')])
def test_from_a_folder_to_pictures(tmp_path, monkeypatch, capsys, bands, scale, method):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    images, masks = write(tmp_path, bands, scale)
    run = pretrain(images, tmp_path / 'pre', steps=8, size=32, method=method)
    assert (run / 'reconstructions.png').is_file()
    assert (run / 'neighbours.png').is_file()
    about = read_about(run / 'pretrained.pth')['images']
    assert about['bands'] == ([*NAMES] if bands == 4 else 1)
    assert len(about['value_range']['uint16']) == len(about['mean']) == bands
    projection = load_state_dict(run / 'pretrained.pth')['backbone.patch_embed.proj.weight']
    assert projection.shape[1] == bands

    # Of either the one or the other: test_every_command_sees_an_image_alike has all of them.
    if bands == 4:
        classifier = finetune(images, run, tmp_path / 'fine', steps=2)
        ((_, _, score),) = predict(classifier, [images / 'dark/0.tif'])
        assert 0 < score <= 1
        rows = (tmp_path / 'fine/predictions.csv').read_text().splitlines()[1:]
        assert sorted(row.split(',')[1] for row in rows) == ['bright', 'bright', 'dark', 'dark']
    else:
        segmentor = segment(images, masks, run, tmp_path / 'seg', steps=2)
        (painted,) = predict(segmentor, [images / 'dark/0.tif'])
        assert Image.open(painted).size == (48, 40)
    vectors = np.load(embed(images, tmp_path / 'v.npz', run))
    # Dark and bright are told apart: the range was the same for both.
    labels = torch.tensor(['dark' in file for file in vectors['files']]).long()
    assert labels.sum() == 10
    assert knn_leave_one_out(torch.from_numpy(vectors['features']), labels, 3) >= 95
    assert 'reduced to 8 bits' not in capsys.readouterr().out


def test_vectors_are_of_pixels_in_the_weights_range_or_in_one_that_is_measured(tmp_path):
    images, _ = write(tmp_path, 4)
    for label in LEVEL:
        (tmp_path / 'brighter' / label).mkdir(parents=True)
    names = sorted(str(path.relative_to(images)) for path in images.rglob('*.tif'))
    for name in names:
        pixels = 4 * tifffile.imread(images / name)
        tifffile.imwrite(
            tmp_path / 'brighter' / name, pixels, photometric='minisblack', planarconfig='contig'
        )
    torch.manual_seed(0)
    sizes = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    weights = VisionTransformer(sizes, img_size=32, patch_size=8, in_channels=4).state_dict()
    known = how_to_read(images, names)
    images_read = known._replace(bands=4)._asdict()
    for name, about in (('bare', {}), ('knowing', dict(images=images_read))):
        write_weights(tmp_path / f'{name}.pth', weights, 'beit_mm', dict(num_heads=2, **about))

    def vectors(folder, weights):
        with np.load(embed(tmp_path / folder, tmp_path / 'v.npz', tmp_path / weights)) as file:
            return file['features']

    measured = vectors('images', 'bare.pth')
    labels = torch.tensor(['dark' in name for name in names]).long()
    assert knn_leave_one_out(torch.from_numpy(measured), labels, 3) >= 95
    np.testing.assert_allclose(vectors('brighter', 'bare.pth'), measured, atol=1e-3)
    own = vectors('images', 'knowing.pth')
    assert knn_leave_one_out(torch.from_numpy(own), labels, 3) >= 95
    # All of it is above the range.
    far = np.abs(vectors('brighter', 'knowing.pth') - own).mean()
    assert far > 10 * np.abs(own[10:] - own[10:].mean(0)).mean()


@pytest.fixture
def scenes(tmp_path):
    """Class folders of scenes of four bands without names, the last of which tells the classes."""
    rng = np.random.default_rng(0)
    for label, level in LEVEL.items():
        (tmp_path / 'scenes' / label).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 256, (16, 16, 4), dtype=np.uint8)
            pixels[..., 3] = level // 25 + rng.integers(0, 20)
            tifffile.imwrite(
                tmp_path / 'scenes' / label / f'{index}.tif', pixels, photometric='minisblack',
                planarconfig='contig',
            )  # fmt: skip
    torch.manual_seed(0)
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    model = BEiT(arch, img_size=16, patch_size=4)
    torch.save(model.state_dict(), tmp_path / 'photos.pth')
    return tmp_path / 'scenes'


def vectors_of(folder, weights, **how):
    with np.load(embed(folder, weights.with_name('v.npz'), weights, **how)) as file:
        return file['features']


def test_vectors_of_scenes_are_of_the_bands_that_are_asked_for(scenes, tmp_path):
    shown = tmp_path / 'shown'
    for file in scenes.glob('*/*.tif'):
        picture = shown / file.relative_to(scenes).with_suffix('.png')
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tifffile.imread(file)[..., [3, 2, 1]]).save(picture)
    weights = tmp_path / 'photos.pth'
    of_pictures = vectors_of(shown, weights)
    np.testing.assert_allclose(
        vectors_of(scenes, weights, bands='4,3,2', value_range='dtype'), of_pictures, atol=1e-5
    )
    assert np.abs(vectors_of(scenes, weights) - of_pictures).max() > 0.1
    # Of other bands than the weights know their first layer is fitted.
    names = sorted(scenes.glob('*/*.tif'))
    pixels = np.stack([tifffile.imread(name) for name in names]).astype(np.float32)
    mean, std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
    images = torch.from_numpy((pixels - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        own = load(str(weights), out_type='featmap', bands=4)(images)[-1].mean(dim=(2, 3))
    np.testing.assert_allclose(
        vectors_of(scenes, weights, bands='4', value_range='dtype'), own, atol=1e-3
    )


def test_a_range_that_is_asked_for_leaves_weights_the_bands_that_they_take(scenes, tmp_path):
    """Of images without names those of photos take the first three, not all four."""
    weights = tmp_path / 'photos.pth'
    first = vectors_of(scenes, weights, bands='1,2,3', value_range='0,255')
    np.testing.assert_allclose(vectors_of(scenes, weights, value_range='0,255'), first, atol=1e-5)


def test_classes_are_told_by_a_band_that_is_asked_for(scenes, tmp_path):
    weights = tmp_path / 'photos.pth'
    assert evaluate(scenes, weights, bands='4,3,2', neighbors=3)['knn'] == 100
    assert evaluate(scenes, weights, bands='3,2,1', neighbors=3)['knn'] < 100


def test_how_images_are_read_follows_the_images_and_the_user(tmp_path):
    images, _ = write(tmp_path, 4)
    names = sorted(str(path.relative_to(images)) for path in images.rglob('*.tif'))
    found = how_to_read(images, names)
    assert found.bands == [*NAMES]
    assert all(low < 700 and 2500 < high < 4096 for low, high in found.value_range['uint16'])
    chosen = how_to_read(images, names, 'nir,red', '0,4095')
    assert (chosen.bands, chosen.value_range) == (['nir', 'red'], [0.0, 4095.0])
    every = np.stack([tifffile.imread(images / name)[..., [3, 2]] for name in names])
    assert np.allclose(chosen.mean, (every / 4095 * 255).mean(axis=(0, 1, 2)), atol=0.5)
    assert how_to_read(images, names, None, 'percentile').bands == [*NAMES]
    with pytest.raises(ConfigError, match='no image with these bands'):
        how_to_read(images, names, 'swir')


@pytest.mark.parametrize('bands', [None, '1'])
def test_images_that_will_be_dark_beside_others_are_told(tmp_path, capsys, bands):
    rng = np.random.default_rng(0)
    names = []
    for index, most in enumerate([4096] * 6 + [65536] * 4):
        names.append(f'{index}.png')
        pixels = rng.integers(0, most, (32, 32)).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / names[-1])
    how_to_read(tmp_path, names, bands)
    assert 'half of the images in uint16 reach no further than 6.2 % of the range 0 to 655' in (
        capsys.readouterr().err
    )
    for some in (names[:6], names[6:], [*names[:2], *names[6:]]):
        how_to_read(tmp_path, some, bands)
    how_to_read(tmp_path, names, bands, '0,4095')
    assert 'reach no further' not in capsys.readouterr().err


def test_weights_of_photos_leave_the_range_of_deep_images_to_these(tmp_path):
    images, _ = write(tmp_path, 1)
    names = sorted(str(path.relative_to(images)) for path in images.rglob('*.tif'))
    found = Start('w.pth', None, PHOTOS, says_how=True).choose(None, None)(images, names)
    assert all(low < 700 and 2500 < high < 4096 for low, high in found.value_range['uint16'])
    assert (found.bands, found.mean, found.std) == (None, PHOTOS.mean, PHOTOS.std)
    known = PHOTOS._replace(value_range=dict(uint16=[(0, 1000)] * 3))
    assert Start('w.pth', None, known, says_how=True).choose(None, None)(images, names) == known


@pytest.mark.parametrize(
    ('bands', 'value_range'),
    [
        ('nir,red,green,blue', None),
        ('nir,red', None),
        ('blue,green,red,nir', None),
        ('nir,red,green,blue', '0,65535'),
        (None, 'percentile'),
        ('nir,red,green,blue', 'percentile'),
        ('blue,green,red,swir', None),
    ],
)
@pytest.mark.parametrize('known_range', [None, '0,65535'])
def test_bands_and_ranges_of_the_users_take_means_and_spreads_along(
    tmp_path, bands, value_range, known_range
):
    levels = dict(zip((*NAMES, 'swir'), (1000, 1500, 2000, 30000, 5000), strict=True))
    bands_there = [*levels] if bands and 'swir' in bands else [*NAMES]
    names = ''.join(
        f'<Item name="DESCRIPTION" sample="{i}" role="description">{name}</Item>'
        for i, name in enumerate(bands_there)
    )
    for index in range(6):
        pixels = RNG.normal([levels[b] for b in bands_there], 300, (24, 24, len(bands_there)))
        tifffile.imwrite(
            tmp_path / f'{index}.tif', pixels.clip(0).astype(np.uint16), photometric='minisblack',
            planarconfig='contig',
            extratags=[(42112, 2, 0, f'<GDALMetadata>{names}</GDALMetadata>', True)],
        )  # fmt: skip
    files = [f'{index}.tif' for index in range(6)]
    known = how_to_read(tmp_path, files, ','.join(NAMES), known_range)
    found = Start('w.pth', None, known, says_how=True).choose(bands, value_range)(tmp_path, files)
    read = np.stack([found.reading.open(tmp_path / name).read() for name in files])
    seen = (read - found.mean) / found.std
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=0.15)
    np.testing.assert_allclose(seen.std((0, 1, 2)), 1, atol=0.1)
    if bands and 'swir' not in bands and value_range in (None, known_range):
        # The figures of the weights, and none measured anew.
        assert found.mean == [known.mean[NAMES.index(band)] for band in bands.split(',')]


def test_a_checkpoint_of_a_run_says_how_its_images_are_read(tmp_path):
    about = dict(bands=[*NAMES], value_range={'uint16': [(0.0, 900.0 + n) for n in range(4)]})
    mean, std = [107.0, 97.0, 82.0, 51.0], [31.0, 33.0, 39.0, 52.0]
    sizes = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=64)
    model = VisionTransformer(sizes, img_size=32, patch_size=8, in_channels=4, bands=[*NAMES])
    load = dict(type='beit_mm.LoadPhoto', no_data=-9999, **about)
    cfg = Config(
        dict(
            model=dict(
                backbone=dict(type='beit_mm.VisionTransformer', arch=sizes),
                data_preprocessor=dict(mean=mean, std=std),
            ),
            val_dataloader=dict(dataset=dict(pipeline=[load])),
        )
    )
    weights = {f'backbone.{name}': tensor for name, tensor in model.state_dict().items()}
    torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=weights), tmp_path / 'iter_9.pth')
    start = start_of(str(tmp_path / 'iter_9.pth'))
    assert start.says_how
    assert start.images == HowToRead(*about.values(), mean, std, -9999)


def test_pixels_without_a_measurement_do_not_rule_the_range_and_are_0(tmp_path):
    pixels = [RNG.normal(500, 40, (24, 24)).astype(np.int16) for _ in range(6)]
    for index, image in enumerate(pixels):
        image[: 2 + index] = -9999
        tifffile.imwrite(tmp_path / f'{index}.tif', image)
    names = [f'{index}.tif' for index in range(6)]
    ((low, _),) = how_to_read(tmp_path, names).value_range['int16']
    assert low == -9999
    found = how_to_read(tmp_path, names, no_data=-9999)
    ((low, high),) = found.value_range['int16']
    assert 300 < low < 500 < high < 700
    values = np.concatenate([image[image != -9999] for image in pixels])
    assert abs(found.mean[0] - ((values - low) / (high - low) * 255).mean()) < 1
    read = found.reading.open(tmp_path / '0.tif').read()
    assert (read[:2] == 0).all()
    assert (read[2:] > 0).mean() > 0.9
    # It goes with the weights, and their user may say another.
    known = found._replace(mean=[1.0], std=[2.0])
    start = Start(None, None, known, says_how=True)
    assert start.choose(None, None)(tmp_path, names) == known
    assert start.choose(None, None, -1)(tmp_path, names).no_data == -1


def test_photos_are_read_as_ever(tmp_path):
    for index, mode in enumerate(('RGB', 'L', 'RGBA', 'P')):
        Image.new(mode, (20, 20)).save(tmp_path / f'{index}.png')
    assert how_to_read(tmp_path, ['0.png', '1.png', '2.png', '3.png']).is_plain


@pytest.mark.parametrize(
    ('parse', 'text', 'said'),
    [
        (parse_bands, '0', '--bands 0: bands is 0'),
        (parse_bands, 'red,red', '--bands red,red'),
        (parse_range, '5,1', 'low < high'),
        (parse_range, 'minmax', "'measured'"),
    ],
)
def test_slips_are_told(parse, text, said):
    with pytest.raises(ConfigError, match=said):
        parse(text)


def test_weights_that_know_no_range_of_a_type_get_one(tmp_path):
    known = HowToRead(1, {'uint16': [(0.0, 4095.0)]}, [100.0], [50.0])
    for index in range(3):
        tifffile.imwrite(tmp_path / f'{index}.tif', RNG.normal(20, 5, (16, 16)).astype(np.float32))
    names = [f'{index}.tif' for index in range(3)]
    found = with_ranges_of(known, tmp_path, names)
    assert found.value_range['uint16'] == [(0.0, 4095.0)]
    ((low, high),) = found.value_range['float32']
    assert 0 < low < 20 < high < 40
    assert (found.mean, found.std) == (known.mean, known.std)
    tifffile.imwrite(tmp_path / '0.tif', np.zeros((16, 16), np.uint16))
    assert with_ranges_of(known, tmp_path, names[:1]) == known
