// An animated PNG taken apart into PNGs. (PNG specification, third edition: chunks acTL, fcTL and fdAT.)

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1
  return n
})
function crcOf(bytes) {
  let crc = 0xffffffff
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 255] ^ crc >>> 8
  return ~crc >>> 0
}

function pngChunk(name, ...contents) {
  const length = contents.reduce((sum, c) => sum + c.length, 0), bytes = new Uint8Array(length + 12), view = new DataView(bytes.buffer)
  let at = 8
  view.setUint32(0, length)
  bytes.set([...name].map(c => c.charCodeAt(0)), 4)
  for (const c of contents) { bytes.set(c, at); at += c.length }
  view.setUint32(at, crcOf(bytes.subarray(4, at)))
  return bytes
}

// The parts of an animated PNG: its size, what all frames share, and each frame with its place, its way to be laid on, and its data.
export function filmParts(buffer) {
  const view = new DataView(buffer), bytes = new Uint8Array(buffer), shared = [], frames = []
  let header = null, at = 8
  while (at < bytes.length) {
    const length = view.getUint32(at), name = String.fromCharCode(...bytes.subarray(at + 4, at + 8)), data = bytes.subarray(at + 8, at + 8 + length), start = at + 8
    if (name === 'IHDR') header = data
    else if (name === 'PLTE' || name === 'tRNS') shared.push([name, data])
    else if (name === 'fcTL') {
      const [width, height, x, y] = [4, 8, 12, 16].map(k => view.getUint32(start + k))
      frames.push({ width, height, x, y, dispose: data[24], blend: data[25], data: [] })
    } else if (name === 'IDAT') frames[0]?.data.push(data)
    else if (name === 'fdAT') frames.at(-1).data.push(data.subarray(4))
    at += length + 12
  }
  return { width: view.getUint32(16), height: view.getUint32(20), header, shared, frames }
}

export function framePng({ header, shared }, { width, height, data }) {
  const own = header.slice(), view = new DataView(own.buffer)
  view.setUint32(0, width)
  view.setUint32(4, height)
  return [Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), pngChunk('IHDR', own), ...shared.map(([name, d]) => pngChunk(name, d)), pngChunk('IDAT', ...data), pngChunk('IEND')]
}

// Each frame as a whole picture.
export async function filmFrames(buffer) {
  const film = filmParts(buffer), whole = []
  let page = new OffscreenCanvas(film.width, film.height)
  for (const frame of film.frames) {
    const picture = await createImageBitmap(new Blob(framePng(film, frame), { type: 'image/png' })), before = new OffscreenCanvas(film.width, film.height)
    before.getContext('2d').drawImage(page, 0, 0)
    const ctx = page.getContext('2d')
    if (frame.blend === 0) ctx.clearRect(frame.x, frame.y, frame.width, frame.height)
    ctx.drawImage(picture, frame.x, frame.y)
    whole.push(await createImageBitmap(page))
    if (frame.dispose === 1) ctx.clearRect(frame.x, frame.y, frame.width, frame.height)
    if (frame.dispose === 2) page = before
  }
  return whole
}
