"""From a folder of images to a classifier, vectors, masks and an export, by commands alone."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import beit_mm
from beit_mm.commands.main import main

pytestmark = pytest.mark.usefixtures('forked_stages')

# Steps that show that it runs, not that it learns.
STEPS = '12'
COLOURS = dict(red=(200, 40, 40), green=(40, 200, 40), blue=(40, 40, 200))


def make_photos(root: Path) -> Path:
    """Twelve photos of each of three colours, of unequal sizes, two folders deep; one is broken."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for index in range(12):
            folder = root / name / f'part {index % 2}'
            folder.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(-40, 40, (60 + index, 80, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f'{index}.jpg')
    return root


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp('own') / 'photos')


@pytest.fixture(scope='module')
def pretrained(photos, tmp_path_factory):
    """A pre-training of all photos."""
    out = tmp_path_factory.mktemp('runs') / 'first'
    run = ['pretrain', str(photos), '--out', str(out), '--steps', STEPS, '--size', '32']
    main([*run, '--method', 'beit'])
    return out


@pytest.fixture(scope='module')
def classifier(photos, pretrained):
    out = pretrained.parent / 'classes'
    weights = str(pretrained / 'pretrained.pth')
    main(['finetune', str(photos), '--weights', weights, '--out', str(out), '--steps', '30'])
    return out


@pytest.mark.slow
def test_pretraining_writes_what_it_promises(pretrained, photos):
    made = {path.name for path in pretrained.iterdir()}
    assert made >= {
        'tokenizer.py', 'tokenizer.pth', 'pretrain.py', 'pretrained.pth', 'report.md',
        'report.json', 'curves.png', 'reconstructions.png', 'neighbours.png', 'features.npz',
    }  # fmt: skip
    held_out = (pretrained / 'val.txt').read_text().split('\n')[:-1]
    trained = (pretrained / 'train.txt').read_text().split('\n')[:-1]
    assert len(held_out) == 5
    assert len(trained) == 31
    assert sorted(held_out + trained) == sorted(
        str(path.relative_to(photos)) for path in photos.rglob('*.jpg')
    )
    model = beit_mm.load(pretrained / 'pretrained.pth')
    assert model(torch.rand(1, 3, 32, 32))[0].shape == (1, 17, 128)


@pytest.mark.slow
def test_a_run_is_not_overwritten_and_is_gone_on_with(pretrained, photos, capsys):
    run = ['pretrain', str(photos), '--out', str(pretrained)]
    with pytest.raises(SystemExit):
        main([*run, '--steps', STEPS])
    assert 'holds a run already: add --resume' in capsys.readouterr().err
    main([*run, '--resume', '--steps', '16'])
    # Of the tokenizer, which is done, nothing is done again.
    assert '[1/1] Pre-train' in capsys.readouterr().out
    assert (pretrained / 'pretrain/iter_16.pth').is_file()
    log = (pretrained / 'pretrain/output.txt').read_text()
    assert f'resumed epoch: 0, iter: {STEPS}' in log


@pytest.mark.slow
def test_vectors_are_in_order_and_go_on_where_they_stopped(
    pretrained, photos, tmp_path, monkeypatch
):
    from beit_mm.commands import embedding

    weights = pretrained / 'pretrained.pth'
    (photos / 'broken.jpg').write_bytes(b'no image')
    whole = tmp_path / 'whole.npz'
    main(['embed', str(photos), str(whole), '--weights', str(weights), '--batch-size', '5'])
    found = np.load(whole)
    names = sorted(str(path.relative_to(photos)) for path in photos.rglob('*/*.jpg'))
    assert found['files'].tolist() == names

    # One at a time, by the backbone itself.
    model = beit_mm.load(weights, out_type='featmap')
    image = Image.open(photos / names[7]).convert('RGB')
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    square = image.resize((32, 32), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    pixels = torch.tensor(np.asarray(square)).permute(2, 0, 1).float()
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    with torch.no_grad():
        expected = model(((pixels - mean) / std)[None])[0].mean(dim=(2, 3))[0]
    torch.testing.assert_close(torch.tensor(found['features'][7]), expected, rtol=1e-4, atol=1e-4)

    monkeypatch.setattr(embedding, 'PART', 10)
    parts = []
    take = embedding.features_in_order

    def dying(*arguments):
        parts.append(arguments)
        if len(parts) == 3:
            raise KeyboardInterrupt
        return take(*arguments)

    monkeypatch.setattr(embedding, 'features_in_order', dying)
    again = tmp_path / 'again.npz'
    with pytest.raises(SystemExit):
        main(['embed', str(photos), str(again), '--weights', str(weights)])
    assert not again.exists()
    main(['embed', str(photos), str(again), '--weights', str(weights)])
    # Two parts of four were there.
    assert len(parts) == 3 + 2
    assert np.load(again)['files'].tolist() == names
    np.testing.assert_allclose(np.load(again)['features'], found['features'], rtol=1e-4, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] in (
        ['whole.npz', 'again.npz'], ['again.npz', 'whole.npz']
    )  # fmt: skip
    parquet = pytest.importorskip('pyarrow.parquet')
    monkeypatch.setattr(embedding, 'features_in_order', take)
    main(['embed', str(photos), str(tmp_path / 'v.parquet'), '--weights', str(weights)])
    table = parquet.read_table(tmp_path / 'v.parquet').to_pydict()
    assert table['file'] == names
    np.testing.assert_allclose(table['features'], found['features'], rtol=1e-4, atol=1e-4)
    (photos / 'broken.jpg').unlink()


@pytest.mark.slow
def test_a_classifier_names_the_colour_of_a_photo(classifier, photos, tmp_path, capsys):
    figures = json.loads((classifier / 'report.json').read_text())
    assert set(figures['by_class']) == set(COLOURS)
    rows = list(csv.DictReader((classifier / 'predictions.csv').open()))
    assert len(rows) == 6
    right = np.mean([row['label'] == row['predicted'] for row in rows])
    assert figures['top1'] == pytest.approx(100 * right, abs=0.01)
    # Colours apart: a network that has learned anything tells them.
    assert right > 0.9
    assert (classifier / 'confusion.png').is_file()
    Image.new('RGB', (50, 40), (200, 40, 40)).save(tmp_path / 'mine.png')
    capsys.readouterr()
    main(['predict', str(classifier), str(tmp_path / 'mine.png')])
    assert capsys.readouterr().out.startswith(f'{tmp_path}/mine.png: red ')
    main(['predict', str(classifier), str(photos / 'blue'), '--out', str(tmp_path / 'blue.csv')])
    told = list(csv.DictReader((tmp_path / 'blue.csv').open()))
    assert len(told) == 12
    assert np.mean([row['class'] == 'blue' for row in told]) > 0.9
    main(['test', str(classifier), '--out', str(tmp_path / 'metrics.json')])
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['accuracy/top1'] == pytest.approx(figures['top1'], abs=0.01)


@pytest.mark.slow
def test_a_classifier_leaves_as_onnx(classifier, photos, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    main(['export', str(classifier), str(tmp_path / 'c.onnx')])
    session = onnxruntime.InferenceSession(str(tmp_path / 'c.onnx'))
    image = Image.open(next((photos / 'green').rglob('*.jpg'))).resize((32, 32))
    pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None] / 255
    (logits,) = session.run(None, {session.get_inputs()[0].name: pixels})
    assert sorted(COLOURS)[int(logits.argmax())] == 'green'


@pytest.mark.slow
def test_frozen_weights_are_measured(pretrained, photos, capsys):
    pytest.importorskip('sklearn')
    figures = beit_mm.evaluate(photos, pretrained / 'pretrained.pth', neighbors=3)
    assert figures['chance'] == pytest.approx(100 / 3)
    assert figures['knn'] > 90
    assert f'{figures["linear"]:.1f} % top-1' in capsys.readouterr().out


@pytest.mark.slow
def test_the_folder_of_a_run_is_its_weights_and_of_no_other_run(
    pretrained, photos, tmp_path, capsys
):
    (tmp_path / 'a').mkdir()
    Image.new('RGB', (40, 40), (200, 40, 40)).save(tmp_path / 'a/1.png')
    beit_mm.embed(tmp_path / 'a', tmp_path / 'file.npz', pretrained / 'pretrained.pth')
    beit_mm.embed(tmp_path / 'a', tmp_path / 'folder.npz', pretrained)
    features = [np.load(tmp_path / f'{name}.npz')['features'] for name in ('file', 'folder')]
    np.testing.assert_array_equal(*features)
    lists = (pretrained / 'train.txt').read_text()
    with pytest.raises(SystemExit):
        main(['finetune', str(photos), '--weights', str(pretrained), '--out', str(pretrained)])
    assert 'is of a beit-mm pretrain; choose another' in capsys.readouterr().err
    assert (pretrained / 'train.txt').read_text() == lists
    with pytest.raises(SystemExit):
        main(['pretrain', str(photos), '--out', str(tmp_path / 'new'), '--cfg-options',
              'optim_wraper.optimizer.lr=1'])  # fmt: skip
    assert "did you mean 'optim_wrapper'?" in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


@pytest.mark.slow
@pytest.mark.usefixtures('known_speed')
def test_without_a_tokenizer_mae_goes_the_whole_way(photos, tmp_path, capsys):
    """Its weights say how many heads there are, which no shape of them does."""
    out = tmp_path / 'run'
    main(['pretrain', str(photos), '--out', str(out), '--steps', STEPS, '--size', '32'])
    said = capsys.readouterr().out
    assert 'mae: it predicts the pixels of hidden patches, as in minutes it learns more' in said
    made = {path.name for path in out.iterdir()}
    assert made >= {'pretrained.pth', 'curves.png', 'reconstructions.png', 'neighbours.png'}
    assert not {'tokenizer.py', 'tokenizer.pth'} & made
    figures = json.loads((out / 'report.json').read_text())
    assert figures['mim_mse'] > 0
    assert figures['mim_acc'] is None
    model = beit_mm.load(out / 'pretrained.pth')
    assert (type(model).__name__, model.blocks[0].attn.num_heads) == ('VisionTransformer', 4)

    given = ['--weights', str(out)]
    main(['finetune', str(photos), *given, '--out', str(tmp_path / 'fine'), '--steps', '4'])
    tuned = beit_mm.load(tmp_path / 'fine/classifier.pth')
    # Fixed in pre-training, and learned from there.
    moved = (tuned.pos_embed - model.pos_embed).abs().max()
    assert 0 < moved < 0.1
    main(['evaluate', str(photos), *given])
    assert 'linear classifier' in capsys.readouterr().out
    main(['export', str(tmp_path / 'fine'), str(tmp_path / 'c.pt')])
    for what in ('reconstructions', 'attention'):
        picture = tmp_path / f'{what}.png'
        main(['look', what, str(out), str(photos / 'red'), '--out', str(picture)])
        assert picture.is_file()


@pytest.mark.slow
def test_weights_go_to_timm(pretrained, tmp_path):
    from beit_mm.checkpoints import load_state_dict

    main(['convert', str(pretrained / 'pretrained.pth'), str(tmp_path / 'b.pth'), '--to', 'timm'])
    names = load_state_dict(tmp_path / 'b.pth')
    assert 'blocks.0.attn.qkv.weight' in names


@pytest.mark.slow
def test_a_segmentor_paints_masks(pretrained, tmp_path, capsys):
    rng = np.random.default_rng(1)
    images, masks = tmp_path / 'images', tmp_path / 'masks'
    images.mkdir()
    masks.mkdir()
    for index in range(10):
        pixels = rng.integers(0, 80, (48, 64, 3), dtype=np.uint8)
        mask = np.zeros((48, 64), np.uint8)
        left = int(rng.integers(0, 32))
        pixels[8:40, left : left + 32] += 150
        mask[8:40, left : left + 32] = 255
        Image.fromarray(pixels).save(images / f'{index}.png')
        Image.fromarray(mask).save(masks / f'{index}.png')
    out = tmp_path / 'run'
    weights = str(pretrained / 'pretrained.pth')
    main(['segment', str(images), str(masks), '--weights', weights, '--out', str(out),
          '--steps', '20'])  # fmt: skip
    said = capsys.readouterr().out
    assert 'masks of 0 and 255: background, and an object' in said
    assert (out / 'segmentations.png').is_file()
    main(['predict', str(out), str(images / '0.png'), '--out', str(tmp_path / 'painted')])
    painted = np.asarray(Image.open(tmp_path / 'painted/0.png'))
    truth = np.asarray(Image.open(masks / '0.png')) > 0
    assert painted.shape == truth.shape
    overlap = ((painted == 1) & truth).sum() / ((painted == 1) | truth).sum()
    assert overlap > 0.6


@pytest.mark.slow
@pytest.mark.usefixtures('known_speed')
def test_a_segmentor_of_annotated_instances(pretrained, tmp_path, capsys):
    rng = np.random.default_rng(2)
    images = tmp_path / 'images'
    images.mkdir()
    known = dict(images=[], annotations=[], categories=[dict(id=9, name='bright thing')])
    for index in range(10):
        pixels = rng.integers(0, 80, (48, 64, 3), dtype=np.uint8)
        left = int(rng.integers(0, 32))
        pixels[8:40, left : left + 32] += 150
        # Of several endings, which masks of a folder cannot have.
        name = f'{index}.{"png" if index % 2 else "bmp"}'
        Image.fromarray(pixels).save(images / name)
        known['images'].append(dict(id=index, file_name=name, height=48, width=64))
        corners = [left, 8, left + 32, 8, left + 32, 40, left, 40]
        known['annotations'].append(
            dict(id=index, image_id=index, category_id=9, segmentation=[corners])
        )
    (tmp_path / 'a.json').write_text(json.dumps(known))
    out = tmp_path / 'run'
    run = ['segment', str(images), str(tmp_path / 'a.json'), '--weights',
           str(pretrained / 'pretrained.pth'), '--out', str(out)]  # fmt: skip
    main([*run, '--steps', '20'])
    assert 'classes: background, bright thing' in capsys.readouterr().out
    mask = np.asarray(Image.open(out / 'masks/3.png.png'))
    bright = np.asarray(Image.open(images / '3.png')).max(axis=2) > 115
    # A few dark ones of the thing's own noise, and borders.
    assert (mask == bright).mean() > 0.98
    assert json.loads((out / 'report.json').read_text())['mIoU'] > 60
    main(['test', str(out), '--out', str(tmp_path / 'metrics.json')])
    assert json.loads((tmp_path / 'metrics.json').read_text())['mIoU'] > 60


def write_squares(folder: Path) -> list[np.ndarray]:
    """Eight dark images with a bright square each; where it is."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    squares = []
    for index in range(8):
        bright = np.zeros((48, 64), bool)
        left = int(rng.integers(0, 32))
        bright[8:40, left : left + 32] = True
        pixels = rng.integers(0, 80, (48, 64, 3)) + 150 * bright[..., None]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{index}.png')
        squares.append(bright)
    return squares


@pytest.mark.usefixtures('known_speed')
def test_a_segmentor_of_painted_masks_learns_the_labels_of_their_colours(tmp_path, monkeypatch):
    from mmengine.config import Config
    from mmengine.registry import DATASETS, DefaultScope

    from beit_mm.commands.run_folder import RunFolder

    squares = write_squares(tmp_path / 'images')
    masks, out = tmp_path / 'masks', tmp_path / 'run'
    masks.mkdir()
    (masks / 'labelmap.txt').write_text('sign:250,170,30::\ncar:0,0,142::\nvoid:0,0,0::')
    for index, bright in enumerate(squares):
        painted = np.where(bright[..., None], (250, 170, 30), (0, 0, 142)).astype(np.uint8)
        painted[:3] = 0
        Image.fromarray(painted).save(masks / f'{index}.png')
    monkeypatch.setattr(RunFolder, 'train', lambda *_: sys.exit('it would be trained'))
    with pytest.raises(SystemExit, match='it would be trained'):
        main(['segment', str(tmp_path / 'images'), str(masks), '--weights', 'none', '--out',
              str(out), '--steps', '4'])  # fmt: skip
    cfg = Config.fromfile(out / 'segment.py')
    seen = []
    for settings in (cfg.train_dataloader.dataset, cfg.val_dataloader.dataset):
        assert settings.metainfo.classes == ['sign', 'car']
        # In these predictions are painted.
        assert settings.metainfo.palette == [[250, 170, 30], [0, 0, 142]]
        # Of their size, whole, and not turned over.
        settings.pipeline = [
            step for step in settings.pipeline if step.type.startswith(('beit_mm.', 'Pack'))
        ]
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            samples = [sample['data_samples'] for sample in DATASETS.build(settings)]
        for sample in samples:
            seen.append(int(Path(sample.img_path).stem))
            expected = np.where(squares[seen[-1]], 0, 1)
            expected[:3] = 255
            assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), expected)
    assert sorted(seen) == [*range(8)]


@pytest.mark.slow
@pytest.mark.usefixtures('known_speed')
def test_a_segmentor_of_more_than_255_classes(pretrained, tmp_path):
    squares = write_squares(tmp_path / 'images')
    (tmp_path / 'masks').mkdir()
    for index, bright in enumerate(squares):
        mask = np.where(bright, 299, 255).astype(np.uint16)
        mask[:3] = 65535
        Image.fromarray(mask).save(tmp_path / f'masks/{index}.png')
    out, painted = tmp_path / 'run', tmp_path / 'predicted'
    main(['segment', str(tmp_path / 'images'), str(tmp_path / 'masks'), '--weights',
          str(pretrained / 'pretrained.pth'), '--out', str(out), '--steps', '20', '--classes',
          *(f'c{number}' for number in range(300))])  # fmt: skip
    main(['predict', str(out), str(tmp_path / 'images'), '--out', str(painted)])
    found = np.asarray(Image.open(painted / '0.png'))
    assert ((found == 299) == squares[0]).mean() > 0.85
    from mmengine.config import Config

    palette = np.array(Config.fromfile(out / 'segment.py').palette)
    assert (np.asarray(Image.open(painted / '0_colours.png')) == palette[found]).all()


@pytest.mark.parametrize('method', ['beit', 'mae'])
def test_a_dry_run_prints_a_config_that_can_be_run_and_writes_nothing(
    photos, tmp_path, capsys, method
):
    out = tmp_path / 'run'
    main(['pretrain', str(photos), '--out', str(out), '--dry-run', '--steps', '7', '--method',
          method, '--cfg-options', 'optim_wrapper.optimizer.lr=0.5'])  # fmt: skip
    from mmengine.config import Config

    text = capsys.readouterr().out
    cfg = Config.fromstring(text, '.py')
    assert cfg.train_cfg.max_iters == 7
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_command_stops_its_training_which_goes_on_where_it_was(photos, tmp_path, number):
    out = tmp_path / 'run'
    program = [sys.executable, '-c', 'from beit_mm.commands import main; main()']
    run = ['pretrain', str(photos), '--out', str(out)]
    command = [*program, *run, '--steps', '800', '--size', '32', '--method', 'mae',
               '--cfg-options', 'default_hooks.logger.interval=5']  # fmt: skip
    log = out / 'pretrain/output.txt'
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 100
        while not (log.is_file() and 'Iter(train) [  5/800]' in log.read_text()):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert 'Traceback' not in said
    assert number != signal.SIGINT or 'stopped; --resume goes on with it' in said
    deadline = time.monotonic() + 60
    while not (out / 'pretrain/last_checkpoint').is_file():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
    saved = Path((out / 'pretrain/last_checkpoint').read_text())
    done = int(saved.stem.removeprefix('iter_'))
    assert saved.is_file()
    assert 5 <= done < 800
    # Nobody was there to tidy up.
    if number == signal.SIGKILL:
        main([*run, '--resume', '--steps', str(done + 2)])
        assert f'resumed epoch: 0, iter: {done}' in log.read_text()
        assert (out / f'pretrain/iter_{done + 2}.pth').is_file()
        assert (out / 'pretrained.pth').is_file()


@pytest.mark.slow
@pytest.mark.usefixtures('known_speed')
def test_options_reach_all_that_is_made_of_a_run(photos, pretrained, tmp_path, capsys):
    """Training, the report, prediction and export see one config."""
    out, weights = tmp_path / 'run', str(pretrained / 'pretrained.pth')
    run = ['finetune', str(photos), '--weights', weights, '--out', str(out)]
    main([*run, '--steps', '2', '--cfg-options', 'model.data_preprocessor.mean=1,2,3'])
    from beit_mm.commands.trained import load_trained

    assert load_trained(out).model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    held_out = (out / 'val.txt').read_text()
    capsys.readouterr()
    # What is drawn anew from a folder that has grown would hold out what was trained with.
    for name in COLOURS:
        Image.new('RGB', (40, 40), COLOURS[name]).save(photos / name / 'part 0' / '00.png')
    try:
        main([*run, '--resume', '--steps', '4'])
        rows = csv.DictReader((out / 'predictions.csv').open())
        assert [row['path'] for row in rows] == [
            line.rpartition(' ')[0] for line in held_out.splitlines()
        ]
        # Of a run that was half as long: it had one step behind the warm-up.
        assert load_trained(out).cfg.param_scheduler[-1].T_max == 2
        with pytest.raises(SystemExit):
            main([*run, '--resume', '--size', '64'])
        assert '--size cannot be changed by --resume' in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([*run[:2], '--weights', 'none', '--out', str(out), '--resume'])
        assert f'the run in --out began with {weights}' in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([*run, '--resume', '--dry-run'])
        assert 'are both given' in capsys.readouterr().err
    finally:
        for name in COLOURS:
            (photos / name / 'part 0' / '00.png').unlink()
