"Exercises: each is tried on right and wrong answers; the reader's records survive whatever happens to them."
import ast
import json
import math
import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from conftest import root

from convlab.course import exercises, page
from convlab.course.exercises import Wrong, call, check, exercise, expect, hint, measured, predict, reset
from convlab.course.progress import progress
from convlab.course.records import records, records_path, update

solutions = sorted((root/'nbs'/'solutions').glob('*.ipynb'))
lessons = sorted((root/'nbs').glob('[0-9][0-9]_*.ipynb'))


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    "Records of this test's own, and exercises of its own on top of the course's."
    monkeypatch.setenv('CONVLAB_PROGRESS', str(tmp_path/'mine'/'progress.json'))
    monkeypatch.setattr(exercises, '_exercises', {e.name: e for e in exercises.exercises()})

    @exercise('double', lesson='00_none', title='twice a number', hints=('Add.', 'Multiply.'))
    def _(answer): expect(call(answer, 3), 6)


def sources(path, kind='code'):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    return [''.join(c['source']) for c in cells if c['cell_type'] == kind]


def calls(source):
    "Calls of plain names in `source`, IPython's own lines left out, as `(name, first argument, number of arguments)`."
    tree = ast.parse(re.sub(r'^(\s*)[!%].*$', r'\1pass', source, flags=re.M))
    for n in ast.walk(tree):
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.args and isinstance(n.args[0], ast.Constant):
            yield n.func.id, n.args[0].value, len(n.args)


# Every exercise

@pytest.mark.parametrize('path', solutions, ids=lambda p: p.stem)
def test_each_is_tried_on_three_right_and_three_wrong_answers(path):
    made = [c for s in sources(path) for c in calls(s)]
    names = {name for f, name, _ in made if f == 'exercise'}
    assert names
    right = {name: sum(n-1 for f, other, n in made if (f, other) == ('right', name)) for name in names}
    wrong = {name: sum((f, other) == ('wrong', name) for f, other, _ in made) for name in names}
    assert {n: k for n, k in right.items() if k < 3} == {}, 'right answers'
    assert {n: k for n, k in wrong.items() if k < 3} == {}, 'wrong answers'


def test_lessons_and_solutions_name_the_same_exercises():
    of = {}
    for path in solutions:
        for s in sources(path):
            for f, name, _ in calls(s):
                if f == 'exercise': of[name] = path.stem
    for path in lessons:
        asked = {name for s in sources(path) for f, name, _ in calls(s) if f in ('check', 'hint')}
        assert {n for n in asked if of.get(n) != path.stem} == set(), f'{path.stem} asks for exercises its solutions do not have'
        if asked: assert {n for n, stem in of.items() if stem == path.stem} - asked == set(), f'{path.stem} does not ask for these'


def test_exercises_know_their_lessons():
    stems = {p.stem for p in lessons}
    for ex in exercises.exercises():
        if ex.name == 'double': continue
        assert ex.lesson in stems and ex.title and 1 <= len(ex.hints) <= 2, ex.name


def test_stubs_are_left_to_the_reader():
    for path in lessons:
        for s in sources(path):
            if any(f == 'check' for f, *_ in calls(s)): assert s.startswith('#| eval: false'), (path.stem, s)


# What a reader sees

def test_right_wrong_and_not_answered(capsys):
    check('double', lambda n: n+n)
    assert capsys.readouterr().out.startswith('✓ double: right.')
    check('double', lambda n: n+1)
    out = capsys.readouterr().out
    assert out.startswith('✗ double: not yet.') and 'expected  6\n' in out and 'came      4\n' in out and "hint('double')" in out
    for stub in (None, ..., lambda n: None, lambda n: ...):
        check('double', stub)
        assert capsys.readouterr().out.startswith('· double: not yet tried.')
    entry = records()['exercises']['double']
    assert entry['tried'] == 2 and entry['right'], 'once right, right for good; a stub is no try'


class Quits:
    "Wants to end the kernel as soon as somebody looks at it."
    def __eq__(self, other): raise SystemExit

    def __getattr__(self, name): raise SystemExit


@pytest.mark.parametrize('answer', [3, 'text', lambda: 6, lambda n: 1/0, lambda n: {'a': object()}, lambda n: [[1], [2, 3]], torch.nn.Linear,
                                    lambda n: torch.empty(0), object(), lambda n: exit(), lambda n: sys.exit(3), lambda n: Quits(),
                                    lambda n: (_ for _ in ()).throw(GeneratorExit)])
def test_no_answer_makes_a_check_raise(answer, capsys):
    check('double', answer)
    assert '✗ double' in capsys.readouterr().out


@pytest.mark.parametrize('kernel', [torch.ones(3, 3)*1j, torch.zeros(3, 3, dtype=torch.complex64), [[1j]*3]*3, np.ones((3, 3))*1j])
def test_a_kernel_has_no_complex_numbers(kernel, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check('right_edge', kernel)
    assert 'three rows of three numbers' in capsys.readouterr().out


def test_dtype_and_form_do_not_matter(capsys):
    for six in (6, 6., True*6, torch.tensor(6), torch.tensor([6.], requires_grad=True), torch.tensor(6, dtype=torch.bfloat16), [6]):
        check('double', lambda n, six=six: six)
        assert '✓' in capsys.readouterr().out, six


def test_a_message_fits_a_screen(capsys):
    @exercise('large', lesson='00_none', title='many numbers')
    def _(answer): expect(call(answer, on='nothing'), torch.zeros(300, 300), on='nothing')
    check('large', lambda: torch.eye(300))
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 12 and max(map(len, out.splitlines())) < 120 and '300 of 90,000 numbers differ' in out


def test_hints_end_with_the_solution(capsys):
    for _ in range(3): hint('double')
    assert capsys.readouterr().out.splitlines() == ['Hint 1 of 2: Add.', 'Hint 2 of 2: Multiply.', 'No more hints. There is a solution: solutions/00_none.ipynb.']


def test_an_unknown_name_is_told_its_neighbours():
    with pytest.raises(ValueError, match="no exercise 'dubble'; near it: double"): check('dubble', 3)


def test_a_check_leaves_random_numbers_alone():
    torch.manual_seed(3)
    want = torch.rand(2).tolist()
    torch.manual_seed(3)
    check('double', lambda n: torch.rand(2))
    assert torch.rand(2).tolist() == want


def test_a_guess_is_kept(capsys):
    predict('share', None)
    measured('share', 20, '%')
    predict('share', 10)
    measured('share', 20, '%')
    out = capsys.readouterr().out.splitlines()
    assert out[1] == 'share: 20%. (You had not guessed.)' and out[3] == 'share: 20%; you had guessed 10%: 2 times too little.'
    assert records()['predictions']['share']['measured'] == 20


@pytest.mark.parametrize('args,exc,says', [
    (('x', float('nan')), TypeError, 'guess must be a finite number; got nan'), (('x', float('inf')), TypeError, 'guess must be a finite number'), (('x', 10**400), TypeError, 'guess must be'),
    (('x', True), TypeError, 'guess must be'), (('x', '3'), TypeError, "got '3'"), (('x', 1j), TypeError, 'guess must be'), (('x', torch.ones(2)), TypeError, 'guess must be'),
    (('x', torch.ones(2), [1, 2]), ValueError, r'guess must be one of \[1, 2\]; got tensor'), (('x', {}, ['a']), ValueError, 'guess must be one of'), (('x', 'A', 'ab'), ValueError, 'one of'),
    ((3, 4), TypeError, 'name must be text; got int'), ((None, None), TypeError, 'name must be text; got NoneType'), ((('a',), 1), TypeError, 'name must be text')])
def test_a_guess_that_cannot_be_kept_is_refused(args, exc, says):
    predict('x', 7)
    before = records_path().read_bytes()
    with pytest.raises(exc, match=says): predict(*args)
    assert records_path().read_bytes() == before


@pytest.mark.parametrize('name,value', [(3, 1), ('x', torch.ones(2)), ('x', [1]), ('x', None)])
def test_what_is_measured_is_one_number_or_text(name, value):
    with pytest.raises(TypeError, match='(name|value) must be'): measured(name, value)


@pytest.mark.parametrize('answer', [torch.nn.Linear(2, 2), 3, "x", object(), torch.ones(3), [1], {'a': 1}])
def test_no_wrong_answer_is_told_the_right_one(answer, capsys):
    for name in ('first_kernel', 'lowest_momentum', 'average_rate'):
        check(name, answer)
        out = capsys.readouterr().out
        assert out.startswith(f'✗ {name}') and 'expected' not in out


# What counts as right

numbers = {'first_kernel': (128, 25088), 'color_costs': (600, 400), 'layers_to_see': (14, 4), 'other_sizes': (2, 8), 'halving': (2, 2), 'one_digit': 4,
           'lowest_momentum': (20, .85), 'average_rate': .505, 'ignorant_loss': math.log(26)}
slack = {('lowest_momentum', 1): 1e-4*.85, ('average_rate', 0): 1e-3*.505, ('ignorant_loss', 0): 5e-3*math.log(26)}  # the others are whole


def verdict(name, answer, capsys):
    capsys.readouterr()
    check(name, answer)
    return capsys.readouterr().out[0]


def changed(answer, i, by):
    "The answer with its `i`-th number changed."
    if not isinstance(answer, tuple): return answer+by
    return tuple(a + by*(k == i) for k, a in enumerate(answer))


@pytest.mark.parametrize('name', numbers)
def test_each_number_has_its_own_tolerance(name, capsys):
    answer = numbers[name]
    for form in (answer, torch.tensor(answer, dtype=torch.float64), *([[*answer]] if isinstance(answer, tuple) else [])):
        assert verdict(name, form, capsys) == '✓', form
    for i in range(len(answer) if isinstance(answer, tuple) else 1):
        off = slack.get((name, i))
        for by in [1, -1, 2, -2, .4, -.4, 1e-3] + ([1.01*off, -1.01*off] if off else []):
            if off is None or abs(by) > off: assert verdict(name, changed(answer, i, by), capsys) == '✗', (i, by)
        if off: assert [verdict(name, changed(answer, i, by), capsys) for by in (.99*off, -.99*off)] == ['✓', '✓']


def test_an_image_size_is_a_whole_number(capsys):
    found = [n for n in range(20, 101) if verdict('level_bars', n, capsys) == '✓']
    def grids(n, left): return [n] + (grids((n+1)//2, left-1) if left else [])
    assert found == [n for n in range(20, 101) if len({g*g*4**i for i, g in enumerate(grids(n, 4)[2:])}) == 1]
    assert {verdict('level_bars', n, capsys) for n in (found[0]+.4, str(found[0]), 'x', (found[0], 1), float('nan'))} == {'✗'}


def test_all_answers_that_are_numbers_are_tried():
    plain = set()
    for path in lessons:
        for s in sources(path):
            names = [name for f, name, _ in calls(s) if f == 'check'] if s.startswith('#| eval: false') else []
            if names and not re.search(r'^(def|class) |network|Module|nn\.|Learner|tensor', s, re.M): plain |= {*names}
    assert plain == {*numbers, 'level_bars'}


@pytest.mark.parametrize('want,good,bad', [
    (3, (3, 3., True*3, 3+1e-12), (3.001, 2, 3.4, '3', [3, 3])), (.5, (.5, .50004, torch.tensor(.5)), (.50006, .49994, 0)),
    (0., (0, 9e-5, -9e-5), (1.1e-4,)), (1000., (1000.09,), (1000.11,)), ((1, 1000.), ((1, 1000.09),), ((1.01, 1000.), (1, 1000.11), (1000., 1))),
    (torch.tensor([1., 1000]), ([1.09, 1000], [1, 999.91]), ([1.11, 1000], [1, 999.8])),
    (torch.tensor([1, 1000]), ([1., 1000.],), ([1.01, 1000], [1, 1000.01])), ([1, 4], ([4-3, 4], torch.tensor([1, 4])), ([4, 1], '[1, 4]', [1, 4, 5])),
    (torch.tensor([1., math.inf]), ([1, math.inf],), ([1, -math.inf], [1, 5.], [math.inf, math.inf])),
    (torch.tensor([math.nan, 2.]), ([math.nan, 2],), ([2, 2.], [math.nan, 3])), ({'a': 1.}, ({'a': 1},), ({'b': 1}, {'a': 2}, {}, 1)),
    ('top', (' Top ',), ('to', 3)), (1j, (1j, 1j+5e-5), (1, -1j, 1j+1e-3)), ((torch.ones(2), torch.zeros(3)), ((np.ones(2), [0]*3),), ((np.ones(2), [0]*2), ([1, 2], [0]*3)))])
def test_what_is_the_same(want, good, bad):
    for got in good: expect(got, want)
    for got in bad:
        with pytest.raises(Wrong): expect(got, want)


grid = torch.tensor([[1., 2, 4], [3, 5, 9]])


@pytest.mark.parametrize('got,want,says', [
    (grid.T, grid, 'transposed'), (grid[0], grid[0].view(3, 1), 'should have 2 axes, and has 1 axis'), (torch.ones(3, 2, 4), torch.ones(2, 3, 4), 'another order'),
    (grid[:, :2], grid, 'It has 1 too few along one axis or more'), ([1, 4, 5, 6], [1, 4], 'It has 2 too many in the row'), (grid*math.nan, grid, 'infinite or not numbers'),
    (-grid, grid, 'sign'), (grid.flip(0), grid, 'along axis 0'), (grid.flip(1), grid, 'along axis 1'), (grid-.5, grid, 'same amount, -0.5'), (3*grid, grid, '3 times'),
    (grid**2, grid, ''), (-3., 3., 'sign'), (5., 3., ''), (6., 3., ''), ([1.5, 2.5], [1, 2], ''), ([2., 4], [1., 2], '2 times'), (3*grid[0, :2], (1., 2.), '')])
def test_usual_mistakes_have_names(got, want, says):
    with pytest.raises(Wrong) as e: expect(got, want)
    why = e.value.rows[3][1]
    assert says in why and bool(says) == bool(why)


def test_the_name_of_a_mistake_comes_first():
    with pytest.raises(Wrong, match='by hand'): expect(-grid, grid, why={'not this': grid+7, 'by hand': -grid})


@pytest.mark.parametrize('got,want,rows', [
    (grid.T, grid, ('shape [2, 3]', 'shape [3, 2]')), ([0, 2, 3], [1, 4], ('[1, 4]', '[0, 2, 3]')), (3.5, 1/3, ('0.33333', '3.5')),
    (7, (128, 25088), ('(128, 25088)', '7')), (torch.ones(41), torch.ones(40), ('[1, 1, 1, 1', 'shape [41]')), ('a', 'b', ("'b'", "'a'")),
    (torch.eye(7), torch.zeros(7, 7), ('0 at [0, 0]', '1 there; 7 of 49 numbers differ')), (2e12, 1e-7, ('1e-07', '2e+12')), (1+2j, 1j, ('0+1j', '1+2j'))])
def test_expected_and_came(got, want, rows):
    with pytest.raises(Wrong) as e: expect(got, want)
    found = dict(e.value.rows)
    assert found['expected'].startswith(rows[0]) and found['came'].startswith(rows[1])


def test_two_hints_at_most():
    for hints in (('a', 'b', 'c'), 'ab'):
        with pytest.raises(ValueError, match='hints must be a tuple of two at most'): exercise('x', lesson='00_none', title='', hints=hints)
    exercise('x', lesson='00_none', title='', hints=('a', 'b'))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded(dtype):
    expect(torch.tensor([100., .5], dtype=dtype), [100.9, 0.])
    with pytest.raises(Wrong): expect(torch.tensor([100.], dtype=dtype), [101.2])
    with pytest.raises(Wrong): expect(torch.tensor(5, dtype=dtype), 6)


def test_an_answer_is_kept_back_until_the_hints_are_used_up(capsys):
    for name, answer in numbers.items():
        exercises._exercises[name].given = 0
        wrong = changed(answer, 0, 3)
        for _ in exercises._exercises[name].hints:
            check(name, wrong)
            out = capsys.readouterr().out
            assert 'expected' not in out or name == 'halving', out  # there it is what the task says itself
            assert f"hint('{name}')" in out
            hint(name)
        check(name, wrong)
        out = capsys.readouterr().out
        assert 'expected' in out and 'solution' in out and 'Stuck' not in out
        exercises._exercises[name].given = 0


def test_of_a_pair_the_right_one_is_told(capsys):
    check('first_kernel', (128, 7))
    assert 'The first of the two is right.' in capsys.readouterr().out
    check('first_kernel', (7, 25088))
    assert 'The second of the two is right.' in capsys.readouterr().out


# Stubs

def stubs():
    for path in lessons:
        for s in sources(path):
            if s.startswith('#| eval: false') and 'check(' in s:
                yield path.stem, s[:re.search(r'^check\(.*$', s, re.M).end()]


def as_it_is(s): return s
def with_pass(s): return re.sub(r'^( +)(return )?\.\.\..*$', r'\1pass', s, flags=re.M)
def with_return(s): return in_functions(s, 'return ...')
def not_implemented(s): return in_functions(s, 'raise NotImplementedError')


def in_functions(s, body):
    "Each `...` that is the body of a function, or of a method, replaced."
    return re.sub(rf"^({' '*(8 if 'class ' in s else 4)})(return )?\.\.\..*$", rf'\1{body}', s, flags=re.M)


@pytest.mark.parametrize('change', [as_it_is, with_pass, with_return, not_implemented])
def test_a_stub_is_not_wrong(change, capsys):
    n = 0
    for stem, source in stubs():
        here = {}
        exec('from convlab.all import *', here)
        exec(change(source), here)
        out = capsys.readouterr().out
        assert out.startswith('· ') and 'not yet tried' in out, (stem, source, out)
        n += 1
    assert n >= 40 and records()['exercises'] == {}


def test_who_has_begun_is_told_what_is_wrong(capsys):
    from convlab.all import Callback, nn
    class WarmUp(Callback):
        def __init__(self, n, lr): self.n, self.lr_top = n, lr
        def before_batch(self): self.n += 1
    class Half(nn.Module):
        def __init__(self, nf):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(nf))
        def forward(self, x): ...
    def leaky(model): return nn.Sequential(model)
    for name, answer in (('warm_up', WarmUp), ('digit_norm', Half), ('leaky', leaky), ('bgr_kernel', lambda w: w), ('batchnorm_numbers', lambda channels: 3)):
        assert verdict(name, answer, capsys) == '✗', name


# The reader's own

def model_of(name):
    from convlab.all import nn, simple_cnn
    torch.manual_seed(0)
    if name == 'gray_is_a_convolution': return nn.Conv2d(3, 1, 1, dtype=torch.float64)
    if name == 'any_size': return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if name == 'thousand_weights': return simple_cnn((1, 3, 4, 5, 6, 2), ks0=3, norm=nn.BatchNorm2d)
    if name == 'cheap_block': return nn.Sequential(nn.Conv2d(32, 32, 5, padding=2, groups=32), nn.BatchNorm2d(32), nn.Conv2d(32, 32, 1)).half()
    return nn.Sequential(nn.Conv2d(1, 8, 31, padding=15), nn.BatchNorm2d(8)).double()


@pytest.mark.parametrize('name', ['gray_is_a_convolution', 'any_size', 'thousand_weights', 'cheap_block', 'field_on_a_budget'])
def test_a_network_comes_back_as_it_was(name, capsys):
    net = model_of(name)
    net.eval()
    for m in [*net.modules()][1::2]: m.train()
    def state(): return [(k, v.dtype, v.clone()) for k, v in net.state_dict().items()], [m.training for m in net.modules()]
    (before, flags), ids = state(), [id(p) for p in net.parameters()]
    check(name, net)
    assert capsys.readouterr().out[0] in '✓✗'
    after, flags_after = state()
    assert flags == flags_after and ids == [id(p) for p in net.parameters()] and all(p.grad is None for p in net.parameters())
    for (k, dtype, v), (_, dtype_after, w) in zip(before, after): assert dtype == dtype_after and torch.equal(v, w), k


def test_a_check_works_where_gradients_are_off(capsys):
    from convlab.all import nn
    with torch.no_grad():
        check('cheap_block', nn.Sequential(nn.Conv2d(32, 32, 5, padding=2, groups=32), nn.Conv2d(32, 32, 1)))
        assert not torch.is_grad_enabled()
    assert capsys.readouterr().out[0] == '✓'


@pytest.mark.parametrize('way', ['*', 'mul_', 'mul', 'addcmul', 'einsum', 'conv2d'])
def test_a_dense_convolution_is_too_much_work_however_it_is_written(way, capsys):
    class Dense(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(32, 32, 5, 5))
        def forward(self, x):
            if way == 'conv2d': return torch.conv2d(x, self.weight, padding=2)
            x = torch.nn.functional.pad(x, (2,)*4).unfold(2, 5, 1).unfold(3, 5, 1)  # [N,32,28,28,5,5]
            if way == 'einsum': return torch.einsum('nchwij,fcij->nfhw', x, self.weight)
            return torch.stack([self.products(x, w[:, None, None]).sum((1, 4, 5)) for w in self.weight], 1)
        def products(self, x, w):
            if way == '*': return x*w
            if way == 'mul': return torch.multiply(x, w)
            return x.clone().mul_(w) if way == 'mul_' else torch.addcmul(torch.zeros(()), x, w)
    check('cheap_block', Dense())
    assert 'too much work' in capsys.readouterr().out


def test_an_error_is_blamed_on_the_reader_s_own_line_or_layer(capsys):
    from convlab.all import nn
    check('any_size', nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8*26*26, 2)))
    out = capsys.readouterr().out
    assert 'from the layer Linear(in_features=5408' in out and '_wrapped_call_impl' not in out
    def inner(x): return nn.Linear(3, 2)(x)
    check('any_size', lambda x: inner(x.flatten(1)))
    assert 'of `inner`' in capsys.readouterr().out
    def at_once(x): return torch.nn.functional.linear(x, torch.ones(2, 3))
    check('any_size', at_once)
    assert f'line {at_once.__code__.co_firstlineno} of `at_once`' in capsys.readouterr().out


# Color, links, and on

def test_a_solved_exercise_leads_on(capsys):
    check('one_digit', 4)
    assert 'a solution: solutions/09_batchnorm.ipynb. Next: batchnorm_numbers: 09_batchnorm.ipynb#Your-turn' in capsys.readouterr().out
    for name in [e.name for e in exercises.exercises() if e.lesson == '02_convolutions']: update('exercises', name, lambda e: {'right': 1})
    check('halving', (2, 2))
    assert 'all exercises of this lesson are done: 03_first_cnn: 03_first_cnn.ipynb' in capsys.readouterr().out


def test_reset(capsys):
    check('double', lambda n: 2*n)
    hint('double')
    reset('double')
    assert records()['exercises']['double'] == {} and exercises._exercises['double'].given == 0
    check('double', lambda n: 3*n)
    assert records()['exercises']['double']['tried'] == 1 and 'right' not in records()['exercises']['double']


def test_a_notebook_shows_color_and_links(monkeypatch):
    import IPython.display
    shown = []
    monkeypatch.setattr(page, 'in_notebook', lambda: True)
    monkeypatch.setattr(IPython.display, 'display', lambda data, raw: shown.append(data))
    check('double', lambda n: 2*n)
    check('double', lambda n: '<b>')
    progress()
    assert '✓</b> double' in shown[0]['text/html'] and '<a href="solutions/00_none.ipynb">' in shown[0]['text/html']
    assert '&lt;b&gt;' in shown[1]['text/html'] and '✗' in shown[1]['text/plain'] and '<' not in shown[0]['text/plain']
    assert '<a href="01_kernels.ipynb">01_kernels</a>' in shown[2]['text/html'] and '01_kernels, exercises: 0 of 5' in shown[2]['text/plain']


def test_a_difference_of_percentages_is_in_points(capsys):
    predict('share', 80)
    measured('share', 92., '%')
    measured('share', 92., 'ms')
    assert [line.split(': ')[-1] for line in capsys.readouterr().out.splitlines()[1:]] == ['12 points off.', '12 ms off.']


# The file

def test_two_processes_lose_nothing():
    code = """
from convlab.course.records import update
import sys
import warnings
for i in range(40):
    update('exercises', 'shared', lambda e: {'tried': e.get('tried', 0)+1})
    update('questions', f'{sys.argv[1]}-{i}', lambda e: {'tried': 1})"""
    both = [subprocess.Popen([sys.executable, '-c', code, who], env={**os.environ, 'PYTHONPATH': str(root)}) for who in 'ab']
    assert [p.wait(120) for p in both] == [0, 0]
    done = records()
    assert done['exercises']['shared']['tried'] == 80 and len(done['questions']) == 80
    assert not [p for p in records_path().parent.iterdir() if p.suffix == '.part']


@pytest.mark.parametrize('text', ['', '{"exercises": {"dou', '[]', '{"exercises": []}', '{"exercises": {"double": 1}}', '{"questions": {"1": {"last": "x"}}}', '{"questions": {"1": {"last": 1e300}}}',
                                  '{"questions": {"1": {"streak": NaN}}}', '{"exercises": {"double": {"tried": Infinity}}}',
                                  '\x00\x01', '['*100_000 + ']'*100_000])
def test_a_damaged_file_is_put_aside(text, capsys):
    records_path().parent.mkdir()
    records_path().write_text(text)
    progress()
    check('double', lambda n: 2*n)
    assert 'damaged' in capsys.readouterr().out
    assert records()['exercises']['double']['tried'] == 1
    aside, = records_path().parent.glob('*damaged*')
    assert aside.read_text() == text


def test_a_file_of_a_later_version_is_kept():
    records_path().parent.mkdir()
    records_path().write_text('{"exercises": {"double": {"right": 1, "new": [2]}}, "more": 3}')
    update('exercises', 'double', lambda e: e | {'tried': 1})
    assert json.loads(records_path().read_text()) == {'exercises': {'double': {'right': 1, 'new': [2], 'tried': 1}}, 'more': 3}


def test_where_nothing_can_be_written_the_kernel_remembers(tmp_path, monkeypatch, capsys):
    (tmp_path/'file').write_text('')
    monkeypatch.setenv('CONVLAB_PROGRESS', str(tmp_path/'file'/'progress.json'))
    for _ in range(2): check('double', lambda n: 2*n)
    assert capsys.readouterr().out.count('cannot be kept') == 1
    assert records()['exercises']['double']['tried'] == 2


@pytest.mark.parametrize('kind', ['folder', 'unreadable', 'read-only', 'pipe', 'loop', 'deep'])
def test_what_cannot_be_read_or_written_is_left_alone(kind, capsys):
    path = records_path()
    path.parent.mkdir()
    if kind == 'folder': (path/'inside').mkdir(parents=True)
    elif kind == 'pipe': os.mkfifo(path)
    elif kind == 'loop': path.symlink_to(path)
    else: path.write_text('{"more": ' + '['*500 + ']'*500 + '}' if kind == 'deep' else '{"exercises": {"double": {"tried": 7}}}')
    if kind in ('unreadable', 'read-only'):
        path.chmod(0 if kind == 'unreadable' else 0o444)
        if os.access(path, os.W_OK): pytest.skip('the superuser may do anything')
    def state(): return path.lstat().st_mode, path.lstat().st_size, path.lstat().st_ino
    before = state()
    for _ in range(2): check('double', lambda n: 2*n)
    out = capsys.readouterr().out
    assert out.count('✓') == 2
    if kind != 'deep' or 'cannot be kept' in out:
        assert out.count('cannot be kept') == 1 and state() == before and [p.name for p in path.parent.iterdir() if 'damaged' in p.name] == []
        assert records()['exercises']['double']['tried'] == (9 if kind == 'read-only' else 2)


@pytest.mark.parametrize('there', [True, False])
def test_a_link_is_followed(there, tmp_path):
    path, real = records_path(), tmp_path/'drive'/'mine.json'
    path.parent.mkdir()
    if there:
        real.parent.mkdir()
        real.write_text('{"questions": {"1": {"tried": 4}}}')
    path.symlink_to(real)
    check('double', lambda n: 2*n)
    assert path.is_symlink() and json.loads(real.read_text())['exercises']['double']['tried'] == 1
    assert records()['questions'] == ({'1': {'tried': 4}} if there else {})


def test_a_reader_without_a_home(monkeypatch, capsys):
    from pathlib import Path
    def nobody(self): raise RuntimeError('Could not determine home directory.')
    monkeypatch.delenv('CONVLAB_PROGRESS')
    monkeypatch.setattr(Path, 'expanduser', nobody)
    for _ in range(2): check('double', lambda n: 2*n)
    progress()
    out = capsys.readouterr().out
    assert out.count('✓ double: right.') == 2 and out.count('cannot be kept in a file (there is no home folder') == 1 and 'kept nowhere' in out
    assert records()['exercises']['double']['tried'] == 2
    from convlab.course import records as room
    room._here.clear()


def test_two_damaged_files_in_a_second_are_both_kept():
    records_path().parent.mkdir()
    texts = ['{', '[', 'x']
    for text in texts:
        records_path().write_text(text)
        check('double', 1)
    assert sorted(p.read_text() for p in records_path().parent.glob('*damaged*')) == sorted(texts)


def test_what_a_kernel_remembers_joins_the_file_later(tmp_path, monkeypatch):
    blocked = tmp_path/'file'
    blocked.write_text('')
    monkeypatch.setenv('CONVLAB_PROGRESS', str(blocked/'progress.json'))
    check('double', lambda n: 2*n)
    blocked.unlink()
    blocked.mkdir()
    (blocked/'progress.json').write_text('{"questions": {"1": {"tried": 4}}, "more": 1}')
    assert records()['questions'] == {'1': {'tried': 4}} and records()['exercises']['double']['tried'] == 1
    update('questions', '2', lambda e: {'tried': 1})
    kept = json.loads((blocked/'progress.json').read_text())
    assert kept['questions'] == {'1': {'tried': 4}, '2': {'tried': 1}} and kept['exercises']['double']['tried'] == 1 and kept['more'] == 1


def test_progress_shows_what_is_done(capsys):
    check('double', lambda n: 2*n)
    capsys.readouterr()
    progress()
    out = capsys.readouterr().out
    assert '00_none, exercises: 1 of 1' in out and '✓ double' in out and '· any_kernel' in out and 'CONVLAB_PROGRESS' in out
