import type { Connection, Exchange } from "./Connection.ts"
import { bytesOf, FILE_BYTES, makeContent, pieceAt, randomWords, RANGE_BYTES } from "./content.ts"
import { get } from "./load.ts"

const RANGES = 64

const content = makeContent()

const expectBytes = async (url: string, range: string | undefined, expected: Buffer): Promise<void> => {
  const response = await fetch(url, range === undefined ? {} : { headers: { range } })
  const bytes = Buffer.from(await response.arrayBuffer())
  if (response.status !== (range === undefined ? 200 : 206) || !bytes.equals(expected)) {
    throw new Error(`${url} ${range ?? ""}: other bytes than the origin's, status ${response.status}`)
  }
}

/** A whole file, each byte compared with the origin's as it comes; `onBytes` hears how many have come. */
export const getCompared = async (
  connection: Connection,
  path: string,
  bytes: number,
  onBytes: (count: number) => void = () => {}
): Promise<Exchange> => {
  let count = 0
  let isRight = true
  const exchange = await get(connection, { path, bytes }, (piece) => {
    isRight &&= piece.equals(content.subarray(count, count + piece.length))
    count += piece.length
    onBytes(count)
  })
  if (!isRight) throw new Error(`${path}: other bytes than the origin's`)
  return exchange
}

/** A random range of a file, as a header field and as offsets. */
export const randomRange = (
  random: () => number,
  length = RANGE_BYTES,
  size = FILE_BYTES
): { readonly field: string; readonly start: number } => {
  const start = random() % (size - length)
  return { field: `bytes=${start}-${start + length - 1}`, start }
}

/** Compares what a server sends for the file, whole and in ranges, with the origin's bytes; untimed, and warms caches. */
export const verify = async (port: number, path: string): Promise<void> => {
  const url = `http://127.0.0.1:${port}${path}`
  const size = bytesOf(path)!
  for (let start = 0; start < size; start += FILE_BYTES) {
    const range = size === FILE_BYTES ? undefined : `bytes=${start}-${start + FILE_BYTES - 1}`
    await expectBytes(url, range, content)
  }
  const random = randomWords(2)
  for (let count = 0; count < RANGES; count++) {
    const { field, start } = randomRange(random, RANGE_BYTES, size)
    const first = pieceAt(content, start, RANGE_BYTES)
    await expectBytes(url, field, Buffer.concat([first, content.subarray(0, RANGE_BYTES - first.length)]))
  }
}
