"""OpenMMLab's inferencers take every config: a file, an array as OpenCV reads it, a PIL image."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import DefaultScope
from mmpretrain import FeatureExtractor, ImageClassificationInferencer, get_model
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.registry import MODELS as SEGMENTORS
from PIL import Image
from test_configs import CONFIGS, ROOT, shrink
from test_segmentation_configs import EVERY
from test_segmentation_configs import load as load_segmentor

CLASSIFIERS = [path for path in CONFIGS if Config.fromfile(path).model.type == 'ImageClassifier']


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    """A PNG file, which loses nothing; every reader sees the same."""
    path = tmp_path_factory.mktemp('photo') / 'photo.png'
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((130, 170), Image.Resampling.BICUBIC).save(path)
    return path


def randomize(model: torch.nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)


@pytest.fixture(params=CLASSIFIERS, ids=lambda path: f'{path.parent.stem}/{path.stem}')
def classifier(request, tmp_path):
    """A classification config with a small network, and a checkpoint of it."""
    cfg = Config.fromfile(request.param)
    shrink(cfg, tmp_path)
    model = get_model(cfg)
    randomize(model)
    # The Runner writes the classes of the training's folders.
    classes = [f'class {index}' for index in range(cfg.model.head.num_classes)]
    meta = dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'weights.pth')
    return cfg, str(tmp_path / 'weights.pth')


def test_classifiers(classifier, photo):
    cfg, checkpoint = classifier
    classify = ImageClassificationInferencer(cfg, pretrained=checkpoint)
    with Image.open(photo) as image:
        array = np.asarray(image)[..., ::-1]
    results = classify([str(photo), photo, array, array.copy()], batch_size=2)
    assert results[0]['pred_class'] == f'class {results[0]["pred_label"]}'
    scores = np.stack([result['pred_scores'] for result in results])
    # What testing gives: the pipeline with all of its steps.
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.no_grad():
        sample = Compose(cfg.test_dataloader.dataset.pipeline)(dict(img_path=str(photo)))
        (tested,) = classify.model.test_step(default_collate([sample]))
    assert np.ptp(tested.pred_score.numpy()) > 1e-4
    np.testing.assert_allclose(scores, tested.pred_score.expand(4, -1), atol=1e-6, rtol=1e-4)

    extract = FeatureExtractor(cfg, pretrained=checkpoint)
    of_file, of_array = (extract(source)[0][-1] for source in (str(photo), array))
    assert of_file.shape == (cfg.model.backbone.arch['embed_dims'],)
    torch.testing.assert_close(of_file, of_array)


@pytest.mark.parametrize('name', EVERY)
def test_segmentors(name, photo, tmp_path):
    shipped = Config.fromfile(ROOT / f'configs/{name}.py')
    assert shipped.test_pipeline == shipped.test_dataloader.dataset.pipeline
    cfg = load_segmentor(name, {150: tmp_path, 11: tmp_path})
    cfg.test_pipeline = copy.deepcopy(cfg.test_dataloader.dataset.pipeline)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = SEGMENTORS.build(cfg.model)
    randomize(model)
    classes = [str(index) for index in range(model.num_classes)]
    meta = dict(
        dataset_meta=dict(classes=classes, palette=[[i, i, i] for i in range(len(classes))])
    )
    checkpoint = str(tmp_path / 'weights.pth')
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
    with Image.open(photo) as image:
        array = np.asarray(image)[..., ::-1].copy()
    infer = MMSegInferencer(cfg.copy(), checkpoint, device='cpu')
    found = [infer(source, return_datasamples=True) for source in (str(photo), array)]
    model = init_model(cfg, checkpoint, device='cpu')
    found += [inference_model(model, source) for source in (str(photo), array)]
    logits = [sample.seg_logits.data for sample in found]
    assert logits[0].shape == (len(classes), 170, 130)
    assert logits[0].std(dim=(1, 2)).max() > 0
    for others in logits[1:]:
        torch.testing.assert_close(others, logits[0])


def test_pretraining_gives_features(tmp_path):
    cfg = Config.fromfile(ROOT / 'configs/quickstart/pretrain.py')
    cfg.model.target_generator.checkpoint = None
    model = get_model(cfg)
    randomize(model)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        (features,), (expected,) = model.extract_feat(images), model.backbone(images)
    assert features.shape == (2, 17, 64)
    assert torch.equal(features, expected)
