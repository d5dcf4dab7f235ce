"What the tests in a real browser share: Chromium, JupyterLab on a folder of its own, pages from disk, axe, and JavaScript without a browser."
import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import lru_cache
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from conftest import root

playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
needs_chromium = pytest.mark.skipif(not chromium, reason='Chromium is not installed')
flags = '--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run'.split()
modules = root/'convlab'/'static'
axe = root/'node_modules'/'axe-core'/'axe.min.js'


# JavaScript without a browser

def node(source: str, given=None):
    "What the ES module `source`, which calls `done(result)`, says. It imports pieces from `./`, and `given` is JSON."
    from playwright._impl._driver import compute_driver_executable
    text = f'const given = {json.dumps(given)}\nconst done = result => console.log(JSON.stringify(result))\n{source}'
    run = subprocess.run([compute_driver_executable()[0], '--input-type=module', '-'], input=text, cwd=modules, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


# A browser

@lru_cache
def started():
    "One Chromium for all tests, whichever files they are in."
    p = playwright.sync_playwright().start()
    b = p.chromium.launch(executable_path=chromium, args=flags)

    @atexit.register
    def end():
        b.close()
        p.stop()
    return b


@pytest.fixture(scope='session')
def browser(): return started()


@pytest.fixture
def pages(request, browser):
    "Opens pages that are closed after the test, with a picture of each where SCREENSHOTS names a folder. No page may raise an error."
    contexts, errors = [], []
    def new(width=1100, height=1000, dark=False, touch=False, offline=False):
        context = browser.new_context(viewport=dict(width=width, height=height), color_scheme='dark' if dark else 'light', has_touch=touch, offline=offline)
        contexts.append(context)
        page = context.new_page()
        page.on('pageerror', lambda e: errors.append(str(e)))
        return page
    yield new
    folder = os.environ.get('SCREENSHOTS')
    for i, context in enumerate(contexts):
        for page in context.pages:
            if folder: page.screenshot(path=os.path.join(folder, f'{request.node.name}-{i}.png'), full_page=True)
        context.close()
    assert not errors, errors


def from_disk(new, path, **options):
    "The page at `path`, opened as a reader opens a file, without a network."
    page = new(offline=True, **options)
    page.set_default_timeout(20_000)
    page.goto(path.as_uri())
    return page


def violations(page, selector='.convlab-live') -> list:
    "What axe finds wrong within `selector`."
    if not axe.exists(): pytest.skip('axe-core is not installed: npm install')
    page.evaluate(axe.read_text(encoding='utf-8'))
    found = page.evaluate("s => axe.run(s).then(r => r.violations)", selector)
    return [f"{v['id']}: {n['html'][:150]} {n['failureSummary']}" for v in found for n in v['nodes']]


# JupyterLab

@contextmanager
def serving(home, python=sys.executable, app='jupyterlab', **env):
    "A Jupyter server on the folder `home`: its address."
    env = {**os.environ, 'PYTHONPATH': str(root), 'CONVLAB_PROGRESS': str(home/'records.json'), 'JUPYTER_CONFIG_DIR': str(home/'config'), **env}
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    server = subprocess.Popen([python, '-m', app, '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}',
                               '--IdentityProvider.token=', f'--ServerApp.root_dir={home}', '--LabApp.news_url=None', '--ServerApp.disable_check_xsrf=True'],
                              cwd=home, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f'http://127.0.0.1:{port}'
    for _ in range(240):
        try:
            urlopen(f'{url}/api/status', timeout=5)
            break
        except (URLError, OSError): time.sleep(.5)
    try: yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope='session')
def lab(tmp_path_factory):
    "JupyterLab on a folder of its own: its address, and the folder, where `records.json` has the reader's records."
    home = tmp_path_factory.mktemp('lab')
    with serving(home) as url: yield url, home


def without_kernels(lab):
    "End all kernels of the server."
    for kernel in json.load(urlopen(f'{lab[0]}/api/kernels')): urlopen(Request(f"{lab[0]}/api/kernels/{kernel['id']}", method='DELETE'))


def notebook(path, *sources, outputs=()):
    "Write a notebook with a code cell for each source."
    cells = [dict(cell_type='code', id=f'cell{i}', metadata={}, execution_count=None, outputs=list(outputs), source=[s]) for i, s in enumerate(sources)]
    kernel = dict(display_name='python3', language='python', name='python3')
    path.write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)))


def opened(new, lab, name, **options):
    "The notebook `name`, open in a workspace of its own, with a kernel that listens."
    page = new(**options)
    page.set_default_timeout(60_000)
    page.goto(f'{lab[0]}/lab/workspaces/{name}/tree/{name}.ipynb?reset')
    page.wait_for_selector('.jp-Notebook .jp-Cell')
    page.wait_for_selector('#jp-main-statusbar >> text=Idle')
    return page


def select(page, i):
    "Leave whatever has the focus, and select cell `i`."
    page.click(f'.jp-Notebook .jp-Cell .jp-InputArea-editor >> nth={i}')
    page.keyboard.press('Escape')


def run_all(page, first=0):
    "Run the cells from `first` on with the keyboard."
    select(page, first)
    for i in range(first, page.locator('.jp-Notebook .jp-Cell').count()): run_cell(page, i)


def run_cell(page, i):
    "Run cell `i`, which is selected."
    before = page.locator('.jp-InputPrompt').nth(i).text_content()
    page.keyboard.press('Shift+Enter')
    page.wait_for_function("([i, before]) => { const t = document.querySelectorAll('.jp-InputPrompt')[i].textContent; return /\\[[0-9]+\\]/.test(t) && t !== before }",
                           arg=[i, before])


def save(page, path):
    "Save the open notebook: what is in its file now."
    before = path.stat().st_mtime_ns
    page.keyboard.press('Control+s')
    for _ in range(100):
        if path.stat().st_mtime_ns != before: break
        time.sleep(.1)
    time.sleep(.3)
    return json.loads(path.read_text())
