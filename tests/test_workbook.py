"`conv_workbook`: its formulas as openpyxl reads them, its numbers as LibreOffice recalculates them."
import os
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import openpyxl
import pytest
import torch
import torch.nn.functional as F
from openpyxl.formula import Tokenizer
from openpyxl.utils import get_column_letter, range_boundaries

from conftest import root
from convlab.study.data import mnist_path
from convlab.kernels import diag1_edge, diag2_edge, left_edge, top_edge
from convlab.draw.workbook import conv_workbook

soffice = shutil.which('soffice') or shutil.which('libreoffice')
needs_libreoffice = pytest.mark.skipif(not soffice, reason='no LibreOffice (soffice; Debian: libreoffice-calc) here')
k2 = [left_edge, top_edge]


def image(h=22, w=22, seed=0):
    return torch.rand(h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(im, kernels):  # what PyTorch says: [image, Conv1, Conv2]
    res = [im]
    for k in kernels: res.append(F.conv2d(res[-1][None, None], k[None, None].double(), stride=2).relu()[0, 0])
    return res


def corners(h, w):  # (row, column) from 1 of the top left cell of Input, Conv1, Conv2, Filter 1, Filter 2
    h1, w1 = (h-3)//2+1, (w-3)//2+1
    cols = [2, 2+w+1, 2+w+1+w1+1]
    return [(4, c) for c in cols] + [(4+h1+2, c) for c in cols[1:]]


def block(ws, corner, h, w): return [[ws.cell(corner[0]+r, corner[1]+c) for c in range(w)] for r in range(h)]


def values(ws, corner, h, w):
    return torch.tensor([[c.value for c in row] for row in block(ws, corner, h, w)], dtype=torch.float64)


def load(path, **kwargs): return openpyxl.load_workbook(path, **kwargs)['conv']


def named(formula):  # the blocks that a formula names: (first column, first row, last column, last row)
    return [range_boundaries(t.value) for t in Tokenizer(formula).items if t.subtype == 'RANGE']


@pytest.fixture
def book(tmp_path): return conv_workbook(image(), k2, tmp_path/'conv.xlsx')


@pytest.mark.parametrize('h,w', [(22, 22), (7, 7), (28, 28), (9, 23), (30, 8)])
def test_layout_and_stored_values(tmp_path, h, w):
    im, kernels = image(h, w), [diag1_edge, diag2_edge]
    path = conv_workbook(im, kernels, tmp_path/'a.xlsx')
    ws = load(path, data_only=True)
    for corner, want in zip(corners(h, w), [*maps(im, kernels), *kernels]):
        torch.testing.assert_close(values(ws, corner, *want.shape), want.double(), rtol=1e-14, atol=1e-14)
    assert sum(c.value is not None for row in ws.iter_rows(min_row=4) for c in row) == \
        sum(m.numel() for m in maps(im, kernels)) + 2*9 + 2  # and two filter titles


def test_every_output_cell_is_a_formula_and_nothing_else_is(book):
    live = {c.coordinate for row in load(book).iter_rows() for c in row if c.data_type == 'f'}
    ws, cs = load(book), corners(22, 22)
    maps12 = block(ws, cs[1], 10, 10) + block(ws, cs[2], 4, 4)
    assert live == {c.coordinate for row in maps12 for c in row}


@pytest.mark.parametrize('h,w', [(22, 22), (9, 23)])
def test_precedents(tmp_path, h, w):
    "One step back from any Conv2 cell: 3x3 of Conv1 and filter 2; two steps: 7x7 of the input and filter 1."
    im = image(h, w)
    ws = load(conv_workbook(im, k2, tmp_path/'a.xlsx'))
    inp, conv1, conv2, filter1, filter2 = corners(h, w)
    _, m1, m2 = maps(im, k2)
    for r, row in enumerate(block(ws, conv2, *m2.shape)):
        for c, cell in enumerate(row):
            window, weights = named(cell.value)
            assert weights == (filter2[1], filter2[0], filter2[1]+2, filter2[0]+2)
            assert window == (conv1[1]+2*c, conv1[0]+2*r, conv1[1]+2*c+2, conv1[0]+2*r+2)
            x0, y0, x1, y1 = window
            nine = [named(o.value) for line in ws.iter_rows(y0, y1, x0, x1) for o in line]
            assert {f for _, f in nine} == {(filter1[1], filter1[0], filter1[1]+2, filter1[0]+2)}
            field = {(x, y) for (x0, y0, x1, y1), _ in nine for x in range(x0, x1+1) for y in range(y0, y1+1)}
            assert field == {(inp[1]+4*c+j, inp[0]+4*r+i) for i in range(7) for j in range(7)}


def test_colour_scales_and_editable_filters(book):
    ws = load(book)
    scaled = {str(o.sqref): [r.type for r in o.rules] for o in ws.conditional_formatting}
    boxes = {f'{get_column_letter(c)}{r}:{get_column_letter(c+n-1)}{r+n-1}'
             for (r, c), n in zip(corners(22, 22), (22, 10, 4, 3, 3))}
    assert scaled == {b: ['colorScale'] for b in boxes}
    assert not ws.protection.sheet
    assert {str(v.sqref) for v in ws.data_validations.dataValidation} == {'Y16:AA18', 'AJ16:AL18'}
    assert all(v.type == 'decimal' for v in ws.data_validations.dataValidation)


def test_inputs_are_taken_as_they_come(tmp_path):
    im = (image()*255).byte()
    forms = [(im, k2), (im.numpy(), torch.stack(k2)), (im.tolist(), (left_edge, top_edge)),
             (im.float().requires_grad_(), [left_edge.int().tolist(), top_edge.long()])]
    files = [conv_workbook(*args, tmp_path/f'{i}.xlsx').read_bytes() for i, args in enumerate(forms)]
    assert len(set(files)) == 1, 'the same numbers must give the same file'
    assert conv_workbook(*forms[0], str(tmp_path/'str.xlsx')) == tmp_path/'str.xlsx'


def test_a_file_is_replaced_whole_or_not_at_all(book, monkeypatch):
    first = book.read_bytes()
    conv_workbook(image(seed=1), k2, book)
    second = book.read_bytes()
    assert second != first
    import xlsxwriter.worksheet
    def broken(*args, **kwargs): raise OSError('disk full')
    monkeypatch.setattr(xlsxwriter.worksheet.Worksheet, '_assemble_xml_file', broken)
    with pytest.raises(Exception, match='disk full'): conv_workbook(image(), k2, book)
    assert book.read_bytes() == second
    assert os.listdir(book.parent) == [book.name], 'nothing temporary may be left'


@pytest.mark.parametrize('im,kernels,error,match', [
    (image()[None], k2, ValueError, r'im must be a tensor \[H,W\]; got shape \[1, 22, 22\]'),
    (image(6, 22), k2, ValueError, r'im must be at least 7 by 7.*\(6, 22\)'),
    (image(22, 0), k2, ValueError, r'im must be at least 7 by 7.*\(22, 0\)'),
    (image(7, 9500), k2, ValueError, r'im is too large.*\(7, 9500\)'),
    (image().log()*0/0, k2, ValueError, 'im must be finite'),
    ('seven', k2, TypeError, 'im must be a tensor; got str'),
    (None, k2, TypeError, 'im must be a tensor; got NoneType'),
    (image(), [left_edge], ValueError, r'kernels must be two tensors \[3,3\], one for each layer; got 1'),
    (image(), [left_edge]*3, ValueError, 'kernels must be two.*got 3'),
    (image(), left_edge, ValueError, 'kernels must be two.*got 3'),
    (image(), [left_edge, torch.ones(5, 5)], ValueError, r'kernels\[1\] must be a tensor \[3,3\]; got shape \[5, 5\]'),
    (image(), [left_edge, top_edge/0], ValueError, r'kernels\[1\] must be finite'),
    (image(), [left_edge, 'top'], TypeError, r'kernels\[1\] must be a tensor; got str'),
    (image(), 3, TypeError, 'kernels must be two tensors.*got int'),
])
def test_bad_input_is_named(tmp_path, im, kernels, error, match):
    with pytest.raises(error, match=match): conv_workbook(im, kernels, tmp_path/'a.xlsx')
    assert not os.listdir(tmp_path)


def test_bad_path_is_named(tmp_path):
    write = partial(conv_workbook, image(), k2)
    with pytest.raises(FileNotFoundError, match='does not exist.*nowhere'): write(tmp_path/'nowhere'/'a.xlsx')
    with pytest.raises(ValueError, match=r"must end in .xlsx; got 'a.xls'"): write(tmp_path/'a.xls')
    (tmp_path/'b.xlsx').mkdir()
    with pytest.raises(IsADirectoryError, match='is a folder'): write(tmp_path/'b.xlsx')


def recalculate(path, tmp_path):
    "The sheet after LibreOffice has opened and saved it, with a user profile of its own."
    out = tmp_path/'recalculated'
    profile = f"-env:UserInstallation={(tmp_path/'profile').as_uri()}"
    res = subprocess.run([soffice, '--headless', '--norestore', profile, '--convert-to', 'xlsx', '--outdir', str(out),
                          str(path)], capture_output=True, text=True, timeout=240)
    assert (out/path.name).is_file(), res.stdout+res.stderr
    return load(out/path.name, data_only=True)


@needs_libreoffice
@pytest.mark.parametrize('change', [None, (0, (1, 2), 2.5), (1, (0, 0), -0.125)])
def test_libreoffice_recalculates_to_pytorchs_numbers(book, tmp_path, change):
    "Untouched, and after one value of one kernel (kernel, place, new value) was changed in the file."
    kernels, cs = [left_edge.double(), top_edge.double()], corners(22, 22)
    wb = openpyxl.load_workbook(book)
    if change:
        i, (r, c), value = change
        kernels[i][r, c] = value
        wb['conv'].cell(cs[3+i][0]+r, cs[3+i][1]+c).value = value
    edited = tmp_path/'edited.xlsx'
    wb.save(edited)
    assert load(edited, data_only=True).cell(*cs[2]).value is None, 'a stored result would prove nothing'
    ws, want = recalculate(edited, tmp_path), maps(image(), kernels)
    for corner, m in zip(cs[1:3], want[1:]):
        torch.testing.assert_close(values(ws, corner, *m.shape), m, rtol=1e-12, atol=1e-12)
    before = maps(image(), [left_edge.double(), top_edge.double()])[2]
    assert bool(change) == bool((want[2]-before).abs().max() > .1), 'the change must show in Conv2'


def test_without_xlsxwriter(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'xlsxwriter', None)
    with pytest.raises(ImportError, match=r'needs xlsxwriter: pip install xlsxwriter \(.*"convlab-course\[xlsx\] @ git'):
        conv_workbook(image(), k2, tmp_path/'a.xlsx')


def test_the_sheet_beside_the_lesson_is_the_one_that_it_writes(tmp_path):
    "A reader on GitHub downloads `nbs/conv-example.xlsx` without running lesson 5."
    from PIL import Image
    im = torch.tensor(np.array(Image.open(mnist_path(sample=True)/'train'/'7'/'15.png')))[6:28, 3:25]/255
    cells = []
    for path in (root/'nbs'/'conv-example.xlsx', conv_workbook(im, k2, tmp_path/'conv-example.xlsx')):
        for values in (False, True): cells.append([[c.value for c in row] for row in openpyxl.load_workbook(path, data_only=values)['conv']])
    assert cells[:2] == cells[2:]
