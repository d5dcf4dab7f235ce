"What the live pieces share: the joined text, the state that two sides have, colors, and numbers as people write them."
import json
import re
import sys

import pytest
from browser import modules, node
from conftest import root
from matplotlib.colors import to_rgba

from convlab.draw import plotting
from convlab.draw.widgets import Live, _squeezed, fragment, joined, page, refreshed

sys.path.insert(0, str(root/'tools'))
import pieces as tool  # noqa: E402

pieces = sorted(p.name for p in modules.glob('*.js') if 'export default' in p.read_text() and p.name != 'line.js')


def names(text): return re.findall(r'^(?:export )?(?:async )?(?:function\*?|const|let|class) (\w+)', text, re.M)


def test_names_are_unique_over_all_files():
    seen = [n for p in modules.glob('*.js') for n in names(p.read_text())]
    assert len(seen) == len({*seen}), sorted(n for n in seen if seen.count(n) > 1)


def test_exports_begin_a_line_and_imports_are_one_line():
    for p in modules.glob('*.js'):
        text = p.read_text()
        assert len(re.findall(r'\bexport (?:default|function|const|class|async)', text)) == len(re.findall(r'^export ', text, re.M)), p.name
        assert all(re.fullmatch(r"import \{ [\w, ]+ \} from '\./\w+\.js'", line) for line in re.findall(r'^import .*', text, re.M)), p.name


def test_the_joined_text_is_one_module():
    text = joined('kernel_lab.js', 'live.js')
    assert not re.search(r'^import |^export (?!default)| //', text, re.M) and text.index('class LiveModel') < text.index('function dress') < text.index('export default')
    assert 'function slider' not in text  # nobody needs it
    assert node(f'{text.replace("export default", "const piece =")}\ndone(written(-0.5) + new LiveModel({{a: 1}}).get("a"))') == '−0.51'


def test_strings_and_expressions_come_through_unharmed():
    text = r"""const a = 'x  =  1', b = `p { c: ${1 + 1} }`, c = /a  = [/ ]b/, d = 4 / 2 / 1, e = 1 - -1 + +1, f = `${b ? `( ${d} )` : ''} = ${[1].map(v => `< ${v} >`)}`
"""
    assert node(f'{_squeezed(text)}\ndone([a, b, String(c), d, e, f])') == ['x  =  1', 'p { c: 2 }', '/a  = [/ ]b/', 2, 3, '( 2 ) = < 1 >']


@pytest.mark.parametrize('module', pieces)
def test_a_piece_is_small_and_runs_as_it_is_joined(module):
    text = joined(module)
    assert len(joined(module, 'live.js').encode()) < 30*1024 and text.count('export default') == 1
    assert node(f'{text.replace("export default", "const piece =")}\ndone(Object.keys(piece))') == ['render']
    assert node(f'import piece from "./{module}"\ndone(Object.keys(piece))') == ['render']


def test_no_state_ends_the_script_that_it_stands_in():
    state = dict(text='</script><script>alert(1)</script><!-- "&amp;')
    html = fragment('line.js', state)
    assert html.count('</script') == 1 and '<!--' not in html
    assert json.loads(re.search(r"livePiece, (.*)\)\n", html)[1]) == state
    assert '<title>A &lt; B</title>' in page('A < B', html)
    with pytest.raises(ValueError): fragment('line.js', dict(n=float('nan')))


def test_a_saved_script_is_brought_up_to_date_and_its_state_is_kept():
    now = fragment('quiz.js', dict(text='"use strict"'), '<img alt="still">')
    old = now.replace('convlabLines', 'linesOfOld').replace('function make(', 'function built(')
    assert old != now and refreshed(f'<p>{old}</p>{old}') == f'<p>{now}</p>{now}' and refreshed(now) == now


def test_the_tool_changes_scripts_and_nothing_else():
    html = fragment('quiz.js', dict(n=1), '<img>')
    def saved(html): return dict(cells=[dict(source=['ask(1)']), dict(outputs=[dict(data={'text/html': html.splitlines(True)}), dict(text=['x'])])])
    nb = saved(html.replace('function make(', 'function built('))
    assert tool.bring_up_to_date(nb) and nb == saved(html) and not tool.bring_up_to_date(nb)


@pytest.mark.parametrize('path', sorted((root/'nbs').rglob('[!_.]*.ipynb')), ids=lambda p: p.relative_to(root/'nbs').with_suffix('').as_posix())
def test_saved_pieces_have_the_scripts_of_now(path):
    for data in tool.outputs(json.loads(path.read_text(encoding='utf-8'))):
        html = ''.join(data['text/html'])
        assert html.count('convlab-place" data-piece') == html.count('" data-module="'), f'{path.name} was saved by an older convlab: run it again, with `make notebooks NB={path.stem}`'
        assert refreshed(html) == html, f'{path.name} was saved with older scripts: `make pieces`'


def test_a_state_follows_python_and_python_follows_it():
    done = node('''
import { LiveModel } from './live.js'
class Line extends LiveModel { send() {} }
const page = new LiveModel({ n: 1, kernel: [1, 2] }), python = new Line({ n: 2, kernel: [1, 2], piece_id: 'x' }), heard = []
const hear = () => heard.push(page.get('n'))
page.on('change:n', hear)
page.on('change:kernel', () => heard.push('kernel'))
page.set('n', 5); page.save_changes()
page.join(python)                           // Python's state is the truth
python.set('n', 3)                          // Python to page
page.set('n', 4)                            // page to Python, once it is saved
const before = python.get('n')
page.save_changes()
page.off('change:n', hear)
page.set('n', 9)
done([heard, before, python.get('n'), page.get('n')])''')
    assert done == [[5, 2, 3, 4], 3, 4, 9]


def test_python_has_a_state_without_a_page(tmp_path):
    class Piece(Live): module, title = 'line.js', 'A piece'
    piece = Piece(n=1)
    piece.put(n=2)
    assert piece.state == dict(n=2) and '{"n":2}' in piece.html() and repr(piece) == 'Piece: A piece'
    piece.save(tmp_path/'piece.html')
    text = (tmp_path/'piece.html').read_text()
    assert '<title>A piece</title>' in text and 'data-piece=""' in text


def test_colors_are_those_of_the_figures():
    values, signed = [-1, -.7, -.5, -.2, 0, .2, .5, .8, 1], plotting.signed_scale()
    colors, inks = node('import { colorOf } from "./ui.js"\ndone([true, false].map(s => given.map(v => colorOf(v, 1, s))))', values)
    import matplotlib.pyplot as plt
    for v, color, inked in zip(values, colors, inks):
        for map_, at, found in ((signed, (v+1)/2, color), (plt.get_cmap('Greys'), max(float(v), 0.), inked)):
            assert [int(c) for c in re.findall(r'\d+', found)] == pytest.approx([255*c for c in map_(at)[:3]], abs=4), v
    accent = node('import { accentColor } from "./ui.js"\ndone(accentColor)')
    assert to_rgba(accent) == to_rgba(plotting.accent)


def test_letters_can_be_read_on_every_color():
    "WCAG 2: a contrast of at least 4.5."
    worst = node('''
import { colorOf, letterColor } from './ui.js'
const light = color => { const [r, g, b] = color.match(/\\d+/g).map(c => c / 255 <= .03928 ? c / 255 / 12.92 : ((c / 255 + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b }
const contrast = (v, signed) => { const l = light(colorOf(v, 1, signed)); return letterColor(v, 1, signed) === '#000' ? (l + .05) / .05 : 1.05 / (l + .05) }
done(Math.min(...Array.from({ length: 401 }, (_, k) => k / 200 - 1).flatMap(v => [contrast(v, true), contrast(v, false)])))''')
    assert worst >= 4.5


def test_numbers_are_read_and_written_as_people_do():
    given = ['1/9', '−2', '0,5', ' 3 ', '.25', '1e2', '', 'x', '1/0', '1/2/3', '--1', '0x10', 'Infinity', '1e308']
    read = node('import { readNumber } from "./ui.js"\ndone(given.map(readNumber))', given)
    assert read == [pytest.approx(1/9), -2, .5, 3, .25, 100] + [None]*8
    shown = node('import { written } from "./ui.js"\ndone(given.map(v => written(v)))', [0, -0.001, 1.5, -2, 0.126, 100, 1e5, 123456.7])
    assert shown == ['0', '0', '1.5', '−2', '0.13', '100', '1.000e+5', '1.235e+5']
