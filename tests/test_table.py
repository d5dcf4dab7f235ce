"The table of arithmetic: its numbers, however they are joined and saved, and its views."
import copy
import math
import pickle
import re
from io import StringIO

import pandas as pd
import pytest
import torch
from torch import nn

from convlab import compat  # makes torchvision importable  # noqa: F401
from convlab.arithmetic import arithmetic, show_arithmetic, totals
from convlab.trace.columns import COLUMNS, axis_names, per_axis, short
from convlab.trace.table import Arithmetic

from torchvision import models


def net(name, size=(3, 224, 224), **kw):
    with torch.device('meta'): model = models.get_model(name, weights=None, **kw)
    return arithmetic(model, size)


@pytest.fixture(scope='module')
def resnet(): return net('resnet50')


@pytest.fixture(scope='module')
def video():
    return net('r3d_18', (3, 8, 56, 56))


@pytest.fixture(scope='module')
def googlenet(): return net('googlenet', init_weights=False)


EXACT = dict(params=25_557_032, unused=0, multiplications=4_089_184_256)  # published for torchvision's weights; PyTorch's flop counter


# Numbers

def test_numbers_are_numbers(resnet):
    df = resnet.to_frame()
    assert list(df)[:16] == [
        'name', 'type', 'output shape', 'kernel', 'stride', 'padding', 'params', 'params share', 'multiplications',
        'multiplications share', 'receptive field', 'jump', 'status', 'activations', 'activation bytes', 'kind']
    words = {'name', 'type', 'output shape', 'status', 'kind'}
    assert all(pd.api.types.is_numeric_dtype(df[c]) for c in df if c not in words)
    assert df['receptive field'].max() == math.inf and df['receptive field'][df.type == 'Conv2d'].max() == 427
    assert df.kernel.dropna().unique().tolist() == [7, 3, 1] and df.kernel[df.type == 'ReLU'].isna().all()
    assert df['activation bytes'].sum() == 4*df.activations.sum() == 4*sum(math.prod(s) for s in df['output shape'])
    for c in ('params', 'multiplications'):
        assert df[f'{c} share'].sum() == pytest.approx(1)
        assert (df[f'{c} share']*df[c].sum()).round().astype('int64').tolist() == df[c].tolist()


def test_bytes_follow_the_type_of_the_model():
    for dtype, n in ((torch.float64, 8), (torch.float32, 4), (torch.bfloat16, 2)):
        df = arithmetic(nn.Conv2d(1, 2, 3).to(dtype), (1, 5, 5)).to_frame()
        assert df['activation bytes'].tolist() == [n*18]


SIDED = ['kernel', 'stride', 'padding', 'receptive field', 'jump']


def test_each_axis_has_a_column(video):
    df = video.df
    assert df.loc[0, SIDED].tolist() == [7, 2, 3, 7, 2]  # the larger side
    assert [[df.loc[0, f'{c} {axis}'] for axis in ('depth', 'row', 'col')] for c in SIDED] == [
        [3, 7, 7], [1, 2, 2], [1, 3, 3], [3, 7, 7], [1, 2, 2]]
    assert list(df)[16:] == [f'{c} {axis}' for c in SIDED for axis in ('depth', 'row', 'col')]
    assert all((df[f'{c} row'].dtype, df[f'{c} depth'].dtype) == (df[c].dtype,)*2 for c in SIDED)


@pytest.mark.parametrize('layer,size,axes', [
    (nn.Conv1d(1, 2, 3), (1, 9), ['col']), (nn.Conv2d(1, 2, (3, 5)), (1, 9, 9), ['row', 'col']),
    (nn.Conv3d(1, 2, 3), (1, 9, 9, 9), ['depth', 'row', 'col']), (nn.Linear(3, 2), (3,), ['col'])])
def test_the_axes_of_one_to_three_dimensions(layer, size, axes):
    df = arithmetic(layer, size).df
    assert [c.removeprefix('kernel ') for c in df if c.startswith('kernel ')] == axes
    if size != (3,): assert [df.loc[0, f'kernel {a}'] for a in axes] == list(layer.kernel_size)


def test_a_kernel_with_fewer_axes_than_the_image_has_the_last_ones():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(2), nn.Conv1d(4, 2, 5))
    df = arithmetic(net, (1, 9, 9)).df
    assert df['kernel col'].tolist()[::2] == [3, 5] and df['kernel row'].isna().tolist() == [False, True, True]
    assert axis_names(4) == ('axis 0', 'axis 1', 'axis 2', 'axis 3') and per_axis((1, 2, 3), 2) == (2, 3)


def test_shares(resnet):
    fc = resnet.df[resnet.df.name == 'fc'].iloc[0]
    assert fc['params share'] == 2_049_000/EXACT['params']
    assert fc['multiplications share'] == 2_048_000/EXACT['multiplications']


# What survives

SAVES = dict(
    csv=lambda df, tmp: pd.read_csv(StringIO(df.to_csv(index=False)), float_precision='round_trip'),
    parquet=lambda df, tmp: (df.to_parquet(tmp/'t.parquet'), pd.read_parquet(tmp/'t.parquet'))[1],
    pickle=lambda df, tmp: pickle.loads(pickle.dumps(df)),
    shuffled=lambda df, tmp: df.sample(frac=1, random_state=0).sort_index())


@pytest.mark.parametrize('way', SAVES)
@pytest.mark.parametrize('name', ['resnet', 'video', 'googlenet'])
def test_saved_and_read_again(way, name, request, tmp_path):
    if way == 'parquet': pytest.importorskip('pyarrow')
    table = request.getfixturevalue(name)
    df = table.to_frame()
    again = SAVES[way](df, tmp_path)
    assert totals(again) == totals(table) and list(again) == list(df)
    numeric = [c for c in df if pd.api.types.is_numeric_dtype(df[c])]
    for c in numeric: assert again[c].astype('float64').equals(df[c].astype('float64')), c
    for c in ('name', 'type', 'kind'): assert again[c].fillna('').tolist() == df[c].tolist()
    if way == 'csv': assert [str(s) for s in df['output shape'].dropna()] == again['output shape'].dropna().tolist()
    elif way == 'parquet': assert [list(s) for s in df['output shape'].dropna()] == [list(s) for s in again['output shape'].dropna()]


def test_totals_of_joined_tables(resnet, googlenet, video):
    tables = [resnet, googlenet, video]
    joined = totals(pd.concat([t.to_frame() for t in tables]))
    assert joined == {k: sum(totals(t)[k] for t in tables) for k in joined}
    assert totals(resnet) == EXACT
    assert totals(googlenet) == dict(params=13_004_888, unused=6_379_984, multiplications=1_498_376_192)


def test_totals_of_some_rows(resnet):
    tot = totals(resnet[resnet.type == 'Linear'])
    assert tot == dict(params=2_049_000, unused=0, multiplications=2_048_000)


def test_what_is_saved_is_saved_whole(googlenet):
    assert totals(pd.read_csv(StringIO(googlenet.to_csv(index=False)))) == totals(googlenet)


# A DataFrame for all that it does not know itself

def test_works_like_a_frame(resnet):
    df = resnet.calls
    assert len(resnet) == len(df) == 174 and list(resnet) == list(df)
    assert resnet[['type', 'params']].equals(df[['type', 'params']]) and resnet.params.sum() == EXACT['params']
    assert resnet.loc[resnet.params.idxmax(), 'name'] == 'layer4.0.conv2'
    assert resnet.iloc[-1]['name'] == 'fc'
    kind = 'Linear'  # noqa: F841  the query sees it
    assert resnet.query('type == @kind').name.tolist() == ['fc']
    assert {'loc', 'params', 'by_block'} <= set(dir(resnet))
    with pytest.raises(AttributeError, match="neither a table of arithmetic nor its DataFrame has 'no_such_thing'"):
        resnet.no_such_thing


@pytest.mark.parametrize('key,text', [
    ('MACs', "there is no column 'MACs'; 'MACs' is called 'multiplications'"), ('field', "'field' is called 'receptive field'"),
    (['name', 'output'], "there is no column 'output'; 'output' is called 'output shape'"),
    ('no such column', "there is no column 'no such column'; there are ['name', 'type', 'output shape'")])
def test_a_column_that_is_not_there(resnet, key, text):
    with pytest.raises(KeyError) as e: resnet[key]
    assert text in e.value.args[0]


def test_the_dataframe_is_one_attribute_away():
    table = arithmetic(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 5, 5))
    assert isinstance(table.df, pd.DataFrame) and table.to_frame().equals(table.df) and table.to_frame() is not table.df
    with pytest.raises(TypeError, match=r"a table of arithmetic is for reading: set table.df\['x'\]"): table['x'] = 1
    table.df['x'] = 1
    assert table.x.tolist() == [1, 1] and 'x' not in str(table).splitlines()[0]
    assert totals(pd.concat([table.df, table.df]))['params'] == 40


def test_every_column_has_a_meaning(resnet):
    assert list(resnet.meanings) == [c.name for c in COLUMNS] == list(resnet.df)[:16]
    assert all(len(text) > 10 for text in resnet.meanings.values())


def test_copies(resnet):
    for again in (copy.copy(resnet), copy.deepcopy(resnet), pickle.loads(pickle.dumps(resnet))):
        assert isinstance(again, Arithmetic) and str(again) == str(resnet)
    df = resnet.to_frame()
    df['params'] = 0
    assert totals(resnet) == EXACT


# What is not called, what has no count

class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act, self.block = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        self.scale = nn.Parameter(torch.ones(3))
        self.functional = nn.Linear(2, 2)

    def forward(self, x): return nn.functional.linear(self.conv(x).mean((2, 3)), self.functional.weight)


def test_unused():
    table = arithmetic(Idle(), (1, 5, 5))
    assert table.unused.values.tolist() == [
        ['', 'Idle', 3, 'parameters never used'], ['act', 'ReLU', 0, 'never called'], ['block.0', 'Linear', 6, 'never called'],
        ['block.1', 'Dropout', 0, 'never called'], ['functional', 'Linear', 2, 'never called']]
    assert totals(table)['unused'] == 11 and totals(table)['params'] == sum(p.numel() for p in Idle().parameters())
    assert '11 of them never used' in str(table)


def test_shared_parameters_are_one():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    table = arithmetic(model, (3,))
    assert table.params.tolist() == [12, 3] and not len(table.unused)


def test_nothing_to_show():
    table = arithmetic(nn.Identity(), (1, 4, 4))
    assert totals(table) == dict(params=0, unused=0, multiplications=0)
    for view in (str(table), repr(table), table._repr_html_(), str(table.by_block(0))): assert 'Identity' in view and 'nan' not in view.lower()


class NoFormula(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(18, 3)

    def forward(self, x): return self.fc(torch.linalg.matrix_exp(self.conv(x)).flatten(1))


def test_what_has_no_count_is_empty():
    with pytest.warns(UserWarning) as said: table = arithmetic(NoFormula(), (1, 5, 5))
    assert len(said) == 1 and said[0].filename == __file__ and 'linalg_matrix_exp' in str(said[0].message)
    assert table.uncounted == ['aten::linalg_matrix_exp'] and table.multiplications.isna().tolist() == [False, True, False]
    assert totals(table)['multiplications'] == totals(table.by_block(0))['multiplications'] == 2*9*9 + 54
    assert str(table).splitlines()[2].split() == ['linalg_matrix_exp', '2×3×3', '0', 'whole'] and 'without a count: aten::linalg_matrix_exp' in str(table)
    assert 'without a count: aten::linalg_matrix_exp' in table._repr_html_() and 'nan' not in (table._repr_html_() + str(table)).lower()
    assert totals(pd.read_csv(StringIO(table.to_csv(index=False)))) == totals(table)
    show_arithmetic(table)


# Blocks

@pytest.mark.parametrize('name', ['resnet', 'video', 'googlenet'])
@pytest.mark.parametrize('depth', [0, 1, 2, 9])
def test_blocks_add_up(name, depth, request):
    table = request.getfixturevalue(name)
    blocks = table.by_block(depth)
    assert totals(blocks) == totals(table)
    for c in ('activations', 'activation bytes'): assert blocks[c].sum() == table[c].sum()
    assert blocks['multiplications share'].sum() == pytest.approx(1)
    assert max(n.count('.') for n in blocks.name) < max(depth, 1)
    assert blocks.iloc[-1]['output shape'] == table.iloc[-1]['output shape']
    assert list(blocks.to_frame()) == list(table.to_frame()) and (blocks.to_frame().dtypes == table.to_frame().dtypes).all()


def test_blocks_of_resnet(resnet):
    df = resnet.by_block(1)
    assert df.name.tolist() == ['conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4', 'avgpool', 'fc']
    assert df.params.tolist()[4:8] == [215_808, 1_219_584, 7_098_368, 14_964_736]
    assert df['receptive field'].tolist()[4:9] == [35, 91, 267, 427, math.inf]
    assert df.type.tolist()[4] == 'Sequential' and df.kernel.isna().tolist() == [False, True, True, False] + [True]*6


def test_a_block_has_the_place_of_its_last_call_and_no_window():
    net = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 2, 3, stride=2, padding=1)), nn.Conv2d(2, 2, 3))
    df = arithmetic(net, (1, 9, 9)).by_block(1).df
    for c in ('kernel', 'stride', 'padding', 'kernel row', 'stride col'): assert df[c].isna().tolist() == [True, False], c
    for c in ('receptive field', 'receptive field row', 'jump'): assert df[c].tolist() == [[3, 7], [2, 2]][c == 'jump'], c
    assert df.status.tolist() == ['exact', 'exact'] and df.activations.tolist() == [81+50, 18]


def test_how_much_is_shown(resnet):
    assert '… 173 rows more …' in resnet.to_string(1) and max(map(len, resnet.to_string(width=72).splitlines())) <= 72
    for rows, width, text in [(0, 80, 'max_rows must be a whole number of at least 1'), (None, 39, 'width must be a whole')]:
        with pytest.raises(ValueError, match=text): resnet.to_string(rows, width)


@pytest.mark.parametrize('depth,error', [(-1, ValueError), (1.5, TypeError), (True, TypeError), ('1', TypeError)])
def test_bad_depth(resnet, depth, error):
    with pytest.raises(error, match='depth must be a whole number of at least 0'): resnet.by_block(depth)


# Views

def test_print_of_a_small_table():
    assert str(arithmetic(nn.Sequential(nn.Conv2d(1, 4, (3, 5)), nn.ReLU(), nn.Flatten(), nn.Linear(4*6*4, 10)), (1, 8, 8))) == """\
name   type     output  params   %   MACs   %  field
0      Conv2d   4×6×4       64  6%  1,440 60%    3×5
1      ReLU     4×6×4        0          0        3×5
2      Flatten  96           0          0        3×5
3      Linear   10         970 94%    960 40%  whole
total                    1,034      2,400

1,034 parameters
2,400 MACs (multiply and add: 4,800 FLOPs)
298 output values in 1,192 bytes"""


def test_sides_that_are_whole():
    rows = str(arithmetic(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d((6, 1))), (1, 8, 8))).splitlines()
    assert rows[2].split() == ['1', 'AdaptiveAvgPool2d', '2×6×1', '0', '0', '3×∞']


@pytest.mark.parametrize('n,text', [(0, '0'), (999_999, '999,999'), (1_000_000, '1.000M'), (25_557_032, '25.56M'), (4_089_184_256, '4.089G'),
                                    (999_949_999, '999.9M'), (999_950_000, '1.000G'),
                                    (999_999_999, '1.000G'), (17.5e12, '17.50T'), (2e18, '2000P'), (math.nan, '')])
def test_short_numbers(n, text): assert short(n) == text


def test_html(resnet):
    html = resnet._repr_html_()
    assert html.count('<tr>') == 40 + 3 and '… 134 rows more …' in html
    assert '4,089,184,256' in html and '>whole<' in html and '2,359,296' in html
    for colour in re.findall(r'(?:color|background)\s*:\s*([^;"]+)', html): assert 'rgba(127,127,127,.4)' in colour  # light and dark alike
    odd = nn.Sequential()
    odd.add_module('<b>', nn.ReLU())
    assert '&lt;b&gt;' in arithmetic(odd, (1, 2, 2))._repr_html_()


def small(): return arithmetic(nn.Sequential(nn.Conv2d(1, 4, (3, 5)), nn.ReLU()), (1, 8, 8))


def test_markdown():
    assert small().to_markdown() == """\
| name | type | output | params | % | MACs | % | field |
|:--|:--|:--|--:|--:|--:|--:|--:|
| 0 | Conv2d | 4×6×4 | 64 | 100% | 1,440 | 100% | 3×5 |
| 1 | ReLU | 4×6×4 | 0 |  | 0 |  | 3×5 |
| total |  |  | 64 |  | 1,440 |  |  |

- 64 parameters
- 1,440 MACs (multiply and add: 2,880 FLOPs)
- 192 output values in 768 bytes"""


def test_some_rows_of_markdown(resnet):
    lines = resnet.to_markdown(4).splitlines()
    assert [line.split(' | ')[0] for line in lines[2:8]] == [
        '| conv1', '| bn1', '| … 170 rows more …', '| avgpool', '| fc', '| total']
    odd = nn.Sequential()
    odd.add_module('a|<b>', nn.ReLU())
    assert '| a\\|&lt;b&gt; |' in arithmetic(odd, (1, 2, 2)).to_markdown()
    with pytest.raises(ValueError, match='max_rows must be a whole number of at least 1'): resnet.to_markdown(0)


def test_a_spreadsheet(googlenet, tmp_path):
    openpyxl = pytest.importorskip('openpyxl')
    pytest.importorskip('xlsxwriter')
    googlenet.to_excel(tmp_path/'t.xlsx')
    rows = [*openpyxl.load_workbook(tmp_path/'t.xlsx').active.values]
    df = googlenet.df
    assert list(rows[0]) == list(df) and len(rows) == len(df)+1
    at = {c: i for i, c in enumerate(rows[0])}
    for c in ('name', 'type', 'kind'): assert [r[at[c]] or '' for r in rows[1:]] == df[c].tolist()
    for c in ('params', 'activations', 'kernel row'):
        assert [r[at[c]] for r in rows[1:]] == [None if v is pd.NA else v for v in df[c].astype(object)]
    assert rows[1][at['output shape']] == '64×112×112' and rows[len(googlenet)][at['receptive field']] == 'whole'


@pytest.mark.parametrize('path,error,text', [('t.csv', ValueError, "path must end in .xlsx; got 't.csv'"),
                                             ('no/such/folder/t.xlsx', FileNotFoundError, 'no/such/folder')])
def test_a_spreadsheet_that_cannot_be(path, error, text, tmp_path):
    with pytest.raises(error, match=text): small().to_excel(tmp_path/path)


def test_a_field_that_is_not_exact_is_marked():
    table = small()
    assert table.status.tolist() == ['exact', 'exact'] and 'status' not in table._repr_html_()
    table.df.loc[0, 'status'], table.df.loc[1, 'status'] = 'upper bound', 'depends on the data'
    lines = str(table).splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ['≤3×5', '~3×5']
    assert lines[-1] == 'field: ≤ upper bound, ~ depends on the data'
    assert '>upper bound<' in table._repr_html_() and '| ≤3×5 |' in table.to_markdown()


# The picture

def test_bars_are_numbered_as_rows(resnet):
    import matplotlib.pyplot as plt
    axs = show_arithmetic(resnet)
    d = resnet.calls[(resnet.params > 0) | (resnet.multiplications > 0)]
    for ax, col in zip(axs, ('params', 'multiplications')):
        assert [round(p.get_y() + p.get_height()/2) for p in ax.patches] == d.index.tolist()
        assert [p.get_width() for p in ax.patches] == d[col].tolist()
    assert axs[0].get_ylabel() == 'row of the table' and axs[0].yaxis_inverted()
    axs = show_arithmetic(resnet.by_block(1))
    assert [t.get_text() for t in axs[0].get_yticklabels()] == ['conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4', 'fc']
    plt.close('all')
