// The numbers of WayLab: a network's forward pass, and what each activation depends on. It knows nothing of the page.
// A network is plain: { input: [channels, rows, columns], layers: [{ name, type, kind, shape, … }] }, as convlab.draw.way writes it.

const wayPoints = {
  relu: x => x > 0 ? x : x === x ? 0 : x, // NaN stays NaN, as in PyTorch
  relu6: x => x > 6 ? 6 : x > 0 ? x : x === x ? 0 : x,
  leaky_relu: (x, slope) => x > 0 ? x : slope * x,
  elu: (x, alpha) => x > 0 ? x : alpha * Math.expm1(x),
  silu: x => x / (1 + Math.exp(-x)),
  sigmoid: x => 1 / (1 + Math.exp(-x)),
  tanh: x => Math.tanh(x),
}

// Weights come as base64 of little-endian numbers: float32, or half as long in one of the two short forms.
export function wayFloats({ dtype, data }) {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0))
  if (dtype === 'float32') return new Float32Array(bytes.buffer)
  const short = new Uint16Array(bytes.buffer)
  if (dtype === 'float16') return Float32Array.from(short, wayHalf)
  return new Float32Array(Uint32Array.from(short, s => s << 16).buffer) // bfloat16 is the upper half of a float32
}

function wayHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction)
}

// Along one axis: for each output position the input positions that its window looks at. -1: padding, which is no pixel.
// `shares`: what an average divides by.
function wayAxis(nIn, nOut, axis) {
  if (axis.adaptive) return wayAdaptive(nIn, nOut)
  const { kernel, stride, before, after = before, dilation = 1, mode = 'zeros' } = axis
  const taps = [], shares = []
  for (let o = 0; o < nOut; o++) {
    const at = Array.from({ length: kernel }, (_, t) => o * stride - before + t * dilation)
    shares.push(at.filter(i => axis.paddingCounts ? i < nIn + after : i >= 0 && i < nIn).length)
    taps.push(at.map(i => wayInside(i, nIn, mode)))
  }
  return { taps, shares }
}

function wayAdaptive(nIn, nOut) {
  const taps = Array.from({ length: nOut }, (_, o) => {
    const first = Math.floor(o * nIn / nOut), end = Math.ceil((o + 1) * nIn / nOut)
    return Array.from({ length: end - first }, (_, t) => first + t)
  })
  return { taps, shares: taps.map(t => t.length) }
}

function wayInside(i, n, mode) {
  if (i >= 0 && i < n) return i
  if (mode === 'circular') return (i + n) % n
  if (mode === 'replicate') return i < 0 ? 0 : n - 1
  if (mode === 'reflect') return i < 0 ? -i : 2 * (n - 1) - i
  return -1
}

// The network made ready to run: every layer with its numbers, its windows, and room for its maps.
export function wayReady(plain) {
  const [c, h, w] = plain.input
  const image = { name: 'image', type: 'picture', kind: 'image', c, h, w, maps: new Float64Array(c * h * w) }
  const layers = [image]
  for (const spec of plain.layers) {
    const before = layers[layers.length - 1]
    const [c, h = 1, w = 1] = spec.shape
    const layer = { ...spec, c, h, w, flat: spec.shape.length === 1, maps: new Float64Array(c * h * w) }
    for (const part of ['weight', 'bias', 'scale', 'shift']) if (spec[part]) layer[part] = wayFloats(spec[part])
    if (spec.axes) [layer.rows, layer.cols] = [wayAxis(before.h, h, spec.axes[0]), wayAxis(before.w, w, spec.axes[1])]
    layers.push(layer)
  }
  return layers
}

// Send the picture, numbers already normalized, through all layers; the maps of each stay in `layer.maps`.
export function wayRun(layers, picture) {
  layers[0].maps.set(picture)
  for (let k = 1; k < layers.length; k++) wayKinds[layers[k].kind].run(layers[k], layers[k - 1])
  return layers[layers.length - 1].maps
}

function wayConv(layer, src) {
  const { c, h, w, rows, cols, groups, weight, bias, maps } = layer
  const kh = rows.taps[0].length, kw = cols.taps[0].length, per = src.c / groups, sum = new Float64Array(h * w)
  for (let o = 0, k = 0; o < c; o++) {
    sum.fill(bias ? bias[o] : 0)
    const first = Math.floor(o / (c / groups)) * per
    for (let i = first; i < first + per; i++) {
      for (let r = 0; r < kh; r++) for (let s = 0; s < kw; s++) wayAdd(sum, weight[k++], layer, src, i, r, s)
    }
    maps.set(sum, o * h * w)
  }
}

// One weight's share of one map: the weight times what it looks at, at every place.
function wayAdd(sum, weight, { h, w, rows, cols }, src, channel, r, s) {
  for (let y = 0; y < h; y++) {
    const row = rows.taps[y][r]
    if (row < 0) continue
    const base = (channel * src.h + row) * src.w
    for (let x = 0; x < w; x++) {
      const col = cols.taps[x][s]
      if (col >= 0) sum[y * w + x] += weight * src.maps[base + col]
    }
  }
}

function wayPool(layer, src) {
  const { c, h, w, rows, cols, maps, average, divisor } = layer
  for (let o = 0, at = 0; o < c; o++) for (let y = 0; y < h; y++) for (let x = 0; x < w; x++, at++) {
    let sum = 0, most = -Infinity
    for (const row of rows.taps[y]) for (const col of cols.taps[x]) {
      if (row < 0 || col < 0) continue
      const v = src.maps[(o * src.h + row) * src.w + col]
      sum += v
      if (v > most || v !== v) most = v
    }
    maps[at] = average ? sum / (divisor || rows.shares[y] * cols.shares[x]) : most
  }
}

function wayLinear({ c, weight, bias, maps }, src) {
  const n = src.maps.length
  for (let o = 0; o < c; o++) {
    let sum = bias ? bias[o] : 0
    for (let i = 0; i < n; i++) sum += weight[o * n + i] * src.maps[i]
    maps[o] = sum
  }
}

function wayScale({ c, h, w, scale, shift, maps }, src) {
  for (let o = 0, at = 0; o < c; o++) for (let i = 0; i < h * w; i++, at++) maps[at] = src.maps[at] * scale[o] + shift[o]
}

function wayGroupNorm({ c, h, w, groups, eps, weight, bias, maps }, src) {
  const n = c / groups * h * w
  for (let g = 0; g < groups; g++) {
    const part = src.maps.subarray(g * n, (g + 1) * n)
    const mean = part.reduce((a, b) => a + b, 0) / n, spread = part.reduce((a, b) => a + (b - mean) ** 2, 0) / n
    for (let i = g * n; i < (g + 1) * n; i++) {
      const o = Math.floor(i / (h * w)), v = (src.maps[i] - mean) / Math.sqrt(spread + eps)
      maps[i] = weight ? v * weight[o] + bias[o] : v
    }
  }
}

// What an activation depends on is a set of channels, rows and columns: every such set here is all combinations of the three.
const waySome = (n, test) => Uint8Array.from({ length: n }, (_, i) => test(i) ? 1 : 0)
const wayEvery = l => ({ channels: waySome(l.c, () => 1), rows: waySome(l.h, () => 1), cols: waySome(l.w, () => 1) })
const wayBack = (axis, n, chosen) => {
  const seen = new Uint8Array(n)
  axis.taps.forEach((taps, o) => chosen[o] && taps.forEach(t => { if (t >= 0) seen[t] = 1 }))
  return seen
}
const wayAhead = (axis, chosen) => Uint8Array.from(axis.taps, taps => taps.some(t => t >= 0 && chosen[t]) ? 1 : 0)
const wayWindows = (l, src, set, channels) => ({ channels, rows: wayBack(l.rows, src.h, set.rows), cols: wayBack(l.cols, src.w, set.cols) })
const wayWindowsAhead = (l, set, channels) => ({ channels, rows: wayAhead(l.rows, set.rows), cols: wayAhead(l.cols, set.cols) })

// The channels of `to` that are in a group of which one of `chosen` is a member.
function wayGroups(groups, chosen, to) {
  const hit = new Uint8Array(groups)
  chosen.forEach((on, i) => { if (on) hit[Math.floor(i * groups / chosen.length)] = 1 })
  return waySome(to, i => hit[Math.floor(i * groups / to)])
}

const wayFlat = {
  run: (l, src) => l.maps.set(src.maps),
  back: (l, src, { channels }) => {
    const places = [...channels.keys()].filter(i => channels[i]), size = src.h * src.w
    const among = f => { const found = new Set(places.map(f)); return i => found.has(i) }
    return { channels: waySome(src.c, among(i => Math.floor(i / size))), rows: waySome(src.h, among(i => Math.floor(i / src.w) % src.h)),
             cols: waySome(src.w, among(i => i % src.w)) }
  },
  ahead: (l, src, set) => {
    const at = i => set.channels[Math.floor(i / (src.h * src.w))] && set.rows[Math.floor(i / src.w) % src.h] && set.cols[i % src.w]
    return { channels: waySome(l.c, at), rows: waySome(1, () => 1), cols: waySome(1, () => 1) }
  },
}
const wayStay = { back: (l, src, set) => set, ahead: (l, src, set) => set }

// For each kind of layer: how to run it, and from a set of its places back to the layer before, and the other way.
const wayKinds = {
  conv: { run: wayConv, back: (l, src, set) => wayWindows(l, src, set, wayGroups(l.groups, set.channels, src.c)),
          ahead: (l, src, set) => wayWindowsAhead(l, set, wayGroups(l.groups, set.channels, l.c)) },
  pool: { run: wayPool, back: (l, src, set) => wayWindows(l, src, set, set.channels), ahead: (l, src, set) => wayWindowsAhead(l, set, set.channels) },
  linear: { run: wayLinear, back: (l, src) => wayEvery(src), ahead: wayEvery },
  groupnorm: { run: wayGroupNorm, back: (l, src, set) => ({ ...wayEvery(src), channels: wayGroups(l.groups, set.channels, src.c) }),
               ahead: (l, src, set) => ({ ...wayEvery(l), channels: wayGroups(l.groups, set.channels, l.c) }) },
  scale: { run: wayScale, ...wayStay },
  point: { run: (l, src) => { const f = wayPoints[l.f]; for (let i = 0; i < l.maps.length; i++) l.maps[i] = f(src.maps[i], l.slope) }, ...wayStay },
  same: { run: (l, src) => l.maps.set(src.maps), ...wayStay },
  flatten: wayFlat,
}

const wayEmpty = set => ![set.channels, set.rows, set.cols].every(some => some.includes(1))

// From one activation, a set for each layer: what it depends on before, itself, and what depends on it after. `null`: nothing does.
export function wayTrace(layers, { layer, channel, row, col }) {
  const sets = layers.map(() => null), here = layers[layer]
  sets[layer] = { channels: waySome(here.c, i => i === channel), rows: waySome(here.h, i => i === row), cols: waySome(here.w, i => i === col) }
  const step = (k, way, l) => {
    const from = sets[way === 'back' ? k + 1 : k - 1]
    const set = from && wayKinds[l.kind][way](l, layers[layers.indexOf(l) - 1], from)
    sets[k] = set && !wayEmpty(set) ? set : null
  }
  for (let k = layer - 1; k >= 0; k--) step(k, 'back', layers[k + 1])
  for (let k = layer + 1; k < layers.length; k++) step(k, 'ahead', layers[k])
  return sets
}

// The smallest rows-and-columns box around a set: top, bottom, left and right, as in a slice.
export function wayBox({ rows, cols }) {
  return [rows.indexOf(1), rows.lastIndexOf(1) + 1, cols.indexOf(1), cols.lastIndexOf(1) + 1]
}

// Scores as shares that add up to 1 (softmax).
export function wayShares(scores) {
  const most = Math.max(...scores), e = Array.from(scores, s => Math.exp(s - most)), sum = e.reduce((a, b) => a + b, 0)
  return e.map(v => v / sum)
}

// Pictures are square, `n` by `n` levels from 0 (paper) to 255 (ink) in a Uint8ClampedArray, which rounds.

// A picture moved by whole rows and columns; blank paper moves in, and what leaves is gone.
export function wayMoved(image, n, down, right) {
  return image.map((_, i) => {
    const y = Math.floor(i / n) - down, x = i % n - right
    return y >= 0 && x >= 0 && y < n && x < n ? image[y * n + x] : 0
  })
}

// As MNIST was made: the ink scaled to a box of 20 by 20, the center of its mass in the middle of 28 by 28; in proportion elsewhere.
export function wayCentered(image, n) {
  const inked = [...image.keys()].filter(i => image[i] > 12)
  if (!inked.length) return image
  const side = f => { const at = inked.map(f); return Math.max(...at) + 1 - Math.min(...at) }
  const scale = Math.max(side(i => Math.floor(i / n)), side(i => i % n)) / (n * 20 / 28)
  let mass = 0, my = 0, mx = 0
  image.forEach((v, i) => { mass += v; my += v * (Math.floor(i / n) + .5); mx += v * (i % n + .5) })
  return waySampled(image, n, scale, my / mass, mx / mass)
}

// The picture at a new scale around a point that comes to lie in the middle; each new pixel is the mean of 3 by 3 samples between pixels.
function waySampled(image, n, scale, cy, cx) {
  const at = (y, x) => y >= 0 && x >= 0 && y < n && x < n ? image[y * n + x] : 0
  const between = (y, x) => {
    const [j, i] = [Math.floor(y - .5), Math.floor(x - .5)], [b, a] = [y - .5 - j, x - .5 - i]
    return (1 - b) * ((1 - a) * at(j, i) + a * at(j, i + 1)) + b * ((1 - a) * at(j + 1, i) + a * at(j + 1, i + 1))
  }
  const parts = [1 / 6, 1 / 2, 5 / 6]
  return image.map((_, i) => {
    let sum = 0
    for (const p of parts) for (const q of parts) sum += between(cy + (Math.floor(i / n) + p - n / 2) * scale, cx + (i % n + q - n / 2) * scale)
    return sum / 9
  })
}

// A stroke of a round pen from one point to another, in pixels; without `ink` it erases. The soft edge is a pixel wide.
export function wayStroke(image, n, [y0, x0], [y1, x1], radius, ink) {
  const length = (y1 - y0) ** 2 + (x1 - x0) ** 2
  image.forEach((v, i) => {
    const dy = Math.floor(i / n) + .5 - y0, dx = i % n + .5 - x0
    const t = length ? Math.min(1, Math.max(0, (dy * (y1 - y0) + dx * (x1 - x0)) / length)) : 0
    const cover = 255 * Math.min(1, Math.max(0, radius + .5 - Math.hypot(dy - t * (y1 - y0), dx - t * (x1 - x0))))
    image[i] = ink ? Math.max(v, cover) : Math.min(v, 255 - cover)
  })
}
