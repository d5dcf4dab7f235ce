"StrideLab, ValleyLab and RingLab: their numbers against PyTorch and the lessons' own functions; in a real browser; in Python."
import json
import math
import random
from itertools import product

import pytest
import torch
from browser import node
from conftest import root
from torch import nn

from convlab.color import map_color_kernel, to_grey
from convlab.convolutions import out_size
from convlab.kernels import top_edge
from convlab.training import one_cycle_schedule


def lesson(name, cell):
    "The names that code cell `cell` (its id) of a lesson defines, with what it defines them from."
    nb = json.loads((root/'nbs'/f'{name}.ipynb').read_text(encoding='utf-8'))
    source = ''.join(next(c['source'] for c in nb['cells'] if c['id'] == cell))
    names = dict(torch=torch, tensor=torch.tensor, random=random, math=math)
    exec(source, names)
    return names


# StrideLab

def stride_cases(k):
    rng, top = random.Random(3), dict(n=12, ks=6, stride=5, padding=4, dilation=4, channels_in=6, channels_out=6, groups=4)
    return [{name: rng.randint(name == 'padding' and 0 or 1, most) for name, most in top.items()} for _ in range(k)]


def layer_of(s):
    "What PyTorch makes of these settings, with weights of one; None if it refuses."
    try:
        conv = nn.Conv2d(s['channels_in'], s['channels_out'], s['ks'], s['stride'], s['padding'], s['dilation'], s['groups'], bias=False).double()
        nn.init.ones_(conv.weight)
        x = torch.zeros(1, s['channels_in'], s['n'], s['n'], dtype=torch.float64, requires_grad=True)
        return conv, x, conv(x)
    except (ValueError, RuntimeError): return None


def test_windows_are_those_of_pytorch():
    "Sizes, refusals, the pixels and channels that each number depends on, and how often a pixel is seen, for 400 settings."
    cases = stride_cases(400)
    got = node("""import * as m from './stride_numbers.js'
done(given.map(s => { const a = m.strideAxis(s), problem = m.strideProblem(s)
  return { out: a.out, problem, taps: Array.from({ length: a.out }, (_, i) => m.strideTaps(a, i)), looks: m.strideLooks(a),
           line: m.strideLine(s), formula: m.strideFormula(s), weights: m.strideWeights(s),
           sees: problem ? [] : Array.from({ length: s.channels_out }, (_, f) => m.strideSees(f, s)) } }))""", cases)
    refused = 0
    for s, g in zip(cases, got):
        made = layer_of(s)
        assert bool(g['problem']) == (made is None), (s, g['problem'])
        if made is None:
            refused += 1
            continue
        conv, x, y = made
        assert g['out'] == y.shape[2] == out_size(s['n'], s['ks'], s['stride'], s['padding'], s['dilation']) == g['formula']['out']
        assert g['weights'] == conv.weight.numel()
        for f, i in product(range(s['channels_out']), range(g['out'])):
            j = (3*i+f) % g['out']
            seen, = torch.autograd.grad(y[0, f, i, j], x, retain_graph=True)
            want = torch.zeros_like(seen)
            rows, cols = ([p for p in g['taps'][k] if 0 <= p < s['n']] for k in (i, j))
            for c, p, q in product(g['sees'][f], rows, cols): want[0, c, p, q] = 1
            assert torch.equal(seen, want), s
        looks = torch.tensor(g['looks'], dtype=torch.float64)
        total, = torch.autograd.grad(y[:, 0].sum(), x)
        assert torch.equal(total[0, g['sees'][0][0]], looks[:, None]*looks), s
        assert [str(p) for p in eval(g['line'], dict(nn=nn)).weight.shape] == [str(p) for p in conv.weight.shape]
        assert eval(g['line'], dict(nn=nn))(x.float()).shape == y.shape
    assert refused > 50 and len(cases) - refused > 80  # both sides have been tried


def test_the_tasks_of_stride_lab_can_be_done_and_are_not_done_by_chance():
    plain = dict(n=7, ks=3, stride=1, padding=0, dilation=1, channels_in=4, channels_out=4, groups=1)
    answers = dict(keep=dict(ks=5, padding=2), halve=dict(n=8, stride=2, padding=1), skip=dict(n=9, ks=2, stride=3), far=dict(dilation=3),
                   tiles=dict(n=8, ks=2, stride=2), alone=dict(groups=4))
    said = node("import * as m from './stride_numbers.js'\ndone([m.strideTasks.map(t => t.id), given.map(m.strideMet)])",
                [plain, *[plain | a for a in answers.values()], plain | dict(ks=7, dilation=2), plain | dict(groups=3)])
    assert said == [list(answers), [[], *[[name] for name in answers], [], []]]


# ValleyLab

valley = dict(start=-1.6, rate=.3, momentum=0., noise=0., schedule='constant', steps=60, seed=0, balls=1)


def valley_paths(cases):
    return node("import { valleyPaths } from './valley_numbers.js'\ndone(given.map(valleyPaths))", cases)


def test_the_valley_and_its_slope_are_the_lessons():
    w = torch.linspace(-9, 9, 801, dtype=torch.float64, requires_grad=True)
    got = torch.tensor(node("import { valleyAt } from './valley_numbers.js'\ndone(given.map(w => Object.values(valleyAt(w))))", w.tolist()), dtype=torch.float64)
    loss = lesson('08_training', 'e9fb75a7')['valleys'](w)
    torch.testing.assert_close(got[:, 0], loss.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got[:, 1], torch.autograd.grad(loss.sum(), w)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('change', [dict(rate=.03), dict(rate=.3), dict(rate=2.1), dict(start=4.5, rate=1., momentum=.95), dict(start=4.5, rate=1., momentum=.85)])
def test_steps_are_those_of_descend(change):
    "The lesson's function, in its single precision."
    s = valley | dict(steps=60 if 'momentum' in change else 12) | change  # as many steps as the lesson takes
    want = lesson('08_training', 'e9fb75a7')['descend'](s['start'], [s['rate']]*s['steps'], s['momentum'])
    torch.testing.assert_close(torch.tensor(valley_paths([s])[0][0]), want, rtol=1e-3, atol=1e-4)



def test_every_step_follows_from_the_one_before():
    "With noise, schedules and several balls: the way in Python, with the lesson's slope; the numbers that chance gives are equal to the last bit."
    rng = random.Random(0)
    cases = [valley | dict(start=rng.uniform(-3, 6), rate=10**rng.uniform(-2, .4), momentum=rng.choice([0, .5, .85, .95]), noise=rng.choice([0, .5, 1, 2]),
                           schedule=rng.choice(['constant', 'linear', '1cycle']), steps=rng.randint(5, 80), seed=rng.randint(0, 99), balls=rng.randint(1, 4)) for _ in range(60)]
    slope = torch.func.grad(lesson('08_training', 'e9fb75a7')['valleys'])
    chance = node("""import { valleyNoise } from './valley_numbers.js'
done(given.map(s => Array.from({ length: s.balls }, (_, b) => { const f = valleyNoise(s.seed + 1000*b); return Array.from({ length: s.steps }, f) })))""", cases)
    for s, paths, chances in zip(cases, valley_paths(cases), chance):
        linear = s['rate']*(1 - torch.arange(s['steps']).double()/s['steps'])
        rates = dict(constant=torch.full((s['steps'],), s['rate'], dtype=torch.float64), linear=linear, **{'1cycle': one_cycle_schedule(s['steps'], s['rate'])[0]})[s['schedule']].tolist()
        assert len(paths) == s['balls']
        for ball, (ws, pushes) in enumerate(zip(paths, chances)):
            assert pushes == [x for x, _ in zip(python_noise(s['seed'] + 1000*ball), pushes)]
            avg = 0.
            for w, after, rate, push in zip(ws, ws[1:], rates, pushes):
                avg = s['momentum']*avg + (1-s['momentum'])*(slope(torch.tensor(w, dtype=torch.float64)).item() + s['noise']*push)
                assert math.isclose(after, w - rate*avg, rel_tol=1e-9, abs_tol=1e-9), s


def python_noise(seed):
    "mulberry32, and twelve of its numbers added."
    a, mask = seed, 2**32-1
    def even():
        nonlocal a
        a = (a + 0x6D2B79F5) & mask
        t = (a ^ a >> 15)*(a | 1) & mask
        t = ((t + ((t ^ t >> 7)*(t | 61) & mask)) & mask) ^ t
        return (t ^ t >> 14)/2**32
    while True: yield sum((even() for _ in range(12)), -6.)


def test_noise_has_mean_zero_and_variance_one():
    got = torch.tensor(node("import { valleyNoise } from './valley_numbers.js'\nconst f = valleyNoise(7)\ndone(Array.from({ length: 40000 }, f))"))
    assert abs(got.mean()) < .02 and abs(got.var()-1) < .03  # four standard errors
    assert abs((got[1:]*got[:-1]).mean()) < .02


@pytest.mark.parametrize('momentum', [0., .5, .85, .95])
def test_a_step_stays_in_valleys_up_to_the_width_that_is_drawn(momentum):
    "The eigenvalues of one step with momentum in cw²/2 are inside the circle up to the curvature that `valleyHolds` gives, and 2/rate is the rule without it."
    for rate in (.03, .3, 1., 2.1):
        limit = node("import { valleyHolds } from './valley_numbers.js'\ndone(valleyHolds(...given))", [rate, momentum])
        if not momentum: assert limit == pytest.approx(2/rate)
        for c, holds in ((.99*limit, True), (1.01*limit, False)):
            k = (1-momentum)*c
            step = torch.tensor([[1-rate*k, -rate*momentum], [k, momentum]], dtype=torch.float64)  # (w, avg) to the next ones
            assert (torch.linalg.eigvals(step).abs().max() < 1) == holds


def test_what_memory_does_at_low_and_at_high_rates():
    "The text's claims: overshoot grows with the rate, and memory averages at rate 1 and not at .05."
    low, high = node("import { valleyMemories } from './valley_numbers.js'\ndone(given.map(r => valleyMemories(r)))", [.05, 1.])
    assert [round(m['overshoot'], 1) for m in low] == [0, 0, .4] and round(high[2]['overshoot'], 2) == 1.75
    assert [m['settled'] for m in low] == [63, 47, 107]
    scatter = [[m['scatter'] for m in o] for o in (low, high)]
    assert max(scatter[0]) < 1.1*min(scatter[0]) and scatter[1][1] < .7*scatter[1][0]


def test_the_tasks_of_valley_lab_can_be_done_and_are_not_done_by_chance():
    answers = dict(stay=dict(rate=.03), leave=dict(rate=.3), diverge=dict(rate=2.1),
                   rest=dict(start=5.5, rate=.5, noise=1., balls=5, schedule='linear', steps=150),
                   swing=dict(start=4.5, rate=1., momentum=.95, steps=150), same=dict(rate=.05, start=0.), calm=dict(rate=1., start=0.))
    said = node("import * as m from './valley_numbers.js'\ndone([m.valleyTasks.map(t => t.id), given.map(s => m.valleyMet(s))])", [valley | a for a in answers.values()])
    assert said[0] == list(answers)
    for name, met in zip(answers, said[1]): assert name in met
    def met(task, **change):
        cases = [valley | answers[task] | change | dict(seed=seed) for seed in range(12)]
        return sum(task in m for m in node("import * as m from './valley_numbers.js'\ndone(given.map(s => m.valleyMet(s)))", cases))
    assert met('rest') >= 10 and met('rest', schedule='constant') == 0
    assert met('stay', rate=.3) == met('leave', rate=.03) == met('diverge', rate=1.8) == met('swing', rate=.05) == met('same', rate=1.) == met('calm', rate=.05) == 0


# RingLab

def test_the_ring_is_the_lessons():
    i, j = torch.meshgrid(torch.arange(64.)-31.5, torch.arange(64.)-31.5, indexing='ij')
    mask = node("import { ringMask } from './ring_numbers.js'\ndone([...ringMask()])")
    assert torch.equal(torch.tensor(mask).view(64, 64).bool(), (torch.hypot(i, j) - 20).abs() < 5)


def test_greys_and_maps_are_those_of_the_library():
    colors = torch.randint(256, (3, 20_000)).byte()
    grey = node("import { ringGrey } from './ring_numbers.js'\ndone(given.map(ringGrey))", colors.T.tolist())
    assert grey == to_grey(colors[:, None])[0].tolist()
    mask = torch.tensor(node("import { ringMask } from './ring_numbers.js'\ndone([...ringMask()])")).view(64, 64).bool()
    cases = [dict(ring=colors[:, k].tolist(), ground=colors[:, k+9].tolist(), own=[random.Random(k).choice([-2., -.5, 0., 1., 1.5]) for _ in range(3)]) for k in range(20)]
    got = node("""import * as m from './ring_numbers.js'
done(given.map(s => ({ maps: m.ringKernels(s.own).map(k => [...m.ringMap(k.mix, s)]), contrast: m.ringContrast(s) })))""", cases)
    for s, g in zip(cases, got):
        ring, ground = (torch.tensor(s[k])[:, None, None] for k in ('ring', 'ground'))
        plate = torch.where(mask, ring, ground)
        assert g['contrast']['channels'] == (ring-ground).flatten().tolist()
        assert g['contrast']['grey'] == int(to_grey(ring.byte())) - int(to_grey(ground.byte()))
        for flat, mix in zip(g['maps'], ([1/3]*3, [-1, -1, 2], s['own'])):
            want = map_color_kernel(plate.double(), torch.tensor(mix, dtype=torch.float64)[:, None, None]*top_edge)
            torch.testing.assert_close(torch.tensor(flat, dtype=torch.float64).view(62, 62), want, rtol=1e-9, atol=1e-9)


def test_the_tasks_of_ring_lab_can_be_done_and_are_not_done_by_chance():
    lesson_pair = dict(ring=[0, 188, 255], ground=[230, 120, 0], own=[1, 0, 0])
    answers = dict(grey=lesson_pair, channel=dict(ring=[100, 200, 0], ground=[100, 50, 200], own=[1, 1, 1]),
                   everywhere=dict(ring=[0, 0, 200], ground=[200, 160, 60], own=[1, 0, 0]),
                   blue_edge=dict(ring=[20]*3, ground=[200]*3, own=[1, 0, 0]), own=dict(lesson_pair, ground=[230, 188, 0], own=[0, 1, 0]))
    met, faint = node("import * as m from './ring_numbers.js'\ndone([given.map(m.ringMet), given.map(m.ringSays)])",
                      [*answers.values(), dict(lesson_pair, ring=[0, 189, 255]), dict(lesson_pair, own=[0, 0, 0]), dict(ring=[9]*3, ground=[9]*3, own=[1, 0, 0])])
    assert all(name in m for name, m in zip(answers, met[:5])) and sum(map(len, met[:5])) <= 6
    assert met[5:] == [[], ['grey'], []]
    assert faint[0] == 'The ring is gone in grey.' and faint[2] == 'The ring is seen everywhere.'

