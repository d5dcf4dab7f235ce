// ValleyLab: steps down a valley with two dips.
import { button, freshId, make, messages, perFrame, switcher, written } from './ui.js'
import { between, dialRows, following, keepUp, note, openLab, player, taskList } from './labs_parts.js'
import { valleyAt, valleyDips, valleyFate, valleyHolds, valleyMemories, valleyMet, valleyPaths, valleyRate, valleyTasks } from './valley_numbers.js'

const valleyStyle = `
.ValleyLab {
  svg { display: block; touch-action: pan-y; font-size: 11.5px; border-radius: 6px; background: var(--raised); margin-bottom: 6px }
  .hand { cursor: ew-resize }
  text { fill: var(--soft) }
  .ground { fill: none; stroke: var(--text); stroke-width: 2 }
  .tick { stroke: var(--line) }
  .cup { fill: var(--accent); fill-opacity: .1; stroke: var(--accent); stroke-dasharray: 5 4; stroke-width: 1.5 }
  .way { fill: none; stroke: var(--accent); stroke-width: 1.2; stroke-linejoin: round; opacity: .75 }
  .many { opacity: .3 }
  .step { fill: var(--accent) }
  .ball { fill: var(--accent); stroke: var(--page); stroke-width: 1.5 }
  .start { fill: var(--page); stroke: var(--accent); stroke-width: 2 }
  .rule { stroke: var(--positive); stroke-dasharray: 2 3 }
  .now { margin-top: 8px }
  .row { margin-top: 6px }
  .dips { margin: 0; padding: 0 0 0 18px }
  table { border-collapse: collapse; font-size: 13px; margin: 0; width: 100% }
  :is(td, th) { padding: 3px 8px; text-align: right; border-bottom: 1px solid var(--line); background: none; font-variant-numeric: tabular-nums }
  :is(td, th):first-child { text-align: left }
  th { font-weight: 500; color: var(--soft); vertical-align: bottom }
  @container (max-width: 759px) { .charts { order: 1 } .memories { order: 2 } .wide { order: 3 } }
  @container (min-width: 760px) { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); .wide { grid-column: 1 / -1 } }
}
`
const valleyDials = [['start', 'Start', -3, 6, .1], ['rate', 'Rate', .01, 3, .01, true], ['momentum', 'Momentum', 0, .98, .01], ['noise', 'Noise', 0, 3, .1],
  ['balls', 'Balls', 1, 30, 1], ['steps', 'Steps', 5, 200, 1]]

function valleySvg(tag, attributes = {}, ...children) {
  const el = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value)
  el.append(...children)
  return el
}

// A frame with ticks: places for x and y in pixels, and its elements.
function valleyFrame(svg, { width, height, x: [left, right], y: [low, high], xLabel, yLabel, yAt = 1 }) {
  const [l, b, t, r] = [38, 24, 10, 14], px = v => l + (v - left) / (right - left) * (width - l - r), py = v => height - b - (v - low) / (high - low) * (height - b - t)
  for (const [name, v] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) svg.setAttribute(name, v)
  const parts = []
  for (const v of valleyTicks(left, right, width / 70)) parts.push(valleySvg('line', { class: 'tick', x1: px(v), x2: px(v), y1: t, y2: height - b }), valleySvg('text', { x: px(v), y: height - 8, 'text-anchor': 'middle' }, written(v)))
  for (const v of valleyTicks(low, high, height / 40)) parts.push(valleySvg('line', { class: 'tick', x1: l, x2: width - r, y1: py(v), y2: py(v) }), valleySvg('text', { x: l - 5, y: py(v) + 4, 'text-anchor': 'end' }, written(v)))
  parts.push(valleySvg('text', { x: width - r - 4, y: height - b - 6, 'text-anchor': 'end' }, xLabel), valleySvg('text', { x: yAt * (width - r - 4), y: t + 10, 'text-anchor': 'end' }, yLabel))
  return { px, py, left: l, bottom: height - b, unit: (right - left) / (width - l - r), parts }
}

function valleyTicks(low, high, most) {
  const rough = (high - low) / Math.max(2, most), power = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].map(k => k * power).find(s => s >= rough)
  return Array.from({ length: Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1 }, (_, k) => (Math.ceil(low / step - 1e-9) + k) * step)
}

const valleyLine = points => points.map(([x, y], k) => `${k ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('')

// Curves over steps, all balls up to now.
function valleyCurves(svg, paths, { width, height, steps, y, yLabel, value, rules = [] }) {
  const f = valleyFrame(svg, { width, height, x: [0, steps], y, xLabel: 'step', yLabel })
  const lines = paths.map(ws => valleySvg('path', { class: paths.length > 1 ? 'way many' : 'way', d: valleyLine(ws.map((w, k) => [f.px(k), f.py(value(w, k))])) }))
  svg.replaceChildren(...f.parts, ...rules.map(v => valleySvg('line', { class: 'rule', x1: f.left, x2: f.px(steps), y1: f.py(v), y2: f.py(v) })), ...lines)
}

// How far the picture must reach: as wide as in the lesson, or twice, four times… as wide.
function valleyReach(ws) {
  let k = 1
  while (k < 1e60 && ws.some(w => Math.abs(w - 1.75) > 4.75 * k)) k *= 2
  return k
}

// The valley, the balls on it, and in each dip the narrowest cup that holds steps of this rate.
function valleyScene(svg, s, paths, width) {
  const height = Math.round(Math.max(240, Math.min(380, width * .62))), shown = paths.map(ws => ws.slice(0, s.at + 1)), k = valleyReach(shown.flat())
  const f = valleyFrame(svg, { width, height, x: [1.75 - 4.75 * k, 1.75 + 4.75 * k], y: [-.4 * k * k, 9 * k * k], xLabel: 'weight', yLabel: 'loss', yAt: .6 })
  const [first, last] = [1.75 - 4.75 * k, 1.75 + 4.75 * k], n = 400, ground = Array.from({ length: n + 1 }, (_, i) => first + (last - first) * i / n)
  const at = w => [f.px(w), Math.max(-50, f.py(valleyAt(w).loss))], id = freshId('clip')
  const c = valleyHolds(valleyRate(s, Math.min(s.at, s.steps - 1), s.steps), s.momentum), tall = 2.2 * k
  const cups = valleyDips.map(d => valleySvg('path', { class: 'cup', d: valleyLine(Array.from({ length: 41 }, (_, i) => {
    const dw = (i / 20 - 1) * Math.sqrt(2 * tall / c)
    return [f.px(d.at + dw), f.py(c / 2 * dw * dw)]
  })) }))
  const balls = shown.flatMap(ws => [...(paths.length > 1 ? [] : [valleySvg('path', { class: 'way', d: valleyLine(ws.map(at)) }), ...ws.slice(0, -1).map(w => valleyDot(at(w), 'step', 2.5))]), valleyDot(at(ws.at(-1)), 'ball', 7)])
  svg.replaceChildren(valleySvg('clipPath', { id }, valleySvg('rect', { x: f.left, y: 0, width: width - f.left, height: f.bottom })), ...f.parts,
    valleySvg('g', { 'clip-path': `url(#${id})` }, ...(k < 8 ? cups : []), valleySvg('path', { class: 'ground', d: valleyLine(ground.map(at)) }), valleyDot(at(s.start), 'start', 5), ...balls))
  return { ...f, first, k }
}
const valleyDot = ([cx, cy], name, r) => valleySvg('circle', { class: name, cx: cx.toFixed(1), cy: cy.toFixed(1), r })

const valleyKnown = new Map() // the table and the tasks ask for the same again and again
function valleyTable(rate, seed) {
  const key = `${rate},${seed}`
  if (!valleyKnown.has(key)) { valleyKnown.clear(); valleyKnown.set(key, valleyMemories(rate, seed)) }
  return valleyKnown.get(key)
}

export default {
  render({ model, el }) {
    const { told, alert, tell, warn } = messages(), [scene, weights, losses, rates] = [0, 1, 2, 3].map(() => valleySvg('svg', { role: 'img' }))
    const names = [...valleyDials.map(d => d[0]), 'schedule', 'seed', 'at', 'done'], state = following(model, names, perFrame(refresh))
    let frame = null
    const put = values => { run.stop(); state.put(values) }, dials = dialRows(valleyDials, put, warn)
    const schedule = switcher({ label: 'The rate over the steps', options: [['constant', 'constant'], ['linear', 'falls to 0'], ['1cycle', '1cycle']], value: state.all.schedule, change: v => put({ schedule: v }) })
    const tasks = taskList(valleyTasks, state), dips = make('ul', { className: 'dips' }), body = make('tbody'), now = make('p', { className: 'now' })
    const run = player({ ms: 120, others: [['To the end', Infinity]], move(k) {
      const s = state.all, at = between(s.at + k, 0, s.steps)
      if (at !== s.at) state.put({ at })
      return at !== s.at
    } })
    told.classList.add('unseen')
    scene.setAttribute('class', 'hand')
    scene.setAttribute('tabindex', 0)
    scene.setAttribute('role', 'application')
    const drag = e => { if (e.buttons) put({ start: Math.round(between(frame.first + (e.clientX - scene.getBoundingClientRect().left - frame.left) * frame.unit, -3, 6) * 10) / 10 }) }
    scene.addEventListener('pointerdown', e => { scene.setPointerCapture(e.pointerId); drag(e) })
    scene.addEventListener('pointermove', drag)
    scene.addEventListener('keydown', e => {
      const k = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[e.key]
      if (!k) return
      e.preventDefault()
      put({ at: between(state.all.at + k, 0, state.all.steps) })
    })
    const charts = make('div', { className: 'charts' }, weights, losses, rates)
    const head = ['momentum', 'goes beyond', 'steps to settle', 'scatters by'].map(text => make('th', { scope: 'col', textContent: text }))
    const memories = make('div', { className: 'panel memories' }, make('h4', { textContent: 'Three memories at this rate' }), make('table', {}, make('thead', {}, make('tr', {}, ...head)), body),
      note('In the wide dip, at a constant rate. Without noise, from 4.5: how far beyond the bottom, and after how many steps within 0.1 for good. With noise 1: the standard deviation of the weight.'))
    const left = make('div', {}, scene, note('Dashed: the narrowest valley in which steps of this rate stay. Drag the ball to start elsewhere.'), run.el, now, told, alert, dips)
    openLab(el, valleyStyle, 'ValleyLab', 'One weight, a narrow dip at −1 and a wide one at 2. Which steps stay, and where?', left, charts,
      make('div', {}, ...dials.els, make('div', { className: 'row' }, 'The rate', schedule, button('Other noise', () => put({ seed: (state.all.seed + 1) % 100 })))), memories, tasks.el)

    function refresh() {
      const s = state.all
      s.at = Math.min(s.at, s.steps)
      const paths = valleyPaths(s), shown = paths.map(ws => ws.slice(0, s.at + 1)), wide = left.clientWidth || 320, beside = charts.clientWidth || 320
      dials.show(s)
      schedule.show(s.schedule)
      frame = valleyScene(scene, s, paths, wide)
      const k = frame.k, most = Math.max(1, ...shown.flat().map(w => valleyAt(w).loss))
      valleyCurves(weights, shown, { width: beside, height: 150, steps: s.steps, y: [1.75 - 4.75 * k, 1.75 + 4.75 * k], yLabel: 'weight', value: w => w, rules: valleyDips.map(d => d.at) })
      valleyCurves(losses, shown, { width: beside, height: 120, steps: s.steps, y: [-.05 * most, most], yLabel: 'loss', value: w => valleyAt(w).loss })
      rates.style.display = s.schedule === 'constant' ? 'none' : ''
      const all = Array.from({ length: s.steps }, (_, i) => valleyRate(s, i, s.steps))
      valleyCurves(rates, [all.slice(0, s.at + 1)], { width: beside, height: 90, steps: s.steps, y: [0, s.rate * 1.05], yLabel: 'rate', value: v => v })
      dips.replaceChildren(...valleyDips.map(d => valleyRule(d, s)))
      body.replaceChildren(...valleyTable(s.rate, s.seed).map(valleyRow))
      const says = valleyTold(s, shown)
      scene.setAttribute('aria-label', `The valley. ${says} Arrow keys step.`)
      for (const [svg, name] of [[weights, 'weight'], [losses, 'loss'], [rates, 'rate']]) svg.setAttribute('aria-label', `The ${name} against the steps.`)
      now.textContent = says
      tell(says) // read out once the balls rest
      tasks.check(s.at === s.steps ? valleyMet(s, paths, valleyTable) : [])
    }
    return keepUp(left, refresh, run, state)
  },
}

function valleyRow({ momentum, overshoot, settled, scatter }) {
  return make('tr', {}, ...[momentum, overshoot < 100 ? overshoot.toFixed(2) : 'leaves', settled === null ? 'never' : settled, scatter < 100 ? scatter.toFixed(2) : 'leaves'].map(v => make('td', { textContent: v })))
}

function valleyRule({ name, c }, s) {
  const rate = valleyRate(s, Math.min(s.at, s.steps - 1), s.steps), limit = valleyHolds(c, s.momentum), holds = rate < limit
  return make('li', {}, `The ${name} dip, c = ${c}, holds rates below ${s.momentum ? '2/c · (1 + m)/(1 − m)' : '2/c'} = ${Number(limit.toPrecision(2))}: `, make('strong', { textContent: `${Number(rate.toPrecision(2))} ${holds ? 'stays ✓' : 'is thrown out ✗'}` }))
}

function valleyTold(s, shown) {
  const ends = shown.map(ws => ws.at(-1)), fate = valleyFate(shown), many = ends.length > 1
  const where = { diverged: many ? 'they diverge' : 'it diverges', both: `${ends.filter(w => w >= .5).length} in the wide dip, the others in the narrow one` }[fate] ?? `${many ? 'all' : 'it is'} in the ${fate} dip`
  return `Step ${s.at} of ${s.steps}: ${many ? `${ends.length} balls, ` : `weight ${written(ends[0])}, loss ${written(valleyAt(ends[0]).loss, 3)}; `}${where}.`
}
