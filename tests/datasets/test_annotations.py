"""CheckAnnotation behind MMSegmentation's own loading, on files that are wrong in one way each."""

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from PIL import Image

CLASSES = 11
LOAD = [dict(type='LoadAnnotations'), dict(type='beit_mm.CheckAnnotation', num_classes=CLASSES)]
TRAIN = [dict(type='LoadImageFromFile'), *LOAD]
TEST = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(33, 22)), *LOAD]


def load(folder, labels, pipeline=TRAIN, reduce_zero_label=True, size=(20, 30)):
    """The first sample of a data set of one photo of 20 x 30 and this annotation."""
    for kind in ('images', 'annotations'):
        (folder / kind).mkdir()
    Image.fromarray(np.zeros((*size, 3), dtype=np.uint8)).save(folder / 'images/a.jpg')
    Image.fromarray(labels).save(folder / 'annotations/a.png')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = BaseSegDataset(
            data_root=str(folder),
            data_prefix=dict(img_path='images', seg_map_path='annotations'),
            metainfo=dict(classes=[str(index) for index in range(CLASSES)]),
            reduce_zero_label=reduce_zero_label,
            pipeline=pipeline,
        )
        return dataset[0]


def labels(*values, size=(20, 30)):
    """An annotation with all of these values."""
    return np.resize(np.array(values, dtype=np.uint8), size)


@pytest.mark.parametrize('pipeline', [TRAIN, TEST])
def test_every_class_unlabelled_and_ignored_pass_unchanged(pipeline, tmp_path):
    given = labels(*range(CLASSES + 1), 255)
    loaded = load(tmp_path, given, pipeline)['gt_seg_map']
    expected = np.where((given == 0) | (given == 255), 255, given.astype(int) - 1)
    np.testing.assert_array_equal(loaded, expected)


@pytest.mark.parametrize('pipeline', [TRAIN, TEST])
@pytest.mark.parametrize(
    ('given', 'reduce_zero_label', 'message'),
    [
        (labels(1, 12), True, r'label\(s\) 12; .*labels are 1 to 11, 0 for unlabelled'),
        (labels(0, 200, 254), True, r'label\(s\) 200'),
        (labels(0, 11), False, r'label\(s\) 11; .*labels are 0 to 10 and 255'),
        (labels(1, 2, size=(20, 29)), True, r'20 x 29 pixels and its photo .*a\.jpg 20 x 30'),
        (labels(1, 2, size=(30, 20)), True, r'30 x 20 pixels'),
        (labels(1, 2, size=(20, 30, 3)), True, r'shape \(20, 30, 3\).*one channel'),
    ],
)
def test_what_is_wrong_is_said_with_the_file(given, reduce_zero_label, message, pipeline, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path, given, pipeline, reduce_zero_label)
    assert str(tmp_path / 'annotations/a.png') in str(error.value)


def test_a_missing_annotation_is_named(tmp_path):
    load(tmp_path, labels(1))
    with DefaultScope.overwrite_default_scope('mmseg'):
        path = tmp_path / 'annotations/b.png'
        sample = dict(img_path=str(tmp_path / 'images/a.jpg'), seg_map_path=str(path),
                      reduce_zero_label=True, seg_fields=[])  # fmt: skip
        with pytest.raises(FileNotFoundError, match=str(path)):
            Compose(TRAIN)(sample)


def test_without_an_annotation_there_is_nothing_to_check(tmp_path):
    with DefaultScope.overwrite_default_scope('mmseg'):
        sample = dict(img=np.zeros((4, 5, 3)), ori_shape=(4, 5))
        assert Compose([LOAD[1]])(dict(sample)).keys() == sample.keys()
