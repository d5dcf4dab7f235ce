"How quickly KernelLab follows the hand: a cell of a 7×7 kernel is dragged over 128×128 pixels in Chromium, and each frame's time is taken."
import shutil
import tempfile
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

from convlab.draw.kernel_lab import KernelLab

frames = '''n => new Promise(done => { const t = []; const step = now => { t.push(now); t.length < n ? requestAnimationFrame(step) : done(t) }; requestAnimationFrame(step) })'''


def main():
    path = Path(tempfile.mkdtemp())/'lab.html'
    KernelLab((torch.rand(128, 128)*255).round(), torch.randn(7, 7)).save(path)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which('chromium') or shutil.which('google-chrome'), args=['--no-sandbox'])
        page = browser.new_page(viewport=dict(width=1400, height=1000))
        page.goto(path.as_uri())
        page.locator('.kernel-lab canvas').nth(1).click()  # with a window pinned there is most to paint
        box = page.get_by_label('kernel, row 4, column 4').bounding_box()
        x, y = box['x'] + box['width']/2, box['y'] + box['height']/2
        page.mouse.move(x, y)
        page.mouse.down()
        page.evaluate('() => { window.painted = 0; const put = CanvasRenderingContext2D.prototype.putImageData; '
                      'CanvasRenderingContext2D.prototype.putImageData = function (...a) { window.painted++; return put.apply(this, a) } }')
        page.evaluate(f'window.times = ({frames})(240)')
        for k in range(240): page.mouse.move(x, y + 8*(k % 20 - 10))
        page.mouse.up()
        times = torch.tensor(page.evaluate('window.times')).diff()
        print(f'frames: median {times.median():.1f} ms, 95% within {times.quantile(.95):.1f} ms, longest {times.max():.1f} ms; '
              f'{page.evaluate("window.painted")//5} repaints of picture, map and products')
        work = page.evaluate('''() => { // the work of one frame, without waiting for the screen
            const input = document.querySelectorAll('.cells input')[24], t = [], paint = []
            const ask = window.requestAnimationFrame; window.requestAnimationFrame = f => { paint.push(f); return 0 }
            for (let k = 0; k < 100; k++) { const start = performance.now(); input.value = String(k % 7 - 3); input.dispatchEvent(new Event('input')); for (const f of paint.splice(0)) f(); t.push(performance.now() - start) }
            window.requestAnimationFrame = ask; return t.sort((a, b) => a - b) }''')
        print(f'script for one frame: median {work[50]:.1f} ms, 95% within {work[95]:.1f} ms')
        browser.close()


if __name__ == '__main__': main()
