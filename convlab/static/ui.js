// What live pieces share: their look in light and dark, controls with labels, messages, and maps painted on a canvas.

const uiStyle = `
.convlab-live {
color-scheme:light dark;container-type:inline-size;box-sizing:border-box;max-width:1100px;padding:12px 14px;
--page:light-dark(#fff,#17181b);--raised:light-dark(#f4f5f7,#24262b);--text:light-dark(#1c1e21,#e9eaec);--soft:light-dark(#565b63,#aeb4bd);
--line:light-dark(#c9cdd3,#474b53);--edge:light-dark(#7b828c,#878e99);--accent:light-dark(#c4005f,#ff6fae);--on-accent:light-dark(#fff,#2b0016);
--positive:light-dark(#2166ac,#8ec3ee);--negative:light-dark(#a34c00,#fdb863);--good:light-dark(#1a6e35,#7ed492);--bad:light-dark(#ad1d1d,#ff9d94);
background:var(--page);color:var(--text);border:1px solid var(--line);border-radius:10px;font:14px/1.45 system-ui,sans-serif;
:is([data-jp-theme-light=true],[data-theme=light],.vscode-light) & {color-scheme:light}
:is([data-jp-theme-light=false],[data-theme=dark],[theme=dark],.vscode-dark) & {color-scheme:dark}
* {box-sizing:border-box}
h3,h4 {font-size:17px;font-weight:650;margin:0 0 4px;color:inherit}
h4 {font-size:13px}
p {margin:0 0 8px;color:inherit}
.soft {color:var(--soft)}
.row {display:flex;flex-wrap:wrap;gap:8px;align-items:center}
button,select,input:not([type=range],[type=radio],[type=checkbox]) {
font:inherit;font-size:13px;color:var(--text);background:var(--raised);border:1px solid var(--edge);border-radius:6px;padding:3px 10px;min-height:32px;height:auto;width:auto;margin:0;box-shadow:none}
button {cursor:pointer}
button:hover:not(:disabled) {border-color:var(--text)}
button[aria-pressed=true] {background:var(--accent);border-color:var(--accent);color:var(--on-accent)}
button:disabled {opacity:.5}
input {accent-color:var(--accent);margin:0}
canvas {display:block;max-width:100%}
[hidden] {display:none}
:focus-visible {outline:3px solid var(--accent);outline-offset:2px}
.trouble:not(:empty) {color:var(--bad);border-left:4px solid var(--bad);padding:4px 10px;margin:8px 0;background:var(--raised)}
.told {min-height:1.45em}
.unseen {position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media (pointer:coarse) {button,select {min-height:40px}}
}
`

// Make `el` the root of a piece: its class, its look, and the look of the piece itself.
export function dress(el, style = '') {
  el.classList.add('convlab-live')
  el.append(make('style', { textContent: uiStyle + style }))
  // A notebook's commands of one key, such as d d to delete a cell, do not hold in a piece; those with Ctrl do.
  // JupyterLab hears a key after the piece. Notebook 7 hears it before, and looks for this attribute.
  const own = e => !e.ctrlKey && !e.metaKey
  el.addEventListener('keydown', e => own(e) && e.stopPropagation())
  addEventListener('keydown', e => el.contains(e.target) && e.target.toggleAttribute('data-lm-suppress-shortcuts', own(e)), true)
  return el
}

// An element with properties (`on…` functions, `aria-…` and `data-…` attributes, anything else as it is) and children.
export function make(tag, properties = {}, ...children) {
  const el = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-')) el.setAttribute(name, value)
    else el[name] = value
  }
  el.append(...children)
  return el
}

// An id that no other element of the page has.
export function freshId(name = 'part') { return `convlab-${name}-${Math.random().toString(36).slice(2)}` }

// Controls. Each calls `change` with its new value while the hand moves, and has `show(value)` for changes from elsewhere.

export function slider({ label, min, max, step = 1, value, change, write = String }) {
  const out = make('output', { style: 'font-weight:600;font-variant-numeric:tabular-nums' }), input = make('input', { type: 'range', min, max, step, style: 'width:100%;min-width:0' })
  const show = v => {
    input.value = v
    out.textContent = write(Number(v))
    input.setAttribute('aria-valuetext', write(Number(v)))
  }
  input.oninput = () => { show(input.value); change(Number(input.value)) }
  show(value)
  const style = 'display:grid;grid-template-columns:minmax(5.5em,max-content) minmax(80px,1fr) 3.2em;align-items:center;gap:8px;font-size:13px;min-height:30px'
  return Object.assign(make('label', { style }, make('span', { textContent: label }), input, out), { show, input })
}

// The number that a reader typed (1/9, −2 and 0,5 too); null if it is none, or beyond a million, where sums might become infinite.
export function readNumber(text) {
  const clean = text.trim().replace(/[−–]/g, '-').replace(',', '.')
  const parts = clean.split('/')
  if (parts.length > 2 || parts.some(p => !/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(p.trim()))) return null
  const value = parts.length === 2 ? parts[0] / parts[1] : Number(clean)
  return Math.abs(value) <= 1e6 ? value : null
}

// `options` is [[value, text], …].
export function choice({ label, options, value, change }) {
  const input = make('select', {}, ...options.map(([v, text]) => make('option', { value: v, textContent: text })))
  const show = v => { input.value = v }
  input.onchange = () => change(input.value)
  show(value)
  return Object.assign(make('label', { style: 'display:inline-flex;align-items:center;gap:6px;font-size:13px' }, label, input), { show, input })
}

export function button(text, press, properties = {}) { return make('button', { type: 'button', textContent: text, onclick: press, ...properties }) }

// Buttons of which one is pressed.
export function switcher({ label, options, value, change }) {
  const buttons = options.map(([v, text]) => button(text, () => { show(v); change(v) }, { value: v }))
  const show = v => buttons.forEach(b => b.setAttribute('aria-pressed', b.value === String(v)))
  show(value)
  return Object.assign(make('div', { className: 'row', role: 'group', 'aria-label': label }, ...buttons), { show })
}

// Two places for words: what happened (read out when the hand pauses) and what went wrong (read out at once).
export function messages() {
  const told = make('p', { className: 'told', role: 'status' }), alert = make('div', { className: 'trouble', role: 'alert' })
  let timer = null
  return {
    told, alert,
    tell(text) { clearTimeout(timer); timer = setTimeout(() => { told.textContent = text }, 120) },
    warn(text = '') { if (alert.textContent !== text) alert.textContent = text },
  }
}

// At most one `paint` for each frame of the screen, however often it is asked for.
export function perFrame(paint) {
  let asked = null
  return () => { asked ??= requestAnimationFrame(() => { asked = null; paint() }) }
}

// Numbers as people write them: at most `digits` after the point, with a real minus.
export function written(v, digits = 2) {
  return (Math.abs(v) >= 1e5 ? v.toPrecision(4) : String(Number(v.toFixed(digits)))).replace('-', '−')
}

// The picture language: the same colors as convlab.draw.plotting.

const signedStops = [[0xb3, 0x58, 0x06], [0xfd, 0xb8, 0x63], [255, 255, 255], [0x92, 0xc5, 0xde], [0x21, 0x66, 0xac]]
const inkStops = [255, 240, 217, 189, 150, 115, 82, 37, 0].map(v => [v, v, v])
export const accentColor = '#d6006c'

// 256 colors from the first stop to the last, as a canvas has them in memory: red first.
const colorTables = [inkStops, signedStops].map(stops => Uint32Array.from({ length: 256 }, (_, k) => {
  const at = k / 255 * (stops.length - 1), i = Math.min(Math.floor(at), stops.length - 2)
  const [r, g, b] = stops[i].map((c, n) => Math.round(c + (stops[i + 1][n] - c) * (at - i)))
  return 255 << 24 | b << 16 | g << 8 | r
}))

// The place of `v` in a table of 256: white at zero, full color at `lim` and beyond.
export function shade(v, lim, signed) {
  const t = signed ? (v / lim + 1) / 2 : v / lim
  return Math.max(0, Math.min(255, Math.round(t * 255)))
}
function rgbOf(v, lim, signed) { return [0, 8, 16].map(bits => colorTables[+signed][shade(v, lim, signed)] >> bits & 255) }
export function colorOf(v, lim, signed) { return `rgb(${rgbOf(v, lim, signed)})` }

// Black or white letters, whichever can be read on the color of `v` (relative luminance of WCAG 2, with squares in place of its curve).
export function letterColor(v, lim, signed) {
  const [r, g, b] = rgbOf(v, lim, signed).map(c => c * c)
  return .2126 * r + .7152 * g + .0722 * b > 13460 ? '#000' : '#fff'
}

export function largest(values) {
  let most = 0
  for (const v of values) if (Math.abs(v) > most) most = Math.abs(v)
  return most || 1
}

// Size `canvas` for `h` by `w` cells of `cell` CSS pixels, sharp on any screen; its context, in CSS pixels.
export function sized(canvas, h, w, cell) {
  const ratio = Math.max(1, devicePixelRatio), [width, height] = [w, h].map(n => Math.round(n * cell * ratio))
  if (canvas.width !== width || canvas.height !== height) {
    Object.assign(canvas, { width, height })
    Object.assign(canvas.style, { width: `${w * cell}px`, height: `${h * cell}px` })
  }
  const ctx = canvas.getContext('2d')
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0)
  return ctx
}

const pixelSheets = {} // a small canvas and its pixels, one for each size
function pixelSheet(h, w) {
  const canvas = make('canvas', { width: w, height: h }), ctx = canvas.getContext('2d'), data = ctx.createImageData(w, h)
  return { canvas, ctx, data, pixels: new Uint32Array(data.data.buffer) }
}

// Paint `values` (row by row, `h` by `w`) on a context, a cell `cell` CSS pixels wide, from `left`, `top` on.
// Cells are framed where they are wide enough, and have their numbers where these can be read.
export function paintMap(ctx, values, h, w, { cell, lim, signed = false, left = 0, top = 0, numbers = cell >= 24, room = 1 }) {
  const sheet = pixelSheets[[h, w]] ??= pixelSheet(h, w), table = colorTables[+signed], full = (lim ?? largest(values)) * room
  for (let k = 0; k < h * w; k++) sheet.pixels[k] = table[shade(values[k], full, signed)]
  sheet.ctx.putImageData(sheet.data, 0, 0)
  ctx.imageSmoothingEnabled = false
  ctx.drawImage(sheet.canvas, left, top, w * cell, h * cell)
  if (cell >= 7) paintFrames(ctx, h, w, cell, left, top)
  if (numbers) paintNumbers(ctx, values, h, w, { cell, full, signed, left, top })
  ctx.strokeStyle = '#8a8f98'
  ctx.lineWidth = 1
  ctx.strokeRect(left + .5, top + .5, w * cell - 1, h * cell - 1)
}

function paintFrames(ctx, h, w, cell, left, top) {
  ctx.fillStyle = 'rgba(120, 125, 135, .35)'
  for (let i = 1; i < h; i++) ctx.fillRect(left, top + i * cell - .5, w * cell, 1)
  for (let j = 1; j < w; j++) ctx.fillRect(left + j * cell - .5, top, 1, h * cell)
}

// With two digits after the point, or as many as can be read.
function paintNumbers(ctx, values, h, w, { cell, full, signed, left, top }) {
  ctx.textAlign = 'center'
  ctx.textBaseline = 'middle'
  const size = texts => Math.min(14, cell * .42, cell * 1.45 / Math.max(...texts.map(t => t.length)))
  const texts = [2, 1, 0].map(digits => Array.from(values, v => written(v, digits))).find((all, digits) => size(all) > 9 || digits === 2)
  ctx.font = `${size(texts)}px ui-monospace, Menlo, Consolas, monospace`
  for (let k = 0; k < h * w; k++) {
    ctx.fillStyle = letterColor(values[k], full, signed)
    ctx.fillText(texts[k], left + (k % w + .5) * cell, top + (Math.floor(k / w) + .5) * cell)
  }
}

// The window: rows `top` to `bottom` and columns `left` to `right` (the last ones not in it), in the accent color over white.
export function paintWindow(ctx, { top, bottom, left, right }, cell, { color = accentColor, width = 2.5, dash = [], x = 0, y = 0 } = {}) {
  ctx.setLineDash(dash)
  for (const [style, wide] of [['#fff', width > 1 && width + 2], [color, width]]) if (wide) {
    ctx.strokeStyle = style
    ctx.lineWidth = wide
    ctx.strokeRect(x + left * cell, y + top * cell, (right - left) * cell, (bottom - top) * cell)
  }
  ctx.setLineDash([])
}

// Padding: slanted lines over a rectangle, in CSS pixels.
export function paintHatch(ctx, x, y, width, height, gap = 6) {
  ctx.save()
  ctx.beginPath()
  ctx.rect(x, y, width, height)
  ctx.clip()
  ctx.fillStyle = '#f4f4f4'
  ctx.fillRect(x, y, width, height)
  ctx.strokeStyle = '#9aa0a8'
  ctx.lineWidth = 1
  ctx.beginPath()
  for (let d = -height; d < width; d += gap) { ctx.moveTo(x + d, y + height); ctx.lineTo(x + d + height, y) }
  ctx.stroke()
  ctx.restore()
}

// Rows and columns.
export const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }

// A canvas whose cells are pointed at with mouse or finger and walked with the arrow keys. `size()` is [rows, columns] and `at()` the
// [row, column] of the moment, or null; `point(row, column, keys)` hears of each step, `pick(row, column, keys)` of a click, Enter or a space.
// Its cells are squares side by side, unless `place(event)` says which cell is meant. `keys`: it was the keyboard.
export function walkable(canvas, { label, size, at, point, pick, leave, place }) {
  Object.assign(canvas, { tabIndex: 0, role: 'application', ariaLabel: label })
  const inside = spot => spot.map((p, k) => Math.max(0, Math.min(size()[k] - 1, p)))
  const under = e => {
    const box = canvas.getBoundingClientRect(), side = box.width / size()[1]
    return inside(place?.(e) ?? [e.clientY - box.top, e.clientX - box.left].map(v => Math.floor(v / side)))
  }
  canvas.onpointermove = canvas.onpointerdown = e => point(...under(e))
  canvas.onpointerleave = e => { if (e.pointerType === 'mouse') leave?.() }
  canvas.onclick = e => pick?.(...under(e))
  canvas.onkeydown = e => {
    const [row, column] = at() ?? size().map(n => Math.floor(n / 2)), step = arrows[e.key], far = e.shiftKey ? 5 : 1
    if (step) point(...inside([row + step[0] * far, column + step[1] * far]), true)
    else if (e.key === 'Enter' || e.key === ' ') pick?.(row, column, true)
    else return
    e.preventDefault()
  }
  return canvas
}
