// The arithmetic of KernelLab. Pictures and maps are typed arrays, row by row; kernels are lists of rows, as PyTorch writes them.

// In the state a picture is its size and the base64 of its numbers, four bytes each: half as long as numbers in words.
export function packed(height, width, values) {
  const bytes = new Uint8Array(Float32Array.from(values).buffer)
  return { height, width, data: btoa(Array.from(bytes, b => String.fromCharCode(b)).join('')) }
}
export function unpacked({ data }) { return new Float32Array(Uint8Array.from(atob(data), c => c.charCodeAt(0)).buffer) }

// `kernel` at every place of the picture where all of it fits: [H-k+1, W-k+1], as convlab's map_kernel and F.conv2d.
export function mapKernel(picture, h, w, kernel) {
  const k = kernel.length, height = h - k + 1, width = w - k + 1, map = new Float64Array(height * width)
  kernel.forEach((row, a) => row.forEach((weight, b) => {
    if (weight) for (let i = 0; i < height; i++) {
      const from = (i + a) * w + b, to = i * width
      for (let j = 0; j < width; j++) map[to + j] += weight * picture[from + j]
    }
  }))
  return map
}

// The window of the result in `row`, `column`, and its products with the kernel.
export function windowAt(picture, w, kernel, row, column) {
  const pixels = kernel.map((line, a) => line.map((_, b) => picture[(row + a) * w + column + b]))
  const products = kernel.map((line, a) => line.map((weight, b) => weight * pixels[a][b]))
  return { pixels, products, sum: total(products) }
}

export function total(kernel) { return kernel.flat().reduce((a, b) => a + b, 0) }

// Kernels

const each = (kernel, f) => kernel.map((row, a) => row.map((v, b) => tidy(f(v, a, b))))
const tidy = v => Math.round(v * 1e9) / 1e9 + 0 // no 0.30000000000000004 and no −0
export function negated(kernel) { return each(kernel, v => -v) }
export function turned(kernel) { return each(kernel, (_, a, b) => kernel[kernel.length - 1 - b][a]) } // a quarter, clockwise
export function scaledToZero(kernel) { const mean = total(kernel) / kernel.length ** 2; return kernel.map(row => row.map(v => v - mean)) }
export function scaledToOne(kernel) { const sum = total(kernel); return Math.abs(sum) < 1e-9 ? null : kernel.map(row => row.map(v => v / sum)) }
export function withCell(kernel, a, b, value) { return kernel.map((row, i) => row.map((v, j) => i === a && j === b ? value : v)) }
// The same kernel in a larger frame of zeros, or cut to a smaller one.
export function resized(kernel, size) {
  const off = (kernel.length - size) / 2
  return Array.from({ length: size }, (_, a) => Array.from({ length: size }, (_, b) => kernel[a + off]?.[b + off] ?? 0))
}

const filled = (size, f) => Array.from({ length: size }, (_, a) => Array.from({ length: size }, (_, b) => f(a, b)))
function binomial(size) {
  let row = [1]
  while (row.length < size) row = [...row.map((v, i) => v + (row[i - 1] ?? 0)), 1]
  const sum = 4 ** (size - 1)
  return filled(size, (a, b) => row[a] * row[b] / sum)
}
// The four of lesson 01 first. Those that have a meaning in any size take the size there is.
export const kernelPresets = {
  top_edge: () => [[-1, -1, -1], [0, 0, 0], [1, 1, 1]],
  left_edge: () => [[-1, 1, 0], [-1, 1, 0], [-1, 1, 0]],
  diag1_edge: () => [[0, -1, 1], [-1, 1, 0], [1, 0, 0]],
  diag2_edge: () => [[1, -1, 0], [0, 1, -1], [0, 0, 1]],
  identity: size => filled(size, (a, b) => +(a === b && a === (size - 1) / 2)),
  'box blur': size => filled(size, () => 1 / size ** 2),
  'Gaussian blur': binomial,
  sharpen: () => [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
  Sobel: () => [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
  Laplacian: () => [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
}

// Pictures: 0 is paper, 255 full ink.

const scene = (n, f) => packed(n, n, filled(n, (i, j) => Math.max(0, Math.min(255, Math.round(f(i, j))))).flat())
export const testPictures = {
  'shapes': () => scene(40, (i, j) => Math.max(255 * Math.min(1, Math.max(0, 8.5 - Math.hypot(i - 11, j - 11))), // a disk,
    i < 18 && i > 3 && j > 23 ? 200 : 0, i > 25 && j < 19 ? j * 14 : 0, // a bar, a ramp,
    ...i > 22 && j > 20 ? [i + j - 59, i - 30 - (j - 29) * .45].map(d => 255 * (1.3 - Math.abs(d))) : [])), // and two slanted strokes
  'strokes': () => scene(28, (i, j) => 255 * +(i === 5 && j > 3 && j < 20 || j === 23 && i > 3 && i < 24 || i === 15 && j > 2 && j < 12 || j === 7 && i > 18 && i < 26
    || i === 22 && j > 11 && j < 20)),
  'even gray': () => scene(28, () => 120),
  'blank': () => scene(28, () => 0),
}

// Tasks: each is checked on pictures of its own, whatever picture is shown.

const side = 17, middle = 8
const drawn = f => Float64Array.from({ length: side * side }, (_, k) => +f(Math.floor(k / side), k % side))
const loudest = (f, kernel) => Math.max(...mapKernel(drawn(f), side, side, kernel).map(Math.abs))
const show = v => String(Math.round(v * 100) / 100)
const isBlank = (v, kernel) => v <= 1e-6 * Math.max(...kernel.flat().map(Math.abs), 1e-9)

export const kernelTasks = [
  { name: 'even ground', text: 'Make the map blank on even ground, whatever its gray.', check(kernel) {
    const sum = total(kernel)
    if (!isBlank(Math.abs(sum), kernel)) return `On a gray of 100 every result is ${show(100 * sum)}, and should be 0. The kernel’s numbers add up to ${show(sum)}.`
    return ''
  } },
  { name: 'upright edges', text: 'Answer to upright edges, and stay blank on edges that run across.', check(kernel) {
    const [across, upright] = [loudest((i, j) => i > middle, kernel), loudest((i, j) => j > middle, kernel)]
    if (!isBlank(across, kernel)) return `On an edge that runs across, the largest result is ${show(across)}, and should be 0. Add up each row of the kernel.`
    return isBlank(upright, kernel) ? 'It is blank on upright edges too.' : ''
  } },
  { name: 'blur', text: 'Blur: keep even ground as it is, and let no single pixel keep more than a fifth of its ink.', check(kernel) {
    const sum = total(kernel), most = Math.max(...kernel.flat().map(Math.abs))
    if (Math.abs(sum - 1) > 1e-6) return `A gray of 100 becomes ${show(100 * sum)}, and should stay 100.`
    return most > .2 + 1e-9 ? `A lone pixel keeps ${show(100 * most)}% of its ink, and 20% is the most allowed.` : ''
  } },
  { name: 'slanted strokes', text: 'Answer at least twice as loudly to a stroke that rises to the right as to one that falls, and stay blank on even ground.', check(kernel) {
    const [rising, falling] = [loudest((i, j) => i + j === side - 1, kernel), loudest((i, j) => i === j, kernel)], sum = total(kernel)
    if (!isBlank(Math.abs(sum), kernel)) return `On even ground of gray 100 the result is ${show(100 * sum)}, and should be 0.`
    return rising < 2 * falling || isBlank(rising, kernel) ? `The rising stroke gets ${show(rising)}, the falling one ${show(falling)}.` : ''
  } },
  { name: 'stroke ends', text: 'Show only where strokes end, strokes that run across and strokes that run down alike.', check(kernel) {
    const inside = [loudest(i => i === middle, kernel), loudest((i, j) => j === middle, kernel)]
    const ends = [loudest((i, j) => i === middle && j > middle, kernel), loudest((i, j) => j === middle && i > middle, kernel)]
    for (const [k, way] of ['across', 'down'].entries()) {
      if (!isBlank(inside[k], kernel)) return `Along a stroke that runs ${way} the largest result is ${show(inside[k])}, and should be 0.`
    }
    return ends.some(v => isBlank(v, kernel)) ? 'It is blank where strokes end, too.' : ''
  } },
]

// What is to be said of `kernel` as an answer to task number `n`.
export function judgedKernel(n, kernel) {
  const said = kernel.flat().every(v => v === 0) ? 'A kernel of zeros is blank everywhere. That does not count.' : kernelTasks[n].check(kernel)
  return { done: said === '', said: said || 'Done!' }
}
