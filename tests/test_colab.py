"The set-up cell on Colab: a folder stands in for Colab's packages, a local clone for GitHub."
import os
import shutil
import subprocess
import sys
import sysconfig

import pytest
import torch
from conftest import root

sys.path.insert(0, str(root/'tools'))
import facts  # noqa: E402

here = facts.facts(root)

script = '''
import sys
from importlib.metadata import version
from IPython.core.interactiveshell import InteractiveShell
names = ('torch', 'torchvision', 'numpy', 'pandas')
before = [version(n) for n in names]
shell = InteractiveShell.instance()
for cell in (SETUP, SETUP, TRAIN): shell.run_cell(cell).raise_error()
assert [version(n) for n in names] == before
import convlab
print('convlab is in', convlab.__file__)
'''
train = '''
set_seed(0)
learn = Learner(get_dls(64, mnist_path(sample=True, source='embedded')), simple_cnn((1,4,8,16,32,2)), loss_func=F.cross_entropy, metrics=accuracy)
with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 0.01)
print('accuracy', learn.validate()[1] > 0.85)
'''


@pytest.fixture(scope='module')
def colab(tmp_path_factory):
    "A new environment that has every package of this one but the course, and Colab's marker."
    tmp = tmp_path_factory.mktemp('colab')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', tmp/'venv'], check=True)
    bin_dir = tmp/'venv'/('Scripts' if os.name == 'nt' else 'bin')
    python = bin_dir/'python'
    # Colab's pip is new; the one that comes with Python takes twice as long
    subprocess.run([sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check', '--python', python, 'install', 'pip'], check=True)
    site = subprocess.run([python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'], capture_output=True, text=True).stdout.strip()
    marker = tmp/'colab-packages'/'google'/'colab'
    marker.mkdir(parents=True)
    (marker/'__init__.py').touch()
    with open(os.path.join(site, 'colab.pth'), 'w') as f: # packages only: the course's own link in there is not followed
        f.write(f"{sysconfig.get_path('purelib')}\n{tmp/'colab-packages'}\n")
    return tmp, bin_dir, python


@pytest.fixture(scope='module')
def github(tmp_path_factory):
    "A git repository with the files as they are now, on the branch that the badge names."
    repo = tmp_path_factory.mktemp('github')/'repo'
    ignore = shutil.ignore_patterns('.git', '.venv', 'desk', 'node_modules', '__pycache__', '*.egg-info', '.hypothesis', '.pytest_cache',
                                    '.ipynb_checkpoints')
    shutil.copytree(root, repo, ignore=ignore)
    who = ['-c', 'user.name=test', '-c', 'user.email=test@example.com']
    for args in (['init', '-q', '-b', here['branch']], ['add', '.'], [*who, 'commit', '-q', '-m', 'As it is']):
        subprocess.run(['git', *args], cwd=repo, check=True)
    return repo


def test_set_up_cell_installs_and_trains(colab, github):
    tmp, bin_dir, python = colab
    environ = {**os.environ, 'PATH': f'{bin_dir}{os.pathsep}{os.environ["PATH"]}', 'GIT_CONFIG_COUNT': '1',
               'GIT_CONFIG_KEY_0': f'url.{github.as_uri()}.insteadOf', 'GIT_CONFIG_VALUE_0': here['repo_url']}
    environ.pop('PYTHONPATH', None)
    missing = subprocess.run([python, '-c', 'import convlab'], cwd=tmp, env=environ, capture_output=True, text=True)
    assert "No module named 'convlab'" in missing.stderr
    code = script.replace('SETUP', repr(facts.setup_cell(here))).replace('TRAIN', repr(train))
    done = subprocess.run([python, '-c', code], cwd=tmp, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'accuracy True' in done.stdout
    assert f'convlab is in {tmp}' in done.stdout
    assert done.stdout.count('Faster with a GPU') == (0 if torch.cuda.is_available() else 2)
