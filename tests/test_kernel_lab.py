"KernelLab: its numbers against PyTorch's, and a hand that uses it in a real browser, from disk and in JupyterLab."
import random

import pytest
import torch
import torch.nn.functional as F
from browser import browser, from_disk, lab, needs_chromium, node, notebook, opened, pages, run_all, run_cell, save, select, violations  # noqa: F401
from PIL import Image

from convlab.draw.kernel_lab import KernelLab
from convlab.kernels import edge_kernels, map_kernel, top_edge

digit = torch.zeros(28, 28)
digit[6:9, 5:22] = digit[9:24, 19:22] = 254
digit[5, 5:22] = 120


# Numbers

def test_maps_are_pytorchs():
    rng = random.Random(0)
    cases = []
    for _ in range(60):
        k, (h, w) = rng.choice((3, 5, 7)), (rng.randint(7, 40), rng.randint(7, 40))
        scale = rng.choice((1, 255))
        cases.append(dict(image=(torch.rand(h, w)*scale).tolist(), kernel=torch.randn(k, k).tolist()))
    maps = node('''
import { mapKernel } from './kernel_numbers.js'
done(given.map(({ image, kernel }) => [...mapKernel(image.flat(), image.length, image[0].length, kernel)]))''', cases)
    for case, found in zip(cases, maps):
        x, kernel = torch.tensor(case['image']), torch.tensor(case['kernel'])
        right = F.conv2d(x[None, None].double(), kernel[None, None].double())[0, 0]
        assert torch.allclose(torch.tensor(found).double().view_as(right), right, rtol=1e-5, atol=1e-5)
        python = KernelLab(x, kernel).feature_map
        assert torch.allclose(python.double(), right, rtol=1e-5, atol=1e-5*x.max().item())
        if len(kernel) == 3: assert torch.allclose(python, map_kernel(x, kernel), rtol=1e-5, atol=1e-5*x.max().item())


def test_one_result_is_its_products():
    x, kernel = torch.randint(0, 256, (12, 9)), torch.randn(5, 5)
    found = node('''
import { windowAt } from './kernel_numbers.js'
done(windowAt(given.image.flat(), 9, given.kernel, 4, 3))''', dict(image=x.tolist(), kernel=kernel.tolist()))
    window = x[4:9, 3:8]
    assert found['pixels'] == window.tolist()
    assert torch.allclose(torch.tensor(found['products']), window*kernel) and found['sum'] == pytest.approx((window*kernel).sum().item(), rel=1e-5)


def test_what_the_buttons_do():
    kernel = torch.randn(5, 5)
    done = node('''
import * as n from './kernel_numbers.js'
done([n.negated(given), n.turned(given), n.scaledToZero(given), n.scaledToOne(given), n.resized(given, 7), n.resized(given, 3), n.scaledToOne([[1, -1, 0], [0, 0, 0], [0, 0, 0]])])''', kernel.tolist())
    negated, turned, zero, one, larger, smaller = [torch.tensor(o) for o in done[:-1]]
    assert torch.allclose(negated, -kernel) and torch.allclose(turned, kernel.rot90(-1)) and done[-1] is None
    assert torch.allclose(zero, kernel-kernel.mean(), atol=1e-6) and torch.allclose(one, kernel/kernel.sum(), atol=1e-5)
    assert torch.allclose(larger, F.pad(kernel, (1,)*4)) and torch.allclose(smaller, kernel[1:4, 1:4])


def test_presets_have_the_lessons_names_and_numbers():
    presets = node('''
import { kernelPresets } from './kernel_numbers.js'
done(Object.fromEntries(Object.entries(kernelPresets).map(([name, f]) => [name, [3, 5, 7].map(f)])))''')
    for name, kernel in zip(('left_edge', 'top_edge', 'diag1_edge', 'diag2_edge'), edge_kernels): assert presets[name][0] == kernel.tolist(), name
    for name, total in (('box blur', 1), ('Gaussian blur', 1), ('identity', 1), ('sharpen', 1), ('Sobel', 0), ('Laplacian', 0)):
        for kernel in presets[name]: assert torch.tensor(kernel).sum().item() == pytest.approx(total), name
    x = torch.rand(1, 1, 9, 9)
    assert torch.allclose(F.conv2d(x, torch.tensor([[presets['identity'][1]]]).float()), x[..., 2:-2, 2:-2])


def test_the_labs_own_picture_is_the_pages():
    assert node('import { testPictures } from "./kernel_numbers.js"\ndone(testPictures.strokes())') == KernelLab().state['image']


def test_a_picture_comes_through_the_state_as_it_was():
    "To the last bit of single precision, from Python to the page and back; the one that was given is there once."
    image = torch.randn(9, 128)
    lab = KernelLab(image)
    page, back = node('''
import { packed, unpacked } from './kernel_numbers.js'
const numbers = unpacked(given)
done([[...numbers], packed(given.height, given.width, numbers)])''', lab.state['given'])
    assert page == image.flatten().tolist() and torch.equal(lab.image, image) and lab.state['image'] is None
    lab.image = torch.zeros(7, 7)
    lab.state['image'] = back
    assert torch.equal(lab.image, image)


def judged(n, kernel):
    return node('import { judgedKernel } from "./kernel_numbers.js"\ndone(judgedKernel(...given))', [n, torch.as_tensor(kernel).tolist()])


ends = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]
slanted = [[-1, -1, 2], [-1, 2, -1], [2, -1, -1]]


@pytest.mark.parametrize('n, solution', [(0, top_edge), (1, top_edge.T), (2, torch.full((3, 3), 1/9)), (3, slanted), (4, ends), (0, [[.1, .2, -.3]]*3)])
def test_each_task_can_be_done(n, solution):
    assert judged(n, solution) == dict(done=True, said='Done!')


@pytest.mark.parametrize('n, kernel, said', [
    (0, [[0, 0, 0], [0, 1.5, 0], [0, 0, 0]], 'every result is 150, and should be 0. The kernel’s numbers add up to 1.5'), (0, torch.zeros(3, 3), 'kernel of zeros'),
    (1, top_edge, 'the largest result is 3'), (1, ends, 'blank on upright edges too'), (2, torch.ones(3, 3), 'A gray of 100 becomes 900'),
    (2, [[0, 0, 0], [0, 1, 0], [0, 0, 0]], 'keeps 100% of its ink'), (3, top_edge, 'The rising stroke gets 1, the falling one 1'), (3, torch.eye(3), 'is 300, and should be 0'),
    (4, top_edge, 'runs across the largest result is 3'), (4, top_edge.T, 'runs down the largest result is 3')])
def test_a_task_says_how_far_off_a_kernel_is(n, kernel, said):
    verdict = judged(n, kernel)
    assert not verdict['done'] and said in verdict['said']


# By hand, from disk

@pytest.fixture
def piece(tmp_path, pages):
    "Opens a lab from disk."
    def opening(image=digit, kernel=top_edge, **options):
        path = tmp_path/'lab.html'
        KernelLab(image, kernel).save(path)
        assert path.stat().st_size < 300_000
        page = from_disk(pages, path, **options)
        page.wait_for_selector('.kernel-lab canvas')
        return page
    return opening


def cell(page, row, column): return page.get_by_label(f'kernel, row {row}, column {column}')


def kernel_of(page):
    k = int(page.locator('.cells input').count()**.5)
    values = [float(v.replace('−', '-')) for v in page.eval_on_selector_all('.cells input', 'all => all.map(i => i.value)')]
    return [values[i*k:i*k+k] for i in range(k)]


def told(page, text): page.wait_for_selector(f'.told:has-text("{text}")')


def at(page, which, row, column):
    "Where the cell of a canvas is, on the page."
    page.locator('.kernel-lab canvas').nth(which).scroll_into_view_if_needed()
    box = page.locator('.kernel-lab canvas').nth(which).bounding_box()
    n = 28 if which == 0 else 29 - int(page.locator('.cells input').count()**.5)
    return box['x'] + (column+.5)*box['width']/n, box['y'] + (row+.5)*box['height']/n


def dragged(page, row, column, up):
    "Drag a cell of the kernel up by so many pixels."
    cell(page, row, column).scroll_into_view_if_needed()
    box = cell(page, row, column).bounding_box()
    x, y = box['x'] + box['width']/2, box['y'] + box['height']/2
    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(1, 9): page.mouse.move(x, y - up*k/8)
    page.mouse.up()


@needs_chromium
def test_with_the_mouse(piece):
    page = piece()
    page.mouse.move(*at(page, 1, 4, 9))
    told(page, 'Row 4, column 9 of the map: 254 × 1 + 254 × 1 + 254 × 1 + 6 products that are 0 = 762')
    page.mouse.click(*at(page, 1, 7, 9))
    told(page, 'Row 7, column 9')
    page.mouse.move(*at(page, 1, 2, 2))  # it is pinned
    page.wait_for_selector('text=Pinned')
    told(page, 'Row 7, column 9')
    page.mouse.click(*at(page, 1, 7, 9))
    page.mouse.move(*at(page, 0, 5, 10))  # on the picture: the window around it
    told(page, 'Row 4, column 9')
    dragged(page, 3, 1, 80)
    assert kernel_of(page)[2] == [2, 1, 1]
    page.click('text=Negate')
    assert kernel_of(page)[2] == [-2, -1, -1]
    page.click('text=Turn')
    assert kernel_of(page) == [[-2, 0, 1], [-1, 0, 1], [-1, 0, 1]]
    page.click('text=Sum to 0')
    page.wait_for_selector('text=add up to 0.')
    page.click('text=Sum to 1')
    page.wait_for_selector('[role=alert]:has-text("no factor makes that 1")')
    page.select_option('select >> nth=1', 'Gaussian blur')
    page.click('text=5 × 5')
    assert len(kernel_of(page)) == 5 and kernel_of(page)[2][2] == .25
    page.get_by_label('keep even ground').check()
    page.wait_for_selector('.verdict:has-text("A lone pixel keeps 25% of its ink")')
    page.select_option('select >> nth=1', 'box blur')
    page.wait_for_selector('.verdict.done')


@needs_chromium
def test_with_the_keyboard_alone(piece):
    page = piece()
    press, focused = page.keyboard.press, lambda: page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")

    def to(text):
        for _ in range(40):
            press('Tab')
            if text in (focused() or ''): return
        raise AssertionError(f'{text} is not reached with Tab')

    to('kernel, row 1, column 1')
    for key in ('ArrowUp', 'ArrowUp', 'ArrowRight', 'Shift+ArrowDown', 'Enter', 'Enter'): press(key)
    page.keyboard.type('1/4')
    press('Control+ArrowDown')
    assert kernel_of(page) == [[1, -1.1, -1], [.25, 0, 0], [1, 1, 1]] and focused() == 'kernel, row 3, column 1'
    to('Negate')
    press('Space')
    assert kernel_of(page)[0] == [-1, 1.1, 1]
    to('Map.')
    press('ArrowDown')
    told(page, 'Row 14, column 13')
    press('Shift+ArrowUp')
    told(page, 'Row 9, column 13')
    press('Enter')
    page.wait_for_selector('text=Pinned')
    press('ArrowLeft')
    told(page, 'Row 9, column 12')
    page.keyboard.press('Tab')
    press('Space')
    page.wait_for_selector('.verdict')


@needs_chromium
def test_with_a_finger(piece):
    page = piece(width=390, height=840, touch=True)
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    page.touchscreen.tap(*at(page, 1, 4, 9))
    told(page, 'Row 4, column 9')
    page.locator('text=Draw').tap()
    before = page.evaluate("document.querySelector('.kernel-lab canvas').toDataURL()")
    touch = page.context.new_cdp_session(page)
    x, y = at(page, 0, 15, 4)
    touch.send('Input.dispatchTouchEvent', dict(type='touchStart', touchPoints=[dict(x=x, y=y)]))
    for k in range(10): touch.send('Input.dispatchTouchEvent', dict(type='touchMove', touchPoints=[dict(x=x+6*k, y=y)]))
    touch.send('Input.dispatchTouchEvent', dict(type='touchEnd', touchPoints=[]))
    page.wait_for_function("before => document.querySelector('.kernel-lab canvas').toDataURL() !== before", arg=before)
    assert page.locator('select').first.input_value() == 'own'
    box = cell(page, 1, 1).bounding_box()
    x, y = box['x']+20, box['y']+20
    touch.send('Input.dispatchTouchEvent', dict(type='touchStart', touchPoints=[dict(x=x, y=y)]))
    for k in range(1, 9): touch.send('Input.dispatchTouchEvent', dict(type='touchMove', touchPoints=[dict(x=x, y=y-5*k)]))
    touch.send('Input.dispatchTouchEvent', dict(type='touchEnd', touchPoints=[]))
    assert kernel_of(page)[0] == [-.5, -1, -1]


@needs_chromium
def test_a_picture_of_ones_own(piece, tmp_path):
    page = piece()
    Image.effect_noise((400, 200), 90).convert('RGB').save(tmp_path/'noise.png')
    page.set_input_files('input[type=file]', tmp_path/'noise.png')
    page.wait_for_selector('text=64 × 128 pixels')
    (tmp_path/'text.txt').write_text('no picture')
    page.set_input_files('input[type=file]', tmp_path/'text.txt')
    page.wait_for_selector('[role=alert]:has-text("“text.txt” is not a picture")')
    Image.new('L', (900, 20)).save(tmp_path/'thin.png')
    page.set_input_files('input[type=file]', tmp_path/'thin.png')
    page.wait_for_selector('[role=alert]:has-text("at least 7 pixels each way")')
    page.wait_for_selector('text=64 × 128 pixels')
    Image.new('L', (9, 8), 255).save(tmp_path/'small.png')
    data = list((tmp_path/'small.png').read_bytes())
    page.evaluate('''data => { const t = new DataTransfer(); t.items.add(new File([new Uint8Array(data)], 'small.png', { type: 'image/png' }))
        document.querySelector('.kernel-lab').dispatchEvent(new DragEvent('drop', { dataTransfer: t, bubbles: true, cancelable: true })) }''', data)
    page.wait_for_selector('text=8 × 9 pixels')


@needs_chromium
def test_what_is_no_number_is_said_and_the_lab_lives_on(piece):
    page = piece()
    cell(page, 2, 2).fill('two')
    page.wait_for_selector('[role=alert]:has-text("must be a number")')
    assert cell(page, 2, 2).get_attribute('aria-invalid') == 'true'
    cell(page, 1, 1).focus()
    assert kernel_of(page)[1][1] == 0 and page.locator('[role=alert]').text_content() == ''
    cell(page, 2, 2).fill('1e308')  # its sums would be infinite
    page.wait_for_selector('[role=alert]:has-text("up to a million; got “1e308”")')
    cell(page, 2, 2).fill('2,5')
    cell(page, 1, 1).focus()
    assert kernel_of(page)[1][1] == 2.5


@pytest.mark.parametrize('given, said', [(dict(kernel=torch.full((3, 3), 2e6)), 'kernel must have finite numbers only, from -1e+06 to 1e+06'),
                                         (dict(image=torch.full((9, 9), torch.inf)), 'image must have finite numbers only'),
                                         (dict(image=torch.zeros(9, 9, dtype=torch.complex64)), 'image must have real numbers; got torch.complex64'),
                                         (dict(image=torch.zeros(9, 9), name=3), 'name must be a string; got int')])
def test_what_the_lab_may_not_be_given_is_refused(given, said):
    with pytest.raises((ValueError, TypeError)) as e: KernelLab(**given)
    assert said in str(e.value)


@needs_chromium
def test_the_largest_picture_makes_a_small_page(piece):
    "Noise, which no format packs well, and a stroke on it. Nothing is pinned, so that nothing is shown in place of a result."
    lab = KernelLab(torch.randn(128, 128), torch.ones(7, 7))
    lab.image = lab.image + 1
    assert len(lab.html().encode()) < 300_000
    page = piece(torch.randn(128, 128), torch.ones(7, 7))
    page.wait_for_selector('text=Point at a result')
    assert page.locator('.kernel-lab canvas:visible').count() == 2 and violations(page) == []


@needs_chromium
@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('width', [390, 1400])
def test_everybody_can_use_it(piece, width, dark):
    page = piece(width=width, dark=dark)
    page.mouse.click(*at(page, 1, 4, 9))
    page.get_by_label('only where strokes end').check()
    cell(page, 2, 2).fill('x')
    page.wait_for_selector('[role=alert]:has-text("must be a number")')
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert violations(page) == []


# In JupyterLab

@needs_chromium
def test_python_and_the_page_have_one_state(lab, pages):
    notebook(lab[1]/'kernel.ipynb', '''import torch
from convlab.draw.kernel_lab import KernelLab
lab = KernelLab(torch.arange(100.).view(10, 10))
lab''', 'lab.kernel = torch.tensor([[0., 1, 0], [0, 0, 0], [0, -1, 0]])', 'print(lab.kernel.tolist(), lab.feature_map[0, 0].item())', 'lab.kernel = torch.zeros(4, 4)',
             'lab.image = torch.eye(9)')
    page = opened(pages, lab, 'kernel')
    select(page, 0)
    run_cell(page, 0)
    page.wait_for_selector('.kernel-lab canvas')
    run_cell(page, 1)
    page.wait_for_function("[...document.querySelectorAll('.cells input')].map(i => i.value).join() === '0,1,0,0,0,0,0,−1,0'")
    cell(page, 1, 1).fill('7')
    page.keyboard.press('Tab')  # its one-key commands are not the notebook's
    page.locator('.kernel-lab canvas').nth(1).focus()
    for key in ('d', 'd', 'b', 'ArrowDown'): page.keyboard.press(key)
    assert page.locator('.jp-Notebook .jp-Cell').count() == 5
    page.wait_for_timeout(1500)  # the output is stored with the state of now, and the same piece stays
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith('Map.')
    select(page, 2)
    run_cell(page, 2)
    page.wait_for_selector('text=[[7.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, -1.0, 0.0]] -20.0')
    run_cell(page, 3)
    page.wait_for_selector('text=kernel must be a tensor [3,3] or [5,5] or [7,7]')
    run_cell(page, 4)
    page.wait_for_selector('text=9 × 9 pixels')
    page.wait_for_timeout(1500)
    saved = save(page, lab[1]/'kernel.ipynb')
    out = saved['cells'][0]['outputs']
    assert len(out) == 1 and sorted(out[0]['data']) == ['text/html', 'text/plain'] and 'widgets' not in saved['metadata']
    html = ''.join(out[0]['data']['text/html'])
    assert '"kernel":[[7,1,0],[0,0,0],[0,-1,0]]' in html and '<img' in html
