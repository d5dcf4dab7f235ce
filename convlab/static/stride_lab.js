// StrideLab: where the windows of a convolution lie, and what size comes out.
import { accentColor, button, make, messages, paintHatch, paintWindow, perFrame, sized, walkable } from './ui.js'
import { between, dialRows, following, keepUp, note, openLab, player, taskList } from './labs_parts.js'
import { strideAxis, strideFormula, strideLine, strideLooks, strideMet, strideProblem, strideSees, strideShared, strideTaps, strideTasks, strideWeights } from './stride_numbers.js'

const strideStyle = `
.StrideLab {
  figcaption { font-size: 13px; margin-bottom: 4px }
  canvas { touch-action: none }
  .maps { display: flex; flex-wrap: wrap; gap: 14px 26px; align-items: flex-start }
  .legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 10px 0 }
  .legend span { display: inline-flex; gap: 6px; align-items: center }
  .told { margin: 8px 0 }
  .formula { font-size: 15px; margin: 0; line-height: 2.3; font-variant-numeric: tabular-nums }
  .frac { display: inline-flex; flex-direction: column; vertical-align: middle; text-align: center; line-height: 1.35; margin: 0 3px }
  .frac :first-child { border-bottom: 1px solid currentColor; padding: 0 3px }
  code { font: 12.5px/1.5 ui-monospace, Menlo, Consolas, monospace; background: none; color: inherit; padding: 0; overflow-wrap: anywhere }
  .dials > .panel { margin-top: 8px }
  .stage { order: -1 }
  @container (min-width: 720px) { grid: auto 1fr auto / 290px minmax(0, 1fr); .stage { order: 0 } .dials { grid-area: 1 / 1 / 3 / 2 } .wide { grid-column: 1 / -1 } }
}
`
const strideDials = [['n', 'Size n', 1, 14], ['ks', 'Kernel ks', 1, 7], ['stride', 'Stride', 1, 6], ['padding', 'Padding', 0, 5], ['dilation', 'Dilation', 1, 4],
  ['channels_in', 'Channels in', 1, 8], ['channels_out', 'Channels out', 1, 8], ['groups', 'Groups', 1, 8]]

function strideBox(ctx, x, y, side, fill, edge = '#8a8f98', width = 1) {
  if (fill) { ctx.fillStyle = fill; ctx.fillRect(x, y, side, side) }
  ctx.strokeStyle = edge
  ctx.lineWidth = width
  ctx.strokeRect(x + .5, y + .5, side - 1, side - 1)
}

function strideStroke(ctx, color, width, draw) {
  ctx.strokeStyle = color
  ctx.lineWidth = width
  ctx.beginPath()
  draw()
  ctx.stroke()
}

function strideLetters(ctx, size) {
  ctx.font = `${size}px system-ui, sans-serif`
  ctx.textAlign = 'center'
  ctx.textBaseline = 'middle'
}

function strideLetter(ctx, text, x, y) { ctx.fillStyle = '#1c1e21'; ctx.fillText(text, x, y + .5) }

const strideLit = '#f0a3c6', strideSeen = '#dcdfe3'

// The look of one pixel: met by a weight, in a hole of the window, or never looked at.
function strideCell(ctx, x, y, cell, { real, tap, hole, looks }) {
  strideBox(ctx, x, y, cell, tap ? (real ? strideLit : 'rgba(214, 0, 108, .28)') : real && (looks ? strideSeen : '#fff'), real ? '#8a8f98' : 'rgba(120, 125, 135, .4)')
  const mx = x + cell / 2, my = y + cell / 2, r = cell * .22
  if (real && !looks) strideStroke(ctx, '#b35806', 1.6, () => { for (const d of [r, -r]) { ctx.moveTo(mx - r, my - d); ctx.lineTo(mx + r, my + d) } })
  else if (real && cell >= 18) strideLetter(ctx, looks, mx, my)
  if (hole) strideStroke(ctx, accentColor, 1.4, () => ctx.arc(mx, my, cell * .38, 0, 7))
}

function stridePaintInput(canvas, a, looks, at, cell) {
  const side = a.padded * cell, ctx = sized(canvas, a.padded, a.padded, cell), p = a.padding, taps = at?.map(i => strideTaps(a, i))
  strideLetters(ctx, Math.min(13, cell * .42))
  paintHatch(ctx, 0, 0, side, side)
  const within = (k, i) => taps && i >= taps[k][0] && i <= taps[k].at(-1)
  for (let i = -p; i < a.n + p; i++) for (let j = -p; j < a.n + p; j++) {
    const real = Math.min(i, j) >= 0 && Math.max(i, j) < a.n, tap = taps && taps[0].includes(i) && taps[1].includes(j)
    strideCell(ctx, (j + p) * cell, (i + p) * cell, cell, { real, tap, hole: !tap && within(0, i) && within(1, j), looks: real && looks[i] * looks[j] })
  }
  if (!taps) return
  const [top, left] = taps.map(t => t[0] + p)
  paintWindow(ctx, { top, left, bottom: top + a.span, right: left + a.span }, cell)
}

function stridePaintOutput(canvas, a, at, cell) {
  const ctx = sized(canvas, a.out, a.out, cell), now = at[0] * a.out + at[1]
  for (let k = 0; k < a.out ** 2; k++) strideBox(ctx, k % a.out * cell, Math.floor(k / a.out) * cell, cell, k === now ? strideLit : k < now ? strideSeen : '#fff')
  paintWindow(ctx, { top: at[0] + .06, left: at[1] + .06, bottom: at[0] + .94, right: at[1] + .94 }, cell)
}

// Inputs above, outputs below; a frame for each group, and a line from each output to the inputs that it sees.
function stridePaintChannels(canvas, s, chosen, sees, width) {
  const height = 118, ctx = sized(canvas, height, width, 1), side = 22
  ctx.clearRect(0, 0, width, height)
  strideLetters(ctx, 12)
  const x = (k, n) => (k + .5) / n * width, low = height - 14 - side
  const join = (f, color, wide) => strideStroke(ctx, color, wide, () => { for (const c of strideSees(f, s)) { ctx.moveTo(x(c, s.channels_in), 14 + side); ctx.lineTo(x(f, s.channels_out), low) } })
  if (sees.length) {
    for (let g = 0; g < s.groups; g++) strideStroke(ctx, '#8a8f98', 1, () => ctx.roundRect(g / s.groups * width + 3, 2, width / s.groups - 6, height - 4, 8))
    for (let f = 0; f < s.channels_out; f++) join(f, '#8a8f98', 1)
    join(chosen, accentColor, 2.5)
  }
  for (const [n, y, lit] of [[s.channels_in, 14, sees], [s.channels_out, low, sees.length ? [chosen] : []]]) for (let k = 0; k < n; k++) {
    strideBox(ctx, x(k, n) - side / 2, y, side, ...(lit.includes(k) ? [strideLit, accentColor, 2] : ['#fff', '#6b7078']))
    strideLetter(ctx, k, x(k, n), y + side / 2)
  }
}

function strideKey(text, look) {
  const canvas = make('canvas', { 'aria-hidden': 'true' }), ctx = sized(canvas, 1, 1, 20)
  strideLetters(ctx, 11)
  if (!look.real) paintHatch(ctx, 0, 0, 20, 20)
  strideCell(ctx, 0, 0, 20, { looks: ' ', ...look })
  return make('span', {}, canvas, text)
}

const strideLegend = () => make('div', { className: 'legend soft small' }, strideKey('a pixel, and how many windows look at it', { real: 1, looks: 4 }), strideKey('looked at now', { real: 1, tap: 1 }),
  strideKey('a hole in the window', { real: 1, hole: 1 }), strideKey('padding: zeros', {}), strideKey('never looked at', { real: 1, looks: 0 }))

function strideFormulaRow({ top, stride, exact, floored, out }) {
  const frac = (...rows) => make('span', { className: 'frac' }, ...rows.map(textContent => make('span', { textContent })))
  return ['out = ⌊', frac('n + 2 · padding − span', 'stride'), '⌋ + 1 = ⌊', frac(top, stride), `⌋ + 1 = ⌊${exact}⌋ + 1 = ${exact === floored ? '' : `${floored} + 1 = `}`, make('strong', { textContent: out })]
}

// The picture of the channels, which is walked along its outputs.
function strideChannels(state) {
  const canvas = make('canvas'), says = note(), el = make('div', { className: 'panel' }, make('h4', { textContent: 'Channels and groups' }), canvas, says)
  walkable(canvas, { label: 'The channels of the result', size: () => [1, state.all.channels_out], at: () => [0, state.all.out_channel], point: (_, f) => state.put({ out_channel: f }) })
  return { el, show(s) {
    const chosen = Math.min(s.out_channel, s.channels_out - 1), sees = strideShared(s) ? strideSees(chosen, s) : []
    stridePaintChannels(canvas, s, chosen, sees, el.clientWidth - 24)
    says.textContent = sees.length ? `Output channel ${chosen} sees input channel${sees.length > 1 ? 's' : ''} ${sees.join(', ')}.` : ''
  } }
}

// The formula with its numbers, the line of PyTorch, and the weights.
function strideFacts(tell) {
  const formula = make('p', { className: 'formula', role: 'math' }), span = note(), line = make('code'), weights = note()
  const copy = button('Copy', () => { getSelection().selectAllChildren(line); document.execCommand('copy'); tell('Copied.') })
  return { el: make('div', { className: 'panel' }, formula, span, make('div', { className: 'row' }, line, copy), weights), show(s, a, problem) {
    const f = strideFormula(s)
    formula.replaceChildren(...(a.out ? strideFormulaRow(f) : [`${f.top} is below 0: no window fits.`]))
    formula.ariaLabel = a.out ? `floor of (${f.top}) divided by ${f.stride}, plus 1, is ${f.out}` : 'no window fits'
    span.textContent = `span = dilation · (ks − 1) + 1 = ${f.span}` + (a.left ? `. Left over at the end: ${a.left}, too few for one more step.` : '')
    line.textContent = strideLine(s)
    copy.disabled = problem !== ''
    weights.textContent = problem ? '' : `${s.channels_out} kernels of ${s.channels_in / s.groups} × ${s.ks} × ${s.ks}: ${strideWeights(s)} weights, and ${s.channels_out} biases`
  } }
}

export default {
  render({ model, el }) {
    const { told, alert, tell, warn } = messages(), [input, output] = [0, 1].map(() => make('canvas')), captions = [0, 1].map(() => make('figcaption'))
    const soon = perFrame(refresh), state = following(model, [...strideDials.map(d => d[0]), 'at', 'out_channel', 'done'], soon)
    let typed = ''
    const dials = dialRows(strideDials, state.put, (text = '') => { typed = text; soon() })
    const tasks = taskList(strideTasks, state), channels = strideChannels(state), facts = strideFacts(tell)
    const where = (s, { out } = strideAxis(s)) => s.at.map(k => between(k, 0, out - 1))
    const go = at => { walk.stop(); state.put({ at }) }
    const walk = player({ move(k) {
      const s = state.all, { out } = strideAxis(s), [i, j] = where(s), next = between(i * out + j + k, 0, out ** 2 - 1)
      if (next !== i * out + j) state.put({ at: [Math.floor(next / out), next % out] })
      return next !== i * out + j
    } })
    walkable(output, { label: 'The result', size: () => Array(2).fill(strideAxis(state.all).out || 1), at: () => where(state.all), point: (i, j) => go([i, j]) })
    const pull = e => { // the window whose middle is nearest to the pointer
      const a = strideAxis(state.all), box = input.getBoundingClientRect(), cell = box.width / a.padded
      if (a.out) go([e.clientY - box.top, e.clientX - box.left].map(p => between(Math.round((p / cell - a.span / 2) / a.stride), 0, a.out - 1)))
    }
    input.role = 'img'
    input.onpointerdown = input.onpointermove = pull
    const figures = [input, output].map((canvas, k) => make('figure', {}, captions[k], canvas)), maps = make('div', { className: 'maps' }, ...figures)
    openLab(el, strideStyle, 'StrideLab', 'Where does the window go, what does it see, and how large is the result?', make('div', { className: 'dials' }, ...dials.els, channels.el),
      make('div', { className: 'stage' }, maps, strideLegend(), walk.el, alert, told), facts.el, tasks.el)

    function refresh() {
      const s = state.all, a = strideAxis(s), problem = strideProblem(s), looks = strideLooks(a), at = where(s), blind = s.n ** 2 - looks.filter(v => v).length ** 2
      const room = maps.clientWidth, beside = Math.floor((room - 28) / (a.padded + a.out)), cell = between(beside >= 15 ? beside : Math.floor(room / Math.max(a.padded, a.out)), 8, 32)
      dials.show(s)
      warn(typed || problem)
      walk.enable(a.out > 1)
      stridePaintInput(input, a, looks, a.out ? at : null, cell)
      figures[1].hidden = !a.out
      if (a.out) stridePaintOutput(output, a, at, cell)
      captions[0].textContent = `Picture: ${s.n} × ${s.n}${s.padding ? `, padded ${a.padded} × ${a.padded}` : ''}`
      captions[1].textContent = `Result: ${a.out} × ${a.out}`
      const unseen = blind ? `${blind} of ${s.n ** 2} pixels are never looked at.` : 'Every pixel is looked at.'
      input.ariaLabel = `The picture. ${unseen}`
      tell(a.out ? strideTold(s, at.map(i => strideTaps(a, i)), at) + unseen : '')
      channels.show(s)
      facts.show(s, a, problem)
      tasks.check(strideMet(s))
    }
    return keepUp(maps, refresh, walk, state)
  },
}

function strideTold(s, [rows, columns], [i, j]) {
  const inside = t => t.filter(p => p >= 0 && p < s.n).length, pad = s.ks ** 2 - inside(rows) * inside(columns)
  return `Row ${i}, column ${j} of the result looks at rows ${rows.join(', ')} and columns ${columns.join(', ')}`.replaceAll('-', '−') + `${pad ? `, of which ${pad} of ${s.ks ** 2} places are padding` : ''}. `
}
