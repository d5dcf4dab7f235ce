"""How quick is WayLab in Chromium? From the page's request to the first answer, and from a movement of the pen to the painted frame.

    python bench/way_lab.py            the ten-digit network that ships, on a page opened from disk: ten openings, a stroke of 200 movements

A movement counts from the event to the end of the next frame in which the piece has painted; `work` is the part of it that the piece itself takes:
the forward pass, and all maps and scores painted. What must hold: a second, and 50 ms. With `--slow 4` the browser's processor is four times slower.
"""
import argparse
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from convlab.draw.way import WayLab

stroke = '''async n => {
    const pad = document.querySelector('canvas'), box = pad.getBoundingClientRect(), times = [], work = []
    const send = (type, k) => pad.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId: 1, button: 0, pointerType: 'mouse',
        clientX: box.left + box.width * (.5 + .3 * Math.sin(k / 9)), clientY: box.top + box.height * (.5 + .3 * Math.cos(k / 7)) }))
    pad.setPointerCapture = () => {}
    const frame = globalThis.requestAnimationFrame
    let painting = 0
    globalThis.requestAnimationFrame = f => frame(t => { const start = performance.now(); f(t); painting += performance.now() - start })
    send('pointerdown', 0)
    for (let k = 1; k <= n; k++) {
        await new Promise(f => setTimeout(f, 5))
        const start = performance.now()
        painting = 0
        send('pointermove', k)
        const sent = performance.now() - start
        await new Promise(f => frame(() => setTimeout(f)))
        times.push(performance.now() - start)
        work.push(sent + painting)
    }
    send('pointerup', n)
    return { times, work }
}'''


def show(name, ms):
    ms = sorted(ms)
    print(f'{name:28} median {statistics.median(ms):6.1f} ms   95 % within {ms[int(.95*len(ms))]:6.1f}   longest {ms[-1]:6.1f}')


if __name__ == '__main__':
    args = argparse.ArgumentParser()
    args.add_argument('--slow', type=float, default=1, help='times slower than this processor')
    slow = args.parse_args().slow
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        path = Path(folder)/'way.html'
        WayLab(point=('1.1', 3, 5, 2)).save(path)
        browser = p.chromium.launch(executable_path='/usr/bin/chromium', args=['--no-sandbox', '--disable-gpu', '--no-first-run'])
        opened = []
        for _ in range(10):
            page = browser.new_page(viewport=dict(width=1100, height=1000))
            page.context.new_cdp_session(page).send('Emulation.setCPUThrottlingRate', dict(rate=slow))
            start = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_selector('.says b')
            opened.append(1000*(time.perf_counter()-start))
            found = page.evaluate(stroke, 200) if len(opened) == 10 else None
            page.close()
        print(f'{path.stat().st_size/1000:.0f} KB on disk')
        show('opened, first answer', opened)
        show('a movement, painted', found['times'])
        show('  of it the work', found['work'])
        browser.close()
