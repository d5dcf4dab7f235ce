import { button, choice, colorOf, dress, freshId, largest, letterColor, make, messages, paintMap, paintWindow, perFrame, readNumber, sized, switcher, walkable, written } from './ui.js'
import { judgedKernel, kernelPresets, kernelTasks, mapKernel, negated, packed, resized, scaledToOne, scaledToZero, testPictures, total, turned, unpacked, windowAt, withCell } from './kernel_numbers.js'

const labStyle = `
.kernel-lab {display:grid;gap:12px 24px;grid-template:"bar bar bar" "picture kernel map" "why why tasks"/minmax(0,1fr) auto minmax(0,1fr);margin-top:8px;
> * {min-width:0}
.cells {display:grid;gap:2px;width:max-content}
.cells input {width:var(--cell);height:var(--cell);min-height:0;padding:0;text-align:center;border-radius:3px;font-size:calc(5.5px + var(--cell)*.15);cursor:ns-resize;touch-action:none}
.cells [aria-invalid=true] {outline:3px dashed var(--bad)}
.kernel {display:flex;flex-wrap:wrap;gap:8px 16px;align-content:start;max-width:300px;h4,p {width:100%;margin:0} > .row {flex:1 150px;align-self:start}}
.caption {font-size:12px;margin:4px 0 0}
label {display:flex;gap:8px;padding:3px 0;align-items:baseline}
.verdict {border-left:4px solid var(--edge);padding-left:10px;margin:2px 0 8px}
.done {border-color:var(--good)}
.mark {color:var(--good)}
}
@container (max-width:760px) {.kernel-lab {grid-template:"bar bar" "picture map" "kernel kernel" "why why" "tasks tasks"/minmax(0,1fr) minmax(0,1fr);gap:12px;.kernel {max-width:none}}}
`
const mostPixels = 128, drag = 8 // pixels of the longer side; pixels of the screen for a step of the kernel

// A picture file as gray pixels, at most 128 on the longer side. Dark is ink.
async function pixelsOf(file) {
  const bitmap = await createImageBitmap(file).catch(() => { throw new Error(`“${file.name}” is not a picture we can read.`) })
  const scale = Math.min(1, mostPixels / Math.max(bitmap.width, bitmap.height)), [w, h] = [bitmap.width, bitmap.height].map(n => Math.round(n * scale))
  if (Math.min(h, w) < 7) throw new Error(`A picture needs at least 7 pixels each way; “${file.name}” has ${h} by ${w}.`)
  const ctx = make('canvas', { width: w, height: h }).getContext('2d')
  Object.assign(ctx, { fillStyle: '#fff', imageSmoothingQuality: 'high' }).fillRect(0, 0, w, h)
  ctx.drawImage(bitmap, 0, 0, w, h)
  const d = ctx.getImageData(0, 0, w, h).data
  return packed(h, w, Array.from({ length: h * w }, (_, k) => Math.round(255 - (.299 * d[4 * k] + .587 * d[4 * k + 1] + .114 * d[4 * k + 2]))))
}

// The kernel as fields: typed, dragged up and down, and walked with the arrow keys.
function kernelFields({ change, warn }) {
  const grid = make('div', { className: 'cells', role: 'group', 'aria-label': 'Kernel' })
  let kernel = [], inputs = []
  const put = (a, b, v) => change(withCell(kernel, a, b, v))
  const move = (a, b, v) => put(a, b, Math.round(v * 1000) / 1000)
  const walk = (a, b) => { const to = inputs[a]?.[b]; to?.focus(); to?.select() }
  function field(a, b) {
    const input = make('input', { type: 'text', tabIndex: a + b ? -1 : 0, 'aria-label': `kernel, row ${a + 1}, column ${b + 1}` })
    let from = null
    input.oninput = () => {
      const v = readNumber(input.value)
      input.setAttribute('aria-invalid', v === null)
      warn(v === null ? `A cell must be a number, such as −1 or 1/9, up to a million; got “${input.value}”.` : '')
      if (v !== null) put(a, b, v)
    }
    input.onfocus = () => { for (const other of inputs.flat()) other.tabIndex = other === input ? 0 : -1 }
    input.onblur = () => { warn(''); paint() }
    input.onkeydown = e => {
      const up = { ArrowUp: 1, ArrowDown: -1 }[e.key], { value, selectionStart: from, selectionEnd: to } = input, all = to - from === value.length
      if (up && e.ctrlKey) walk(a - up, b)
      else if (up) { move(a, b, kernel[a][b] + up * (e.shiftKey ? .1 : 1)); input.select() }
      else if (e.key === 'ArrowLeft' && (all || to === 0)) walk(a, b - 1)
      else if (e.key === 'ArrowRight' && (all || from === value.length)) walk(a, b + 1)
      else if (e.key === 'Enter') walk(...b + 1 < kernel.length ? [a, b + 1] : [a + 1, 0])
      else return
      e.preventDefault()
    }
    input.onpointerdown = e => { from = { y: e.clientY, v: kernel[a][b], moved: false } }
    input.onpointermove = e => {
      const steps = from && e.buttons ? Math.round((from.y - e.clientY) / drag) : 0
      if (steps && !from.moved) { from.moved = true; input.setPointerCapture(e.pointerId) }
      if (from?.moved) { e.preventDefault(); move(a, b, from.v + steps * (e.shiftKey ? .01 : .1)) }
    }
    input.onpointerup = input.onpointercancel = () => { if (from && !from.moved) input.select(); from = null }
    return input
  }
  function paint() {
    const lim = largest(kernel.flat())
    kernel.forEach((row, a) => row.forEach((v, b) => {
      const input = inputs[a][b]
      if (document.activeElement !== input || readNumber(input.value) !== v) {
        input.value = written(v, kernel.length < 5 ? 3 : 2)
        input.setAttribute('aria-invalid', false)
      }
      Object.assign(input.style, { background: colorOf(v, lim, true), color: letterColor(v, lim, true) })
    }))
  }
  function show(to) {
    if (to.length !== kernel.length) {
      const k = to.length
      inputs = to.map((row, a) => row.map((_, b) => field(a, b)))
      grid.replaceChildren(...inputs.flat())
      grid.style.gridTemplateColumns = `repeat(${k}, auto)`
      grid.style.setProperty('--cell', `${k < 5 ? 56 : k < 7 ? 48 : 38}px`)
    }
    kernel = to
    paint()
  }
  return { grid, show }
}

// The window, the kernel, their products and the sum, with all their numbers.
function paintReckoning(canvas, width, { pixels, products, sum }, kernel, pictureLim, signedPicture) {
  const k = kernel.length, room = width / (3 * k + 1.2), beside = room >= 24, cell = Math.min(46, Math.floor(beside ? room : width / k)), head = 20
  const grids = [[pixels, pictureLim, signedPicture, 'window'], [kernel, undefined, true, '× kernel'],
    [products, undefined, true, k * cell > 120 ? `= products, sum ${written(sum)}` : '= products']]
  const [w, h] = beside ? [width, k * cell + head + 6] : [k * cell, 3 * (k * cell + head + 6)]
  const ctx = sized(canvas, h, w, 1)
  ctx.clearRect(0, 0, w, h)
  grids.forEach(([rows, lim, signed, title], n) => {
    const left = beside ? n * (k + .6) * cell : 0, top = (beside ? 0 : n * (k * cell + head + 6)) + head
    Object.assign(ctx, { fillStyle: getComputedStyle(canvas).color, font: '600 13px system-ui', textAlign: 'left', textBaseline: 'alphabetic' }).fillText(title, left, top - 6)
    paintMap(ctx, rows.flat(), k, k, { cell, lim, signed, left, top, numbers: true, room: signed ? 1 : 1.25 })
  })
}

function spelledOut({ pixels, products, sum }, kernel) {
  const terms = products.flatMap((row, a) => row.map((v, b) => v && written(pixels[a][b]) + ' × ' + written(kernel[a][b], 3))).filter(Boolean)
  const more = terms.length - 12, zeros = kernel.length ** 2 - terms.length
  const rest = [more > 0 && more + ' more', zeros && zeros + ' products that are 0'].filter(Boolean).join(' and ')
  return `${terms.slice(0, 12).join(' + ') || 0}${rest && ' + ' + rest} = ${written(sum)}`
}

export default {
  render({ model, el }) {
    const { told, alert, tell, warn } = messages(), live = { mode: 'point', spot: null, picture: null, map: null }
    const pin = () => model.get('pin'), kernel = () => model.get('kernel'), size = () => [live.h, live.w], mapSize = () => size().map(n => n - kernel().length + 1)
    const keep = values => { for (const [name, v] of Object.entries(values)) model.set(name, v); model.save_changes() }
    const setKernel = k => keep({ kernel: k })

    // What is on the page
    const given = model.get('given'), names = [...given ? [given.name] : [], ...Object.keys(testPictures)]
    const setImage = (picture, image = null) => keep({ image, picture, pin: null }) // no picture: the given one
    const pick = choice({ label: 'Picture', options: [...names.map(n => [n, n]), ['own', 'your own']], value: model.get('picture'),
      change: n => n === 'own' ? file.click() : setImage(n, n === given?.name ? null : testPictures[n]()) })
    const file = make('input', { type: 'file', accept: 'image/*', className: 'unseen', tabIndex: -1, 'aria-label': 'Picture file', onchange: () => upload(file.files[0]) })
    const mode = switcher({ label: 'Pointer', options: [['point', 'Point'], ['draw', 'Draw'], ['erase', 'Erase']], value: 'point', change: m => {
      live.mode = m
      picture.style.touchAction = m === 'point' ? 'pan-y' : 'none'
    } })
    const picture = walkable(make('canvas'), { label: 'Picture. Arrow keys walk; Enter pins or draws.', size, at: () => live.pen ?? centre(),
      point: (row, column) => live.mode === 'point' ? look(...within(row - half(), column - half())) : (live.pen = [row, column], live.down ? stroke(row, column) : paint()),
      pick: (row, column) => live.mode === 'point' ? fix(...within(row - half(), column - half())) : stroke(row, column) })
    const map = walkable(make('canvas'), { label: 'Map. Arrow keys walk; Enter pins a result.', size: mapSize, at: () => pin() ?? live.spot,
      point: (row, column, keys) => keys && pin() ? keep({ pin: [row, column] }) : look(row, column), pick: fix, leave: () => { live.spot = null; paint() } })
    map.style.touchAction = picture.style.touchAction = 'pan-y'
    const captions = [make('p', { className: 'soft caption' }), make('p', { className: 'soft caption' })], why = make('canvas', { role: 'img' }), sum = make('p'), hint = make('p', { className: 'soft' })
    const fields = kernelFields({ change: setKernel, warn })
    const presets = choice({ label: 'Preset', options: [['', '…'], ...Object.keys(kernelPresets).map(n => [n, n])], value: '', change: n => n && setKernel(kernelPresets[n](kernel().length)) })
    const sizes = switcher({ label: 'Size of the kernel', options: [3, 5, 7].map(n => [n, `${n} × ${n}`]), value: kernel().length, change: n => setKernel(resized(kernel(), Number(n))) })
    const scaleOne = () => { const k = scaledToOne(kernel()); k ? setKernel(k) : warn('They add up to 0: no factor makes that 1.') }
    const verdict = make('p', { className: 'verdict', role: 'status', hidden: true }), marks = kernelTasks.map(() => make('span', { className: 'mark' })), group = freshId('task')
    const radios = kernelTasks.map((_, n) => make('input', { type: 'radio', name: group, onchange: () => keep({ task: n }) }))
    const tasks = kernelTasks.map((t, n) => make('label', {}, radios[n], make('span', {}, marks[n], t.text)))
    const part = (name, title, ...children) => make('section', { className: name, style: `grid-area:${name}`, 'aria-label': title }, make('h4', { textContent: title }), ...children)
    const frame = make('div', { className: 'kernel-lab' },
      make('div', { className: 'row', style: 'grid-area:bar' }, pick, button('Upload …', () => file.click()), file, mode, button('Clear', () => setImage('blank', testPictures.blank()))),
      part('picture', 'Picture', picture, captions[0]),
      part('kernel', 'Kernel', fields.grid, make('div', { className: 'row' }, presets, sizes,
        button('Negate', () => setKernel(negated(kernel()))), button('Turn', () => setKernel(turned(kernel()))),
        button('Sum to 0', () => setKernel(scaledToZero(kernel()))), button('Sum to 1', scaleOne)), sum),
      part('map', 'Map', map, captions[1]),
      part('why', 'One result', why, told, hint),
      part('tasks', 'Can you make a kernel for this?', ...tasks))
    dress(el, labStyle).append(make('h3', { textContent: 'Kernel lab' }),
      make('p', { className: 'soft', textContent: 'Type into the kernel, or drag a cell up and down. Then point at a result.' }), alert, frame)

    // What the hand does
    const half = () => (kernel().length - 1) / 2
    const within = (row, column) => [row, column].map((p, n) => Math.max(0, Math.min(mapSize()[n] - 1, p)))
    const centre = () => { const at = pin() ?? live.spot; return at && at.map(p => p + half()) }
    function look(row, column) {
      if (!pin()) { live.spot = [row, column]; paint() }
    }
    function fix(row, column) {
      live.spot = [row, column]
      keep({ pin: pin()?.join() === [row, column].join() ? null : [row, column] })
    }
    function stroke(row, column) { // from where the pen was, a little wider than a pixel
      const pen = Math.max(1, live.w / 28), [i0, j0] = live.last ?? [row, column], [di, dj] = [row - i0, column - j0], top = live.lim > 1 ? 255 : 1
      live.last = live.down ? [row, column] : null
      live.picture = live.picture.map((v, k) => {
        const i = Math.floor(k / live.w) - i0, j = k % live.w - j0, along = Math.max(0, Math.min(1, (i * di + j * dj) / (di * di + dj * dj || 1)))
        const wet = Math.max(0, Math.min(1, 1.5 - Math.hypot(i - along * di, j - along * dj) / pen))
        return live.mode === 'draw' ? Math.max(v, top * wet) : wet > .4 ? 0 : v
      })
      live.down ? paint() : keepStroke()
    }
    const keepStroke = () => setImage('own', packed(live.h, live.w, live.picture))
    async function upload(chosen) {
      if (!chosen) return
      try { setImage('own', await pixelsOf(chosen)); warn('') } catch (error) { warn(error.message) }
      file.value = ''
    }
    picture.addEventListener('pointerdown', e => { if (live.mode !== 'point') { live.down = true; picture.setPointerCapture(e.pointerId); stroke(...live.pen) } })
    picture.onpointerup = picture.onpointercancel = () => { if (live.down) keepStroke(); live.down = live.last = null }
    frame.ondragover = e => e.preventDefault()
    frame.ondrop = e => { e.preventDefault(); upload(e.dataTransfer.files[0]) }

    // What follows from it
    const write = (node, text) => { if (node.textContent !== text) node.textContent = text }
    function readImage() {
      const shown = model.get('image') ?? given, picture = unpacked(shown)
      Object.assign(live, { h: shown.height, w: shown.width, picture, signed: picture.some(v => v < 0), lim: largest(picture), spot: null, pen: null })
    }
    const square = ([top, left], n) => ({ top, left, bottom: top + n, right: left + n })
    const paint = perFrame(() => {
      const k = kernel(), { h, w } = live, [rows, columns] = mapSize()
      live.map = mapKernel(live.picture, h, w, k)
      const room = picture.parentElement.clientWidth, ratio = devicePixelRatio || 1
      live.cell = Math.max(1 / ratio, Math.floor(Math.min(room, 440) / w * ratio) / ratio)
      const lim = largest(live.map), cell = live.cell, at = pin() ?? live.spot
      const [p, m] = [sized(picture, h, w, cell), sized(map, rows, columns, cell)]
      paintMap(p, live.picture, h, w, { cell, lim: live.lim, signed: live.signed })
      paintMap(m, live.map, rows, columns, { cell, lim, signed: true })
      if (at) {
        paintWindow(p, square(at, k.length), cell)
        paintWindow(m, square(at, 1), cell, { width: Math.min(2.5, cell / 2) })
      }
      if (live.mode !== 'point' && live.pen) paintWindow(p, square(live.pen, 1), cell, { width: 1.5, dash: [3, 2] })
      write(captions[0], `${h} × ${w} pixels; full ink is ${written(live.lim)}`)
      write(captions[1], `${rows} × ${columns} results; full color is ±${written(lim)}`)
      reckon(at, k)
    })
    function reckon(at, k) {
      why.hidden = !at
      write(hint, !at ? 'Point at a result, or walk there with the arrow keys.' : pin() ? 'Pinned. Click again to let it go.' : 'Click to pin it.')
      if (!at) return tell('')
      const found = windowAt(live.picture, live.w, k, ...at), text = `Row ${at[0]}, column ${at[1]} of the map: ${spelledOut(found, k)}`
      paintReckoning(why, why.parentElement.clientWidth, found, k, live.lim, live.signed)
      why.setAttribute('aria-label', `Window, kernel and products. ${text}`)
      tell(text)
    }
    function followKernel() {
      const k = kernel(), inside = pin() && within(...pin())
      fields.show(k)
      sizes.show(k.length)
      write(sum, `Its numbers add up to ${written(total(k), 3)}.`)
      if (inside && inside.join() !== pin().join()) keep({ pin: inside })
      if (live.spot) live.spot = within(...live.spot)
      presets.show(Object.keys(kernelPresets).find(name => JSON.stringify(kernelPresets[name](k.length)) === JSON.stringify(k)) ?? '')
      followTask()
      paint()
    }
    function followTask() {
      const n = model.get('task'), solved = model.get('solved'), verdictOf = n === null ? { said: '' } : judgedKernel(n, kernel())
      verdict.hidden = n === null
      write(verdict, verdictOf.said)
      verdict.classList.toggle('done', verdictOf.done)
      if (n !== null && tasks[n].nextSibling !== verdict) tasks[n].after(verdict)
      if (verdictOf.done && !solved.includes(n)) return keep({ solved: [...solved, n] })
      radios.forEach((radio, k) => { radio.checked = k === n })
      marks.forEach((mark, k) => write(mark, solved.includes(k) ? '✓ ' : ''))
    }
    model.on('change:kernel', followKernel)
    model.on('change:task', followTask)
    model.on('change:solved', followTask)
    model.on('change:pin', paint)
    model.on('change:image', () => { readImage(); paint() })
    model.on('change:picture', () => pick.show(names.includes(model.get('picture')) ? model.get('picture') : 'own'))
    readImage()
    followKernel()
    const watch = new ResizeObserver(paint)
    watch.observe(frame)
    return () => watch.disconnect()
  },
}
