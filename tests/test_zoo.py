"The table of the zoo says what the engine room claims, and a few of its rows are computed again."
import sys

import pandas as pd
import pytest
from conftest import root

sys.path.insert(0, str(root/'experiments'))
import zoo  # noqa: E402

rows = pd.read_csv(zoo.path, keep_default_na=False)


def test_every_model_is_there_and_right():
    assert rows.error.tolist() == ['']*len(rows) and rows.params_ok.all()
    assert ((rows.difference == 0) | (rows.why != '')).all()
    assert set(rows.probe) == {'', 'equal'} and (rows.probe == 'equal').sum() >= len(rows)//3
    assert rows.field.str.fullmatch(r'(whole|\d+)(×(whole|\d+))*').all()
    assert {n for n, *_ in zoo.torchvision_models()} <= set(rows.name[rows.source == 'torchvision'])


def test_one_of_every_timm_family():
    timm = pytest.importorskip('timm')
    families = {m for m in timm.list_modules() if any(not n.startswith('test_') for n in timm.list_models(module=m))}
    assert len(families - set(rows.kind[rows.source == 'timm'])) <= len(families)//10  # a newer timm has more


@pytest.mark.parametrize('name', ['squeezenet1_1', 'lraspp_mobilenet_v3_large', 'r3d_18', 'vit_b_32'])
def test_computed_again(name):
    row = rows[rows.name == name].iloc[0]
    model, size = zoo.build(name, row.source, row.kind, 'meta')
    t, theirs = zoo.both_counts(model, size)
    tot = zoo.totals(zoo.arithmetic_table(t))
    assert (tot['params'], tot['multiplications'], sum(theirs.values())) == (row.params, row.macs, row.macs_torch)


@pytest.mark.parametrize('name', ['resnet18', 'mobilenet_v3_small', 'fcn_resnet50'])
def test_probed_again(name):
    row = rows[(rows.name == name) & (rows.source == 'torchvision')].iloc[0]
    model, size = zoo.build(name, row.source, row.kind)
    assert zoo.probe(model, name+' again', size) == 'equal'
