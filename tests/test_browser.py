"The notebook in a real browser under JupyterLab: questions by mouse and by keyboard alone, and pieces in a notebook without its kernel."
import json
import re
import shutil
import time

import torch
from browser import browser, from_disk, lab, needs_chromium, notebook, opened, pages, run_all, run_cell, save, select, violations, without_kernels  # noqa: F401
from conftest import root

from convlab.course.quiz import Question, questions
from convlab.draw.kernel_lab import KernelLab
from convlab.draw.labs import RingLab, StrideLab, ValleyLab
from convlab.draw.way import WayLab
from convlab.draw.widgets import joined
from convlab.draw.windows import show_film

pytestmark = needs_chromium


def said(page, text): page.wait_for_selector(f'.reply:has-text("{text}")')


right, upside_down = [f'.quiz .choice:has-text("{kernel}") input' for kernel in ('[[-1,-1,-1],[0,0,0],[1,1,1]]', '[[1,1,1],[0,0,0],[-1,-1,-1]]')]  # of question 2, wherever they stand


def entry(lab, n):
    "What is recorded of question `n`, once something is."
    records = lab[1]/'records.json'
    for _ in range(100):
        if records.exists() and (e := json.loads(records.read_text())['questions'].get(str(n))): return e
        time.sleep(.1)


def test_questions_with_the_mouse(pages, lab):
    notebook(lab[1]/'mouse.ipynb', 'from convlab.course.quiz import ask', 'ask(2)', 'ask(17)')
    page = opened(pages, lab, 'mouse')
    run_all(page)
    page.wait_for_function('globalThis.convlabLines?.size === 2')
    page.click(upside_down)
    said(page, 'That one answers loudest at a bottom edge')
    assert page.locator('.quiz >> text=Taught in').count() == 0, 'the answer is given away'
    page.click(right)
    said(page, 'minus the row above, plus the row below')
    page.click('text=Show the answer >> visible=true')
    page.wait_for_selector('.answer:has-text("7 by 7. An activation")')
    e = entry(lab, 2)
    assert e['tried'] == 2 and e['right'] and e['streak'] == 0 and 'right' not in entry(lab, 17)
    page.wait_for_timeout(1500)  # the answers are stored where they were given
    out = save(page, lab[1]/'mouse.ipynb')['cells'][1]['outputs']
    assert len(out) == 1 and '"text":"d"' in ''.join(out[0]['data']['text/html'])


def test_questions_with_the_keyboard_alone(pages, lab):
    notebook(lab[1]/'keys.ipynb', 'from convlab.course.quiz import ask', 'ask(3)', 'ask(15)')
    page = opened(pages, lab, 'keys')
    run_all(page)
    page.wait_for_function('globalThis.convlabLines?.size === 2')
    press = page.keyboard.press

    def to(selector):
        "Tab on until this has the focus."
        for _ in range(30):
            press('Tab')
            if page.evaluate('s => document.activeElement.matches(s)', selector): return
        raise AssertionError(f'{selector} is not reached with Tab')

    press('Escape')
    for _ in range(3): press('ArrowUp')
    to('.quiz input[type=radio]')
    press('Space')
    for _ in range(3): press('ArrowDown')  # to walk is not to answer
    assert page.locator('.reply:visible').count() == 0
    press('Enter')
    said(page, 'A mean is tempting')
    press('ArrowDown')
    press('Enter')
    said(page, '✓ Yes: each pixel meets one weight')
    page.wait_for_selector('.answer:has-text("add up the nine products")')
    to('.quiz input[type=text]')
    page.keyboard.type('57,232')
    press('Enter')
    said(page, 'You left the biases in')
    press('Control+A')
    page.keyboard.type('56448')
    press('Enter')
    page.wait_for_selector('.answer:has-text("At each of the 7")')
    assert entry(lab, 3)['tried'] == 2 and entry(lab, 15)['right']


def test_a_sentence_of_ones_own(pages, lab):
    notebook(lab[1]/'words.ipynb', 'from convlab.course.quiz import ask', 'ask(28)')
    page = opened(pages, lab, 'words')
    run_all(page)
    page.wait_for_function('globalThis.convlabLines?.size === 1')
    page.click('text=Compare')
    said(page, 'Write a sentence first')
    assert page.locator('text=Part of it >> visible=true').count() == 0, 'there is nothing to mark yet'
    page.fill('.quiz textarea', 'Nothing is passed on, and no gradient comes back.')
    page.click('text=Compare')
    page.wait_for_selector('.answer li:has-text("Below zero ReLU is flat")')
    page.click('text=All of it')
    said(page, 'It comes back in 2 days')
    assert entry(lab, 28)['streak'] == 1


def test_questions_on_a_page_of_their_own(pages, tmp_path):
    "No kernel: the page judges the choices, and says why it cannot judge what is typed."
    for n in (2, 17, 28): Question(questions()[n-1]).save(tmp_path/f'{n}.html')
    page = from_disk(pages, tmp_path/'2.html', width=390, touch=True)
    page.tap(upside_down)
    said(page, '✗ That one answers loudest at a bottom edge')
    page.tap(right)
    said(page, '✓')
    assert page.evaluate('document.documentElement.scrollWidth') <= 390 and violations(page) == []
    page = from_disk(pages, tmp_path/'17.html', dark=True)
    page.fill('.quiz input', '7')
    page.keyboard.press('Enter')
    said(page, 'What is typed is checked while Python runs')
    page.click('text=Show the answer')
    page.wait_for_selector('.answer:has-text("7 by 7. An activation")')
    assert violations(page) == []
    page = from_disk(pages, tmp_path/'28.html')
    page.fill('.quiz textarea', 'Nothing is passed on.')
    page.click('text=Compare')
    page.click('text=Part of it')
    said(page, 'Part of it')
    assert violations(page) == []


def without_kernel(pages, lab, name):
    page = pages()
    page.set_default_timeout(60_000)
    page.goto(f'{lab[0]}/lab/workspaces/{name}/tree/{name}.ipynb?reset')
    page.wait_for_selector('.jp-Notebook .jp-OutputArea-output')
    assert page.locator('text=odel not found').count() == page.locator('text=Loading widget').count() == page.locator('text=Error displaying').count() == 0
    return page


def test_a_piece_is_saved_as_it_was_left(pages, lab):
    """Trusted, as on the reader's own machine, it works without its kernel. Not trusted, as what came by mail, a picture stands there."""
    notebook(lab[1]/'left.ipynb', 'from convlab.draw.kernel_lab import KernelLab\nlab = KernelLab()\nlab', 'lab')
    page = opened(pages, lab, 'left')
    run_all(page)
    page.wait_for_selector('.kernel-lab >> nth=1')
    first = page.locator('.kernel-lab').nth(0).get_by_label('kernel, row 1, column 1')
    first.fill('5')
    page.wait_for_function("[...document.querySelectorAll('.cells input:first-child')].map(i => i.value).join() === '5,5'")  # both follow
    page.wait_for_timeout(1500)
    assert page.evaluate("document.activeElement.value") == '5', 'the hand has lost its place'
    page.keyboard.type('1')
    page.wait_for_timeout(1500)
    nb = save(page, lab[1]/'left.ipynb')
    for cell in nb['cells'][:2]: assert '"kernel":[[51,0,0],[0,1,0],[0,0,0]]' in ''.join(cell['outputs'][0]['data']['text/html'])
    select(page, 0)
    run_cell(page, 0)  # the old piece goes
    page.wait_for_function("[...document.querySelectorAll('.cells input:first-child')].map(i => i.value).join() === '0,51'")
    page.context.close()
    without_kernels(lab)
    shutil.copy(lab[1]/'left.ipynb', lab[1]/'mailed.ipynb')
    page = without_kernel(pages, lab, 'left')
    page.wait_for_selector('.kernel-lab')
    page.get_by_label('kernel, row 1, column 1').first.fill('3')
    page.click('text=Negate >> nth=0')
    assert page.get_by_label('kernel, row 1, column 1').first.input_value() == '−3'
    page.context.close()
    mailed = json.loads((lab[1]/'mailed.ipynb').read_text())
    mailed['cells'][0]['outputs'][0]['data']['text/plain'] = 'changed on its way'
    (lab[1]/'mailed.ipynb').write_text(json.dumps(mailed))
    page = without_kernel(pages, lab, 'mailed')
    page.wait_for_selector('.convlab-place img')
    assert page.locator('.kernel-lab').count() == 0
    assert page.locator('text=Kernel lab: to try it by hand, open this notebook in Jupyter and run the cell').first.is_visible()
    assert page.locator('.convlab-place img').first.evaluate('i => i.complete && i.naturalWidth > 300')


def test_a_workbook_is_one_click_away(pages, lab):
    "JupyterLab answers a link to the file with an error: it opens what is linked, and cannot read a spreadsheet."
    write = "from pathlib import Path\nfrom convlab.draw.workbook import download_link\nPath('sheet.xlsx').write_bytes(b'numbers')\ndownload_link('sheet.xlsx')"
    notebook(lab[1]/'book.ipynb', write)
    page = opened(pages, lab, 'book')
    run_all(page)
    with page.expect_download() as download: page.click('text=Download sheet.xlsx')
    assert download.value.suggested_filename == 'sheet.xlsx' and download.value.path().read_bytes() == b'numbers'


def test_a_word_opens_the_glossary_at_it(pages, lab):
    "On the first click, when the glossary was not open before."
    shutil.copy(root/'nbs'/'glossary.md', lab[1])
    kernel = dict(display_name='python3', language='python', name='python3')
    cell = dict(cell_type='markdown', id='text', metadata={}, source='A [stride](glossary.md#stride).')
    (lab[1]/'word.ipynb').write_text(json.dumps(dict(cells=[cell], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)))
    page = pages(height=720)
    page.goto(f'{lab[0]}/lab/workspaces/word/tree/word.ipynb?reset')
    page.click('.jp-RenderedMarkdown a:has-text("stride")')
    page.wait_for_selector('.jp-MarkdownViewer h3:has-text("stride")')
    page.wait_for_function("""() => { const h = [...document.querySelectorAll('.jp-MarkdownViewer h3')].find(h => h.textContent.startsWith('stride'))
        const top = h?.getBoundingClientRect().top
        return top > 0 && top < 400 }""")
def test_a_restart_is_told_and_the_piece_lives_on(pages, lab):
    "What Python does not know it cannot store; run again, the cell has both sides."
    notebook(lab[1]/'again.ipynb', 'from convlab.draw.kernel_lab import KernelLab\nlab = KernelLab()\nlab')
    page = opened(pages, lab, 'again')
    run_all(page)
    page.wait_for_function('globalThis.convlabLines?.size === 1')
    corner = page.get_by_label('kernel, row 1, column 1')
    select(page, 0)
    for key in '00': page.keyboard.press(key)
    page.locator('.jp-Dialog .jp-mod-accept').click()
    page.wait_for_selector('#jp-main-statusbar >> text=Idle')
    corner.fill('5')
    page.get_by_text('Python has lost this piece. Run its cell again to go on with it.').wait_for()
    corner.fill('6')
    page.get_by_text('Its numbers add up to 7.').wait_for()
    select(page, 0)
    page.keyboard.press('Shift+Enter')
    page.wait_for_function('globalThis.convlabLines.size === 2')
    page.wait_for_function("document.querySelector('.cells input')?.value === '0'")
    corner.fill('8')
    page.wait_for_timeout(1500)
    assert '"kernel":[[8,0,0],[0,1,0],[0,0,0]]' in ''.join(save(page, lab[1]/'again.ipynb')['cells'][0]['outputs'][0]['data']['text/html'])


def left():
    "A piece as it was left: its kernel is one that a reader has made."
    piece = KernelLab()
    piece.kernel = torch.tensor([[0., 1, 0], [0, 7, 0], [0, -1, 0]])
    return piece


def kernel_in(frame): return frame.locator('.cells input').evaluate_all('all => all.map(i => i.value).join()')


def works(frame):
    "The piece is there as it was left, and follows the hand."
    frame.locator('.kernel-lab canvas').first.wait_for()
    assert kernel_in(frame) == '0,1,0,0,7,0,0,−1,0'
    frame.get_by_label('kernel, row 1, column 1').fill('2')
    frame.get_by_text('Its numbers add up to 9.').wait_for()


def test_in_frames_that_see_nothing_of_one_another(pages):
    """Colab's outputs are such frames. A saved piece works there as it was left, from its HTML alone; while Python runs, Colab's widget manager has
    the module and a model of its own kind, and both sides follow. This is a page that stands in for Colab, not Colab."""
    page, piece = pages(), left()
    page.set_content('<title>Frames</title><main></main>')
    page.evaluate("""([html, module, state]) => {
        const frame = srcdoc => document.querySelector('main').append(Object.assign(document.createElement('iframe'), { sandbox: 'allow-scripts', width: 900, height: 900, srcdoc }))
        const inert = text => JSON.stringify(text).replaceAll('<', '\\u003c')
        frame(html)
        frame(html)
        frame(`<div id=view></div><script type=module>
            const { default: widget } = await import('data:text/javascript;charset=utf-8,' + encodeURIComponent(${inert(module)}))
            const state = ${inert(state)}, heard = {}
            const model = { get: n => state[n], on(n, f) { (heard[n] ??= []).push(f) }, save_changes() { globalThis.sent = state.kernel },
                set(n, v) { state[n] = v; for (const f of heard['change:' + n] ?? []) f() } }
            widget.render({ model, el: document.querySelector('#view') })
            globalThis.fromPython = kernel => model.set('kernel', kernel)
        </script>`)
    }""", [piece.html(), joined('kernel_lab.js'), piece.state])
    first, second, widget = page.frames[1:]
    works(first)
    works(widget)
    assert kernel_in(second) == '0,1,0,0,7,0,0,−1,0'
    assert widget.evaluate('sent[0][0]') == 2
    widget.evaluate('fromPython([[0, 0, 0], [0, 1, 0], [0, 0, 0]])')
    widget.get_by_text('Its numbers add up to 1.').wait_for()
    for frame in (first, second, widget):  # not one of them can reach its page
        assert frame.evaluate("() => { try { return parent.document.title } catch { return 'closed' } }") == 'closed'


def test_where_a_copy_of_the_script_runs_beside_the_output(pages):
    "As in VS Code: the HTML is put in, and then a copy of each script is put at the end of the output and taken away again."
    page = pages()
    page.set_content('<title>VS Code</title><main></main>')
    page.evaluate("""outputs => { for (const html of outputs) {
        const output = document.createElement('div')
        document.querySelector('main').append(output)
        output.innerHTML = html
        for (const script of [...output.getElementsByTagName('script')]) {
            const copy = Object.assign(document.createElement('script'), { text: script.innerText })
            output.appendChild(copy).parentNode.removeChild(copy)
        }
    } }""", [left().html(), show_film(torch.arange(16.).view(4, 4), torch.eye(3))._repr_html_(), KernelLab().html()*2])
    works(page.locator('main > div').nth(0))
    page.locator('main > div').nth(1).get_by_text('Pause').wait_for()
    assert [page.locator('main > div').nth(k).locator('.kernel-lab').count() for k in range(3)] == [1, 0, 2]
    assert page.locator('.convlab-place img').count() == 0  # each still has made room


def test_where_no_script_may_run_a_picture_stands_there(pages):
    "As on GitHub, which shows the HTML of an output without its scripts."
    for piece in (left(), WayLab(), StrideLab(), ValleyLab(), RingLab()):
        page = pages()
        page.set_content(f"<title>Still</title><main>{re.sub('<script.*?</script>', '', piece.html(), flags=re.S)}</main>")
        page.wait_for_function('document.querySelector("img").complete')
        assert page.locator('img').evaluate('i => i.naturalWidth') > 250 and len(page.locator('img').get_attribute('alt')) > 60
        assert page.get_by_text('to try it by hand, open this notebook in Jupyter and run the cell').is_visible()


def test_what_is_saved_needs_no_kernel(pages, lab):
    "The questionnaire as it is in the repository, opened and not run."
    shutil.copy(root/'nbs'/'10_questionnaire.ipynb', lab[1]/'saved.ipynb')
    page = without_kernel(pages, lab, 'saved')
    page.wait_for_selector('details')
    page.click('details summary >> nth=0')
    page.wait_for_selector('details[open] blockquote')


def test_colab_gets_an_ordinary_widget(pages, lab):
    "Its outputs are frames that cannot see one another. Here its module is a pretended one, and JupyterLab shows the widget."
    pretended = """import sys, types
colab = types.ModuleType('google.colab.output')
colab.enabled, colab._widgets = [], types.SimpleNamespace(_installed_url='https://manager.example')
colab.enable_custom_widget_manager = lambda: colab.enabled.append(True)
sys.modules['google.colab.output'] = colab
from convlab.draw.kernel_lab import KernelLab
lab = KernelLab()
lab"""
    notebook(lab[1]/'colab.ipynb', pretended, 'lab.kernel = lab.kernel*3', 'print(lab.kernel.tolist(), len(colab.enabled))', 'from convlab.course.quiz import ask\nask(2)')
    page = opened(pages, lab, 'colab')
    select(page, 0)
    run_cell(page, 0)
    page.wait_for_selector('.kernel-lab canvas')
    run_cell(page, 1)
    page.wait_for_function("[...document.querySelectorAll('.cells input')].map(i => i.value).join() === '0,0,0,0,3,0,0,0,0'")
    page.get_by_label('kernel, row 1, column 1').fill('7')
    select(page, 2)
    run_cell(page, 2)
    page.wait_for_selector('text=[[7.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]] 1')
    run_cell(page, 3)
    page.click(right)
    said(page, '✓')
    out = save(page, lab[1]/'colab.ipynb')['cells'][0]['outputs'][0]
    view = 'application/vnd.jupyter.widget-view+json'
    assert out['metadata'][view]['colab']['custom_widget_manager']['url'] == 'https://manager.example'
    assert view in out['data'] and '<script' not in ''.join(out['data']['text/html']) and '<img' in ''.join(out['data']['text/html'])
