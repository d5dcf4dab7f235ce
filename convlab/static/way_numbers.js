// The numbers of WayLab: a network's forward pass, and what each activation depends on. It knows nothing of the page.
// A network is plain: { input: [channels, rows, columns], layers: [{ name, type, kind, shape, … }] }, as convlab.draw.way writes it.
// Where a layer looks is three lists, `taps`: for each channel, row and column of its result those of its input. -1 is padding.

const wayPoints = {
  same: x => x,
  relu: x => x > 0 ? x : x === x ? 0 : x, // NaN stays NaN, as in PyTorch
  relu6: x => x > 6 ? 6 : x > 0 ? x : x === x ? 0 : x,
  leaky_relu: (x, slope) => x > 0 ? x : slope * x,
  elu: (x, alpha) => x > 0 ? x : alpha * Math.expm1(x),
  silu: x => x / (1 + Math.exp(-x)),
  sigmoid: x => 1 / (1 + Math.exp(-x)),
  tanh: Math.tanh,
}

// Weights come as base64 of little-endian numbers of four bytes, or of two if the network is in half precision. Those are
// finite: sign, exponent and fraction are moved to where a number of four bytes has them, and the exponents' zeros are 112 apart.
export function wayFloats({ half, data }) {
  const { buffer } = Uint8Array.from(atob(data), c => c.charCodeAt(0))
  if (!half) return new Float32Array(buffer)
  return new Float32Array(Uint32Array.from(new Uint16Array(buffer), bits => (bits & 0x8000) << 16 | (bits & 0x7fff) << 13).buffer).map(v => v * 2 ** 112)
}

// The network made ready to run: every layer with its numbers, its taps, and room for its maps.
export function wayReady({ input: [c, h, w], layers }) {
  const all = [{ name: 'image', type: 'picture', c, h, w, maps: new Float64Array(c * h * w) }]
  for (const spec of layers) {
    const [c, h = 1, w = 1] = spec.shape, src = all.at(-1), layer = { ...spec, c, h, w, src, maps: new Float64Array(c * h * w) }
    for (const part of ['weight', 'bias', 'divisor']) if (spec[part]) layer[part] = wayFloats(spec[part])
    layer.flat = spec.shape.length === 1
    layer.flattens = layer.flat && !src.flat
    layer.taps = [wayShared(spec.groups ?? c, c, src.c), ...(spec.axes ?? [h, w].map(n => wayShared(spec.groups ? 1 : n, n, n)))]
    all.push(layer)
  }
  return all
}

// Both sides dealt out into groups: each looks at all of its own group.
function wayShared(groups, to, from) {
  const members = Array.from({ length: groups }, (_, g) => Array.from({ length: from / groups }, (_, i) => g * from / groups + i))
  return Array.from({ length: to }, (_, o) => members[Math.floor(o * groups / to)])
}

// Send the picture, numbers already normalized, through all layers; the maps of each stay in `layer.maps`.
export function wayRun(layers, picture) {
  layers[0].maps.set(picture)
  for (const layer of layers.slice(1)) wayKinds[layer.kind](layer)
}

const wayKinds = {
  conv({ c, h, w, src, taps: [channels, rows, cols], weight, bias, maps }) {
    for (let o = 0, k = 0; o < c; o++) {
      const sum = maps.subarray(o * h * w, (o + 1) * h * w).fill(bias ? bias[o] : 0)
      for (const i of channels[o]) for (let r = 0; r < rows[0].length; r++) for (let s = 0; s < cols[0].length; s++, k++) {
        rows.forEach((seen, y) => { if (seen[r] >= 0) wayAdd(sum, y * w, weight[k], src.maps, (i * src.h + seen[r]) * src.w, cols, s) })
      }
    }
  },
  pool({ c, h, w, src, taps: [, rows, cols], divisor, maps }) {
    for (let o = 0, at = 0; o < c; o++) for (let y = 0; y < h; y++) for (let x = 0; x < w; x++, at++) {
      const seen = rows[y].flatMap(row => cols[x].map(col => src.maps[(o * src.h + row) * src.w + col]))
      maps[at] = divisor ? seen.reduce((a, b) => a + b, 0) / divisor[y * w + x] : Math.max(...seen)
    }
  },
  norm({ c, src, groups, eps, weight, bias, maps }) {
    const n = maps.length / groups
    for (let g = 0; g < groups; g++) {
      const part = src.maps.subarray(g * n, (g + 1) * n), mean = part.reduce((a, b) => a + b) / n, spread = part.reduce((a, b) => a + (b - mean) ** 2, 0) / n
      part.forEach((v, i) => {
        const at = g * n + i, o = Math.floor(at / maps.length * c)
        maps[at] = (v - mean) / Math.sqrt(spread + eps) * weight[o] + bias[o]
      })
    }
  },
  point({ src, f, slope, maps }) {
    for (let i = 0; i < maps.length; i++) maps[i] = wayPoints[f](src.maps[i], slope)
  },
}

// One weight's share of one row: the weight times what it looks at, at every column.
function wayAdd(sum, to, weight, values, from, cols, s) {
  for (let x = 0; x < cols.length; x++) {
    const col = cols[x][s]
    if (col >= 0) sum[to + x] += weight * values[from + col]
  }
}

// What an activation depends on is a set of channels, rows and columns, all combinations of the three: a list of marks for each.
const wayMarks = (n, test) => Uint8Array.from({ length: n }, (_, i) => test(i))
const waySides = l => [l.c, l.h, l.w]

// Where the number `i` was before it was flattened.
const wayPlace = ({ h, w }, i) => [Math.floor(i / h / w), Math.floor(i / w) % h, i % w]

// Of a layer's set, what of its input it looks at.
function wayBack(l, set) {
  const seen = waySides(l.src).map(n => new Uint8Array(n))
  if (l.flattens) set[0].forEach((on, i) => on && wayPlace(l.src, i).forEach((p, k) => { seen[k][p] = 1 }))
  else l.taps.forEach((axis, k) => axis.forEach((taps, o) => set[k][o] && taps.forEach(i => { if (i >= 0) seen[k][i] = 1 })))
  return seen
}

// Of a set in a layer's input, what of the layer looks at it.
function wayAhead(l, set) {
  if (l.flattens) return [wayMarks(l.c, i => wayPlace(l.src, i).every((p, k) => set[k][p])), [1], [1]]
  return l.taps.map((axis, k) => Uint8Array.from(axis, taps => taps.some(i => set[k][i])))
}

// From the activation [layer, channel, row, column], a set for each layer: what it depends on before, itself, and what depends on it after.
// `null`: nothing does.
export function wayTrace(layers, [layer, ...at]) {
  const sets = layers.map(() => null), kept = set => set.every(marks => marks.includes(1)) ? set : null
  sets[layer] = waySides(layers[layer]).map((n, k) => wayMarks(n, i => i === at[k]))
  for (let k = layer; k > 0 && sets[k]; k--) sets[k - 1] = kept(wayBack(layers[k], sets[k]))
  for (let k = layer + 1; k < layers.length && sets[k - 1]; k++) sets[k] = kept(wayAhead(layers[k], sets[k - 1]))
  return sets
}

// The smallest rows-and-columns box around a set: top, bottom, left and right, as in a slice.
export function wayBox([, rows, cols]) { return [rows, cols].flatMap(marks => [marks.indexOf(1), marks.lastIndexOf(1) + 1]) }

// Scores as shares that add up to 1 (softmax).
export function wayShares(scores) {
  const most = Math.max(...scores), e = Array.from(scores, s => Math.exp(s - most)), sum = e.reduce((a, b) => a + b)
  return e.map(v => v / sum)
}

// Pictures are square, `n` by `n` levels from 0 (paper) to 255 (ink) in a Uint8ClampedArray, which rounds.

// A picture moved down and to the right, and before that scaled around its first pixel; what leaves is gone, and paper comes in.
export function wayMoved(image, n, [down, right], scale = 1) {
  const at = (i, j) => i >= 0 && j >= 0 && i < n && j < n ? image[i * n + j] : 0
  return image.map((_, k) => {
    const y = (Math.floor(k / n) - down) / scale, x = (k % n - right) / scale, i = Math.floor(y), j = Math.floor(x), a = y - i, b = x - j
    return (1 - a) * ((1 - b) * at(i, j) + b * at(i, j + 1)) + a * ((1 - b) * at(i + 1, j) + b * at(i + 1, j + 1))
  })
}

// As MNIST was made: the ink scaled to a box of 20 by 20, the center of its mass in the middle of 28 by 28; in proportion elsewhere. What is blank
// stays so: its scale is no number.
export function wayCentered(image, n) {
  const inked = [...image.keys()].filter(k => image[k] > 12), at = [k => Math.floor(k / n), k => k % n]
  const mass = inked.reduce((sum, k) => sum + image[k], 0)
  const scale = n * 20 / 28 / Math.max(...at.map(f => Math.max(...inked.map(f)) + 1 - Math.min(...inked.map(f))))
  return wayMoved(image, n, at.map(f => (n - 1) / 2 - scale * inked.reduce((sum, k) => sum + image[k] * f(k), 0) / mass), scale)
}

// A stroke of a round pen from one place to another, which may lie between pixels; without `ink` it erases. The soft edge is a pixel wide.
export function wayStroke(image, n, [y0, x0], [y1, x1], radius, ink) {
  const length = (y1 - y0) ** 2 + (x1 - x0) ** 2 || 1
  image.forEach((v, i) => {
    const dy = Math.floor(i / n) - y0, dx = i % n - x0, t = Math.min(1, Math.max(0, (dy * (y1 - y0) + dx * (x1 - x0)) / length))
    const cover = 255 * Math.min(1, Math.max(0, radius + .5 - Math.hypot(dy - t * (y1 - y0), dx - t * (x1 - x0))))
    image[i] = ink ? Math.max(v, cover) : Math.min(v, 255 - cover)
  })
}
