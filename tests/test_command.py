"The command: text and CSV, and errors in one line."
import shlex
import subprocess
import sys
from configparser import ConfigParser
from importlib import import_module, util
from io import StringIO

import pandas as pd
import pytest
from conftest import root

from convlab.arithmetic import totals
from convlab.command import main

CNN = 'convlab.models:simple_cnn'


def out(capsys, line):
    assert main(line.split()) == 0
    got = capsys.readouterr()
    assert got.err == ''
    return got.out


def test_arithmetic_as_text(capsys):
    text = out(capsys, 'arithmetic resnet50 --depth 1')
    lines = text.splitlines()
    assert len(lines) == 16 and lines[5].split() == ['layer1', 'Sequential', '256×56×56', '215,808', '1%', '667.9M', '16%', '35']
    assert '25,557,032 parameters' in text and '4,089,184,256 MACs' in text


def test_arithmetic_as_csv(capsys):
    df = pd.read_csv(StringIO(out(capsys, f'arithmetic {CNN} --size 1,28,28 --csv')))
    assert totals(df) == dict(params=30_282, unused=0, multiplications=248_864)
    assert df['receptive field'].tolist() == [5, 5, 9, 9, 17, 17, 33, 33, 65, 65]


def test_field(capsys):
    assert out(capsys, 'field resnet50 --layer layer1') == 'receptive field  35×35\njump             4×4\nstarts at        -17×-17\n'
    assert out(capsys, 'field resnet50 --layer layer1 --csv') == 'size,jump,start\n35,4,-17\n35,4,-17\n'
    assert out(capsys, 'field resnet50') == 'receptive field  whole×whole\n'


def test_a_model_of_the_folder_one_is_in(capsys, tmp_path, monkeypatch):
    (tmp_path/'my_own_nets.py').write_text('from torch import nn\nready = nn.Linear(3, 2)\nclass Nets:\n    net = lambda: nn.Linear(3, 4)\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    assert '8 parameters' in out(capsys, 'arithmetic my_own_nets:ready --size 3')
    assert '16 parameters' in out(capsys, 'arithmetic my_own_nets:Nets.net --size 3')


@pytest.mark.skipif(not util.find_spec('timm'), reason='timm is not installed')
def test_timm_knows_its_input(capsys): assert '192×14×14' in out(capsys, 'arithmetic vit_tiny_patch16_224')


@pytest.mark.parametrize('line,says', [
    ('arithmetic resnet_50', "no model is called 'resnet_50'; did you mean resnet50 or "),
    ('arithmetic zzzzqqqq', "no model is called 'zzzzqqqq'; for your own give module:callable"),
    ('field resnet18 --layer layer9', "layer 'layer9' is not in the model; did you mean"),
    ('arithmetic no_such_module:net', "No module named 'no_such_module'"),
    ('arithmetic convlab.models:nope', "has no attribute 'nope'"),
    ('arithmetic convlab.models:conv', 'missing 2 required positional arguments'),
    ('arithmetic os:getcwd', 'os:getcwd must give an nn.Module; got str'),
    (f'arithmetic {CNN}', 'to have 1 channels, but got 3 channels'),
    (f'arithmetic {CNN} --size 1,28,28 --depth -1', 'depth must be a whole number of at least 0'),
    ('arithmetic ""', "no model is called ''; for your own give module:callable"),
    ('arithmetic " "', "no model is called ' '"),
    ('arithmetic :', 'must be module:callable'),
    ('arithmetic :net', 'must be module:callable'),
    ('arithmetic os:', 'must be module:callable'),
    ('field resnet18 --layer ""', "layer '' is not in the model"),
])
def test_errors_are_one_line(line, says, capsys):
    assert main(shlex.split(line)) == 1
    got = capsys.readouterr()
    assert got.out == '' and got.err.startswith('convlab: ') and got.err.count('\n') == 1 and says in got.err


@pytest.mark.parametrize('size', ['3,x', '', '0,3', '3,-1', '3.5'])
def test_bad_size(size, capsys):
    with pytest.raises(SystemExit) as e: main(['arithmetic', 'resnet18', '--size', size])
    assert e.value.code == 2 and 'whole numbers of at least 1 with commas' in capsys.readouterr().err


def test_no_download(monkeypatch, capsys):
    "Detectors would fetch their backbone."
    import torch.hub
    def never(*args, **kwargs): raise AssertionError('download')
    monkeypatch.setattr(torch.hub, 'download_url_to_file', never)
    from convlab.command import _named
    assert _named('fasterrcnn_mobilenet_v3_large_320_fpn')[1] is None


def test_into_a_pipe_that_closes():
    code = f"import sys; from convlab.command import main; sys.exit(main(['arithmetic', '{CNN}', '--size', '1,28,28']))"
    p = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)
    p.stdout.close()
    assert p.stderr.read() == ''
    p.wait()


def run(*args): return subprocess.run([sys.executable, *args], capture_output=True, text=True, cwd=root)


def test_version_module_and_examples(capsys):
    from convlab import __version__
    assert run('-m', 'convlab', '--version').stdout == f'convlab {__version__}\n'
    for words in ('--help', 'arithmetic --help', 'field --help'):
        with pytest.raises(SystemExit) as e: main(words.split())
        assert e.value.code == 0
        examples = [line.split() for line in capsys.readouterr().out.split('examples:\n')[1].splitlines()]
        assert len(examples) == 3 and all(words[0] == 'convlab' for words in examples)


def test_the_entry_point_is_there_and_light():
    ini = ConfigParser()
    ini.read(root/'settings.ini')
    name, _, target = ini['DEFAULT']['console_scripts'].partition('=')
    module, _, function = target.partition(':')
    assert name == 'convlab' and getattr(import_module(module), function) is main
    code = "import sys, convlab.command; print([m for m in ('torch', 'torchvision', 'pandas', 'fastai') if m in sys.modules])"
    assert run('-c', code).stdout.strip() == '[]'
