"The light core: an environment that has what `pip install` brings and nothing heavier."
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
lib = root/here['lib_path']
modules = sorted(p.relative_to(lib).with_suffix('').as_posix().replace('/', '.') for p in lib.rglob('[!_]*.py'))
course = {'all', 'compat', 'stats', 'study.callback', 'study.data', 'study.fast', 'study.fitting', 'training'}  # these need the extra of that name
light = [m for m in modules if m not in course and not m.startswith('course.')]
heavy = 'torchvision fastai fastbook PIL xlsxwriter mlxtend sklearn scipy IPython nbdev'.split()


def needed(names) -> set:
    "These distributions and all that they require, extras left out."
    found, todo = set(), [Requirement(n).name.lower().replace('_', '-') for n in names]
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


def says(what, needs, extra):
    whole = f'pip install "{here["source"].format(extra=extra)}"'
    return f'{what} this part of convlab needs {needs}: pip install {needs} (or all that belongs to it: {whole})'


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
try: convlab.conv_workbook(torch.zeros(9,9), torch.zeros(2,3,3), 'x.xlsx')
except ImportError as e: print('xlsx', e)''')
        assert done.returncode == 0, done.stderr
        said = [says(m, 'torchvision', 'course') for m in sorted(course)]
        assert done.stdout.splitlines() == ['', *said, says('xlsx', 'xlsxwriter', 'xlsx')]

    def test_the_command_asks_for_one_package(self, core):
        done = core('from convlab.command import main; main(["arithmetic", "resnet50"])')
        assert done.stderr == f"{says('convlab:', 'torchvision', 'course')}\n"

    def test_the_front_door_lists_what_works_here(self, core):
        done = core('''
import convlab
print([n for n in dir(convlab) if not hasattr(convlab, n)], 'fit' in dir(convlab), 'conv2d' in dir(convlab))
try: convlab.fit
except ImportError as e: print('fit', e)
from convlab import *
import pydoc
print(pydoc.render_doc(convlab))''')
        assert done.stdout.splitlines()[:2] == ['[] False True', says('fit', 'torchvision', 'course')], done.stderr
        assert done.returncode == 0 and 'convlab.receptive_field(model' in done.stdout

    def test_the_instruments_work(self, core):
        done = core('''
import torch
from convlab import BatchNorm2d, arithmetic, conv2d, receptive_field, simple_cnn, totals, trace_precedents
net = simple_cnn(norm=BatchNorm2d)
table = arithmetic(net, (1,28,28))
assert totals(table)['params'] == 30282+260, totals(table)
assert receptive_field(net, (1,28,28), '3').size == (33,33)
assert trace_precedents(net, (1,28,28), '3.0', 0, 0).name[0] == 'image'
x,w = torch.randn(2,3,8,8),torch.randn(4,3,3,3)
assert torch.allclose(conv2d(x, w, padding=1), torch.nn.functional.conv2d(x, w, padding=1), atol=1e-4)
print('works')''')
        assert done.returncode == 0 and done.stdout.strip() == 'works', done.stderr


# The front door

def python(code): return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout


def test_the_front_door_is_light():
    brought = python("import sys; before = set(sys.modules); import convlab; print(*(set(sys.modules)-before))").split()
    assert {m.split('.')[0] for m in brought} - sys.stdlib_module_names == {'convlab'}
    assert {m for m in brought if m.startswith('convlab.')} == set()


def test_every_instrument_is_what_its_module_has():
    import convlab
    assert set(dir(convlab)) == {*convlab.__all__, '__version__'} and len(set(convlab.__all__)) == len(convlab.__all__)
    for name in convlab.__all__:
        module = import_module(f'convlab.{convlab._homes[name]}')
        assert name in module.__all__, name
        found = getattr(convlab, name)
        assert found is getattr(module, name) or name == 'arithmetic' and found is module, name
    with pytest.raises(AttributeError, match="module 'convlab' has no attribute 'no_such'"): convlab.no_such


def test_arithmetic_is_a_function_whatever_came_first():
    "Although `convlab.arithmetic` is a module too."
    assert python("""
import sys
for how in ('import convlab', 'import convlab.arithmetic', 'from convlab import arithmetic',
            'from convlab.arithmetic import totals', 'from convlab.all import *'):
    for m in [m for m in sys.modules if m.split('.')[0] == 'convlab']: del sys.modules[m]
    exec(how, {})
    import convlab, convlab.arithmetic as module
    from convlab import arithmetic, receptive_field
    from convlab.arithmetic import arithmetic as function, totals
    net = convlab.simple_cnn()
    counted = {totals(count(net, (1,28,28)))['params'] for count in (arithmetic, convlab.arithmetic, function, module)}
    print(counted, receptive_field(net, (1,28,28), '1.0').size)""").splitlines() == 5 * ['{30282} (9, 9)']


def test_a_folder_of_this_name_is_not_taken_for_the_library(tmp_path):
    "In the folder above a clone, `convlab` is also the clone."
    (tmp_path/'convlab'/'convlab').mkdir(parents=True)
    done = subprocess.run([sys.executable, '-c', 'import convlab; print(convlab.__version__)'], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == here['version'], done.stderr


def test_what_draws_and_tabulates_comes_late():
    "The instruments import quickly: pandas, matplotlib and what is heavier come only with what needs them."
    code = f"""
import sys
from importlib import import_module
for m in 'norms kernels models arithmetic receptive color convolutions draw.workbook'.split():
    import_module(f'convlab.{{m}}')
    print(*(f'{{m}} brings {{o}}' for o in {{'pandas','matplotlib','openpyxl',*{heavy}}} & sys.modules.keys()))"""
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split() == []
