"""A look at annotations before training: what is told of masks that cannot mean what they say."""

import numpy as np
import pytest
from PIL import Image

from beit_mm.component import Component, Note
from beit_mm.datasets import MapLabels
from beit_mm.engine.checking.mask_check import check_masks


@pytest.fixture
def write(tmp_path):
    """Write annotations of these labels, in stripes; return their paths."""

    def write(*every):
        paths = []
        for index, labels in enumerate(every):
            picture = np.repeat(np.array(labels, np.uint8), 8)[None].repeat(16, axis=0)
            paths.append(tmp_path / f'{index:02d}.png')
            Image.fromarray(picture).save(paths[-1])
        return paths

    return write


def said(paths, num_classes, **dataset):
    component = Component('train_dataloader.dataset', dataset, lambda name: None)
    return list(check_masks(component, paths, num_classes))


def test_good_masks_say_nothing(write):
    assert said(write([0, 1, 2], [2, 1, 255]), 3) == []


def test_an_object_that_is_ignored_is_told_with_the_map(write):
    paths = write([0, 255], [0, 0, 255])
    (complaint,) = said(paths, 2)
    assert not isinstance(complaint, Note)
    assert 'hold 0 and 255 alone' in complaint
    assert "dict(type='beit_mm.MapLabels', label_map={255: 1})" in complaint
    step = dict(type='beit_mm.MapLabels', label_map={255: 1})
    assert said(paths, 2, pipeline=[step]) == []


def test_two_classes_with_ignored_borders_are_fine(write):
    assert said(write([0, 1, 255]), 2) == []


def test_labels_out_of_range_are_told_with_the_file(write):
    paths = write([0, 1], [0, 7])
    (complaint,) = said(paths, 2)
    assert str(paths[1]) in complaint
    assert 'has the label(s) 7' in complaint


def test_with_zero_for_unlabelled_labels_move_down(write):
    assert said(write([0, 1, 2]), 2, reduce_zero_label=True) == []
    (complaint,) = said(write([0, 1, 3]), 2, reduce_zero_label=True)
    assert '0 to 1 after reduce_zero_label' in complaint


def test_classes_that_never_occur_and_pixels_that_never_count_are_noted(write):
    first, second = said(write([0, 255, 255, 255], [0, 2, 255, 255]), 4)
    assert isinstance(first, Note)
    assert isinstance(second, Note)
    assert '2 of 4 classes do not occur in 2 annotations that were looked at: 1, 3' in first
    assert '62% of the pixels' in second


def test_few_of_many_are_looked_at(write, monkeypatch):
    paths = write(*[[0, 1]] * 50)
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, 'open', lambda path: opened.append(path) or real(path))
    assert said(paths, 2) == []
    assert len(opened) == 20
    assert {paths[0], paths[-1]} <= set(opened)


def test_pictures_of_colours_are_left_to_the_pipeline(tmp_path):
    path = tmp_path / 'a.png'
    Image.new('RGB', (4, 4)).save(path)
    assert said([path], 2) == []


def test_mapped_labels():
    labels = np.array([[0, 255], [7, 1]], np.uint8)
    mapped = MapLabels({'255': 1, 7: 255}).transform(dict(gt_seg_map=labels))['gt_seg_map']
    assert mapped.tolist() == [[0, 1], [255, 1]]
    assert mapped.dtype == np.uint8
    assert MapLabels({1: 2}).transform(dict(img=3)) == dict(img=3)
