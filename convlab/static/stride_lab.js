// StrideLab: where the windows of a convolution lie, and what size comes out.
import { accentColor, button, dress, keepKeys, make, messages, paintHatch, paintWindow, perFrame, sized, walkable } from './ui.js'
import { dial, following, partsStyle, player, taskList } from './labs_parts.js'
import { strideAxis, strideFormula, strideLine, strideLooks, strideMet, strideProblem, strideSees, strideTaps, strideTasks, strideWeights } from './stride_numbers.js'

const strideStyle = `
.convlab-live .stride { display: grid; gap: 14px; grid-template-columns: minmax(0, 1fr) }
.convlab-live .stride figure { margin: 0; min-width: 0 }
.convlab-live .stride figcaption { font-size: 13px; margin-bottom: 4px }
.convlab-live .stride canvas { touch-action: none }
.convlab-live .stride .maps { display: flex; flex-wrap: wrap; gap: 14px 26px; align-items: flex-start }
.convlab-live .stride .legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 12.5px; margin: 10px 0; color: var(--soft) }
.convlab-live .stride .legend span { display: inline-flex; gap: 6px; align-items: center }
.convlab-live .stride .formula { font-size: 15px; margin: 0 0 6px; line-height: 2.3; font-variant-numeric: tabular-nums }
.convlab-live .stride .frac { display: inline-flex; flex-direction: column; vertical-align: middle; text-align: center; line-height: 1.35; margin: 0 3px }
.convlab-live .stride .frac :first-child { border-bottom: 1px solid currentColor; padding: 0 3px }
.convlab-live .stride .line { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 8px 0 0 }
.convlab-live .stride .line code { overflow-wrap: anywhere }
@container (min-width: 720px) { .convlab-live .stride { grid-template-columns: 290px minmax(0, 1fr) } .convlab-live .stride .wide { grid-column: 1 / -1 } }
@container (max-width: 719px) { .convlab-live .stride .stage { order: -1 } }
`
const strideDials = [['n', 'Size n', 1, 14], ['ks', 'Kernel ks', 1, 7], ['stride', 'Stride', 1, 6], ['padding', 'Padding', 0, 5], ['dilation', 'Dilation', 1, 4],
  ['channels_in', 'Channels in', 1, 8], ['channels_out', 'Channels out', 1, 8], ['groups', 'Groups', 1, 8]]

// The look of one pixel: never looked at, or in a hole of the window, or met by a weight.
function strideCell(ctx, x, y, cell, { real, tap, hole, looks }) {
  const fill = tap ? (real ? '#f0a3c6' : 'rgba(214, 0, 108, .28)') : real ? (looks ? '#dcdfe3' : '#fff') : null
  if (fill) { ctx.fillStyle = fill; ctx.fillRect(x, y, cell, cell) }
  ctx.strokeStyle = real ? '#8a8f98' : 'rgba(120, 125, 135, .4)'
  ctx.lineWidth = 1
  ctx.strokeRect(x + .5, y + .5, cell - 1, cell - 1)
  const [mx, my] = [x + cell / 2, y + cell / 2]
  if (real && !looks) {
    const r = cell * .22
    ctx.strokeStyle = '#b35806'
    ctx.lineWidth = 1.6
    ctx.beginPath()
    ctx.moveTo(mx - r, my - r); ctx.lineTo(mx + r, my + r); ctx.moveTo(mx + r, my - r); ctx.lineTo(mx - r, my + r)
    ctx.stroke()
  } else if (real && cell >= 18) {
    ctx.fillStyle = '#1c1e21'
    ctx.fillText(looks, mx, my + .5)
  }
  if (!hole) return
  ctx.strokeStyle = accentColor
  ctx.lineWidth = 1.4
  ctx.beginPath()
  ctx.arc(mx, my, cell * .38, 0, 7)
  ctx.stroke()
}

function stridePaintInput(canvas, a, looks, at, cell) {
  const ctx = sized(canvas, a.padded, a.padded, cell), p = a.padding, taps = at?.map(i => strideTaps(a, i))
  ctx.font = `${Math.min(13, cell * .42)}px system-ui, sans-serif`
  ctx.textAlign = 'center'
  ctx.textBaseline = 'middle'
  ctx.fillStyle = '#fff'
  ctx.fillRect(0, 0, a.padded * cell, a.padded * cell)
  if (p) paintHatch(ctx, 0, 0, a.padded * cell, a.padded * cell)
  const within = (k, i) => taps && i >= taps[k][0] && i <= taps[k].at(-1)
  for (let i = -p; i < a.n + p; i++) for (let j = -p; j < a.n + p; j++) {
    const real = i >= 0 && i < a.n && j >= 0 && j < a.n, tap = taps && taps[0].includes(i) && taps[1].includes(j)
    strideCell(ctx, (j + p) * cell, (i + p) * cell, cell, { real, tap, hole: !tap && within(0, i) && within(1, j), looks: real && looks[i] * looks[j] })
  }
  if (!taps) return
  const [top, left] = taps.map(t => t[0] + p)
  paintWindow(ctx, { top, left, bottom: top + a.span, right: left + a.span }, cell)
}

function stridePaintOutput(canvas, a, at, cell) {
  const ctx = sized(canvas, a.out, a.out, cell), before = at[0] * a.out + at[1]
  for (let k = 0; k < a.out ** 2; k++) {
    const x = k % a.out * cell, y = Math.floor(k / a.out) * cell
    ctx.fillStyle = k === before ? '#f0a3c6' : k < before ? '#dcdfe3' : '#fff'
    ctx.fillRect(x, y, cell, cell)
    ctx.strokeStyle = '#8a8f98'
    ctx.lineWidth = 1
    ctx.strokeRect(x + .5, y + .5, cell - 1, cell - 1)
  }
  paintWindow(ctx, { top: at[0] + .06, left: at[1] + .06, bottom: at[0] + .94, right: at[1] + .94 }, cell)
}

// Inputs above, outputs below; a frame for each group, and a line from each output to the inputs that it sees.
function stridePaintChannels(canvas, s, chosen, width) {
  const height = 118, ctx = sized(canvas, height, width, 1), side = Math.min(24, width / 8 - 8), fits = !strideProblem({ ...s, n: 1, ks: 1, padding: 0, dilation: 1 })
  ctx.clearRect(0, 0, width, height)
  const x = (k, n) => (k + .5) / n * width, rows = [[s.channels_in, 14], [s.channels_out, height - 14 - side]]
  const join = (f, c, color, wide) => {
    ctx.strokeStyle = color
    ctx.lineWidth = wide
    ctx.beginPath()
    ctx.moveTo(x(c, s.channels_in), rows[0][1] + side)
    ctx.lineTo(x(f, s.channels_out), rows[1][1])
    ctx.stroke()
  }
  if (fits) {
    ctx.strokeStyle = '#8a8f98'
    ctx.lineWidth = 1
    for (let g = 0; g < s.groups; g++) { ctx.beginPath(); ctx.roundRect(g / s.groups * width + 3, 2, width / s.groups - 6, height - 4, 8); ctx.stroke() }
    for (let f = 0; f < s.channels_out; f++) for (const c of strideSees(f, s)) join(f, c, '#8a8f98', 1)
    for (const c of strideSees(chosen, s)) join(chosen, c, accentColor, 2.5)
  }
  ctx.textAlign = 'center'
  ctx.textBaseline = 'middle'
  ctx.font = '12px system-ui, sans-serif'
  rows.forEach(([n, y], row) => {
    for (let k = 0; k < n; k++) {
      const lit = fits && (row ? k === chosen : strideSees(chosen, s).includes(k)), left = x(k, n) - side / 2
      ctx.fillStyle = lit ? '#f0a3c6' : '#fff'
      ctx.fillRect(left, y, side, side)
      ctx.strokeStyle = lit ? accentColor : '#6b7078'
      ctx.lineWidth = lit ? 2 : 1
      ctx.strokeRect(left, y, side, side)
      ctx.fillStyle = '#1c1e21'
      ctx.fillText(k, x(k, n), y + side / 2 + .5)
    }
  })
}

function strideKey(draw, text) {
  const canvas = make('canvas', { 'aria-hidden': 'true' }), ctx = sized(canvas, 1, 1, 20)
  ctx.fillStyle = '#fff'
  ctx.fillRect(0, 0, 20, 20)
  ctx.textAlign = 'center'
  ctx.textBaseline = 'middle'
  ctx.font = '11px system-ui, sans-serif'
  draw(ctx)
  return make('span', {}, canvas, text)
}

const strideLegend = () => make('div', { className: 'legend' },
  strideKey(c => strideCell(c, 0, 0, 20, { real: true, looks: 4 }), 'a pixel, and how many windows look at it'),
  strideKey(c => strideCell(c, 0, 0, 20, { real: true, tap: true, looks: ' ' }), 'looked at now'),
  strideKey(c => strideCell(c, 0, 0, 20, { real: true, hole: true, looks: ' ' }), 'a hole in the window'),
  strideKey(c => { paintHatch(c, 0, 0, 20, 20); strideCell(c, 0, 0, 20, {}) }, 'padding: zeros'),
  strideKey(c => strideCell(c, 0, 0, 20, { real: true, looks: 0 }), 'never looked at'))

function strideFormulaRow(f) {
  const frac = (top, below) => make('span', { className: 'frac' }, make('span', { textContent: top }), make('span', { textContent: below }))
  const rounded = f.exact === f.floored ? `⌊${f.floored}⌋` : `⌊${f.exact}⌋`
  return ['out = ⌊', frac('n + 2 · padding − span', 'stride'), '⌋ + 1 = ⌊', frac(f.top, f.stride), '⌋ + 1 = ', `${rounded} + 1 = `,
          make('strong', { textContent: f.floored === f.exact ? f.out : `${f.floored} + 1 = ${f.out}` })]
}

export default {
  render({ model, el }) {
    dress(el, partsStyle + strideStyle)
    keepKeys(el)
    const { told, alert, tell, warn } = messages(), [input, output, channels] = [0, 1, 2].map(() => make('canvas'))
    const names = [...strideDials.map(d => d[0]), 'at', 'out_channel', 'done']
    let typed = ''
    const state = following(model, names, perFrame(refresh)), says = make('p', { className: 'soft' })
    const dials = strideDials.map(([name, label, min, max]) => [name, dial({ label, min, max, change: v => state.put({ [name]: v }), warn: (text = '') => { typed = text; refresh() } })])
    const tasks = taskList(strideTasks, tell), captions = ['', ''].map(() => make('figcaption'))
    const formula = make('p', { className: 'formula', role: 'math' }), span = make('p', { className: 'soft' }), line = make('code'), weights = make('span', { className: 'soft' })
    const copy = button('Copy', async () => {
      try { await navigator.clipboard.writeText(line.textContent); tell('Copied.') } catch { getSelection().selectAllChildren(line); tell('Selected: copy it with Ctrl+C.') }
    }, { 'aria-label': 'Copy the line of PyTorch' })
    const where = s => { const out = strideAxis(s).out; return s.at.map(k => Math.max(0, Math.min(out - 1, k))) }
    const go = at => { walk.stop(); state.put({ at }) }
    const walk = player({ move(k) {
      const s = state.all, { out } = strideAxis(s), [i, j] = where(s), next = Math.max(0, Math.min(out ** 2 - 1, i * out + j + k))
      if (next === i * out + j) return false
      state.put({ at: [Math.floor(next / out), next % out] })
      return true
    } })
    walkable(output, { label: 'The result', size: () => Array(2).fill(Math.max(1, strideAxis(state.all).out)), at: () => where(state.all), point: (i, j) => go([i, j]) })
    walkable(channels, { label: 'The channels of the result', size: () => [1, state.all.channels_out], at: () => [0, state.all.out_channel], point: (_, f) => state.put({ out_channel: f }) })
    input.setAttribute('role', 'img')
    const pull = e => { // the window whose middle is nearest to the pointer
      const a = strideAxis(state.all), box = input.getBoundingClientRect(), cell = box.width / a.padded
      if (a.out) go([e.clientY - box.top, e.clientX - box.left].map(p => Math.max(0, Math.min(a.out - 1, Math.round((p / cell - a.span / 2) / a.stride)))))
    }
    for (const type of ['pointerdown', 'pointermove']) input.addEventListener(type, pull)

    const figures = [input, output].map((canvas, k) => make('figure', {}, captions[k], canvas)), maps = make('div', { className: 'maps' }, ...figures)
    const stage = make('div', { className: 'stage' }, maps, strideLegend(), walk.el, alert, told)
    const layer = make('div', { className: 'panel' }, make('h4', { textContent: 'Channels and groups' }), channels, says)
    const facts = make('div', { className: 'panel' }, formula, span, make('div', { className: 'line' }, line, copy), weights)
    el.append(make('h3', { textContent: 'StrideLab' }), make('p', { className: 'soft', textContent: 'Where does the window go, what does it see, and how large is the result?' }),
      make('div', { className: 'stride' }, make('div', {}, ...dials.map(d => d[1]), layer), make('div', { className: 'stage' }, stage, facts), make('div', { className: 'wide' }, tasks.el)))

    function refresh() {
      const s = state.all, a = strideAxis(s), problem = strideProblem(s), looks = strideLooks(a), at = where(s), chosen = Math.min(s.out_channel, s.channels_out - 1)
      for (const [name, d] of dials) d.show(s[name])
      warn(typed || problem)
      walk.enable(a.out > 1)
      const room = maps.clientWidth || 320, beside = Math.floor((room - 28) / (a.padded + a.out)), cell = Math.max(8, Math.min(32, beside >= 15 ? beside : Math.floor(room / Math.max(a.padded, a.out))))
      stridePaintInput(input, a, looks, a.out ? at : null, cell)
      figures[1].hidden = !a.out
      if (a.out) stridePaintOutput(output, a, at, cell)
      stridePaintChannels(channels, s, chosen, layer.clientWidth - 24 || 250)
      captions[0].textContent = `Picture: ${s.n} × ${s.n}${s.padding ? `, padded ${a.padded} × ${a.padded}` : ''}`
      captions[1].textContent = `Result: ${a.out} × ${a.out}`
      const blind = s.n ** 2 - looks.filter(v => v).length ** 2, f = strideFormula(s)
      formula.replaceChildren(...(a.out ? strideFormulaRow(f) : [`${f.top} is below 0: no window fits.`]))
      formula.setAttribute('aria-label', a.out ? `floor of (${f.top}) divided by ${f.stride}, plus 1, is ${f.out}` : 'no window fits')
      span.textContent = `span = dilation · (ks − 1) + 1 = ${f.span}` + (a.left ? `. The last ${a.left === 1 ? 'row and column are' : `${a.left} rows and columns are`} too few for one more step.` : '')
      line.textContent = strideLine(s)
      copy.disabled = problem !== ''
      weights.textContent = problem ? '' : `${s.channels_out} kernels of ${s.channels_in / s.groups} × ${s.ks} × ${s.ks}: ${strideWeights(s)} weights, and ${s.channels_out} biases`
      says.textContent = s.channels_in % s.groups || s.channels_out % s.groups ? '' : `Output channel ${chosen} sees input channel${s.channels_in > s.groups ? 's' : ''} ${strideSees(chosen, s).join(', ')}.`
      input.setAttribute('aria-label', `A picture of ${s.n} by ${s.n} pixels with ${s.padding} rings of padding. ${blind ? `${blind} pixels are never looked at.` : 'Every pixel is looked at.'}`)
      if (a.out) tell(strideTold(s, a, at, blind))
      const done = problem ? null : tasks.check(strideMet(s), s.done)
      if (problem) tasks.check([], s.done)
      if (done) state.put({ done })
    }
    const watch = new ResizeObserver(perFrame(refresh))
    watch.observe(maps)
    refresh()
    return () => { walk.stop(); watch.disconnect(); state.stop() }
  },
}

function strideTold(s, a, at, blind) {
  const [rows, columns] = at.map(i => strideTaps(a, i)), inside = t => t.filter(p => p >= 0 && p < s.n).length
  const pad = s.ks ** 2 - inside(rows) * inside(columns)
  return `Row ${at[0]}, column ${at[1]} of the result looks at rows ${rows.join(', ')} and columns ${columns.join(', ')}`.replaceAll('-', '−')
    + `${pad ? `; ${pad} of its ${s.ks ** 2} places ${pad === 1 ? 'is' : 'are'} padding` : ''}. ${blind ? `${blind} of ${s.n ** 2} pixels are never looked at.` : 'Every pixel is looked at.'}`
}
