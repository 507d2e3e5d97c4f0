"""Lists and masks of other classes than the heads': told before a run."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from beit_mm.component import Component, Note
from beit_mm.datasets import PhotoTable, class_numbers
from beit_mm.datasets.class_numbers import check_numbers, classes_of
from beit_mm.datasets.replacing import ReplacingDataset
from beit_mm.engine.checking.class_check import check_classes_of
from beit_mm.engine.checking.mask_check import check_masks


@pytest.fixture
def said(tmp_path):
    """What is said of a list of images with several labels, and of a head."""

    def said(labels, classes=('a', 'b', 'c'), kind='MultiLabelLinearClsHead', num_classes=3):
        rows = [dict(img_path=f'{i}.png', gt_label=row) for i, row in enumerate(labels)]
        about = dict(metainfo=dict(classes=classes), data_list=rows)
        (tmp_path / 'a.json').write_text(json.dumps(about))
        dataset = dict(type='MultiLabelDataset', data_root=str(tmp_path), ann_file='a.json')
        head = dict(type=kind, num_classes=num_classes)
        model = Component('model', dict(type='ImageClassifier', head=head), lambda name: None)
        return list(check_classes_of(dict(train_dataloader=dict(dataset=dataset)), model))

    return said


def test_lists_of_several_labels(said):
    assert said([[0, 2], [], [1]]) == []
    (complaint,) = said([[0, 3]])
    assert 'has the label 3; labels are 0 to 2' in complaint
    (complaint,) = said([[0]], kind='LinearClsHead')
    assert (
        'learns one label an image, and train_dataloader.dataset has several; set it' in complaint
    )
    (complaint,) = said([[0]], classes=list('abcd'))
    assert 'num_classes is 3, and train_dataloader.dataset has 4 classes' in complaint
    (note,) = said([[0]], classes=list('ab'))
    assert isinstance(note, Note)
    (complaint,) = said([0, 1])
    assert 'is no list of images with labels: it must be {"metainfo"' in complaint


def masks_said(path, num_classes, **step):
    steps = [dict(type='beit_mm.LoadLabels', **step)]
    dataset = dict(pipeline=steps, ignore_index=step.get('ignore_index', 255))
    component = Component('train_dataloader.dataset', dataset, lambda name: None)
    return list(check_masks(component, [path], num_classes))


def test_more_than_255_classes(tmp_path):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.arange(300, dtype=np.uint16)[None])
    assert masks_said(path, 300, ignored=[65535], ignore_index=65535) == []
    (complaint,) = masks_said(path, 300)
    assert '255 is ignored, and with 300 classes it is one of them; set ignore_index to 65535' in (
        complaint
    )
    (complaint,) = masks_said(path, 299, ignored=[65535], ignore_index=65535)
    assert 'has the label(s) 299' in complaint


def test_masks_of_colours(tmp_path):
    path = tmp_path / 'a.png'
    Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)).save(path)
    assert masks_said(path, 2, colors={'#ff0000': 0, '#0000ff': 1}) == []
    (complaint,) = masks_said(path, 2, colors={'#ff0000': 0, '#00ff00': 1})
    assert '1 pixels of colours that stand for no class, most of them #0000ff' in complaint
    (complaint,) = masks_said(path, 2)
    assert 'has colours in place of numbers' in complaint


@pytest.mark.parametrize(
    ('theirs', 'refused', 'warned'),
    [
        (['ant', 'bee', 'cat'], None, None),
        (['ant', 'bee'], None, None),
        (['ant', 'cat'], "class 'cat' has the number 1, and in train it is 2", None),
        (['ant', 'bee', 'cat', 'dog'], None, "has classes that train has not: 'dog'"),
        (['ant', 'asp', 'bee', 'cat'], "class 'bee' has the number 2, and in train it is 1", None),
        (['Ameise', 'Biene'], None, None),
        ([], None, None),
    ],
)
def test_lists_of_other_classes(tmp_path, monkeypatch, theirs, refused, warned):
    """A class that one list lacks moves those behind it; names in two languages say nothing."""
    told = []
    monkeypatch.setattr(class_numbers, 'print_log', lambda said, **kw: told.append(said))

    def built(names):
        path = tmp_path / 'list.csv'
        path.write_text('path,label\n' + ''.join(f'{n}.jpg,{n}\n' for n in names or [0, 1]))
        return ReplacingDataset(PhotoTable(str(path)))

    found = classes_of(built(theirs))
    assert found == theirs
    said = list(check_numbers('val', found, classes_of(built(['ant', 'bee', 'cat'])), 'train'))
    assert len(said) == bool(refused)
    assert all(refused in one for one in said)
    assert len(told) == bool(warned)
    assert all(warned in one for one in told)
    assert list(check_numbers('val', found, [], 'train')) == []
