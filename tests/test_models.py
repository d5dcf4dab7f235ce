"Networks: shapes and sizes for other channels, and what is refused."
import math

import pandas as pd
import pytest
import torch
from torch import nn

from convlab.kernels import edge_kernels
from convlab.models import conv, n_params, simple_cnn
from convlab.draw.plotting import show_shapes, show_way
from convlab.study.sweep import paired, result_table, summarize


@pytest.mark.parametrize('ks', [1, 3, 5, 7])
@pytest.mark.parametrize('n', [1, 2, 7, 28])
def test_conv_halves(ks, n):
    assert conv(3, 5, ks=ks)(torch.randn(2, 3, n, n)).shape == (2, 5, (n+1)//2, (n+1)//2)


@pytest.mark.parametrize('norm', [None, nn.BatchNorm2d, nn.InstanceNorm2d])
def test_layers_in_order(norm):
    kinds = [type(o) for o in conv(1, 4, norm=norm)]
    assert kinds == [nn.Conv2d, nn.ReLU] + ([norm] if norm else [])
    last = simple_cnn(norm=norm)[-2]
    assert [type(o) for o in last.modules() if not isinstance(o, nn.Sequential)] == [nn.Conv2d] + ([norm] if norm else [])


def test_sizes():
    assert n_params(simple_cnn()) == 208+1168+4640+18496+5770 == 30_282
    assert n_params(simple_cnn(norm=nn.BatchNorm2d)) == 30_282 + 2*(8+16+32+64+10)
    assert n_params(simple_cnn((1, 4, 8, 16, 32, 2), ks0=3)) == 40+296+1168+4640+578
    frozen = simple_cnn()
    frozen[0].requires_grad_(False)
    assert n_params(frozen) == 30_282-208


def test_refused():
    with pytest.raises(ValueError, match='ks must be odd, .* got 4'): conv(1, 4, ks=4)
    with pytest.raises(TypeError, match='model must be an nn.Sequential'): show_shapes(nn.Linear(2, 2), torch.zeros(1, 2))


def test_show_shapes():
    "A sheet for each channel, as large as the grid."
    ax = show_shapes(simple_cnn(), torch.randn(2, 1, 28, 28))
    shapes = [(1, 28), (8, 14), (16, 7), (32, 4), (64, 2), (10, 1)]
    assert [t.get_text().split('\n')[1] for t in ax.texts] == [f'{c} × {n} × {n}' for c, n in shapes]
    assert [p.get_width() for p in ax.patches] == [n for c, n in shapes for _ in range(c)]


def test_way():
    "Every map is drawn; the outlined pixels are all that the loudest activation depends on."
    torch.manual_seed(0)
    net, x = simple_cnn().eval(), torch.rand(1, 1, 28, 28)
    axs = show_way(net, x)
    assert [ax.get_title() for ax in axs[0]] == [f'sees {n} × {n}' for n in (5, 9, 17, 33, 65)]
    for k, (n, side) in enumerate(((8, 14), (16, 7), (32, 4), (64, 2))):
        cells, frames = axs[1, k].collections[:2]
        maps, in_a_row = net[:k+1](x)[0].detach(), math.ceil(n**.5)
        values = cells.get_array().reshape(-1, in_a_row*(side+1))
        assert len(frames.get_paths()) == n and values.count() == maps.numel()
        for i, m in enumerate(maps):
            top, left = [(side+1)*j for j in divmod(i, in_a_row)]
            assert values[top:top+side, left:left+side].tolist() == m.tolist()
    assert len(axs[1, 4].patches) == 10
    for depth in (1, 2, 3):
        x.requires_grad_().grad = None
        net[:depth](x).max().backward()
        rows, cols = [x.grad[0, 0].abs().sum(d).nonzero().flatten() for d in (1, 0)]
        box = axs[0, depth-1].patches[-1]
        top, left = box.get_y()+.5, box.get_x()+.5
        assert top <= rows[0] and rows[-1] < top + box.get_height() and left <= cols[0] and cols[-1] < left + box.get_width()
    assert [ax.patches[-1].get_width() for ax in axs[0]] == [5, 9, 17, 33, 65]  # as wide as they are, padding included
    with pytest.raises(ValueError, match='x must be a tensor'): show_way(net, torch.rand(2, 1, 28, 28))


# What 03 says of the tables that it reads: another run of a study must not leave its sentences behind

def test_normalizing_gains_and_steadies():
    runs = result_table('first_kernels').drop_duplicates(['pixels', 'seed']).groupby('pixels').accuracy
    gain, error = 100*runs.mean().diff().iloc[-1], 100*(runs.var()/runs.count()).sum()**.5
    assert round(gain, 2) == .15 and gain > 3*error
    assert runs.std()['normalized'] < .5*runs.std()['0 to 1']


def test_what_training_adds_to_first_kernels():
    table = result_table('first_kernels').query("pixels == 'normalized'")
    weights = {when: torch.tensor(rows.iloc[:, -9:].to_numpy()) for when, rows in table.groupby('training')}
    change, chance = weights['after']-weights['before'], 1/9
    patterns = dict(even=torch.ones(9), **dict(zip(('left', 'top', 'diag1', 'diag2'), edge_kernels.flatten(1))))
    for name, pattern in patterns.items():
        share = (change @ pattern.double()).square() / pattern.square().sum() / change.square().sum(1)
        networks = pd.DataFrame(dict(share=share.view(20, 4).mean(1)))
        low, high = summarize(networks, [], 'share')[['low', 'high']].iloc[0]
        assert low > chance if name in ('even', 'top') else low < chance < high if name == 'left' else high < chance, name
    kept = torch.cosine_similarity(weights['before'], weights['after']).square().mean()
    assert kept > .75


def test_who_minds():
    test = result_table('first_layer').query('lr == .01').groupby(['digits_are', 'net']).test.mean().unstack()
    lead = 100*(test['convolutional']-test['fully connected'])
    assert lead['moved'] > 15 and lead['plain'] > 2 and abs(lead['shuffled']) < 1


def test_pooling_helps_only_without_stride():
    runs = result_table('moved_digits').query("learned_from == 'plain' and net != 'fully connected'")
    best = runs.groupby(['net', 'lr']).valid.mean().groupby('net').idxmax()
    found = runs.set_index(['net', 'lr']).loc[best].reset_index()
    def gain(a, b):  # of `a` over `b`, with its interval
        return 100*paired(found, 'test_moved', 'net', a, b)[['low', 'high']].iloc[0]
    low, high = gain('stride, pooled', 'stride, places')
    assert low < 0 < high < 5
    assert gain('average, places', 'stride, places').low > 20 and gain('average, pooled', 'average, places').low > 5
    right = found.groupby('net')[['test', 'test_moved']].mean().loc['average, pooled']
    assert right.test > .97 and right.test_moved < .8
