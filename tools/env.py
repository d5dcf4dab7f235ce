"""Make the environment .venv and install the course into it, unless that is done already.

Runs on any Python 3 with nothing installed, so that it can say what is missing in one line.
"""
import hashlib
import os
import shutil
import subprocess
import sys

quiet = {  # what a newcomer need not be told, by the file in the environment that says so
    # JupyterLab would ask about news, and ask the network about updates
    'share/jupyter/lab/settings/overrides.json':
        '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}',
    # each kernel would warn that it is reached by TCP, as kernels are
    'etc/ipython/ipython_kernel_config.json': '{"IPKernelApp": {"log_level": 40}}',
}
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def setting(key):
    "The value of `key` in settings.ini."
    with open(os.path.join(root, 'settings.ini'), encoding='utf-8') as f:
        return next(line.split('=', 1)[1].strip() for line in f if line.split('=')[0].strip() == key)


def say(what): print(what, flush=True)


def stop(why):
    sys.stderr.write('convlab: %s\n' % why)
    sys.exit(1)


def check():
    "Stop with one line if this Python cannot make an environment."
    least = setting('min_python')
    if sys.version_info < tuple(int(n) for n in least.split('.')):
        stop('this is Python %d.%d; install Python %s or newer, then `make PYTHON=python%s ...`'
             % (sys.version_info[:2] + (least, least)))
    try:
        import ensurepip, venv  # noqa: F401
    except ImportError:
        stop('Python came without venv: install it (Debian, Ubuntu: `apt install python3-venv`)')
    if not shutil.which('git'): stop('git is missing: install it (https://git-scm.com)')


def told(pip):
    "Where pip is told to look for packages and whom to trust: options and variables for uv, which does not ask pip."
    found = {}
    for line in subprocess.check_output(pip + ['config', 'list'], universal_newlines=True).splitlines():
        key, value = line.split('=', 1)
        # what is set in the environment is named first, and counts
        found.setdefault(key.split('.')[-1], value.strip('\'"').split())
    options = [o for key in ('index-url', 'extra-index-url', 'find-links')
               for place in found.get(key, []) for o in ('--' + key, place)]
    return options, {'SSL_CERT_FILE': ' '.join(found['cert'])} if 'cert' in found else {}


def install(python):  # is it done?
    "By uv in seconds; by pip, which takes minutes, where uv is not to be had or fails."
    constraints = ['-c', os.path.join(root, 'constraints.txt')]
    course = constraints + ['-e', root + '[course,dev]']
    pip = [python, '-m', 'pip', '--disable-pip-version-check']
    if not subprocess.call(pip + ['install', '-q'] + constraints + ['uv']):
        options, trusted = told(pip)
        uv = [python, '-m', 'uv', 'pip', 'install', '-q', '--python', python,
              '--index-strategy', 'unsafe-best-match']  # all indexes count alike, as for pip
        if not subprocess.call(uv + options + course, env=dict(os.environ, **trusted)): return True
    say('uv could not install the packages; pip tries.')
    return not subprocess.call(pip + ['install'] + course)


def main(venv):
    check()
    python = os.path.join(venv, *(('Scripts', 'python.exe') if os.name == 'nt' else ('bin', 'python')))
    stamp = os.path.join(venv, 'installed')
    facts = ''.join(open(os.path.join(root, f), encoding='utf-8').read()
                    for f in ('settings.ini', 'constraints.txt', 'setup.py', 'pyproject.toml'))
    now = hashlib.sha256(facts.encode()).hexdigest()
    if os.path.exists(stamp) and os.path.exists(python) and open(stamp).read() == now: return
    say('Setting up %s, once: PyTorch, Jupyter and what belongs to them, some 2 GB. It takes a few minutes.'
        % os.path.relpath(venv))
    if not os.path.exists(python): subprocess.check_call([sys.executable, '-m', 'venv', venv])
    afresh = '; the lines above say why. `make clean` and the same command start afresh'
    if not install(python): stop('the packages could not be installed' + afresh)
    say('Importing everything for the first time: half a minute, and seconds from then on.')
    if subprocess.call([python, '-c', 'import convlab.all'], cwd=root): stop('the course cannot be imported' + afresh)
    bin_dir = os.path.dirname(python)
    for name in os.listdir(bin_dir):  # nbdev 3 spells its command with a hyphen, everybody knows it with an underscore
        if name.startswith('nbdev-test'):
            shutil.copy(os.path.join(bin_dir, name), os.path.join(bin_dir, name.replace('-', '_', 1)))
    for name, text in quiet.items():
        path = os.path.join(venv, *name.split('/'))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f: f.write(text)
    with open(stamp, 'w') as f: f.write(now)


if __name__ == '__main__': main(os.path.abspath(sys.argv[1]))
