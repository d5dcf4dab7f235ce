// WayLab: draw a digit, and watch its whole way through a network; point at an activation, and see what it depends on.
import { accentColor, button, dress, largest, make, messages, paintMap, paintWindow, perFrame, sized, switcher, walkable, written } from './ui.js'
import { wayBox, wayCentered, wayMoved, wayReady, wayRun, wayShares, wayStroke, wayTrace } from './way_numbers.js'

const wayStyle = `
.way {
display:grid;gap:12px 20px;grid-template:"pad glass answer" "maps maps maps"/280px minmax(0,1fr) minmax(180px,260px);
canvas {cursor:crosshair}
.pad {grid-area:pad}
.pad > * {margin-bottom:8px}
.pad > canvas {touch-action:none}
.pad > .row {gap:4px}
.pad > .row button {flex:1;padding:3px 4px}
.samples {display:grid;grid-template-columns:repeat(5,1fr);gap:4px}
.samples button {padding:0;overflow:hidden}
.samples canvas {width:100%}
.answer {grid-area:answer}
.says {font-size:17px;min-height:2.8em}
.says b {font-size:24px}
.score {display:grid;grid-template-columns:minmax(1.2em,auto) 1fr 3.6em;gap:8px;align-items:center;padding:0 4px;border-left:3px solid transparent;cursor:pointer;font-variant-numeric:tabular-nums;line-height:1.65}
.score.best {font-weight:700;background:var(--raised)}
.score.lit {border-left:3px dashed var(--accent)}
.score.here {outline:2px solid var(--accent)}
.score :last-child {text-align:right}
.bar {position:relative;height:18px;i {position:absolute;inset:3px auto}}
.bar .zero {border-left:1px solid var(--edge);inset:0 auto}
.bar .before {border-left:3px solid var(--text);inset:1px auto}
.glass {grid-area:glass;display:flex;flex-wrap:wrap;gap:6px 16px;align-content:flex-start}
.glass p {flex:1 1 165px;margin:0}
.mini {display:none}
.maps {grid-area:maps;display:grid;grid-template-columns:repeat(auto-fill,minmax(140px,1fr));gap:14px 18px;border-top:1px solid var(--line);padding-top:12px}
.sheet {min-width:0;font-size:12.5px;line-height:1.35;overflow-wrap:anywhere}
.sheet .soft {display:block;margin-bottom:4px}
}
@container (max-width:800px) {.way {
grid-template:"pad answer" "maps maps" "glass glass"/280px minmax(0,1fr);
.glass {position:sticky;bottom:0;background:var(--page);border-top:1px solid var(--line);padding:8px 0}
.glass.idle > :not(p) {display:none}
.mini {display:block}
}}
@container (max-width:540px) {.way {
grid-template:"pad" "answer" "maps" "glass"/minmax(0,1fr);
.pad {width:280px;max-width:100%;margin:auto}
}}
`
const wayTools = {
  Draw: 'move the pen, Space puts it down or lifts it.', Erase: 'move the eraser, Space puts it down or lifts it.', Move: 'move the digit.', Point: 'walk, Enter pins.',
}
const wayKeys = 'Arrow keys walk, Enter pins.'

// The network with its maps, the picture, and the place [layer, channel, row, column] that is pointed at. `paint` follows each change.
class Way {
  constructor(model, warn, paint) {
    const layers = wayReady(model.get('network')), last = layers.length - 1, n = layers[0].h
    Object.assign(this, { model, warn, paint, layers, last, n, image: new Uint8ClampedArray(n * n) })
    this.classes = layers[last].flat ? model.get('classes') : []
    this.load()
    const { maps, h, w } = layers[1] // to begin with, the first layer's map with the largest number is enlarged
    this.shown = [1, Math.floor(maps.indexOf(Math.max(...maps)) / h / w)]
    this.follow()
  }

  // What Python says, or what was left here before

  load() {
    const image = this.model.get('image'), { n } = this
    if (image === this.kept) return // it is our own
    const levels = [image].flat(2), good = levels.length === n * n && levels.every(v => v >= 0 && v <= 255)
    this.warn(good ? '' : `The picture must be ${n} × ${n} numbers from 0 (paper) to 255 (ink). The one before stays.`)
    this.show(good ? Uint8ClampedArray.from(levels) : this.image)
  }

  follow() {
    const [name, ...at] = this.model.get('point') ?? [], layer = this.layers.findIndex(l => l.name === name)
    this.pinned = layer < 0 ? null : [layer, ...at]
    this.enlarge(this.pinned)
  }

  keep(name, value) {
    this.model.set(name, value)
    this.model.save_changes()
  }

  keepImage() {
    this.warn()
    this.kept = Array.from({ length: this.n }, (_, y) => [...this.image.subarray(y * this.n, (y + 1) * this.n)])
    this.keep('image', this.kept)
  }

  // What the hand does

  show(image) { // another picture: nothing to compare with
    Object.assign(this, { image, before: null, moved: null })
    this.run()
  }

  take(image) {
    this.show(image)
    this.keepImage()
  }

  run() {
    const mean = this.model.get('mean'), std = this.model.get('std')
    wayRun(this.layers, Array.from(this.image, v => (v / 255 - mean) / std))
    this.paint()
  }

  remember() { this.before = [...this.layers[this.last].maps] }

  draw(from, to, ink) {
    wayStroke(this.image, this.n, from, to, ink ? 1.3 : 1.7, ink) // a radius in pixels, about as wide as MNIST's strokes
    this.moved = null
    this.run()
  }

  move(by) { // from where the digit was first picked up, so that nothing is lost at the border
    this.moved ??= { image: this.image, at: [0, 0] }
    this.moved.at = this.moved.at.map((v, k) => v + by[k])
    this.image = wayMoved(this.moved.image, this.n, this.moved.at.map(Math.round))
    this.run()
  }

  center() {
    const before = [...this.layers[this.last].maps]
    this.take(wayCentered(this.image, this.n))
    this.before = before
  }

  over(place) {
    this.hover = place
    if (!this.pinned) this.enlarge(place)
    this.paint()
  }

  pin(place) {
    this.hover = null
    const on = place && place.join() !== this.pinned?.join()
    this.keep('point', on ? [this.layers[place[0]].name, ...place.slice(1)] : null)
  }

  enlarge(place) {
    if (place?.[0]) this.shown = place.slice(0, 2)
    this.paint()
  }
}

// Painting

// Maps of layer `k` side by side, as wide as there is room, with what they have of the trace; how they are laid out.
function wayPaint(canvas, way, k, maps, room, { place, sets }) {
  const { h, w, maps: all, signed } = way.layers[k], values = k ? all : way.image, lim = k ? largest(all) : 255, set = sets[k]
  const cols = Math.ceil(Math.sqrt(maps.length * h / w)), gap = maps.length > 1 ? 4 : 0, free = (room - gap * (cols - 1)) / cols / w
  const cell = free > 2 ? Math.floor(4 * free) / 4 : free, wide = w * cell + gap, high = h * cell + gap
  const ctx = sized(canvas, Math.ceil(maps.length / cols) * high - gap, cols * wide - gap, 1)
  ctx.clearRect(0, 0, canvas.width, canvas.height)
  maps.forEach((channel, tile) => {
    const left = tile % cols * wide, top = Math.floor(tile / cols) * high
    paintMap(ctx, values.subarray(channel * h * w, (channel + 1) * h * w), h, w, { cell, lim, signed, left, top, numbers: cell > 32 })
    if (set?.[0][channel]) wayLight(ctx, set, cell, { x: left, y: top, width: k === place[0] ? 3 : w * cell < 36 ? 1 : 2, dash: k > place[0] ? [4, 3] : [] })
    else if (place) {
      ctx.fillStyle = 'rgba(128,128,128,.4)'
      ctx.fillRect(left, top, w * cell, h * cell)
    }
  })
  return { cols, cell, wide, high }
}

// The box around a set; where the set has holes, as a dilated kernel leaves them, a dot in each of its cells.
function wayLight(ctx, set, cell, look) {
  const [, rows, columns] = set, [top, bottom, left, right] = wayBox(set)
  paintWindow(ctx, { top, bottom, left, right }, cell, look)
  if (wayCount(rows) * wayCount(columns) === (bottom - top) * (right - left)) return
  ctx.fillStyle = accentColor
  rows.forEach((row, r) => columns.forEach((column, c) => row && column && ctx.fillRect(look.x + (c + .35) * cell, look.y + (r + .35) * cell, .3 * cell, .3 * cell)))
}

// A canvas of maps to point at. `shown()` is [the layer, its maps that are to be seen].
function waySheet(way, label, shown, room, properties = {}) {
  const canvas = make('canvas', properties)
  let grid = null
  const now = () => { const [k, some] = shown(); return { k, some, ...way.layers[k], ...grid } }
  const place = (y, x) => {
    const { k, some, h, w, cols } = now()
    return [k, some[Math.min(some.length - 1, Math.floor(y / h) * cols + Math.floor(x / w))], y % h, x % w]
  }
  const at = () => {
    const { k, some, h, w, cols } = now(), [layer, channel, row, col] = way.hover ?? way.pinned ?? [], tile = some.indexOf(channel)
    return layer === k && tile >= 0 ? [Math.floor(tile / cols) * h + row, tile % cols * w + col] : [0, 0]
  }
  const under = e => { // all its maps counted through; a gap belongs to the map before
    const { h, w, high, wide, cell } = now()
    return [[e.offsetY, high, h], [e.offsetX, wide, w]].map(([v, size, n]) => Math.floor(v / size) * n + Math.min(n - 1, Math.floor(v % size / cell)))
  }
  const size = () => { const { some, h, w, cols } = now(); return [Math.ceil(some.length / cols) * h, cols * w] }
  walkable(canvas, { label: `${label} ${wayKeys}`, size, at, place: under, point: (y, x) => way.over(place(y, x)), pick: (y, x) => way.pin(place(y, x)), leave: () => way.over(null) })
  return { canvas, paint(trace) { grid = wayPaint(canvas, way, ...shown(), room(), trace) } }
}

// Parts of the page: each has an element `el`, and `paint(trace)`

// Where the picture is drawn, erased, moved and pointed at.
function wayPad(way) {
  const { n } = way, canvas = make('canvas'), middle = [n >> 1, n >> 1], here = () => cursor ?? middle
  let tool = 'Draw', cursor = null, from = null // rows and columns; `from` is where the hand was, while it is down
  const rest = () => { way.pen = cursor = from = null; way.over(null) }
  const choose = name => {
    tool = name
    canvas.ariaLabel = `Picture, ${n} by ${n} pixels. Arrow keys ${wayTools[name]}`
    rest()
  }
  const go = to => {
    if (tool === 'Move') way.move(to.map((v, k) => v - from[k]))
    else way.draw(from, to, tool === 'Draw')
    from = to
  }
  function walk(row, col, keys) {
    if (tool === 'Point') way.over([0, 0, row, col])
    if (!keys) return
    const moves = tool === 'Move'
    from = here()
    if (moves && !way.moved) way.remember()
    if (!moves) cursor = [row, col]
    if (moves || way.pen) { go([row, col]); way.keepImage() }
    from = null
    way.paint()
  }
  function press(row, col, keys) {
    if (tool === 'Point') return way.pin([0, 0, row, col])
    if (!keys || tool === 'Move') return
    way.pen = !way.pen
    if (way.pen) way.remember()
    walk(row, col, true)
  }
  walkable(canvas, { label: '', size: () => [n, n], at: here, point: walk, pick: press, leave: () => way.over(null) })
  choose(tool)
  const at = e => { const box = canvas.getBoundingClientRect(); return [e.clientY - box.top, e.clientX - box.left].map(v => v / box.width * n - .5) }
  canvas.addEventListener('pointerdown', e => {
    if (e.button || tool === 'Point') return
    canvas.setPointerCapture(e.pointerId)
    way.remember()
    cursor = null
    from = at(e)
    go(from)
  })
  canvas.addEventListener('pointermove', e => from && go(at(e)))
  canvas.onpointerup = canvas.onpointercancel = () => { if (from) way.keepImage(); from = null }
  canvas.onblur = rest
  const tools = switcher({ label: 'What the hand does', options: Object.keys(wayTools).map(t => [t, t]), value: tool, change: choose })
  const more = [button('Center as in MNIST', () => way.center()), button('Clear', () => way.take(new Uint8ClampedArray(n * n)))]
  return { el: make('div', { className: 'pad' }, tools, canvas, make('div', { className: 'row' }, ...more), ...waySamples(way)), paint(trace) {
    const { cell } = wayPaint(canvas, way, 0, [0], 280, trace), [top, left] = here()
    if (cursor) paintWindow(canvas.getContext('2d'), { top, left, bottom: top + 1, right: left + 1 }, cell, { color: '#1c1e21', width: way.pen ? 3.5 : 1.5 })
  } }
}

function waySamples(way) {
  const text = way.model.get('samples')
  if (!text) return []
  const all = Uint8ClampedArray.from(atob(text), c => c.charCodeAt(0)), buttons = Array.from({ length: 10 }, (_, k) => {
    const image = all.slice(784 * k, 784 * (k + 1)), canvas = make('canvas', { width: 28, height: 28 })
    paintMap(canvas.getContext('2d'), image, 28, 28, { cell: 1, lim: 255 })
    const el = button('', () => way.take(image.slice()), { ariaLabel: `A handwritten ${k}` })
    el.append(canvas)
    return el
  })
  return [make('div', { className: 'samples', role: 'group', 'aria-label': 'Digits to begin with' }, ...buttons)]
}

// What the network says, and its scores.
function wayAnswer(way) {
  const { classes, last, layers } = way, says = make('p', { className: 'says' }), change = make('p', { className: 'soft' }), el = make('div', { className: 'answer' }, says)
  if (!classes.length) {
    says.textContent = 'This network ends in maps, not in scores.'
    return { says, el, paint() {} }
  }
  const rows = classes.map(textContent => make('div', {}, make('span', { textContent }),
    make('span', { className: 'bar' }, make('i'), make('i', { className: 'zero' }), make('i', { className: 'before' })), make('span')))
  const list = make('div', {}, ...rows), place = k => [last, k, 0, 0]
  walkable(list, { label: `Scores. ${wayKeys}`, size: () => [rows.length, 1], leave: () => way.over(null),
    at: () => way.hover?.[0] === last ? [way.hover[1], 0] : [-1, 0], place: e => [rows.findIndex(row => row.contains(e.target)), 0],
    point: k => way.over(place(k)), pick: k => k >= 0 && way.pin(place(k)) })
  el.append(wayTitle(layers[last], `${classes.length} scores`), list, change)
  return { says, el, paint({ place, sets }) {
    const scores = layers[last].maps, known = [0, ...scores, ...way.before ?? []], low = Math.min(...known), high = Math.max(...known)
    const at = v => `${100 * (v - low) / (high - low || 1)}%`, best = scores.indexOf(Math.max(...scores))
    rows.forEach((row, k) => {
      const v = scores[k], [, bar, number] = row.children, [value, zero, before] = bar.children
      value.style.cssText = `left:${at(Math.min(0, v))};width:${at(low + Math.abs(v))};background:var(--${v < 0 ? 'negative' : 'positive'})`
      zero.style.left = at(0)
      before.hidden = !way.before
      before.style.left = at(way.before?.[k])
      number.textContent = written(v)
      row.className = `score ${k === best ? 'best' : ''} ${sets[last]?.[0][k] ? 'lit' : ''} ${place?.[0] === last && place[1] === k ? 'here' : ''}`
    })
    says.replaceChildren(...waySays(way, scores, best))
    change.textContent = way.before ? wayChange(classes, Array.from(scores, (v, k) => v - way.before[k])) : ''
  } }
}

const wayTitle = ({ name, type }, textContent = '') => make('div', {}, make('b', { textContent: `${name} ${type} ` }), make('span', { className: 'soft', textContent }))

// The layers in order, all but the scores.
function wayMaps(way) {
  const { classes, layers, last } = way, sheets = layers.slice(1, classes.length ? last : last + 1).map((l, n) => {
    const title = wayTitle(l), facts = title.lastChild, el = make('div', { className: 'sheet' }, title), all = [...Array(l.c).keys()]
    const shape = l.flat ? l.c : `${l.c} × ${l.h} × ${l.w}`, sheet = waySheet(way, `${l.name} ${l.type}, ${shape}.`, () => [n + 1, all], () => el.clientWidth)
    el.append(sheet.canvas)
    return { el, paint(trace) {
      const lim = largest(l.maps)
      sheet.paint(trace)
      facts.textContent = `${shape}, ${l.signed ? '±' : '0 to '}${written(lim, lim < 10 ? 1 : 0)}`
    } }
  })
  return { el: make('div', { className: 'maps' }, ...sheets.map(s => s.el)), paint(trace) { for (const sheet of sheets) sheet.paint(trace) } }
}

// One map enlarged, and in words what is pointed at. Where the picture may be out of sight it is shown small beside it.
function wayGlass(way) {
  const text = make('p'), name = make('b'), small = () => mini.canvas.offsetParent
  const mini = waySheet(way, 'The picture, small.', () => [0, [0]], () => 120, { className: 'mini' })
  const large = waySheet(way, 'One map, enlarged.', () => [way.shown[0], [way.shown[1]]], () => small() ? 120 : Math.min(280, el.clientWidth || 280))
  const el = make('div', { className: 'glass' }, mini.canvas, make('div', {}, name, large.canvas), text)
  return { text, el, paint(trace) {
    const [k, channel] = way.shown, l = way.layers[k]
    el.classList.toggle('idle', !trace.place)
    mini.paint(trace)
    large.paint(trace)
    name.textContent = `${l.name} ${l.type}, ${l.flat ? 'number' : 'map'} ${channel}`
    text.textContent = trace.place ? wayWords(way, trace) : 'Point at a number of any map: what it depends on lights up before it; dashed, what depends on it later. A click pins it. Tab, arrow keys and Enter do the same.'
  } }
}

// Words. A reader counts rows and columns from zero, as Python does.

const waySpan = (what, first, end) => end - first === 1 ? `${what} ${first}` : `${what}s ${first} to ${end - 1}`
const wayPlaces = set => { const [top, bottom, left, right] = wayBox(set); return `${waySpan('row', top, bottom)} and ${waySpan('column', left, right)}` }
const wayCount = marks => marks.reduce((a, b) => a + b)
const wayPercent = share => share > .995 ? 'over 99%' : share < .01 ? 'under 1%' : `${Math.round(100 * share)}%`

function waySays({ classes, image }, scores, best) {
  if (best < 0) return ['The scores are no numbers (NaN): this network has diverged.']
  const shares = wayShares(scores), next = shares.indexOf(Math.max(...shares.filter((_, k) => k !== best)))
  return [image.some(v => v > 25) ? 'It says ' : 'Draw a digit. Of blank paper it says ', make('b', { textContent: classes[best] }), `, ${wayPercent(shares[best])} sure. `,
    next < 0 ? '' : `Next comes ${classes[next]}, ${wayPercent(shares[next])}.`]
}

function wayChange(classes, moves) {
  const [low, high] = [Math.min(...moves), Math.max(...moves)], of = v => classes[moves.indexOf(v)]
  const parts = [low < -.005 && `${of(low)} fell by ${written(-low)}`, high > .005 && `${of(high)} rose by ${written(high)}`].filter(v => v)
  return parts.length ? `Black marks: the scores before. ${parts.join(', ')}.` : ''
}

function wayWords({ layers, classes, last, image, n }, { place: [k, channel, row, col], sets }) {
  const l = layers[k], [first] = sets, end = sets[last], pixels = first && wayCount(first[1]) * wayCount(first[2])
  const which = classes.length && k === last ? `score of ${classes[channel]}` : `${l.flat ? 'number' : 'map'} ${channel}`
  const here = k ? `${l.name} ${l.type}, ${which}${l.h * l.w > 1 ? `, row ${row}, column ${col}` : ''}: ${written(l.maps[(channel * l.h + row) * l.w + col], 3)}.`
    : `Pixel in row ${row}, column ${col}: ${written(image[row * n + col] / 255)} of full ink.`
  const seen = !k ? '' : pixels ? ` It depends on ${pixels} pixel${pixels > 1 ? 's' : ''}, in ${wayPlaces(first)} of the picture.` : ' It depends on padding alone, on no pixel.'
  const after = k === last ? '' : !end ? ' Nothing at the end depends on it.' : classes.length ? ` In the end it reaches ${wayCount(end[0])} of ${end[0].length} scores.`
    : ` In the last layer it reaches ${wayCount(end[0])} of ${end[0].length} maps, in ${wayPlaces(end)}.`
  return here + seen + after
}

export default {
  render({ model, el }) {
    const { told, alert, tell, warn } = messages(), paint = perFrame(() => {
      const place = way.hover ?? way.pinned, trace = { place, sets: place ? wayTrace(way.layers, place) : [] }
      for (const part of parts) part.paint(trace)
      tell(`${answer.says.textContent} ${place ? glass.text.textContent : ''} ${way.pen ? 'The pen is down.' : ''}`)
    })
    const way = new Way(model, warn, paint), answer = wayAnswer(way), glass = wayGlass(way), parts = [wayPad(way), answer, wayMaps(way), glass]
    told.classList.add('unseen')
    dress(el, wayStyle).append(make('div', { className: 'way' }, ...parts.map(p => p.el)), alert, told)
    el.addEventListener('keydown', e => { if (e.key === 'Escape') way.pin(null) })
    model.on('change:image', () => way.load())
    model.on('change:point', () => way.follow())
    const watch = new ResizeObserver(paint)
    watch.observe(el)
    return () => watch.disconnect()
  },
}
