"The house: facts have one home, make does what it says, and a broken notebook is noticed."
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points, metadata, requires

import pytest
from conftest import root

sys.path.insert(0, str(root/'tools'))
import agree  # noqa: E402
import facts  # noqa: E402

here = facts.facts(root)
extras = ('course', 'xlsx', 'dev')
known_projects = {'fastai/fastbook', 'fatiando/pooch', 'nashory/DeLF-pytorch', 'ReadWriteV/MNIST-cls-cpp',
                  'samson-wang/a6073c18f2adf16e0ab5fb95b53db3e6'}
bin_dir = os.path.dirname(sys.executable)
needs_make = pytest.mark.skipif(not shutil.which('make'), reason='make is not installed')


@pytest.fixture
def copy(tmp_path):
    "A copy of the house and its notebooks, without git."
    ignore = shutil.ignore_patterns('.git', '.venv', 'desk', 'node_modules', '__pycache__', '*.egg-info', '.hypothesis', '.pytest_cache',
                                    '.ipynb_checkpoints')
    return shutil.copytree(root, tmp_path/'copy', ignore=ignore)


# One fact, one home

def test_all_copies_agree(): assert facts.differing(root) == {}


def test_a_fork_rewrites_its_badges(copy):
    ini = copy/'settings.ini'
    ini.write_text(re.sub(r'^user = .*', 'user = ada', ini.read_text(), flags=re.M))
    notebooks = sorted((copy/'nbs').rglob('[!_.]*.ipynb'))
    changed = {p.name for p in facts.differing(copy)}
    assert {'README.md', 'CONTRIBUTING.md', '01_kernels.ipynb'} <= changed
    for path, text in facts.differing(copy).items(): path.write_bytes(text)
    assert facts.differing(copy) == {}
    for path in [*notebooks, copy/'README.md', copy/'CONTRIBUTING.md']:
        text = path.read_text(encoding='utf-8')
        assert f"github.com/{here['user']}/{here['repo']}" not in text and f"github/{here['user']}/{here['repo']}" not in text
    assert 'github/ada/convlab/blob/main/nbs/01_kernels.ipynb' in (copy/'nbs'/'01_kernels.ipynb').read_text(encoding='utf-8')
    assert 'git+https://github.com/ada/convlab@main' in (copy/'nbs'/'01_kernels.ipynb').read_text(encoding='utf-8')


def test_package_says_what_settings_say():
    about = metadata(here['name'])
    assert about['Version'] == here['version']
    assert about['Summary'] == here['description']
    assert about['Requires-Python'] == f">={here['min_python']}"
    named = [r.replace(' ', '').replace("'", '"').partition(';') for r in requires(here['name'])]
    for extra in ('', *extras):
        listed = [r for r, _, when in named if when == (f'extra=="{extra}"' if extra else '')]
        assert sorted(listed) == sorted(here[extra or 'requirements'].split()), extra


def test_no_upper_limits(): assert not re.search(r'<|==|~=', ' '.join(here[k] for k in ('requirements', *extras)))


def test_constraints_name_every_requirement():
    fixed = {line.split('==')[0].lower().replace('_', '-') for line in (root/'constraints.txt').read_text().split()}
    named = {re.split('[<>=]', r)[0].lower() for k in ('requirements', *extras) for r in here[k].split()}
    assert named - fixed == set()


def test_both_spellings_of_the_test_command():
    for name in ('nbdev-test', 'nbdev_test'):
        done = subprocess.run([shutil.which(name, path=bin_dir), '--help'], capture_output=True, text=True)
        assert done.returncode == 0 and 'Test in parallel' in done.stdout
    assert [e.name for e in entry_points(group='console_scripts') if e.dist.name == here['name'] and 'nbdev' in e.name] == []


def git(house, *args): subprocess.run(['git', *args], cwd=house, check=True, capture_output=True)


def badges(house):
    done = subprocess.run([sys.executable, 'tools/facts.py'], cwd=house, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return facts.facts(house)


@pytest.mark.parametrize('url', ['https://github.com/Ada/nets.git', 'git@github.com:Ada/nets.git', 'https://github.com/Ada/nets'])
def test_badges_take_the_address_from_git(copy, url):
    git(copy, 'init', '-q')
    git(copy, 'remote', 'add', 'origin', url)
    before = facts.facts(copy)
    after = badges(copy)
    assert (after['user'], after['repo'], after['branch']) == ('Ada', 'nets', before['branch'])
    assert 'https://github.com/Ada/nets' in (copy/'README.md').read_text(encoding='utf-8')
    assert before['repo_url'] not in (copy/'README.md').read_text(encoding='utf-8')
    assert facts.differing(copy) == {}


def test_badges_keep_the_address_where_git_has_none(copy):
    git(copy, 'init', '-q')
    git(copy, 'remote', 'add', 'origin', 'https://git.example.org/ada/nets.git')
    before = (copy/'settings.ini').read_text(encoding='utf-8')
    badges(copy)
    assert (copy/'settings.ini').read_text(encoding='utf-8') == before


def test_another_repository_is_refused_in_one_line():
    def ask(name): return subprocess.run([sys.executable, 'tools/facts.py', '--repository', name], cwd=root, capture_output=True, text=True)
    assert ask(f"{here['user']}/{here['repo']}".upper()).returncode == 0
    done = ask('ada/nets')
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert f"settings.ini says {here['user']}/{here['repo']}, and this is ada/nets" in done.stderr


def test_links_lead_to_projects_that_are_meant():
    "Every GitHub address in the course is our own or one of these; `convlab/convlab` belongs to somebody else."
    meant = {f"{here['user']}/{here['repo']}", *known_projects}
    for path in [*root.glob('*.md'), *(root/'nbs').rglob('*.ipynb'), *(root/here['lib_path']).glob('*.py')]:
        text = path.read_text(encoding='utf-8')
        found = set(re.findall(r'github\.com/([\w.-]+/[\w-]+)', text))
        assert found <= meant, (path.name, found-meant)


def test_readme_links_lead_somewhere():
    text = (root/'README.md').read_text(encoding='utf-8')
    local = [t for t in re.findall(r'\]\(([^)]+)\)', text) if '://' not in t]
    assert len(local) > 9
    for target in local: assert (root/target).exists(), target


def test_workflow_is_valid():
    subprocess.run([os.path.join(bin_dir, 'check-jsonschema'), '--builtin-schema', 'vendor.github-workflows',
                    root/'.github'/'workflows'/'test.yaml'], check=True)


# Notebooks

def notebooks(): return sorted((root/'nbs').rglob('[!_.]*.ipynb'))


@pytest.mark.parametrize('path', notebooks(), ids=lambda p: p.relative_to(root/'nbs').with_suffix('').as_posix())
def test_notebook_is_fit_to_read(path):
    nb = json.loads(path.read_text(encoding='utf-8'))
    assert nb['metadata']['kernelspec']['name'] == 'python3'
    src = [''.join(c['source']) for c in nb['cells']]
    code = [s for c, s in zip(nb['cells'], src) if c['cell_type'] == 'code']
    engine = path.parent.name in ('trace', 'study', 'course', 'draw', 'house')  # where a class is written whole
    assert [s for s in code if len(s.splitlines()) > (60 if engine and re.search(r'^class ', s, re.M) else 25)] == []
    assert agree.complaints(nb) == []
    outs = [[o.get('data', {}) for o in c.get('outputs', [])] for c in nb['cells']]
    drawn = [s for s, o in zip(src, outs) if any('image/png' in d for d in o)]
    html = [''.join(d.get('text/html', '')) for o in outs for d in o]
    said = [s for s, o in zip(src, outs) if any('<img alt=' in ''.join(d.get('text/html', '')) for d in o)]  # films and live pieces say it themselves
    assert [s for s in drawn if 'fig-alt' not in s] == []
    assert [s for s in code if 'fig-alt' in s and s not in drawn + said] == [], 'not saved with its picture: run `make notebooks`'
    assert [h[:80] for h in html if '<img alt=""' in h] == []
    for target in re.findall(r'\]\(([\w./]+\.ipynb)\)', '\n'.join(src)): assert (path.parent/target).exists(), target
    if path.stem[:2].isdigit():  # a lesson, or its solutions
        assert f"/{path.relative_to(root).as_posix()})" in src[0], 'the badge leads to another notebook'
        assert any(s.startswith(facts.setup_mark) for s in src)
    if path.stem[:2].isdigit() and path.parent.name == 'nbs':
        assert any(s.startswith('## Your turn') for s in src) and any('## What you learned' in s for s in src)


def test_a_changed_module_and_a_dirty_notebook_are_noticed(copy):
    with (copy/'convlab'/'models.py').open('a') as f: f.write('\nextra = 1\n')
    path = copy/'nbs'/'01_kernels.ipynb'
    (copy/'nbs'/'.ipynb_checkpoints').mkdir()
    shutil.copy(path, copy/'nbs'/'.ipynb_checkpoints'/'01_kernels-checkpoint.ipynb')  # as JupyterLab does
    nb = json.loads(path.read_text(encoding='utf-8'))
    next(c for c in nb['cells'] if c['cell_type'] == 'code')['execution_count'] = 7
    path.write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    assert agree.disagreeing(copy) == [os.path.join('convlab', 'models.py'), os.path.join('nbs', '01_kernels.ipynb')]


# make

@pytest.fixture
def small(copy):
    "The house with one notebook of two cells and one test, so that `make test` takes seconds."
    init = (copy/'convlab'/'__init__.py').read_text()
    for folder in ('nbs', 'tests', 'convlab'): shutil.rmtree(copy/folder)
    for folder in ('nbs', 'tests', 'convlab'): (copy/folder).mkdir()
    (copy/'convlab'/'__init__.py').write_text(init)
    (copy/'tests'/'test_ok.py').write_text('def test_ok(): pass\n')
    write(copy, '1+1')
    for path, text in facts.expected(copy).items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
    subprocess.run([os.path.join(bin_dir, 'nbdev-export')], cwd=copy, check=True)
    return copy


def write(house, source, name='index'):
    "Make `source` the second cell of a notebook."
    def cell(i, kind, text):
        extra = {} if kind == 'markdown' else {'execution_count': None, 'outputs': []}
        return {'cell_type': kind, 'id': f'cell{i}', 'metadata': {}, 'source': [text], **extra}
    nb = {'cells': [cell(0, 'markdown', '# Title'), cell(1, 'code', source)], 'nbformat': 4, 'nbformat_minor': 5,
          'metadata': {'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}}}
    (house/'nbs'/f'{name}.ipynb').write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


def make(house, *args):
    "Run make in `house` with this environment, which it leaves as it is, and return its exit status and what it printed."
    done = subprocess.run(['make', '-o', 'env', *args, f'VENV={os.path.dirname(bin_dir)}'], cwd=house, capture_output=True, text=True,
                          env={**os.environ, 'MAKEFLAGS': '', 'PYTEST_XDIST_AUTO_NUM_WORKERS': '0'})  # one test needs no others beside it
    return done.returncode, done.stdout + done.stderr


@needs_make
def test_make_test_succeeds_and_data_may_be_named_relative_to_the_house(small, monkeypatch):
    (small.parent/'digits').mkdir()
    monkeypatch.setenv('CONVLAB_DATA', '../digits')
    monkeypatch.setenv('PYTHONDONTWRITEBYTECODE', '1')
    write(small, "from pathlib import Path; import os; assert Path(os.environ['CONVLAB_DATA']).is_dir() and 'PYTHONDONTWRITEBYTECODE' not in os.environ")
    make(small, 'badges')
    status, out = make(small, 'test')
    assert status == 0 and 'Success.' in out and '1 passed' in out, out


@needs_make
def test_make_test_notices_broken_notebooks(small):
    broken = {'assert 1+1 == 3': 'AssertionError', '1+': 'SyntaxError', '1/0': 'ZeroDivisionError'}
    for i, source in enumerate(broken): write(small, source, f'broken_{i}')
    make(small, 'badges')
    status, out = make(small, 'test')
    assert status and '1 passed' not in out
    assert all(message in out for message in broken.values())
    assert all(f'broken_{i}.ipynb' in out.split('Failed On')[1] for i in range(3))


@needs_make
def test_make_test_notices_a_failing_test(small):
    (small/'tests'/'test_ok.py').write_text('def test_ok(): assert False\n')
    status, out = make(small, 'test')
    assert status and '1 failed' in out


# Set-up

def env(*args, **extra):
    done = subprocess.run([sys.executable, *args], cwd=root, capture_output=True, text=True, env={**os.environ, **extra})
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize('trick,message', [
    ("sys.version_info = (3, 8, 1)", f"this is Python 3.8; install Python {here['min_python']} or newer"),
    ("sys.modules['ensurepip'] = None", 'Python came without venv: install it'),
    ("os.environ['PATH'] = ''", 'git is missing: install it'),
])
def test_what_is_missing_is_said_in_one_line(tmp_path, trick, message):
    code = f"import os, sys; {trick}; sys.path.insert(0, 'tools'); import env; env.main({str(tmp_path/'venv')!r})"
    status, err = env('-c', code)
    assert status == 1 and err.startswith('convlab: ' + message) and len(err.splitlines()) == 1
    assert not (tmp_path/'venv').exists()


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    "The set-up with nothing installed: the commands that it gives, and which of them fail."
    import env as setup
    given, failing, venv = [], set(), tmp_path/'venv'
    def make(command):
        python = venv/('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
        python.parent.mkdir(parents=True)
        python.touch()
    def call(command, **options):
        given.append(command)
        return command[-1] in failing and (command[2] != 'pip' or command[-1] == 'uv')  # pip itself never fails here
    monkeypatch.setattr(setup.subprocess, 'check_call', make)
    monkeypatch.setattr(setup.subprocess, 'call', call)
    monkeypatch.setattr(setup, 'told', lambda pip: (['--find-links', 'here'], {}))
    return lambda: setup.main(str(venv)), given, failing, venv


course = f'{root}[course,dev]'


def test_set_up_is_done_once(pretended, capsys):
    main, given, _, venv = pretended
    for _ in range(3): main()
    assert [c[-1] for c in given] == ['uv', course, 'import convlab.all'] and capsys.readouterr().out.count('\n') == 2
    assert given[1][2] == 'uv' and ['--find-links', 'here'] == given[1][-6:-4]
    (venv/'installed').write_text('of other settings')
    main()
    assert len(given) == 6


def test_a_course_that_cannot_be_imported_is_not_installed(pretended, capsys):
    main, given, failing, venv = pretended
    failing.add('import convlab.all')
    with pytest.raises(SystemExit): main()
    assert not (venv/'installed').exists() and 'convlab: the course cannot be imported' in capsys.readouterr().err


@pytest.mark.parametrize('fails', ['uv', course])
def test_pip_installs_where_uv_cannot(pretended, fails):
    main, given, failing, _ = pretended
    failing.add(fails)
    main()
    assert given[-2][2] == 'pip' and given[-2][-1] == course
    assert len(given) == (3 if fails == 'uv' else 4)


def test_the_desk_keeps_what_the_reader_changed_and_renews_the_rest(tmp_path):
    import desk
    nbs, mine = tmp_path/'nbs', tmp_path/'desk'
    (nbs/'solutions').mkdir(parents=True)
    for name in ('a', 'b', 'solutions/c'): (nbs/f'{name}.ipynb').write_text(f'{name} 1')
    def on_desk(): return {p.relative_to(mine).as_posix(): p.read_text() for p in mine.rglob('*.ipynb')}
    assert desk.lay(nbs, mine) == [] and on_desk() == {'a.ipynb': 'a 1', 'b.ipynb': 'b 1', 'solutions/c.ipynb': 'solutions/c 1'}
    (mine/'a.ipynb').write_text('worked')
    assert desk.lay(nbs, mine) == []
    for name in ('a', 'b', 'd'): (nbs/f'{name}.ipynb').write_text(f'{name} 2')
    for _ in range(2): assert desk.lay(nbs, mine) == ['a.ipynb']
    assert on_desk() == {'a.ipynb': 'worked', 'b.ipynb': 'b 2', 'd.ipynb': 'd 2', 'solutions/c.ipynb': 'solutions/c 1'}
    (mine/'a.ipynb').unlink()
    assert desk.lay(nbs, mine) == [] and on_desk()['a.ipynb'] == 'a 2'


def test_a_desk_without_its_record_keeps_everything(tmp_path):
    import desk
    nbs, mine = tmp_path/'nbs', tmp_path/'desk'
    nbs.mkdir()
    for name in 'ab': (nbs/name).write_text('1')
    desk.lay(nbs, mine)
    (mine/'.copied.json').unlink()
    (mine/'a').write_text('worked')
    assert desk.lay(nbs, mine) == ['a'] and (mine/'a').read_text() == 'worked'
    (nbs/'b').write_text('2')
    assert desk.lay(nbs, mine) == ['a'] and (mine/'b').read_text() == '2'


def test_uv_looks_where_pip_is_told_to(monkeypatch):
    import env as setup
    config = """:env:.find-links='/a /b'\nglobal.find-links='/c'\nglobal.index-url='https://one/simple'\nglobal.timeout='60'\nglobal.cert='/etc/our own.pem'\n"""
    monkeypatch.setattr(setup.subprocess, 'check_output', lambda *args, **kwargs: config)
    options, trusted = setup.told(['pip'])
    assert options == ['--index-url', 'https://one/simple', '--find-links', '/a', '--find-links', '/b'] and trusted == {'SSL_CERT_FILE': '/etc/our own.pem'}
