"""`beit-mm look segmentation` beside the metric that a run reports."""

import json
import shutil
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmseg.registry import TRANSFORMS
from PIL import Image

from beit_mm.commands import testing_runs
from beit_mm.commands.filling import fill_recipe
from beit_mm.commands.how_to_read import PHOTOS
from beit_mm.commands.look_segmentation import look_segmentation
from beit_mm.commands.predicting import predict
from beit_mm.commands.testing_runs import run_test
from beit_mm.commands.trained import load_trained, predict_files
from beit_mm.component import ConfigError
from beit_mm.datasets import decoding
from beit_mm.datasets.decoding import read_pixels
from beit_mm.datasets.reading import choosing

CLASSES = ['road', 'grass', 'car']
IMAGES = 7


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A folder as beit-mm segment leaves it, of a network with random weights."""
    root = tmp_path_factory.mktemp('run')
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks', 'run'):
        (root / folder).mkdir()
    for number in range(IMAGES):
        size = (40 + 2 * number, 60)
        photo = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
        photo.resize(size[::-1], Image.Resampling.BICUBIC).save(root / f'images/{number}.png')
        labels = rng.choice([1, 2, 3, 0], (4, 6)).astype(np.uint8)
        mask = Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST)
        mask.save(root / f'masks/{number}.png')
    for name, stems in (('train', range(2)), ('val', range(2, IMAGES))):
        (root / f'run/{name}.txt').write_text('\n'.join(map(str, stems)) + '\n')
    values = dict(
        image_root=str(root / 'images'), mask_root=str(root / 'masks'), image_ending='.png',
        train_list=str(root / 'run/train.txt'), val_list=str(root / 'run/val.txt'),
        classes=CLASSES, palette=[[0, 0, 0], [0, 255, 0], [255, 0, 0]], ignored=[-1, 0],
        label_map={1: 0, 2: 1, 3: 2}, scale=(60, 40), image_size=32, stride=24, num_workers=0,
        arch=dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32), embed_dims=16,
        weights=None,
    )  # fmt: skip
    (root / 'run/segment.py').write_text(fill_recipe('own/segment.py', values, 'A test.'))
    cfg = Config.fromfile(root / 'run/segment.py')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), root / 'run/segmentor.pth')
    return root


def test_iou_is_that_of_the_runs_metric_on_what_was_held_out(run, tmp_path, capsys):
    look_segmentation(run / 'run', run / 'images', run / 'masks', out=tmp_path / 'look.png')
    assert '2 of 7 images were trained on, and are left out' in capsys.readouterr().err
    shown = np.load(tmp_path / 'look.npz')
    metrics = run_test(run / 'run', cfg_options={'test_dataloader.persistent_workers': False})
    assert 100 * np.nanmean(shown['iou']) == pytest.approx(metrics['mIoU'], abs=0.006)
    labelled = sum(
        (np.asarray(Image.open(run / f'masks/{n}.png')) > 0).sum() for n in range(2, IMAGES)
    )
    assert shown['counts'].sum() == labelled
    assert len(shown['files']) == 5
    first = np.asarray(Image.open(run / 'masks/2.png')).astype(int) - 1
    np.testing.assert_array_equal(shown['truth_0'], first)


def run_lengths(region):
    """Of (H, W) bool, as COCO has them: down the columns, outside first."""
    flat = np.concatenate([[False], region.T.ravel(), [False]])
    ends = np.flatnonzero(np.diff(flat.astype(int)))
    counts = np.diff([0, *ends, region.size]).tolist()
    return dict(size=list(region.shape), counts=counts)


@pytest.mark.parametrize('given', ['annotations', 'drawn'])
def test_annotations_are_truth_as_the_masks_that_are_drawn_of_them(run, tmp_path, given):
    pytest.importorskip('faster_coco_eval')
    look_segmentation(run / 'run', run / 'images', run / 'masks', out=tmp_path / 'masks.png')
    known = dict(images=[], annotations=[])
    for n in range(IMAGES):
        mask = np.asarray(Image.open(run / f'masks/{n}.png'))
        known['images'].append(dict(id=n, file_name=f'{n}.png', height=len(mask), width=60))
        known['annotations'] += [
            dict(image_id=n, category_id=10 * c, segmentation=run_lengths(mask == c))
            for c in (1, 2, 3)
        ]
    by_id = {70: 'tree', 10: CLASSES[0], 20: CLASSES[1], 30: CLASSES[2]}
    known['categories'] = [dict(id=key, name=name) for key, name in by_id.items()]
    truth = tmp_path / 'known.json'
    truth.write_text(json.dumps(known))
    if given == 'drawn':
        truth = tmp_path / 'drawn'
        truth.mkdir()
        for n in range(IMAGES):
            shutil.copy(run / f'masks/{n}.png', truth / f'{n}.png.png')
    look_segmentation(run / 'run', run / 'images', truth, out=tmp_path / 'look.png')
    shown, expected = (np.load(tmp_path / f'{name}.npz') for name in ('look', 'masks'))
    assert expected['counts'].sum() > 0
    np.testing.assert_array_equal(shown['counts'], expected['counts'])
    np.testing.assert_array_equal(shown['truth_0'], expected['truth_0'])


@pytest.mark.parametrize('looked', ['links', 'images'])
def test_images_that_were_learned_as_links_are_left_out(run, tmp_path, looked, capsys):
    shutil.copytree(run / 'run', tmp_path / 'run')
    (tmp_path / 'links').mkdir()
    for path in (run / 'images').iterdir():
        (tmp_path / 'links' / path.name).symlink_to(path)
    config = tmp_path / 'run/segment.py'
    config.write_text(config.read_text().replace(str(run / 'images'), str(tmp_path / 'links')))
    images = {'links': tmp_path, 'images': run}[looked] / looked
    look_segmentation(tmp_path / 'run', images, run / 'masks', out=tmp_path / 'look.png')
    assert '2 of 7 images were trained on, and are left out' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        (dict(batch_size=7), 'batch_size is a variable of the config, which nothing reads any m'),
        (dict(load_from='x.pth'), 'load_from is among --cfg-options, and the checkpoint says it'),
        (dict(resume=True), 'resume is among --cfg-options, and a test does not resume'),
        ({'test_dataloader.dataset.pipeline.a': 1}, '--cfg-options failed'),
    ],
)
def test_settings_that_a_test_would_not_read_are_refused(run, option, said):
    with pytest.raises(ConfigError, match=said):
        run_test(run / 'run', cfg_options=option)


@pytest.mark.parametrize('out', ['metrics.csv', 'metrics', 'folder.json'])
def test_metrics_that_cannot_be_written_are_refused_before_the_test(run, tmp_path, out):
    (tmp_path / 'folder.json').mkdir()
    with pytest.raises(ConfigError, match=rf'--out is .*{out}.*(it must end in|is a folder)'):
        run_test(run / 'run', out=tmp_path / out)


def test_a_test_takes_the_folder_that_is_asked_for(run, tmp_path, monkeypatch):
    taken = []
    runner = SimpleNamespace(test=lambda: dict(mIoU=1.0))
    monkeypatch.setattr(testing_runs, 'build_runner', lambda cfg, mode: taken.append(cfg) or runner)
    for options in ({}, {'work_dir': str(tmp_path), 'test_dataloader.batch_size': 7}):
        assert run_test(run / 'run', cfg_options=options) == dict(mIoU=1.0)
    run_test(run / 'run', out=tmp_path / 'new/metrics.json')
    assert (tmp_path / 'new/metrics.json').is_file()
    assert [cfg.work_dir for cfg in taken[:2]] == [str(run / 'run/test'), str(tmp_path)]
    assert taken[1].test_dataloader.batch_size == 7
    assert all(cfg.load_from == str(run / 'run/segmentor.pth') for cfg in taken)


def test_a_config_with_its_weights_gives_the_same_as_its_folder(run, tmp_path):
    where = dict(images=run / 'images', masks=run / 'masks')
    look_segmentation(run / 'run', **where, out=tmp_path / 'folder.png')
    look_segmentation(
        run / 'run/segment.py', **where, checkpoint=run / 'run/segmentor.pth',
        out=tmp_path / 'config.png',
    )  # fmt: skip
    first, second = (np.load(tmp_path / f'{name}.npz') for name in ('folder', 'config'))
    assert sorted(first) == sorted(second)
    assert all(np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == 'f')
               for name in first)  # fmt: skip


def test_without_masks_photos_that_are_broken_or_too_large_to_draw(run, tmp_path, capsys):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos/a.png').write_bytes(b'none')
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (700, 1000, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'photos/b.png')
    look_segmentation(run / 'run', tmp_path / 'photos', out=tmp_path / 'look.png')
    assert 'a.png: left out' in capsys.readouterr().out
    shown = np.load(tmp_path / 'look.npz')
    assert shown['photo_0'].shape == (336, 480, 3)
    assert shown['prediction_0'].shape == (336, 480)
    assert 'counts' not in shown


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (('run', 'images', 'masks', 'run/segmentor.pth'), 'has weights of its own'),
        (('run/segment.py', 'images'), 'give its weights by --checkpoint'),
        (('images', 'images'), 'has no segment.py'),
        (('masks/0.png', 'images'), 'or a config and --checkpoint'),
        (('run', 'images/0.png', 'masks'), 'must be the file of a mask'),
    ],
)
def test_mistakes_are_told(run, given, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        look_segmentation(*(run / name for name in given), out=tmp_path / 'look.png')


def test_a_label_that_is_no_class_is_named(run, tmp_path):
    mask = np.full((44, 60), 77, np.uint8)
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    with pytest.raises(ConfigError, match=r'mask.png has the label 77, and the segmentor 3'):
        look_segmentation(
            run / 'run', run / 'images/2.png', tmp_path / 'mask.png', out=tmp_path / 'look.png'
        )


def test_masks_are_painted_over_no_picture_of_the_users(run, tmp_path):
    shutil.copytree(run / 'run', tmp_path / 'run')
    photo, picture = tmp_path / '0.jpg', tmp_path / '0_colours.png'
    Image.open(run / 'images/0.png').save(photo)
    shutil.copy(run / 'images/1.png', picture)
    before = picture.read_bytes()
    with pytest.raises(ConfigError, match=r'where 0_colours\.png is already'):
        predict(tmp_path / 'run', [photo], tmp_path)
    assert picture.read_bytes() == before
    # What it has painted itself is painted anew, unless it is asked about.
    for _ in range(2):
        (mask,) = predict(tmp_path / 'run', [photo])
    painted = mask.with_name('0_colours.png')
    with pytest.raises(ConfigError, match=r'where 0_colours\.png is already'):
        predict(tmp_path / 'run', [photo, painted])


@pytest.fixture
def sized(run, tmp_path):
    """The run, told that the images it was trained with were 80 pixels, of which it sees 40."""
    shutil.copytree(run / 'run', tmp_path / 'run')
    with (tmp_path / 'run/segment.py').open('a') as config:
        config.write('\nphoto_side = 80\n')
    return load_trained(tmp_path / 'run')


def seen_and_predicted(trained, file, monkeypatch, **how):
    """Height and width that the network's windows slide over, and what it says."""
    seen = []
    inference = trained.model.inference
    monkeypatch.setattr(
        trained.model, 'inference', lambda x, metas: seen.append(x.shape[2:]) or inference(x, metas)
    )
    ((_, sample),) = predict_files(trained, [file], **how)
    monkeypatch.undo()
    return [tuple(shape) for shape in seen], sample


def test_a_scene_is_brought_to_the_size_of_tiles_and_said_or_keeps_its_scale(
    sized, tmp_path, monkeypatch, capsys
):
    scene, tile = tmp_path / 'scene.png', tmp_path / 'tile.png'
    Image.effect_noise((480, 320), 99).convert('RGB').save(scene)
    Image.open(scene).crop((0, 0, 120, 80)).save(tile)
    seen, shrunk = seen_and_predicted(sized, scene, monkeypatch)
    assert (seen, shrunk.pred_sem_seg.shape) == ([(40, 60 + 4)], (320, 480))
    assert 'brought to the size of those trained with, whose short' in capsys.readouterr().err
    seen, of_scene = seen_and_predicted(sized, scene, monkeypatch, keep_scale=True)
    assert (seen, of_scene.pred_sem_seg.shape) == ([(160, 240)], (320, 480))
    # Of the trained size both are one, and nothing is said.
    seen, of_tile = seen_and_predicted(sized, tile, monkeypatch)
    assert seen == [(40, 60 + 4)]
    again = seen_and_predicted(sized, tile, monkeypatch, keep_scale=True)
    assert again[0] == seen
    torch.testing.assert_close(again[1].seg_logits.data, of_tile.seg_logits.data)
    assert 'brought to the size' not in capsys.readouterr().err
    # Where no window but the first reaches, here 8 rows and 24 columns, nothing of the rest of
    # the scene is seen. Doubled, the last of them is mixed with its neighbour.
    torch.testing.assert_close(
        of_scene.seg_logits.data[:, :15, :47], of_tile.seg_logits.data[:, :15, :47]
    )
    assert not torch.allclose(
        shrunk.seg_logits.data[:, :15, :47], of_scene.seg_logits.data[:, :15, :47]
    )


def test_a_run_that_tells_no_scale_cannot_keep_it(run, tmp_path):
    with pytest.raises(ConfigError, match='photo_side'):
        predict(run / 'run', [run / 'images/0.png'], tmp_path / 'out', keep_scale=True)


def test_an_image_that_is_reduced_as_it_is_read_keeps_its_mask(
    sized, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(decoding, 'MOST_PIXELS', 700)
    monkeypatch.setattr(choosing, 'MOST_AT_ONCE', 100)
    image, mask = tmp_path / 'a.png', tmp_path / 'm.png'
    Image.effect_noise((61, 41), 99).convert('RGB').save(image)
    labels = np.random.default_rng(0).integers(0, 4, (41, 61), dtype=np.uint8)
    Image.fromarray(labels).save(mask)
    sample = dict(img_path=str(image), seg_map_path=str(mask), reduce_zero_label=False)

    def run_steps(steps, **changed):
        built = [TRANSFORMS.build(step) for step in steps]
        return Compose(built)(dict(sample, seg_fields=[], **changed))

    steps = sized.cfg.val_dataloader.dataset.pipeline
    validated = run_steps(steps)['data_samples']
    found = validated.gt_sem_seg.data[0].numpy()
    assert found.shape == validated.ori_shape == (20, 30)
    rows = np.floor((np.arange(20) + 0.5) * 41 / 20).astype(int)
    columns = np.floor((np.arange(30) + 0.5) * 61 / 30).astype(int)
    assert np.array_equal(found, np.array([255, 0, 1, 2])[labels][rows][:, columns])
    Image.fromarray(labels[1:]).save(tmp_path / 'short.png')
    with pytest.raises(ValueError, match=r'short.png is 40 x 61 .* and its photo .* 41 x 61'):
        run_steps(steps, seg_map_path=str(tmp_path / 'short.png'))
    for _ in range(10):
        trained = run_steps(sized.cfg.train_dataloader.dataset.pipeline)
        assert trained['inputs'].shape[1:] == trained['data_samples'].gt_sem_seg.shape
    for keep_scale, said in ((False, 'large images reduced'), (True, 'cut it into parts')):
        ((_, predicted),) = predict_files(sized, [image], keep_scale=keep_scale)
        assert said in ''.join(capsys.readouterr())
        assert keep_scale == (predicted is None)
        if predicted is not None:
            assert predicted.pred_sem_seg.shape == (41, 61)


def test_deep_images_are_left_out_by_a_model_of_8_bits(run, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 60, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'deep.tif', pixels, photometric='rgb')
    (found,) = predict(run / 'run', [run / 'images/0.png', tmp_path / 'deep.tif'], tmp_path / 'out')
    assert found.name == '0.png'
    assert 'deep.tif: left out, it is deeper than 8 bits' in capsys.readouterr().out


def test_a_slice_is_predicted_as_a_picture_of_it_is_and_its_classes_are_said(run, tmp_path, capsys):
    shutil.copytree(run / 'run', tmp_path / 'run')
    photos = [np.asarray(Image.open(run / 'images/0.png').convert('L')) // n for n in range(1, 6)]
    volume = tmp_path / 'scan.nii.gz'
    nibabel.save(nibabel.Nifti1Image(np.stack(photos, axis=-1), np.eye(4)), volume)
    (mask,) = predict(tmp_path / 'run', [f'{volume}#3'])
    said = capsys.readouterr().out
    # Without --out in the model's folder.
    assert mask == tmp_path / 'run/predicted/scan.nii.gz_3.png'
    Image.fromarray(read_pixels(f'{volume}#3', PHOTOS.reading)).save(tmp_path / 'slice.png')
    (expected,) = predict(tmp_path / 'run', [tmp_path / 'slice.png'], tmp_path / 'out')
    labels = np.asarray(Image.open(mask))
    assert np.array_equal(labels, np.asarray(Image.open(expected)))
    shares = np.bincount(labels.ravel(), minlength=3) / labels.size
    assert len(set(shares)) == 3
    ranked = sorted(zip(shares, CLASSES, strict=True), reverse=True)
    named = ', '.join(f'{name} {share:.0%}' for share, name in ranked if share)
    assert f'{volume}#3: {named} -> {mask.with_name("scan.nii.gz_3_colours.png")}\n' in said
    assert 'not those of the masks that it has learned from: 0 for 1, 1 for 2, 2 for 3' in said
    every = predict(tmp_path / 'run', [volume], tmp_path / 'all')
    assert [path.name for path in every] == [f'scan.nii.gz_{index}.png' for index in range(5)]
    assert every[3].read_bytes() == mask.read_bytes()
