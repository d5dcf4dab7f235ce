"The light core: an environment that has what `pip install` brings and nothing heavier."
import ast
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import pytest
from conftest import root
from packaging.requirements import Requirement

sys.path.insert(0, str(root/'tools'))
import facts  # noqa: E402

here = facts.facts(root)
course = {'all', 'compat', 'data', 'fast', 'norm_layers', 'stats', 'training'}  # these need the extra of that name
modules = sorted(p for p in (root/here['lib_path']).glob('*.py') if p.stem not in ('__init__', '_modidx'))
light = [p.stem for p in modules if p.stem not in course]
heavy = 'torchvision fastai fastbook numba PIL xlsxwriter mlxtend sklearn scipy IPython nbdev'.split()


def needed(names) -> set:
    "These distributions and all that they require, extras left out."
    found, todo = set(), [n.lower().replace('_', '-') for n in names]
    while todo:
        name = todo.pop()
        if name in found: continue
        found.add(name)
        for r in map(Requirement, distribution(name).requires or []):
            if not r.marker or r.marker.evaluate({'extra': ''}): todo.append(r.name.lower().replace('_', '-'))
    return found


@pytest.fixture(scope='module')
def core(tmp_path_factory):
    "A Python that finds the light core's packages, linked one by one, and the house itself."
    site = tmp_path_factory.mktemp('site')
    for name in needed(here['requirements'].split()):
        dist = distribution(name)
        for top in {f.parts[0] for f in dist.files or [] if f.parts[0] not in ('..', '__pycache__')}:
            if not (site/top).exists(): (site/top).symlink_to(Path(dist.locate_file(top)).resolve())
    (site/here['lib_path']).symlink_to(root/here['lib_path'])

    def run(code):
        env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | {'PYTHONPATH': str(site), 'PYTHONNOUSERSITE': '1'}
        return subprocess.run([sys.executable, '-S', '-c', code], cwd=site, env=env, capture_output=True, text=True)
    return run


@pytest.mark.skipif(os.name == 'nt', reason='links need rights on Windows')
class TestCore:
    def test_nothing_heavier_is_there(self, core):
        done = core(f'from importlib.util import find_spec; print(*[m for m in {heavy} if find_spec(m)])')
        assert done.returncode == 0, done.stderr
        assert set(done.stdout.split()) <= {'PIL'}, done.stdout

    def test_every_light_module_imports_and_the_others_say_what_they_need(self, core):
        done = core('\n'.join(f'import convlab.{m}' for m in light) + f'''
import sys, torch
from importlib import import_module
print(*[m for m in {heavy} if m in sys.modules])
for m in {sorted(course)}:
    try: import_module('convlab.'+m)
    except ImportError as e: print(m, e)
try: convlab.draw.workbook.conv_workbook(torch.zeros(9,9), torch.zeros(2,3,3), 'x.xlsx')
except ImportError as e: print('xlsx', e)''')
        assert done.returncode == 0, done.stderr
        def says(what, needs, extra): return f'{what} this part of convlab needs {needs}: pip install "{here["source"].format(extra=extra)}"'
        assert done.stdout.splitlines() == ['', *(says(m, 'torchvision', 'course') for m in sorted(course)), says('xlsx', 'xlsxwriter', 'xlsx')]

    def test_the_instruments_work(self, core):
        done = core('''
import torch
from convlab.arithmetic import arithmetic, totals
from convlab.receptive import receptive_field, trace_precedents
from convlab.convolutions import conv2d
from convlab.models import simple_cnn
from convlab.norms import BatchNorm2d
net = simple_cnn(norm=BatchNorm2d)
table = arithmetic(net, (1,28,28))
assert totals(table)['params'] == 30282+260, totals(table)
assert receptive_field(net, (1,28,28), '3').size == (33,33)
assert trace_precedents(net, (1,28,28), '3.0', 0, 0).name[0] == 'image'
x,w = torch.randn(2,3,8,8),torch.randn(4,3,3,3)
assert torch.allclose(conv2d(x, w, padding=1), torch.nn.functional.conv2d(x, w, padding=1), atol=1e-4)
print('works')''')
        assert done.returncode == 0 and done.stdout.strip() == 'works', done.stderr


def test_what_draws_and_tabulates_comes_late():
    "The instruments import quickly: pandas, matplotlib and what is heavier come only with what needs them."
    code = f"""
import sys
from importlib import import_module
for m in 'norms kernels models arithmetic receptive color convolutions workbook'.split():
    import_module(f'convlab.{{m}}')
    print(*(f'{{m}} brings {{o}}' for o in {{'pandas','matplotlib','openpyxl','fastcore',*{heavy}}} & sys.modules.keys()))"""
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split() == []


# The order of the house

def imported(path) -> list:  # of pairs (module of the house, names)
    "What a module imports from its own package, at the top or in a function."
    tree = ast.parse(path.read_text(encoding='utf-8'))
    found = []
    for n in ast.walk(tree):
        if isinstance(n, ast.ImportFrom) and n.level:
            names = [a.name for a in n.names]
            found += [(n.module, names)] if n.module else [(name, []) for name in names if not name.startswith('__')]
    return found


def test_no_module_is_long():
    assert {p.stem: n for p in (root/here['lib_path']).rglob('*.py') if p.stem != '_modidx' and (n := len(p.read_text(encoding='utf-8').splitlines())) > 450} == {}


def test_star_imports_are_for_all_alone():
    starred = {p.stem for p in modules for n in ast.walk(ast.parse(p.read_text(encoding='utf-8')))
               if isinstance(n, ast.ImportFrom) and any(a.name == '*' for a in n.names)}
    assert starred == {'all'}


def test_imports_go_one_way():
    uses = {p.stem: {m for m, _ in imported(p)} for p in modules}
    left = dict(uses)
    while left:
        free = [m for m, needs in left.items() if not needs & set(left)]
        assert free, f'a circle among {sorted(left)}'
        for m in free: del left[m]
    lessons = set('kernels convolutions models arithmetic receptive color stats training norms classic norm_layers orders'.split())
    engines = set(uses) - lessons - {'all'}
    assert {m: uses[m] & lessons for m in engines if uses[m] & lessons} == {}


def test_names_of_the_engine_rooms_stay_there():
    brought = {}
    exec('from convlab.all import *', brought)
    for m in (import_module(f'convlab.{p.stem}') for p in modules if p.stem != 'all'):
        inside = {n for n, o in vars(m).items() if getattr(o, '__module__', '') == m.__name__} - set(m.__all__)
        assert [n for n in inside if brought.get(n) is vars(m)[n]] == [], m
