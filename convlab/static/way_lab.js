// WayLab: draw a digit, and watch its whole way through a network; point at an activation, and see what it depends on.
import { arrows, button, dress, largest, make, messages, paintMap, paintWindow, perFrame, sized, switcher, walkable, written } from './ui.js'
import { wayBox, wayCentered, wayMoved, wayReady, wayRun, wayShares, wayStroke, wayTrace } from './way_numbers.js'

const wayStyle = `
.way { display: grid; gap: 12px 20px; grid-template: "pad glass answer" "maps maps maps" / 280px minmax(0, 1fr) minmax(180px, 260px) }
.way-pad { grid-area: pad } .way-answer { grid-area: answer } .way-glass { grid-area: glass }
.way-pad > .row { gap: 4px; margin-bottom: 8px } .way-pad > .row button { flex: 1; padding: 3px 4px }
.way-pad > canvas { touch-action: none; cursor: crosshair; margin-bottom: 8px }
.way-samples { display: grid; grid-template-columns: repeat(10, 1fr); gap: 2px }
.convlab-live .way-samples button { padding: 0; min-height: 26px; overflow: hidden; border-radius: 4px }
.way-samples canvas { width: 100% !important; height: auto !important }
.way-said { font-size: 17px; min-height: 2.9em } .convlab-live .way-answer .soft { margin: 0 4px 4px; font-size: 12.5px } .way-said b { font-size: 24px }
.way-score { display: grid; grid-template-columns: minmax(1.2em, auto) 1fr 3.6em; gap: 8px; align-items: center; border-radius: 4px; padding: 0 4px; cursor: pointer;
  font-variant-numeric: tabular-nums; line-height: 1.65 }
.way-score { border-left: 3px solid transparent } .way-score.best { font-weight: 700; background: var(--raised) } .way-score.lit { border-left: 3px dashed var(--accent) }
.way-score.here { border-left-style: solid; box-shadow: inset 0 0 0 2px var(--accent) }
.way-score span:last-child { text-align: right }
.way-bar { position: relative; height: 12px } .way-bar i { position: absolute; top: 0; bottom: 0 }
.way-bar .zero { width: 1px; background: var(--edge); top: -4px; bottom: -4px } .way-bar .before { width: 3px; margin-left: -1px; background: var(--text); top: -2px; bottom: -2px }
.way-glass { display: flex; flex-wrap: wrap; gap: 6px 16px; align-content: flex-start } .way-glass canvas { cursor: crosshair } .way-glass .mini { display: none }
.way-glass p { flex: 1 1 165px; margin: 0; min-height: 6em }
.way-maps { grid-area: maps; display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px 18px; border-top: 1px solid var(--line); padding-top: 12px }
.way-block { display: grid; gap: 12px; align-content: start } .way-panel { min-width: 0; max-width: 230px } .way-sheet { aspect-ratio: 1 }
.way-panel div { font-size: 12.5px; line-height: 1.35; margin-bottom: 4px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis } .way-panel canvas { cursor: crosshair }
@container (max-width: 800px) {
  .way { grid-template: "pad answer" "maps maps" "glass glass" / 280px minmax(0, 1fr) }
  .way-glass { position: sticky; bottom: 0; background: var(--page); border-top: 1px solid var(--line); padding: 8px 0 }
  .way-glass .mini { display: block } .way-glass p { min-height: 0 } .way-glass.idle > :not(p) { display: none }
}
@container (max-width: 540px) {
  .way { grid-template: "pad" "answer" "maps" "glass" / minmax(0, 1fr) } .way-pad { width: 280px; max-width: 100%; margin: auto } .way-said { min-height: 1.7em }
  .way-maps { grid-template-columns: 1fr } .way-block { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)) }
}
@media (pointer: coarse) { .way-samples { grid-template-columns: repeat(5, 1fr) } }
`
const wayTools = [['draw', 'Draw'], ['erase', 'Erase'], ['move', 'Move'], ['point', 'Point']]
const wayKeys = {
  draw: 'Arrow keys move the pen, Space puts it down or lifts it.', erase: 'Arrow keys move the eraser, Space puts it down or lifts it.',
  move: 'Arrow keys move the digit.', point: 'Arrow keys point at a pixel, Enter pins it.',
}
const wayPen = 1.3 // radius in pixels, about as wide as MNIST's strokes

// Names that a reader knows: “rows 3 to 7”, counted from zero as in Python.
const waySpan = (what, first, end) => end - first === 1 ? `${what} ${first}` : `${what}s ${first} to ${end - 1}`
const wayPlaces = set => { const [top, bottom, left, right] = wayBox(set); return `${waySpan('row', top, bottom)} and ${waySpan('column', left, right)}` }
const wayCount = some => some.reduce((a, b) => a + b, 0)
const wayPercent = share => share > .995 ? 'over 99%' : share < .01 ? 'under 1%' : `${Math.round(100 * share)}%`

class WayPiece {
  constructor(model, el) {
    this.model = model
    this.layers = wayReady(model.get('network'))
    this.last = this.layers.length - 1
    this.n = this.layers[0].h
    this.classes = this.layers[this.last].flat ? model.get('classes') : null
    Object.assign(this, { tool: 'draw', pen: false, cursor: null, hover: null, pinned: null, before: null, moved: null, shown: { layer: 1, channel: 0 } })
    this.layers.forEach((l, k) => { l.signed = k > 0 && !this.neverNegative(k) })
    this.paint = perFrame(() => this.paintAll())
    this.build(el)
    this.load()
    this.follow()
    this.loudest()
  }

  neverNegative(k) {
    const { kind, f } = this.layers[k]
    return ['relu', 'relu6', 'sigmoid'].includes(f) || ['pool', 'same', 'flatten'].includes(kind) && k > 1 && this.neverNegative(k - 1)
  }

  // To begin with, the glass shows the first layer's map with the largest number.
  loudest() {
    const { maps, h, w } = this.layers[1]
    if (!this.pinned) this.shown = { layer: 1, channel: Math.floor(maps.indexOf(Math.max(...maps)) / (h * w)) }
  }

  // The state, from Python or from this page before

  load() {
    const image = this.model.get('image'), n = this.n
    const good = Array.isArray(image) && image.length === n && image.every(row => row.length === n && row.every(v => v >= 0 && v <= 255))
    this.messages.warn(good ? '' : `The picture must be ${n} × ${n} numbers from 0 (paper) to 255 (ink). The one before stays.`)
    if (good) this.image = Uint8ClampedArray.from(image.flat())
    this.image ??= new Uint8ClampedArray(n * n)
    this.moved = null
    this.run()
  }

  follow() {
    const point = this.model.get('point')
    const layer = point ? this.layers.findIndex((l, k) => point[0] === (k ? l.name : 'image')) : -1
    const [channel, row, col] = point ? point.slice(1) : []
    this.pinned = layer < 0 ? null : { layer, channel, row, col }
    if (layer > 0) this.shown = { layer, channel }
    this.paint()
  }

  keep(name, value) {
    this.busy = true // our own change is not news
    this.model.set(name, value)
    this.busy = false
    this.model.save_changes()
  }

  keepImage() {
    const { n, image } = this
    this.messages.warn()
    this.keep('image', Array.from({ length: n }, (_, y) => [...image.subarray(y * n, y * n + n)]))
  }

  run() {
    const mean = this.model.get('mean'), std = this.model.get('std')
    wayRun(this.layers, Array.from(this.image, v => (v / 255 - mean) / std))
    this.paint()
  }

  // What the hand does

  draw(from, to) {
    wayStroke(this.image, this.n, from, to, this.tool === 'erase' ? wayPen + .4 : wayPen, this.tool === 'draw')
    this.moved = null
    this.run()
  }

  shift(down, right) { // from where the digit was first picked up, so that nothing is lost at the border
    this.moved ??= { from: this.image, down: 0, right: 0 }
    this.moved.down += down
    this.moved.right += right
    this.image = wayMoved(this.moved.from, this.n, this.moved.down, this.moved.right)
    this.run()
  }

  replace(image, compare) {
    this.before = compare ? Array.from(this.layers[this.last].maps) : null
    this.image = image
    this.moved = null
    this.run()
    this.keepImage()
  }

  remember() { this.before = Array.from(this.layers[this.last].maps) }

  pin(place) {
    const same = this.pinned && JSON.stringify(place) === JSON.stringify(this.pinned)
    this.pinned = same ? null : place
    if (place?.layer) this.shown = { layer: place.layer, channel: place.channel }
    this.keep('point', same || !place ? null : [place.layer ? this.layers[place.layer].name : 'image', place.channel, place.row, place.col])
    this.paint()
  }

  over(place) {
    this.hover = place
    if (place?.layer && !this.pinned) this.shown = { layer: place.layer, channel: place.channel }
    this.paint()
  }

  // The page

  build(el) {
    dress(el, wayStyle)
    this.messages = messages()
    this.messages.told.classList.add('unseen')
    el.setAttribute('role', 'region')
    el.setAttribute('aria-label', 'A digit’s way through a network')
    el.append(make('div', { className: 'way' }, this.buildPad(), this.buildAnswer(), this.buildMaps(), this.buildGlass()), this.messages.alert, this.messages.told)
    el.addEventListener('keydown', e => { if (e.key === 'Escape' && this.pinned) this.pin(null) })
  }

  buildPad() {
    const tools = switcher({ label: 'What the hand does', options: wayTools, value: this.tool, change: tool => {
      Object.assign(this, { tool, pen: false, moved: null, cursor: null })
      this.labelPad()
      this.paint()
    } })
    this.pad = make('canvas', { tabIndex: 0, role: 'application' })
    this.labelPad()
    this.listenPad()
    const more = make('div', { className: 'row' }, button('Center', () => this.replace(wayCentered(this.image, this.n), true), { title: 'as MNIST’s digits are: 20 pixels long, their mass in the middle' }),
      button('Clear', () => this.replace(new Uint8ClampedArray(this.n ** 2), false)))
    return make('div', { className: 'way-pad' }, tools, this.pad, more, ...this.buildSamples())
  }

  labelPad() { this.pad.setAttribute('aria-label', `Picture, ${this.n} by ${this.n} pixels. ${wayKeys[this.tool]}`) }

  buildSamples() {
    const text = this.model.get('samples')
    if (!text || this.n !== 28) return []
    const all = Uint8ClampedArray.from(atob(text), c => c.charCodeAt(0))
    const one = k => {
      const image = all.slice(784 * k, 784 * k + 784), canvas = make('canvas')
      paintMap(sized(canvas, 28, 28, 1), image, 28, 28, { cell: 1, lim: 255 })
      return make('button', { type: 'button', 'aria-label': `A handwritten ${k}`, onclick: () => this.replace(image, false) }, canvas)
    }
    return [make('div', { className: 'way-samples', role: 'group', 'aria-label': 'Digits to begin with' }, ...Array.from({ length: 10 }, (_, k) => one(k)))]
  }

  listenPad() {
    const pad = this.pad
    const at = e => { const box = pad.getBoundingClientRect(); return [(e.clientY - box.top) / box.height * this.n, (e.clientX - box.left) / box.width * this.n] }
    const pixel = e => { const [row, col] = at(e).map(v => Math.max(0, Math.min(this.n - 1, Math.floor(v)))); return { layer: 0, channel: 0, row, col } }
    let from = null
    pad.addEventListener('pointerdown', e => {
      if (e.button) return
      if (this.tool === 'point') return this.pin(pixel(e))
      pad.setPointerCapture(e.pointerId)
      this.cursor = null
      this.remember()
      from = at(e)
      if (this.tool !== 'move') this.draw(from, from)
    })
    pad.addEventListener('pointermove', e => {
      if (!from) return this.tool === 'point' && this.over(pixel(e))
      for (const step of e.getCoalescedEvents?.().concat(e) ?? [e]) from = this.drag(from, at(step))
    })
    const end = () => { if (from) this.keepImage(); from = null }
    pad.addEventListener('pointerup', end)
    pad.addEventListener('pointercancel', end)
    pad.addEventListener('pointerleave', () => this.hover && this.over(null))
    pad.addEventListener('keydown', e => this.padKey(e))
    pad.addEventListener('blur', () => { this.pen = false; this.cursor = null; this.over(null) })
  }

  drag(from, to) {
    if (this.tool !== 'move') { this.draw(from, to); return to }
    const step = to.map((v, k) => Math.round(v - from[k]))
    if (step[0] || step[1]) this.shift(...step)
    return from.map((v, k) => v + step[k])
  }

  padKey(e) {
    const step = arrows[e.key], { tool } = this, cursor = this.cursor ?? [this.n / 2 | 0, this.n / 2 | 0]
    if (!step && e.key !== ' ' && e.key !== 'Enter') return
    e.preventDefault()
    if (step && tool === 'move') {
      if (!this.moved) this.remember()
      this.shift(...step)
      return this.keepImage()
    }
    this.cursor = step ? cursor.map((v, k) => Math.max(0, Math.min(this.n - 1, v + step[k]))) : cursor
    if (tool === 'point') return this.pointKey(step)
    if (!step) {
      this.pen = !this.pen
      if (this.pen) this.remember()
    }
    if (this.pen) this.draw((step ? cursor : this.cursor).map(v => v + .5), this.cursor.map(v => v + .5))
    if (this.pen || !step) this.keepImage()
    this.paint()
  }

  pointKey(step) {
    const place = { layer: 0, channel: 0, row: this.cursor[0], col: this.cursor[1] }
    if (step) this.over(place)
    else this.pin(place)
  }

  buildAnswer() {
    this.said = make('p', { className: 'way-said', textContent: this.classes ? '' : 'This network ends in maps, not in scores.' })
    this.change = make('p', { className: 'soft' })
    const point = k => ({ layer: this.last, channel: k, row: 0, col: 0 })
    this.bars = (this.classes ?? []).map((name, k) => {
      const value = make('i'), before = make('i', { className: 'before' }), zero = make('i', { className: 'zero' }), number = make('span')
      const row = make('div', { className: 'way-score' },
        make('span', { textContent: name }), make('span', { className: 'way-bar' }, value, zero, before), number)
      return { row, value, before, zero, number }
    })
    const list = make('div', {}, ...this.bars.map(b => b.row))
    if (this.classes) walkable(list, { label: 'Scores. Up and down arrow keys walk, Enter pins.', size: () => [this.bars.length, 1],
      at: () => this.hover?.layer === this.last ? [this.hover.channel, 0] : [-1, 0], leave: () => this.over(null),
      place: e => [this.bars.findIndex(b => b.row.contains(e.target)), 0], point: row => this.over(point(row)), pick: row => row >= 0 && this.pin(point(row)) })
    const { name, type, c } = this.layers[this.last]
    const head = this.classes ? [make('p', { className: 'soft' }, make('b', { textContent: `${name} ${type}` }), `, ${c} scores`)] : []
    return make('div', { className: 'way-answer' }, this.said, ...head, list, this.change)
  }

  // The layers in order; a new block begins with each convolution or linear layer.
  buildMaps() {
    const blocks = []
    this.panels = this.layers.flatMap((l, k) => {
      if (!k || this.classes && k === this.last) return []
      const panel = this.buildPanel(l, k)
      if (!blocks.length || l.kind === 'conv' || l.kind === 'linear') blocks.push([])
      blocks[blocks.length - 1].push(panel.el)
      return [panel]
    })
    const el = make('div', { className: 'way-maps' }, ...blocks.map(some => make('div', { className: 'way-block' }, ...some)))
    this.sizes = new ResizeObserver(() => this.paint())
    this.sizes.observe(el)
    return el
  }

  buildPanel(l, k) {
    const canvas = make('canvas'), facts = make('span', { className: 'soft' }), panel = { k, canvas, facts }
    const shape = l.flat ? `${l.c} numbers` : `${l.c} maps of ${l.h} by ${l.w}`
    panel.at = (y, x) => { const { cols } = panel.grid; return { layer: k, channel: Math.min(l.c - 1, Math.floor(y / l.h) * cols + Math.floor(x / l.w)), row: y % l.h, col: x % l.w } }
    const where = () => {
      const p = this.hover?.layer === k ? this.hover : this.pinned?.layer === k ? this.pinned : null, { cols } = panel.grid
      return p ? [Math.floor(p.channel / cols) * l.h + p.row, p.channel % cols * l.w + p.col] : [0, 0]
    }
    walkable(canvas, { label: `${l.name} ${l.type}, ${shape}. Arrow keys walk from number to number, Enter pins one.`, at: where,
      size: () => [Math.ceil(l.c / panel.grid.cols) * l.h, panel.grid.cols * l.w], place: e => this.under(panel, e.offsetX, e.offsetY),
      point: (y, x) => this.over(panel.at(y, x)), pick: (y, x) => this.pin(panel.at(y, x)), leave: () => this.over(null) })
    this.leaves(canvas)
    panel.el = make('div', { className: 'way-panel' }, make('div', {}, make('b', { textContent: `${l.name} ${l.type}` }), make('br'), facts), make('p', { className: 'way-sheet' }, canvas))
    return panel
  }

  leaves(canvas) { // a finger that is lifted points no more; its tap has pinned
    canvas.addEventListener('blur', () => this.over(null))
    canvas.addEventListener('pointerup', e => { if (e.pointerType !== 'mouse') this.over(null) })
  }

  // Row and column of the sheet, all its maps counted through, under a point of its canvas.
  under({ k, grid }, x, y) {
    const { h, w } = this.layers[k]
    const one = (v, n) => { const tile = Math.floor(v / (n * grid.cell + grid.gap)); return tile * n + Math.min(n - 1, Math.floor((v - tile * (n * grid.cell + grid.gap)) / grid.cell)) }
    return [one(y, h), one(x, w)]
  }

  buildGlass() {
    this.mini = make('canvas', { className: 'mini', role: 'img', 'aria-label': 'The picture, with what the activation depends on' })
    this.glass = make('canvas')
    this.name = make('b')
    this.text = make('p')
    const at = (row, col) => ({ ...this.shown, row, col })
    const here = () => this.layers[this.shown.layer]
    walkable(this.glass, { label: 'One map, enlarged. Arrow keys walk, Enter pins.', size: () => [here().h, here().w],
      at: () => { const p = this.hover ?? this.pinned; return p?.layer === this.shown.layer && p.channel === this.shown.channel ? [p.row, p.col] : null },
      point: (row, col) => this.over(at(row, col)), pick: (row, col) => this.pin(at(row, col)), leave: () => this.over(null) })
    this.leaves(this.glass)
    return this.glassBox = make('div', { className: 'way-glass' }, this.mini, make('div', {}, this.name, this.glass), this.text)
  }

  // Painting, at most once for each frame of the screen

  paintAll() {
    const place = this.hover ?? this.pinned, sets = place ? wayTrace(this.layers, place) : []
    this.glassBox.classList.toggle('idle', !place)
    this.paintPicture(this.pad, Math.floor(2800 / this.n) / 10, sets[0])
    if (this.mini.offsetParent) this.paintPicture(this.mini, 120 / this.n, sets[0])
    for (const panel of this.panels) this.paintPanel(panel, sets[panel.k], place)
    this.paintGlass(sets, place)
    if (this.classes) this.paintScores(place, sets[this.last])
    this.text.textContent = place ? this.words(place, sets) : 'Point at a number of any map, or walk there with Tab and the arrow keys: what it depends on lights up in every map before it and in the picture; dashed, what depends on it later. A click or Enter pins it.'
    this.messages.tell(`${this.said.textContent} ${place ? this.text.textContent : ''} ${this.pen ? 'The pen is down.' : ''}`)
  }

  paintPicture(canvas, cell, set) {
    const { n } = this, ctx = sized(canvas, n, n, cell)
    paintMap(ctx, this.image, n, n, { cell, lim: 255, numbers: false })
    this.light(ctx, set, cell, { before: true })
    if (canvas === this.pad && this.cursor) paintWindow(ctx, { top: this.cursor[0], bottom: this.cursor[0] + 1, left: this.cursor[1], right: this.cursor[1] + 1 }, cell, { color: '#1c1e21', width: this.pen ? 3.5 : 1.5 })
  }

  // The box around a set; where the set has holes, as a dilated kernel leaves them, a dot in each of its cells.
  light(ctx, set, cell, { x = 0, y = 0, before, width = 2 }) {
    if (!set) return
    const [top, bottom, left, right] = wayBox(set)
    if (width > 1) paintWindow(ctx, { top, bottom, left, right }, cell, { x, y, width, dash: before ? [] : [4, 3] })
    else this.faintly(ctx, x + left * cell, y + top * cell, (right - left) * cell, (bottom - top) * cell, before)
    if (wayCount(set.rows) * wayCount(set.cols) === (bottom - top) * (right - left)) return
    ctx.fillStyle = '#d6006c'
    for (let r = top; r < bottom; r++) for (let c = left; c < right; c++) {
      if (set.rows[r] && set.cols[c]) ctx.fillRect(x + (c + .35) * cell, y + (r + .35) * cell, .3 * cell, .3 * cell)
    }
  }

  faintly(ctx, x, y, w, h, before) { // among many small maps
    ctx.strokeStyle = '#d6006c'
    ctx.lineWidth = 1
    ctx.setLineDash(before ? [] : [3, 2])
    ctx.strokeRect(x + .5, y + .5, w - 1, h - 1)
    ctx.setLineDash([])
  }

  grid(l, width) {
    const cols = Math.ceil(Math.sqrt(l.c * l.h / l.w)), gap = l.c > 1 ? 4 : 0, free = (width - gap * (cols - 1)) / cols / l.w
    const cell = free > 2 ? Math.floor(4 * free) / 4 : free
    return { cols, gap, cell, rows: Math.ceil(l.c / cols) }
  }

  paintPanel(panel, set, place) {
    const l = this.layers[panel.k], lim = largest(l.maps)
    const { cols, gap, cell, rows } = panel.grid = this.grid(l, panel.el.clientWidth || 150)
    const ctx = sized(panel.canvas, rows * (l.h * cell + gap) - gap, cols * (l.w * cell + gap) - gap, 1)
    ctx.clearRect(0, 0, panel.canvas.width, panel.canvas.height)
    for (let k = 0; k < l.c; k++) {
      const x = k % cols * (l.w * cell + gap), y = Math.floor(k / cols) * (l.h * cell + gap)
      paintMap(ctx, l.maps.subarray(k * l.h * l.w, (k + 1) * l.h * l.w), l.h, l.w, { cell, lim, signed: l.signed, left: x, top: y, numbers: false })
      if (!place) continue
      if (set?.channels[k]) this.light(ctx, set, cell, { x, y, before: panel.k <= place.layer, width: panel.k === place.layer ? 3 : l.w * cell < 36 ? 1 : 1.5 })
      else { ctx.fillStyle = 'rgba(128, 128, 128, .4)'; ctx.fillRect(x, y, l.w * cell, l.h * cell) }
    }
    const full = written(lim, lim < 10 ? 1 : 0)
    panel.facts.textContent = `${l.flat ? l.c : `${l.c} × ${l.h} × ${l.w}`}, ${l.signed ? '±' : '0 to '}${full}`
  }

  paintGlass(sets, place) {
    const { layer, channel } = this.shown, l = this.layers[layer], wide = this.mini.offsetParent ? 120 : Math.min(280, this.glassBox.clientWidth || 280)
    const cell = wide / Math.max(l.h, l.w), part = l.maps.subarray(channel * l.h * l.w, (channel + 1) * l.h * l.w)
    const ctx = sized(this.glass, l.h, l.w, cell)
    paintMap(ctx, part, l.h, l.w, { cell, lim: largest(l.maps), signed: l.signed, numbers: cell > 32 })
    if (sets[layer]?.channels[channel]) this.light(ctx, sets[layer], cell, { before: layer <= place.layer })
    this.name.textContent = `${l.name} ${l.type}, ${l.flat ? 'number' : 'map'} ${channel}`
  }

  paintScores(place, set) {
    const scores = this.layers[this.last].maps, low = Math.min(0, ...scores, ...this.before ?? []), high = Math.max(0, ...scores, ...this.before ?? [])
    const at = v => 100 * (v - low) / (high - low || 1), best = scores.indexOf(Math.max(...scores))
    this.bars.forEach(({ row, value, before, zero, number }, k) => {
      const from = Math.min(at(0), at(scores[k]))
      value.style.cssText = `left: ${from}%; width: ${Math.abs(at(scores[k]) - at(0))}%; background: var(--${scores[k] < 0 ? 'negative' : 'positive'})`
      zero.style.left = `${at(0)}%`
      before.style.cssText = this.before ? `left: ${at(this.before[k])}%` : 'display: none'
      number.textContent = written(scores[k])
      row.classList.toggle('best', k === best)
      row.classList.toggle('lit', !!(place && set?.channels[k]))
      row.classList.toggle('here', place?.layer === this.last && place.channel === k)
    })
    this.say(scores, best)
  }

  say(scores, best) {
    if (best < 0) { this.said.textContent = 'The scores are no numbers (NaN): this network has diverged.'; return }
    const shares = wayShares(scores), next = shares.indexOf(Math.max(...shares.filter((_, k) => k !== best))), inked = this.image.some(v => v > 25)
    this.said.replaceChildren(inked ? 'It says ' : 'Draw a digit. Of blank paper it says ', make('b', { textContent: this.classes[best] }), `, ${wayPercent(shares[best])} sure. `,
      next < 0 ? '' : `Next comes ${this.classes[next]}, ${wayPercent(shares[next])}.`)
    const moves = this.before ? Array.from(scores, (s, k) => s - this.before[k]) : [0]
    const fell = moves.indexOf(Math.min(...moves)), rose = moves.indexOf(Math.max(...moves))
    const parts = [moves[fell] < -.005 && `${this.classes[fell]} fell by ${written(-moves[fell])}`, moves[rose] > .005 && `${this.classes[rose]} rose by ${written(moves[rose])}`].filter(Boolean)
    this.change.textContent = parts.length ? `Black marks: the scores before. ${parts.join(', ')}.` : ''
  }

  words({ layer, channel, row, col }, sets) {
    const l = this.layers[layer], value = written(l.maps[(channel * l.h + row) * l.w + col], 3), out = this.layers[this.last]
    const which = this.classes && layer === this.last ? `score of ${this.classes[channel]}` : `${l.flat ? 'number' : 'map'} ${channel}`
    const here = layer ? `${l.name} ${l.type}, ${which}${l.h * l.w > 1 ? `, row ${row}, column ${col}` : ''}: ${value}.` : `Pixel in row ${row}, column ${col}: ${written(this.image[row * this.n + col] / 255)} of full ink.`
    const pixels = sets[0] && wayCount(sets[0].rows) * wayCount(sets[0].cols)
    const seen = layer ? sets[0] ? ` It depends on ${pixels} pixel${pixels > 1 ? 's' : ''}, in ${wayPlaces(sets[0])} of the picture.` : ' It depends on padding alone, on no pixel.' : ''
    const end = sets[this.last], after = layer === this.last ? '' : !end ? ' Nothing at the end depends on it.' :
      this.classes ? ` In the end it reaches ${wayCount(end.channels)} of ${out.c} scores.` : ` In the last layer it reaches ${wayCount(end.channels)} of ${out.c} maps, in ${wayPlaces(end)}.`
    return here + seen + after
  }
}

export default {
  render({ model, el }) {
    const piece = new WayPiece(model, el)
    const image = () => { if (!piece.busy) { piece.before = null; piece.load() } }, point = () => { if (!piece.busy) piece.follow() }
    model.on('change:image', image)
    model.on('change:point', point)
    return () => { piece.sizes.disconnect(); model.off('change:image', image); model.off('change:point', point) }
  },
}
