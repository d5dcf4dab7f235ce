"The order of the house: who may import whom, whose names are whose, and how long a line is."
import ast
import re
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import pytest
from conftest import root

lib = root/'convlab'
# Imports go from right to left. Modules of one floor that are not of one package do not import each other, lessons excepted
floors = ({'checks', 'operators', 'compat'}, {'draw', 'trace'}, {'study'},
          {'kernels', 'convolutions', 'models', 'arithmetic', 'receptive', 'color', 'stats', 'training', 'norms', 'classic',
           'norm_layers', 'orders'},
          {'course'}, {'all', 'command'}, {'__init__', '__main__'})


def dotted(path: Path) -> str:
    "What a module is called inside the house: `trace.rules`, `kernels`; a package by its own name, the front door `__init__`."
    parts = path.relative_to(lib).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' and len(parts) > 1 else parts)


files = {dotted(p): p for p in sorted(lib.rglob('*.py')) if p.stem != '_modidx'}


@lru_cache
def tree(name): return ast.parse(files[name].read_text(encoding='utf-8'))


def absolute(name, node) -> list:  # of strings such as 'convlab.trace.rules'
    "The module that an `import` or `from … import` of the module `name` begins with."
    if isinstance(node, ast.Import): return [a.name for a in node.names]
    if not node.level: return [node.module]
    package = ['convlab', *name.split('.')] if files[name].stem == '__init__' else ['convlab', *name.split('.')[:-1]]
    return ['.'.join([*package[:len(package)-node.level+1], *([node.module] if node.module else [])])]


def house(module) -> str | None:
    "A module of the house by its name inside it; None for one of somebody else."
    if module == 'convlab': return '__init__'
    return module.removeprefix('convlab.') if module.startswith('convlab.') else None


def imported(name) -> list:  # of pairs (module, name taken from it or None)
    "Every import from the house: at the top or in a function, relative, absolute, with a star or by `import_module`."
    found = []
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import): found += [(m, None) for m in map(house, absolute(name, node)) if m]
        elif isinstance(node, ast.ImportFrom) and (m := house(absolute(name, node)[0])):
            for taken in (a.name for a in node.names):
                inner = taken if m == '__init__' else f'{m}.{taken}'
                found.append((inner, None) if inner in files else (m, taken))
        elif isinstance(node, ast.Call) and getattr(node.func, 'id', getattr(node.func, 'attr', '')) == 'import_module':
            given = node.args[0]
            if isinstance(given, ast.Constant) and (m := house(given.value)): found.append((m, None))
        elif isinstance(node, ast.Attribute) and getattr(node.value, 'id', '') == 'convlab': found.append(('__init__', node.attr))
    def about(taken): return taken is None or taken.startswith('__')  # `import convlab` for its version or its folder
    return [(m, taken) for m, taken in found if m != '__init__' or not about(taken)]


def floor(name) -> int: return next(i for i, some in enumerate(floors) if name.split('.')[0] in some)


def test_every_module_has_a_floor(): assert {n.split('.')[0] for n in files} == set.union(*floors)


def test_every_kind_of_import_is_read():
    "What the three tests below rest on: each module's imports by each spelling that the house has."
    assert ('checks', 'whole') in imported('study.data') or ('checks', 'need') in imported('study.data')  # relative
    assert ('draw.plotting', '*') in imported('all')
    assert ('course.tasks', None) in imported('course.exercises')  # absolute, in a function
    assert not [m for n in files for m, _ in imported(n) if m not in files], 'a module that is not there'


def test_imports_go_one_way():
    def mates(a, b): return a.split('.')[0] == b.split('.')[0] or floor(a) == floor(b) == floor('kernels')
    upward = {(n, m) for n in files for m, _ in imported(n) if not (floor(m) < floor(n) or floor(m) == 0 or mates(n, m))}
    assert upward == set()


def test_there_is_no_circle():
    left = {n: {m for m, _ in imported(n)} - {n} for n in files}
    while left:
        free = [m for m, needs in left.items() if not needs & set(left)]
        assert free, f'a circle among {sorted(left)}'
        for m in free: del left[m]


def test_star_imports_are_for_all_alone(): assert {n for n in files for _, taken in imported(n) if taken == '*'} == {'all'}


def private(name) -> list:
    "Names with an underscore that a module takes from another: imported, or reached through the module."
    found, alias = [], {}
    for node in ast.walk(tree(name)):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and any(house(m) for m in absolute(name, node) if m):
            found += [a.name for a in node.names if a.name.startswith('_') and not a.name.startswith('__')]
            alias |= {(a.asname or a.name): a.name for a in node.names}
    return found + [f'{node.value.id}.{node.attr}' for node in ast.walk(tree(name)) if isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name) and node.value.id in alias
                    and alias[node.value.id] in {n.split('.')[-1] for n in files}
                    and node.attr.startswith('_') and not node.attr.startswith('__')]


def test_private_names_stay_home(): assert {n: p for n in files if (p := private(n))} == {}


def written(path) -> int:
    "Lines of a module that somebody wrote: without blank ones and nbdev's marks."
    return sum(bool(line.strip()) and not line.startswith(('# %%', '# AUTOGENERATED')) for line in path.read_text(encoding='utf-8').splitlines())


def test_no_module_is_long(): assert {n: k for n, p in files.items() if (k := written(p)) > 400} == {}


def test_names_of_the_engine_rooms_stay_there():
    brought = {}
    exec('from convlab.all import *', brought)
    for m in (import_module(f'convlab.{n}') for n in files if n not in ('all', '__main__', '__init__') and '.tasks' not in n):
        inside = {n for n, o in vars(m).items() if getattr(o, '__module__', '') == m.__name__} - set(getattr(m, '__all__', ()))
        assert [n for n in inside if brought.get(n) is vars(m)[n]] == [], m


def test_the_machinery_is_not_in_a_lesson():
    "`from convlab.all import *` brings what a lesson uses, and of the tracing what lessons offer."
    import convlab.all
    offered = {n for m in floors[3] for n in import_module(f'convlab.{m}').__all__}
    tracing = {n for m in files if m.startswith('trace.') for n in getattr(import_module(f'convlab.{m}'), '__all__', ())}
    assert tracing & {*convlab.all.__all__} <= offered


# How the library is written

def long_lines(name):
    "How many lines of a module are too long; those of `__all__`, which nbdev breaks, do not count."
    text = re.sub(r'^__all__ = \[.*?\]', '', files[name].read_text(encoding='utf-8'), flags=re.M | re.S)
    return sum(len(line) > 120 for line in text.splitlines())


# The lines that are still too long: fewer from time to time, and none in the end
long_left = {'receptive': 1}


def test_lines_are_short(): assert {n: k for n in files if (k := long_lines(n)) > long_left.get(n, 0)} == {}


def inner(name, package) -> list:
    "What a module takes of `package` that is private there: modules, names and attributes with an underscore."
    def hidden(dotted): return any(p.startswith('_') and not p.startswith('__') for p in dotted.split('.'))
    found = []
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import): found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level: found += [f'{node.module}.{a.name}' for a in node.names]
        elif isinstance(node, ast.Attribute): found.append(ast.unparse(node))
    starts = (f'{package}.', 'learn.', 'self.learn.') if package == 'fastai' else (f'{package}.',)
    return [f for f in found if f.startswith(starts) and '.ops.' not in f and hidden(f)]


# PyTorch's private parts are called from `trace.internals`, fastai's from `study.fast`: the others are still to be mended
@pytest.mark.parametrize('package,rooms', [
    ('torch', {'trace.internals', 'trace.counting'}),
    ('fastai', {'study.fast'})])
def test_what_is_private_elsewhere_is_called_from_one_room(package, rooms):
    assert {n for n in files if inner(n, package)} <= rooms
