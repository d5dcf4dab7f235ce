"The time line of films: the frames are Pillow's, and it is worked by mouse and keyboard, in light and dark, on a page from disk."
import base64
import io

import pytest
import torch
from browser import browser, from_disk, needs_chromium, pages, violations  # noqa: F401
from PIL import Image, ImageChops

from convlab.draw.widgets import page as html_page
from convlab.draw.windows import show_film

pytestmark = needs_chromium
clip = show_film(torch.arange(30.).view(5, 6), torch.eye(3), stride=2, padding=1, ms=200)


@pytest.fixture
def film(tmp_path, pages):
    def opening(**options):
        (tmp_path/'film.html').write_text(html_page('A film', clip._repr_html_()))
        page = from_disk(pages, tmp_path/'film.html', **options)
        page.wait_for_selector('.convlab-live canvas')
        return page
    return opening


def shown(page): return Image.open(io.BytesIO(base64.b64decode(page.evaluate("document.querySelector('canvas').toDataURL().split(',')[1]")))).convert('RGB')


def frame(page): return int(page.locator('output').text_content().split(' / ')[0])


def test_every_frame_is_as_it_was_drawn(film):
    page = film()
    whole = Image.open(io.BytesIO(clip.data))
    page.click('text=Pause')
    for k in range(whole.n_frames):
        page.locator('input[type=range]').fill(str(k))
        whole.seek(k)
        assert frame(page) == k+1 and ImageChops.difference(shown(page), whole.convert('RGB')).getbbox() is None, k


def test_it_is_paused_stepped_and_hastened(film):
    page = film()
    page.wait_for_function("parseInt(document.querySelector('output').textContent) > 2")
    page.select_option('select', '4')
    page.click('text=Pause')
    at = frame(page)
    page.wait_for_timeout(400)
    assert frame(page) == at
    page.click('text=›')
    assert frame(page) == at % 9 + 1
    page.locator('input[type=range]').focus()
    page.keyboard.press('Home')
    for _ in range(3): page.keyboard.press('ArrowRight')
    assert frame(page) == 4
    page.keyboard.press('Tab')
    page.locator('text=Play').focus()
    page.keyboard.press('Space')
    page.wait_for_function("document.querySelector('output').textContent[0] !== '4'")


def test_it_is_worked_by_touch(film):
    page = film(width=390, touch=True)
    page.tap('text=Pause')
    at = frame(page)
    page.tap('text=›')
    page.tap('text=›')
    assert frame(page) == (at+1) % 9 + 1
    page.tap('text=‹')
    assert frame(page) == at % 9 + 1
    line = page.locator('input[type=range]').bounding_box()
    for share, wanted in ((.995, 9), (.005, 1)):  # on the time line
        page.touchscreen.tap(line['x'] + share*line['width'], line['y'] + line['height']/2)
        assert frame(page) == wanted
    page.locator('select').tap()
    page.select_option('select', '4')
    assert page.get_by_text('Play', exact=True).is_visible(), 'it starts only when asked'
    page.tap('text=Play')
    page.wait_for_function("parseInt(document.querySelector('output').textContent) > 4")
    assert all(b['height'] >= 40 for b in [e.bounding_box() for e in page.locator('button, select').all()]), 'too small for a finger'
    page.tap('text=Pause')
    at = frame(page)
    page.wait_for_timeout(300)
    assert frame(page) == at


@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('width', [390, 1400])
def test_everybody_can_use_it(film, width, dark):
    page = film(width=width, dark=dark)
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert violations(page) == []
    assert 'Frame ' in page.locator('canvas').get_attribute('aria-label')
