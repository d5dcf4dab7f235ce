"The questions in a real browser under JupyterLab, with the mouse and with the keyboard alone. Needs Chromium and `pip install playwright`."
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from conftest import root

playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
pytestmark = pytest.mark.skipif(not chromium, reason='Chromium is not installed')
flags = ('--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run').split()


def notebook(path, *sources, outputs=()):
    cells = [dict(cell_type='code', id=f'cell{i}', metadata={}, execution_count=None, outputs=list(outputs), source=[s]) for i, s in enumerate(sources)]
    kernel = dict(display_name='python3', language='python', name='python3')
    path.write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)))


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "JupyterLab on a folder of its own: its address, the folder, and the file of the reader's records."
    home = tmp_path_factory.mktemp('lab')
    records = home/'records.json'
    env = {**os.environ, 'PYTHONPATH': str(root), 'CONVLAB_PROGRESS': str(records), 'JUPYTER_CONFIG_DIR': str(home/'config')}
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    server = subprocess.Popen([sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}',
                               '--IdentityProvider.token=', f'--ServerApp.root_dir={home}', '--LabApp.news_url=None'],
                              cwd=home, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f'http://127.0.0.1:{port}'
    for _ in range(240):
        try:
            urlopen(f'{url}/api/status', timeout=5)
            break
        except (URLError, OSError): time.sleep(.5)
    yield url, home, records
    server.terminate()
    server.wait(30)


pages = []


@pytest.fixture(autouse=True)
def seen(request):
    "Close the pages of each test, with a picture of each where SCREENSHOTS names a folder for them."
    yield
    for page in pages:
        if folder := os.environ.get('SCREENSHOTS'): page.screenshot(path=os.path.join(folder, f'{request.node.name}.png'))
        page.close()
    pages.clear()


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=flags)
        yield b
        b.close()


def opened(browser, lab, name):
    "The notebook `name`, open in a workspace of its own."
    page = browser.new_page(viewport=dict(width=1100, height=1000))
    pages.append(page)
    page.set_default_timeout(120_000)
    page.goto(f'{lab[0]}/lab/workspaces/{name}/tree/{name}.ipynb?reset')
    page.wait_for_selector('.jp-Notebook .jp-Cell')
    page.wait_for_selector('#jp-main-statusbar >> text=Idle')  # the kernel listens
    return page


def run_all(page):
    page.click('.jp-Notebook .jp-Cell >> nth=0')
    page.keyboard.press('Escape')
    for i in range(page.locator('.jp-Notebook .jp-Cell').count()):
        page.keyboard.press('Shift+Enter')
        page.wait_for_function(f"/\\[[0-9]+\\]/.test(document.querySelectorAll('.jp-InputPrompt')[{i}].textContent)")
    page.wait_for_selector('.widget-text')
    page.wait_for_selector('#jp-main-statusbar >> text=Idle')


def said(page, text): page.wait_for_selector(f'.widget-html p:has-text("{text}")')


def entry(lab, n):
    "What is recorded of question `n`, once something is."
    for _ in range(100):
        if lab[2].exists() and (e := json.loads(lab[2].read_text())['questions'].get(str(n))): return e
        time.sleep(.1)


def test_with_the_mouse(browser, lab):
    notebook(lab[1]/'mouse.ipynb', 'from convlab.course.quiz import ask', 'ask(2)', 'ask(17)')
    page = opened(browser, lab, 'mouse')
    run_all(page)
    page.click('.widget-radio-box input >> nth=0')
    said(page, 'That one answers loudest at a bottom edge')
    assert page.locator('text=Taught in').count() == 0, 'the answer is given away'
    page.click('.widget-radio-box input >> nth=2')
    said(page, 'minus the row above, plus the row below')
    page.click('text=Show the answer >> nth=1')
    said(page, 'Seven by seven')
    e = entry(lab, 2)
    assert e['tried'] == 2 and e['right'] and e['streak'] == 0 and 'right' not in entry(lab, 17)


def test_with_the_keyboard_alone(browser, lab):
    notebook(lab[1]/'keys.ipynb', 'from convlab.course.quiz import ask', 'ask(3)', 'ask(15)')
    page = opened(browser, lab, 'keys')
    run_all(page)
    press = page.keyboard.press

    def to_field():
        "Tab on until a text field has the focus."
        for _ in range(30):
            press('Tab')
            if page.evaluate("document.activeElement.matches('.widget-text input')"): return
        raise AssertionError('no text field is reached with Tab')

    press('Escape')
    for _ in range(3): press('ArrowUp')
    to_field()
    page.keyboard.type('c')
    press('Enter')
    said(page, 'A mean is tempting')
    press('Control+A')
    page.keyboard.type('d')
    press('Enter')
    said(page, 'the nine products are added')
    said(page, 'Taught in')
    to_field()
    page.keyboard.type('57,232')
    press('Enter')
    said(page, 'The biases are in it')
    press('Control+A')
    page.keyboard.type('56448')
    press('Enter')
    said(page, 'At each of the 7')
    assert entry(lab, 3)['tried'] == 2 and entry(lab, 15)['right']


def test_what_is_saved_needs_no_kernel(browser, lab):
    "The questionnaire as it is in the repository, opened and not run."
    shutil.copy(root/'nbs'/'10_questionnaire.ipynb', lab[1]/'saved.ipynb')
    page = opened(browser, lab, 'saved')
    page.wait_for_selector('details')
    assert page.locator('text=odel not found').count() == 0 and page.locator('text=Loading widget').count() == 0
    page.click('details summary >> nth=0')
    page.wait_for_selector('details[open] blockquote')
