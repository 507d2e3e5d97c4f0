"""What is written for other programs gives what the model and OpenMMLab's tools give."""

import json

import numpy as np
import pytest
import torch
from full_disk import full_disk
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.utils import digit_version
from mmpretrain import ImageClassificationInferencer
from mmseg.apis import MMSegInferencer
from PIL import Image
from small_models import ARCH, CLASSES, SIZE, build, classifier, photo, pretraining, save, segmentor

from beit_mm.component import ConfigError
from beit_mm.exporting import export, formats
from beit_mm.exporting.formats import MIN_TORCH
from beit_mm.exporting.program import Program, normalization_of
from beit_mm.models import BEiT

if digit_version(torch.__version__) < digit_version(MIN_TORCH):
    pytest.skip(f'.onnx and .pt2 take PyTorch {MIN_TORCH}', allow_module_level=True)
onnxruntime = pytest.importorskip('onnxruntime')
onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxscript')

# 2.10 fixes whether rows are even or odd.
OPEN_PYRAMID = pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.14'), reason='takes PyTorch 2.14'
)
RGB = dict(type='beit_mm.LoadPhoto')


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return session.run(None, {'images': np.asarray(images, np.float32)})


def as_images(pixels):
    """RGB in [0, 1], (1, 3, H, W): what the documentation asks for."""
    return pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255


@pytest.mark.parametrize(
    ('load', 'to_rgb'),
    [(None, True), (None, False), (RGB, False), (RGB, True)],
    ids=['to RGB', 'BGR', 'RGB', 'to BGR'],
)
def test_a_classifier_scores_a_photo_as_mmpretrain_does(load, to_rgb, tmp_path, capsys):
    """Normalisation and order of channels are inside; the inferencer goes the pipeline's way."""
    cfg = classifier(load, to_rgb)
    checkpoint = save(cfg, tmp_path / 'weights.pth')
    exported = export(cfg, checkpoint, tmp_path / 'out.onnx')
    assert str(exported) in capsys.readouterr().out
    pixels = photo(tmp_path / 'photo.png')
    (logits,) = run_onnx(tmp_path / 'out.onnx', as_images(pixels))
    inferencer = ImageClassificationInferencer(cfg, pretrained=str(checkpoint))
    (result,) = inferencer(str(tmp_path / 'photo.png'))
    scores = torch.from_numpy(logits).softmax(1)[0]
    assert np.ptp(result['pred_scores']) > 0.1
    np.testing.assert_allclose(scores, result['pred_scores'], atol=1e-5)
    assert 0 <= exported.difference < 1e-4


@pytest.mark.parametrize('head', ['SETRPUPHead', 'UPerHead'])
def test_a_segmentor_labels_a_photo_as_mmsegmentation_does(head, tmp_path):
    cfg = segmentor(head)
    checkpoint = save(cfg, tmp_path / 'weights.pth')
    export(cfg, checkpoint, tmp_path / 'out.onnx')
    pixels = photo(tmp_path / 'photo.png')
    (logits,) = run_onnx(tmp_path / 'out.onnx', np.repeat(as_images(pixels), 3, axis=0))
    assert logits.shape == (3, 3, SIZE, SIZE)
    inferencer = MMSegInferencer(cfg, str(checkpoint))
    found = inferencer(str(tmp_path / 'photo.png'), return_datasamples=True).seg_logits.data
    assert np.ptp(found.numpy()) > 0.1
    np.testing.assert_allclose(logits[2], found, atol=1e-4)


def test_a_pretraining_gives_its_backbones_features_without_a_mask(tmp_path):
    cfg = pretraining()
    checkpoint = save(cfg, tmp_path / 'weights.pth')
    export(cfg, checkpoint, tmp_path / 'out.onnx')
    pixels = photo(tmp_path / 'photo.png')
    (features,) = run_onnx(tmp_path / 'out.onnx', as_images(pixels))
    normalised = (pixels - [120.0, 110.0, 80.0]) / [40.0, 60.0, 90.0]
    images = torch.from_numpy(normalised).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        (expected,) = build(cfg, 'backbone')(images)
    np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize(
    ('cfg', 'suffix'),
    [
        pytest.param(classifier(), '.onnx', id='classifier'),
        pytest.param(segmentor(), '.onnx', id='SETRPUPHead'),
        pytest.param(segmentor('UPerHead'), '.pt2', id='UPerHead', marks=OPEN_PYRAMID),
    ],
)
def test_any_size_and_any_number_of_images(cfg, suffix, tmp_path):
    """Held against models that are made for each size, whose positions are resampled in loading."""
    checkpoint = save(cfg, tmp_path / 'weights.pth')
    out = tmp_path / f'any{suffix}'
    assert export(cfg, checkpoint, out, size='any').images == ('batch', 3, 'height', 'width')
    run = formats.FORMATS[formats.SUFFIXES[suffix]].read(out)
    for batch, size in ((1, (SIZE, SIZE)), (4, (96, 160))):
        images = torch.rand(batch, 3, *size)
        export(cfg, checkpoint, tmp_path / 'fixed.pt', size=size)
        expected = torch.jit.load(str(tmp_path / 'fixed.pt'))(images)
        for ours, theirs in zip(run(images), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ('positions', 'outputs'),
    [
        (dict(use_rel_pos_bias=False, use_abs_pos_emb=True), ['features_0', 'features_1']),
        (dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True), ['features_0', 'features_1']),
    ],
    ids=['absolute', 'shared'],
)
def test_a_backbone_by_itself_takes_images_as_they_are(positions, outputs, tmp_path):
    backbone = BEiT(
        ARCH, img_size=(64, 96), in_channels=4, out_type='featmap', out_indices=(0, 1), **positions
    ).eval()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    exported = export(backbone, None, tmp_path / 'out.onnx', size='any')
    assert list(exported.outputs) == outputs
    images = torch.rand(2, 4, 80, 64)
    with torch.no_grad():
        expected = backbone(images)
    for ours, theirs in zip(run_onnx(tmp_path / 'out.onnx', images), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert backbone.blocks[0].attn.qkv.weight.requires_grad, 'the given model stays as it was'


def test_one_image_at_a_time(tmp_path):
    exported = export(build(classifier()), None, tmp_path / 'one.onnx', dynamic=False)
    assert exported.images == (1, 3, SIZE, SIZE)
    session = onnxruntime.InferenceSession(str(tmp_path / 'one.onnx'))
    assert session.get_inputs()[0].shape == [1, 3, SIZE, SIZE]
    assert session.get_outputs()[0].name == 'logits'


@pytest.mark.parametrize('suffix', ['.pt', '.pt2'])
def test_what_goes_with_onnx_alone_is_refused_elsewhere(tmp_path, suffix):
    for given in (dict(int8=True), dict(opset=20)):
        with pytest.raises(ConfigError, match=rf'{next(iter(given))} .*goes with \.onnx alone'):
            export(build(classifier()), None, tmp_path / f'out{suffix}', **given)


def test_a_file_says_what_it_takes(tmp_path):
    cfg = classifier()
    checkpoint = save(cfg, tmp_path / 'weights.pth')
    for suffix, opset in (('.onnx', 20), ('.pt', None)):
        export(cfg, checkpoint, tmp_path / f'out{suffix}', opset=opset)
    model = onnx.load(tmp_path / 'out.onnx')
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said['classes']) == list(CLASSES)
    assert json.loads(said['size']) == [SIZE, SIZE]
    assert json.loads(said['mean']) == pytest.approx([120 / 255, 110 / 255, 80 / 255])
    assert said['images'] == 'float32, RGB, in [0, 1]'
    assert next(opset.version for opset in model.opset_import if not opset.domain) == 20
    files = {formats.METADATA_FILE: ''}
    torch.jit.load(str(tmp_path / 'out.pt'), _extra_files=files)
    assert json.loads(files[formats.METADATA_FILE])['classes'] == list(CLASSES)


def said_by(path):
    """The metadata of a traced file."""
    files = {formats.METADATA_FILE: ''}
    torch.jit.load(str(path), _extra_files=files)
    return json.loads(files[formats.METADATA_FILE])


def test_a_file_says_which_values_become_0_and_1(tmp_path):
    cfg = classifier()
    load = dict(type='beit_mm.LoadPhoto', value_range={'uint16': [(7, 950), (0, 9), (1, 2)]})
    load = dict(load, no_data=-9999.0, background=(9, 8, 7))
    cfg.test_dataloader = dict(dataset=dict(pipeline=[load, dict(type='PackInputs')]))
    export(cfg, save(cfg, tmp_path / 'weights.pth'), tmp_path / 'out.pt')
    said = said_by(tmp_path / 'out.pt')
    assert said['value_range'] == {'uint16': [[7, 950], [0, 9], [1, 2]]}
    assert (said['no_data'], said['background'], said['steps']) == (-9999.0, [9, 8, 7], [])


def test_a_file_says_enough_to_answer_as_mmpretrain_does(tmp_path):
    """By Pillow and numpy, of a photo that is wide, and of labels that go together."""
    cfg = classifier()
    resize = dict(type='ResizeEdge', scale=80, edge='short', interpolation='bicubic',
                  backend='pillow')  # fmt: skip
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline[1:1] = [resize, dict(type='CenterCrop', crop_size=SIZE)]
    cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=24)
    checkpoint = save(cfg, tmp_path / 'weights.pth')
    export(cfg, checkpoint, tmp_path / 'out.pt')
    said = said_by(tmp_path / 'out.pt')
    short, middle = said['steps']
    assert (short['interpolation'], said['probabilities']) == ('bicubic', 'sigmoid')
    photo(tmp_path / 'photo.png', (60, 90))
    image = Image.open(tmp_path / 'photo.png')
    share = short['scale'] / min(image.size)
    image = image.resize([int(side * share) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - middle['crop_size']) // 2 for side in image.size)
    pixels = np.asarray(image)[top : top + SIZE, left : left + SIZE]
    (logits,) = torch.jit.load(str(tmp_path / 'out.pt'))(torch.from_numpy(as_images(pixels)))
    inferencer = ImageClassificationInferencer(cfg, pretrained=str(checkpoint))
    (result,) = inferencer(str(tmp_path / 'photo.png'))
    scores = logits[0].sigmoid()
    assert np.ptp(result['pred_scores']) > 0.05
    np.testing.assert_allclose(scores, result['pred_scores'], atol=1e-5)


def test_test_data_inside_of_others_say_as_much(tmp_path):
    cfg = classifier()
    load = dict(type='beit_mm.LoadPhoto', value_range=(0, 4095))
    pipeline = [load, dict(type='CenterCrop', crop_size=SIZE), dict(type='PackInputs')]
    inside = dict(type='CustomDataset', metainfo=dict(classes=CLASSES), pipeline=pipeline)
    said = []
    for dataset in (inside, dict(type='ConcatDataset', datasets=[inside, inside])):
        cfg.test_dataloader = dict(dataset=dataset)
        export(cfg, None, tmp_path / 'out.pt')
        said.append(said_by(tmp_path / 'out.pt'))
    assert said[0] == said[1]
    assert (said[1]['value_range'], said[1]['classes']) == ([0, 4095], list(CLASSES))


def test_a_segmentor_says_how_images_and_windows_lie(tmp_path):
    cfg = segmentor()
    resize = dict(type='Resize', scale=(96, 80), keep_ratio=True)
    cfg.test_dataloader.dataset.pipeline.insert(1, resize)
    cfg.model.test_cfg = dict(mode='slide', crop_size=(SIZE, SIZE), stride=(48, 40))
    export(cfg, save(cfg, tmp_path / 'weights.pth'), tmp_path / 'out.pt')
    said = said_by(tmp_path / 'out.pt')
    assert (said['size'], said['stride'], said['scale']) == ([SIZE, SIZE], [48, 40], [96, 80])
    assert said['steps'] == [dict(resize, scale=[96, 80])]
    assert said['probabilities'] == 'softmax'
    # A view of a pre-training is no scale of images.
    cfg = pretraining()
    views = dict(type='beit_mm.LoadTwoViews', scale=(0.5, 1.0))
    cfg.test_dataloader = dict(dataset=dict(pipeline=[views]))
    export(cfg, save(cfg, tmp_path / 'backbone.pth'), tmp_path / 'backbone.pt')
    assert not {'scale', 'steps', 'probabilities'} & {*said_by(tmp_path / 'backbone.pt')}


@pytest.mark.parametrize('suffix', ['.pt2', '.onnx'])
def test_a_full_disk_is_told_and_not_what_the_exporter_could_do(suffix, tmp_path):
    model = build(classifier())
    said = rf'out\{suffix} cannot be written: File too large$'
    with full_disk(1000), pytest.raises(ConfigError, match=said):
        export(model, None, tmp_path / f'out{suffix}')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('as_array', [True, False])
@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize(
    'reading', [{}, dict(value_range=(0, 255)), dict(bands=['red', 'green', 'blue'])]
)
def test_three_bands_go_in_red_first_however_they_are_read(reading, to_rgb, as_array, tmp_path):
    cfg = classifier(dict(type='beit_mm.LoadPhoto', as_array=as_array, **reading), to_rgb)
    model = build(cfg)
    pixels = photo(tmp_path / 'photo.png')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    sample = pipeline(dict(img_path=str(tmp_path / 'photo.png')))
    data = model.data_preprocessor(pseudo_collate([sample]))
    with torch.no_grad():
        expected = model.eval()(data['inputs'], mode='tensor')
        steps = cfg.test_dataloader.dataset.pipeline
        program = Program(model, normalization_of(model.data_preprocessor, steps))
        (logits,) = program(torch.from_numpy(as_images(pixels)))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('names', [None, ['nir', 'red', 'green', 'blue']])
def test_four_bands_go_in_in_the_order_of_the_training(names, tmp_path):
    """Normalised inside, and never turned round, whatever is said for three bands."""
    cfg = classifier(dict(type='beit_mm.LoadPhoto', bands=names or 4, as_array=True), to_rgb=True)
    cfg.model.backbone.update(in_channels=4, bands=names)
    mean, std = [120.0, 110.0, 80.0, 50.0], [40.0, 60.0, 90.0, 20.0]
    cfg.model.data_preprocessor.update(mean=mean, std=std)
    checkpoint = save(cfg, tmp_path / 'weights.pth')
    export(cfg, checkpoint, tmp_path / 'out.onnx')
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)
    (logits,) = run_onnx(tmp_path / 'out.onnx', as_images(pixels))
    model = build(cfg)
    model.load_state_dict(torch.load(checkpoint)['state_dict'])
    inputs = torch.from_numpy(pixels).permute(2, 0, 1)
    data = model.eval().data_preprocessor(dict(inputs=[inputs]))
    expected = model(data['inputs'], mode='tensor').detach()
    assert np.ptp(logits) > 0.1
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    said = {e.key: e.value for e in onnx.load(tmp_path / 'out.onnx').metadata_props}
    order = ', '.join(names) if names else 'channels in the order of training'
    assert said['images'] == f'float32, {order}, in [0, 1]'
    assert json.loads(said.get('bands', 'null')) == names


def test_int8_keeps_what_the_classifier_says_in_less_space(tmp_path):
    """Every linear layer, and no product of two activations, which have no weights."""
    cfg = classifier()
    checkpoint = save(cfg, tmp_path / 'weights.pth')
    export(cfg, checkpoint, tmp_path / 'float.onnx')
    exported = export(cfg, checkpoint, tmp_path / 'int8.onnx', int8=True)
    assert 1e-4 < exported.difference < 0.3 * exported.greatest
    model = onnx.load(tmp_path / 'int8.onnx')
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count('MatMulInteger') == 4 * ARCH['num_layers'] + 1
    assert any(entry.key == 'classes' for entry in model.metadata_props)
    images = np.random.default_rng(0).random((4, 3, SIZE, SIZE))
    (whole,), (small,) = (run_onnx(tmp_path / f'{n}.onnx', images) for n in ('float', 'int8'))
    assert np.corrcoef(whole.ravel(), small.ravel())[0, 1] > 0.99
    assert {path.name for path in tmp_path.iterdir()} == {'weights.pth', 'float.onnx', 'int8.onnx'}


def test_what_differs_is_an_error_and_no_file(tmp_path, monkeypatch):
    right = formats.FORMATS['pt2']

    def read_wrong(path):
        run = right.read(path)
        return lambda images: [output * 1.01 for output in run(images)]

    monkeypatch.setitem(formats.FORMATS, 'pt2', formats.Format(right.write, read_wrong))
    with pytest.raises(ConfigError, match='what was written differs from the model by'):
        export(build(classifier()), None, tmp_path / 'out.pt2')
    assert list(tmp_path.iterdir()) == []


def test_what_torch_cannot_export_is_told_in_a_line(tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise RuntimeError('no such operator\nmore of it')

    monkeypatch.setattr(torch.export, 'export', stop)
    said = r'cannot export this model so \(RuntimeError: no such operator\); try dynamic=False$'
    with pytest.raises(ConfigError, match=said):
        export(build(classifier()), None, tmp_path / 'out.pt2')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('out', 'settings', 'said'),
    [
        ('out.bin', {}, r'one of \.onnx, \.pt2, \.pt, \.torchscript'),
        ('out.onnx', dict(size=60), 'size is 60 x 60; it must be a multiple of the patch, 16 x 16'),
        ('out.pt', dict(size='any'), 'a traced program is of one size'),
        ('out.pt2', dict(int8=True), r'int8 goes with \.onnx alone'),
        ('out.onnx', dict(size='all'), "size is 'all'; it must be"),
    ],
)
def test_what_cannot_be_is_told(out, settings, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        export(build(classifier()), None, tmp_path / out, **settings)
    assert list(tmp_path.iterdir()) == []


def test_an_order_of_channels_that_nobody_knows_is_not_guessed(tmp_path):
    with pytest.raises(ConfigError, match='export it by its config'):
        export(build(classifier(to_rgb=False)), None, tmp_path / 'out.onnx')


def test_a_missing_package_is_told_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'onnxscript', None)
    with pytest.raises(ConfigError, match=r"pip install 'beit-mm\[export\]'"):
        export(build(classifier()), None, tmp_path / 'out.onnx')
