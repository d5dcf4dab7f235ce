"StrideLab, ValleyLab and RingLab: their numbers against PyTorch and the lessons' own functions; in a real browser; in Python."
import json
import math
import random
from itertools import product

import pytest
import torch
from browser import browser, from_disk, lab, needs_chromium, node, notebook, opened, pages, run_all, run_cell, violations  # noqa: F401
from conftest import root
from torch import nn

from convlab.color import map_color_kernel, to_gray
from convlab.convolutions import out_size
from convlab.draw.kernel_lab import KernelLab
from convlab.draw.labs import RingLab, StrideLab, ValleyLab, chance
from convlab.draw.way import WayLab
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
    cases = [valley | dict(start=rng.uniform(-3, 6), rate=10**rng.uniform(-2, .4), momentum=rng.choice([0., .5, .85, .95]), noise=rng.choice([0., .5, 1., 2.]),
                           schedule=rng.choice(['constant', 'linear', '1cycle']), steps=rng.randint(5, 80), seed=rng.randint(0, 99), balls=rng.randint(1, 4)) for _ in range(60)]
    slope = torch.func.grad(lesson('08_training', 'e9fb75a7')['valleys'])
    pushed = node("""import { valleyNoise } from './valley_numbers.js'
done(given.map(s => Array.from({ length: s.balls }, (_, b) => { const f = valleyNoise(s.seed + 1000*b); return Array.from({ length: s.steps }, f) })))""", cases)
    for s, paths, chances in zip(cases, valley_paths(cases), pushed):
        linear = s['rate']*(1 - torch.arange(s['steps']).double()/s['steps'])
        rates = dict(constant=torch.full((s['steps'],), s['rate'], dtype=torch.float64), linear=linear, **{'1cycle': one_cycle_schedule(s['steps'], s['rate'])[0]})[s['schedule']].tolist()
        assert len(paths) == s['balls']
        torch.testing.assert_close(ValleyLab(**s).paths[:, :8], torch.tensor(paths, dtype=torch.float64)[:, :8], rtol=1e-9, atol=1e-9)
        for ball, (ws, pushes) in enumerate(zip(paths, chances)):
            assert pushes == [x for x, _ in zip(chance(s['seed'] + 1000*ball), pushes)]
            avg = 0.
            for w, after, rate, push in zip(ws, ws[1:], rates, pushes):
                avg = s['momentum']*avg + (1-s['momentum'])*(slope(torch.tensor(w, dtype=torch.float64)).item() + s['noise']*push)
                assert math.isclose(after, w - rate*avg, rel_tol=1e-9, abs_tol=1e-9), s


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
                   swing=dict(start=4.5, rate=1., momentum=.95, steps=150), same=dict(rate=.05, noise=1.), calm=dict(rate=1., noise=1.))
    said = node("import * as m from './valley_numbers.js'\ndone([m.valleyTasks.map(t => t.id), given.map(s => m.valleyMet(s))])", [valley | a for a in answers.values()])
    assert said[0] == list(answers)
    for name, met in zip(answers, said[1]): assert name in met
    def met(task, **change):
        cases = [valley | answers[task] | change | dict(seed=seed) for seed in range(12)]
        return sum(task in m for m in node("import * as m from './valley_numbers.js'\ndone(given.map(s => m.valleyMet(s)))", cases))
    assert met('rest') >= 10 and met('rest', schedule='constant') == 0
    assert met('stay', rate=.3) == met('leave', rate=.03) == met('diverge', rate=1.8) == met('swing', rate=.05) == met('same', rate=1.) == met('calm', rate=.05) == met('calm', rate=2.5) == 0


# RingLab

def test_the_ring_is_the_lessons():
    i, j = torch.meshgrid(torch.arange(64.)-31.5, torch.arange(64.)-31.5, indexing='ij')
    mask = node("import { ringMask } from './ring_numbers.js'\ndone([...ringMask()])")
    assert torch.equal(torch.tensor(mask).view(64, 64).bool(), (torch.hypot(i, j) - 20).abs() < 5)


def test_grays_and_maps_are_those_of_the_library():
    colors = torch.randint(256, (3, 20_000)).byte()
    gray = node("import { ringGray } from './ring_numbers.js'\ndone(given.map(ringGray))", colors.T.tolist())
    assert gray == to_gray(colors[:, None])[0].tolist()
    mask = torch.tensor(node("import { ringMask } from './ring_numbers.js'\ndone([...ringMask()])")).view(64, 64).bool()
    cases = [dict(ring=colors[:, k].tolist(), ground=colors[:, k+9].tolist(), own=[random.Random(k).choice([-2., -.5, 0., 1., 1.5]) for _ in range(3)]) for k in range(20)]
    got = node("""import * as m from './ring_numbers.js'
done(given.map(s => ({ maps: m.ringKernels(s.own).map(k => [...m.ringMap(k.mix, s)]), contrast: m.ringContrast(s) })))""", cases)
    for s, g in zip(cases, got):
        ring, ground = (torch.tensor(s[k])[:, None, None] for k in ('ring', 'ground'))
        plate = torch.where(mask, ring, ground)
        assert g['contrast']['channels'] == (ring-ground).flatten().tolist()
        assert g['contrast']['gray'] == int(to_gray(ring.byte())) - int(to_gray(ground.byte()))
        for flat, mix in zip(g['maps'], ([1/3]*3, [-1, -1, 2], s['own'])):
            want = map_color_kernel(plate.double(), torch.tensor(mix, dtype=torch.float64)[:, None, None]*top_edge)
            torch.testing.assert_close(torch.tensor(flat, dtype=torch.float64).view(62, 62), want, rtol=1e-9, atol=1e-9)


def test_the_tasks_of_ring_lab_can_be_done_and_are_not_done_by_chance():
    lesson_pair = dict(ring=[0, 188, 255], ground=[230, 120, 0], own=[1, 0, 0])
    answers = dict(gray=lesson_pair, channel=dict(ring=[100, 200, 0], ground=[100, 50, 200], own=[1, 1, 1]),
                   everywhere=dict(ring=[0, 0, 200], ground=[200, 160, 60], own=[1, 0, 0]),
                   blue_edge=dict(ring=[20]*3, ground=[200]*3, own=[1, 0, 0]), own=dict(lesson_pair, ground=[230, 188, 0], own=[0, 1, 0]))
    met, faint = node("import * as m from './ring_numbers.js'\ndone([given.map(m.ringMet), given.map(m.ringSays)])",
                      [*answers.values(), dict(lesson_pair, ring=[0, 189, 255]), dict(lesson_pair, own=[0, 0, 0]), dict(ring=[9]*3, ground=[9]*3, own=[1, 0, 0])])
    assert all(name in m for name, m in zip(answers, met[:5])) and sum(map(len, met[:5])) <= 6
    assert met[5:] == [[], ['gray'], []]
    assert faint[0] == 'The ring is gone in gray.' and faint[2] == 'The ring is seen everywhere.'



# In Python

@pytest.mark.parametrize('lab, name, wrong, said', [
    (StrideLab, 'n', 15, 'n must be a whole number from 1 to 14; got 15'), (StrideLab, 'ks', 2.5, 'ks must be a whole number from 1 to 7; got 2.5'),
    (StrideLab, 'groups', 0, 'groups must be a whole number from 1 to 8; got 0'), (StrideLab, 'padding', True, 'padding must be a whole number'),
    (ValleyLab, 'rate', math.nan, 'rate must be a finite number from 0.01 to 3; got nan'), (ValleyLab, 'start', '2', "start must be a finite number from -3 to 6; got '2'"),
    (ValleyLab, 'schedule', 'cosine', "schedule must be one of ['constant', 'linear', '1cycle']; got 'cosine'"), (ValleyLab, 'balls', 31, 'balls must be a whole number from 1 to 30'),
    (RingLab, 'ring', (1, 2), 'ring must be three whole numbers from 0 to 255: red, green and blue; got (1, 2)'), (RingLab, 'ground', (0, 0, 256), 'each of ground must be a whole number from 0 to 255; got 256'),
    (RingLab, 'own', (0, 0, 3), 'each of own must be a finite number from -2 to 2; got 3'), (RingLab, 'ring', 'blue', "ring must be three whole numbers"),
])
def test_what_a_setting_may_not_be_is_refused_and_changes_nothing(lab, name, wrong, said):
    piece = lab()
    before = json.dumps(piece.state)
    with pytest.raises((ValueError, TypeError)) as e: setattr(piece, name, wrong)
    assert said in str(e.value) and json.dumps(piece.state) == before
    with pytest.raises((ValueError, TypeError)) as e: lab(**{name: wrong})
    assert said in str(e.value)


@pytest.mark.parametrize('lab, names', [(KernelLab, 'kernel, image'), (WayLab, 'image, point'), (RingLab, 'ring, ground, own'), (StrideLab, 'n, ks, stride'), (ValleyLab, 'start, rate')])
def test_a_name_that_a_lab_does_not_have_is_refused(lab, names):
    piece = lab()
    with pytest.raises(AttributeError) as e: piece.kernal = 1
    assert str(e.value).startswith(f"{lab.__name__} has no 'kernal' to set; what can be set is {names}")


def test_settings_that_are_allowed_are_plain_json():
    ring = RingLab(ring=torch.tensor([0, 188, 255]).byte())
    ring.own = torch.tensor([.5, 0, -2])
    assert ring.ring == [0, 188, 255] and ring.own == [.5, 0, -2] and 'gone' in ring.told()
    assert ring.plate.dtype == torch.uint8 and ring.plate.shape == (3, 64, 64)
    valley_lab = ValleyLab(rate=torch.tensor(.5), balls=3, noise=1)
    assert valley_lab.rate == .5 and valley_lab.paths.shape == (3, 61)
    for piece in (ring, valley_lab, StrideLab(ks=7, dilation=4)): json.dumps(piece.state, allow_nan=False)


@pytest.mark.parametrize('piece, words', [(StrideLab(stride=2), 'the result is 3 by 3'), (StrideLab(ks=7, dilation=4), 'the kernel is larger than the padded image'),
                                          (ValleyLab(rate=2.1), 'lead to'), (RingLab(), 'In gray it is 100 on 139')])
def test_the_still_picture_says_what_is_seen(piece, words):
    still = piece.still()
    assert still.count(words) == 2 and 'alt="' in still and '<script' not in still and len(still) < 60_000


# In a browser

def opened_piece(pages, tmp_path, piece, **options):
    path = tmp_path/f'{piece.title}.html'
    piece.save(path)
    page = from_disk(pages, path, **options)
    page.wait_for_function("document.querySelector('.told').textContent")
    return page


def told(page, words): page.wait_for_function('w => document.querySelector(".told").textContent.includes(w)', arg=words)


def typed(page, label, value, piece=''):
    field = page.get_by_label(f'{label}, as a number', exact=True)
    field.fill(value)
    field.press('Enter')


def done(page, *texts):
    "These tasks are ticked, and no others."
    page.wait_for_function('n => document.querySelectorAll(".tasks li.done").length === n', arg=len(texts))
    for text in texts: page.locator('.tasks li.done', has_text=text).wait_for()


@needs_chromium
@pytest.mark.parametrize('width, dark', [(390, False), (390, True), (1400, False), (1400, True)])
@pytest.mark.parametrize('piece', [StrideLab(stride=2, padding=1, groups=2), StrideLab(ks=7, dilation=4, groups=3), ValleyLab(rate=1, momentum=.85, noise=1, balls=5, schedule='1cycle'), RingLab()],
                         ids=['stride', 'impossible', 'valley', 'ring'])
def test_axe_finds_nothing_and_nothing_is_cut_off(pages, tmp_path, piece, width, dark):
    page = from_disk(pages, saved(piece, tmp_path), width=width, dark=dark)
    page.wait_for_selector('.tasks li')
    page.wait_for_timeout(300)
    assert page.locator('.told').text_content() or page.get_by_role('alert').text_content()
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    assert violations(page) == []


def saved(piece, tmp_path):
    piece.save(tmp_path/'piece.html')
    return tmp_path/'piece.html'


@needs_chromium
def test_stride_lab_paints_the_pixels_that_a_window_looks_at(pages, tmp_path):
    "Pink where a weight meets a pixel, elsewhere not, and hatched beyond the picture, for settings at random."
    page, shown = pages(), 0
    for s in stride_cases(60):
        a = StrideLab(**dict(s, n=min(s['n'], 9), channels_in=4, channels_out=4, groups=1))
        try: out = a._axis().out
        except ValueError: continue
        a.state['at'] = [out-1, out//2]
        page.goto(saved(a, tmp_path).as_uri())
        page.wait_for_function("document.querySelector('.told').textContent")
        side = a.n + 2*a.padding
        colors = page.evaluate("""side => { const c = document.querySelector('figure canvas'), ctx = c.getContext('2d'), cell = c.width/side
            return Array.from({ length: side*side }, (_, k) => [...ctx.getImageData(Math.floor((k % side + .5)*cell), Math.floor((Math.floor(k/side) + .2)*cell), 1, 1).data]) }""", side)
        taps = [{i*a.stride - a.padding + k*a.dilation for k in range(a.ks)} for i in a.state['at']]
        for k, (r, g, b, _) in enumerate(colors):
            row, column = k//side - a.padding, k % side - a.padding
            if min(row, column) < 0 or max(row, column) >= a.n: continue
            assert (g < r - 40) == (row in taps[0] and column in taps[1]), (s, row, column, (r, g, b))
        shown += 1
        if shown == 12: break
    assert shown == 12


@needs_chromium
def test_stride_lab_by_keyboard(pages, tmp_path):
    page = opened_piece(pages, tmp_path, StrideLab())
    assert page.locator('code').text_content() == 'nn.Conv2d(4, 4, kernel_size=3)'
    page.get_by_label('Stride', exact=True).focus()
    page.keyboard.press('ArrowRight')
    page.get_by_text('nn.Conv2d(4, 4, kernel_size=3, stride=2)', exact=True).wait_for()
    page.get_by_label('The result', exact=True).focus()
    for key in ('ArrowDown', 'ArrowRight', 'ArrowRight'): page.keyboard.press(key)
    told(page, 'Row 1, column 2 of the result looks at rows 2, 3, 4 and columns 4, 5, 6')
    typed(page, 'Size n', '8')
    typed(page, 'Padding', '1')
    done(page, 'Make 4 by 4 of 8 by 8')
    assert '⌊3.5⌋ + 1 = 3 + 1 = 4' in page.locator('.formula').text_content()
    for wrong in ('zwei', '0', '15', '2.5'):
        typed(page, 'Size n', wrong)
        page.get_by_text(f'Size n must be a whole number from 1 to 14; got “{wrong}”.', exact=True).wait_for()
        assert page.get_by_label('Size n, as a number').input_value() == '8'
    assert page.locator('code').text_content() == 'nn.Conv2d(4, 4, kernel_size=3, stride=2, padding=1)'
    typed(page, 'Size n', '3')
    typed(page, 'Kernel ks', '7')
    page.get_by_text('The kernel is larger than the padded picture: 7 by 7').wait_for()
    typed(page, 'Groups', '3')
    page.get_by_text('3 groups cannot share 4 input and 4 output channels evenly').wait_for()
    for label, value in (('Groups', '4'), ('Kernel ks', '1')): typed(page, label, value)
    page.locator('.tasks').get_by_text('a depthwise convolution').wait_for()
    assert page.get_by_role('alert').text_content() == ''
    page.get_by_label('The channels of the result', exact=True).focus()
    for _ in range(3): page.keyboard.press('ArrowRight')
    page.get_by_text('Output channel 3 sees input channel 3.').wait_for()


@needs_chromium
def test_stride_lab_by_mouse_touch_and_on_its_own(pages, tmp_path):
    page = opened_piece(pages, tmp_path, StrideLab(stride=2))
    page.locator('figure canvas').nth(0).hover(position=dict(x=200, y=40))
    told(page, 'Row 0, column 2 of the result')
    page.locator('figure canvas').nth(1).click(position=dict(x=10, y=40))
    told(page, 'Row 1, column 0 of the result')
    page.get_by_role('button', name='◀ Back').click()
    told(page, 'Row 0, column 2 of the result')
    page.mouse.move(0, 0)
    page.get_by_role('button', name='▶ Play').click()
    told(page, 'Row 1, column 1 of the result')
    page.get_by_role('button', name='❚❚ Pause').click()
    page = opened_piece(pages, tmp_path, StrideLab(stride=2), width=390, touch=True)
    page.locator('figure canvas').nth(1).tap(position=dict(x=45, y=45))
    told(page, 'Row 1, column 1 of the result')


@needs_chromium
def test_valley_lab_by_keyboard(pages, tmp_path):
    page = opened_piece(pages, tmp_path, ValleyLab())
    told(page, 'Step 0 of 60: weight −1.6')
    page.locator('svg.hand').focus()
    page.keyboard.press('ArrowRight')
    lab = ValleyLab()
    told(page, f'Step 1 of 60: weight {lab.paths[0, 1]:.2f}'.rstrip('0').replace('-', '−'))
    page.keyboard.press('End')
    told(page, 'it is in the narrow dip')
    done(page, 'come to rest in the narrow dip')
    page.get_by_label('Rate', exact=True).focus()
    page.keyboard.press('End')
    told(page, 'it diverges')
    assert page.get_by_label('Rate, as a number', exact=True).input_value() == '3'
    typed(page, 'Rate', '0.3')
    told(page, 'it is in the wide dip')
    done(page, 'come to rest in the narrow dip', 'diverge', 'stay in the wide dip')
    typed(page, 'Rate', '0.05')
    told(page, 'it is in the narrow dip')
    rows = page.locator('table tbody tr').all_text_contents()
    assert rows == ['00.00630.17', '0.850.00470.17', '0.950.401070.17']
    typed(page, 'Momentum', '1')
    page.get_by_text('Momentum must be a number from 0 to 0.98; got “1”.', exact=True).wait_for()
    assert page.get_by_role('alert').text_content() == 'Momentum must be a number from 0 to 0.98; got “1”.'
    typed(page, 'Momentum', '0,5')
    assert page.get_by_role('alert').text_content() == ''
    page.get_by_text('0.05 stays').nth(1).wait_for()
    assert 'holds rates below 2/c · (1 + m)/(1 − m) = 0.25' in page.locator('.dips').text_content()


@needs_chromium
def test_valley_lab_by_mouse_and_touch(pages, tmp_path):
    page = opened_piece(pages, tmp_path, ValleyLab(rate=.3))
    box = page.locator('svg.hand').bounding_box()
    page.mouse.move(box['x'] + .3*box['width'], box['y'] + 50)
    page.mouse.down()
    page.mouse.move(box['x'] + .8*box['width'], box['y'] + 60, steps=4)
    page.mouse.up()
    page.wait_for_function("Number(document.querySelector('input[aria-label^=Start]').value) > 4")
    page.wait_for_timeout(100)
    start = float(page.get_by_label('Start, as a number').input_value())
    assert 4 < start < 5.5
    page.get_by_role('button', name='To the end').click()
    told(page, f'Step 60 of 60: weight {ValleyLab(start=start, rate=.3).paths[0, -1]:.2f}'.removesuffix('.00'))
    page.get_by_role('button', name='falls to 0').click()
    page.locator('.charts svg:visible').nth(2).wait_for()
    page.get_by_role('button', name='▶ Play').click()  # from the beginning again
    page.wait_for_function('document.querySelector(".now").textContent.startsWith("Step 5 of 60")')
    page.get_by_role('button', name='❚❚ Pause').click()
    page = opened_piece(pages, tmp_path, ValleyLab(), width=390, touch=True)
    page.locator('svg.hand').tap(position=dict(x=250, y=60))
    page.wait_for_function("Number(document.querySelector('input[aria-label^=Start]').value) > 3")


@needs_chromium
def test_ring_lab_by_keyboard_mouse_and_touch(pages, tmp_path):
    page = opened_piece(pages, tmp_path, RingLab())
    told(page, 'The ring is gone in green.')
    typed(page, 'The ring: Green', '188')
    told(page, 'The ring is gone in gray.')
    done(page, 'vanish in gray')
    assert page.locator('figure.gone').all_text_contents() == ['in gray139 on 139']
    page.get_by_label('The ring: Green', exact=True).focus()
    for _ in range(2): page.keyboard.press('ArrowLeft')  # one of green is little more than half of one of gray
    page.wait_for_function("document.querySelectorAll('figure.gone').length === 0")
    page.locator('input[type=color]').nth(1).fill('#c8c8c8')
    page.locator('input[type=color]').nth(0).fill('#141414')
    told(page, 'The ring is gone for blue_edge.')
    done(page, 'vanish in gray', 'vanish for blue_edge')
    assert 'up to 540' in page.locator('figure').nth(7).text_content()
    typed(page, 'The ring: Red', '999')
    assert page.get_by_role('alert').text_content() == 'Red must be a whole number from 0 to 255; got “999”.'
    page.get_by_role('button', name='Swap the colors').click()
    page.wait_for_function("document.querySelector('input[type=color]').value === '#c8c8c8'")
    page = opened_piece(pages, tmp_path, RingLab(ground=(200, 0, 0), ring=(0, 100, 0)), width=390, touch=True)
    for factor in ('× red', '× green'): page.get_by_label(factor, exact=True).tap()  # in its middle: 0
    told(page, 'your own')


@needs_chromium
def test_python_and_page_follow_each_other(pages, lab):
    "In JupyterLab: what the hand does, Python reads; what Python sets, the page shows; a mistake in Python leaves the page as it is."
    home = lab[1]
    notebook(home/'labs.ipynb', 'from convlab.draw.labs import *\nlab = StrideLab()\nlab', 'lab.stride, lab.done', 'lab.padding = 5', 'lab.padding = 6')
    page = opened(pages, lab, 'labs')
    run_all(page)
    page.wait_for_selector('.StrideLab')
    page.wait_for_function("document.querySelector('.StrideLab code').textContent.includes('padding=5')")
    assert 'padding must be a whole number from 0 to 5; got 6' in page.locator('.jp-Cell').nth(3).text_content()
    typed(page, 'Kernel ks', '2')
    typed(page, 'Padding', '0')
    typed(page, 'Size n', '8')
    typed(page, 'Stride', '2')
    page.wait_for_timeout(1500)
    page.click('.jp-Notebook .jp-Cell .jp-InputPrompt >> nth=1')
    run_cell(page, 1)
    page.locator('.jp-Cell').nth(1).get_by_text("(2, ['tiles'])").wait_for()
