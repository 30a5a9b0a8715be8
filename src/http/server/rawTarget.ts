import type { Socket } from "node:net"
import { Duplex } from "node:stream"

/**
 * Request targets with raw bytes beyond ASCII, as curl and other tools send them. Node's parser refuses them and has no option to
 * accept them. Here such a request is percent-encoded and read once more, by a parser of its own.
 */

/** The code of Node's error for such a target. */
const INVALID_URL = "HPE_INVALID_URL"

/** A whole request line whose target has bytes beyond ASCII. */
// oxlint-disable-next-line no-control-regex
const LINE = /^[A-Z]+ \/[\x21-\xff]* HTTP\/1\.[01]\r?\n$/

const encode = (byte: string): string => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`

/** What Node says of input that it cannot read. */
interface ParseError {
  readonly code?: string | undefined
  readonly rawPacket?: Buffer
  readonly bytesParsed?: number
}

/**
 * What came from the request on that was refused, with its target percent-encoded. `undefined` if something else is wrong with it, or
 * its line did not come in one piece.
 */
export const encoded = ({ bytesParsed = 0, code, rawPacket }: ParseError): Buffer | undefined => {
  if (code !== INVALID_URL || rawPacket === undefined) return undefined
  const start = rawPacket.subarray(0, bytesParsed).lastIndexOf("\n") + 1
  const end = rawPacket.indexOf("\n", bytesParsed) + 1
  const line = rawPacket.toString("latin1", start, end)
  if (!LINE.test(line)) return undefined
  return Buffer.concat([Buffer.from(line.replace(/[\x80-\xff]/g, encode), "latin1"), rawPacket.subarray(end)])
}

/**
 * The rest of a connection, to be read from the start of a request. It is for that request alone, because Node's parser stopped
 * for good. Everything else is that of the connection, which ends with it.
 */
export class RestOfConnection extends Duplex {
  readonly #socket: Socket

  constructor(socket: Socket, first: Buffer) {
    super({ allowHalfOpen: true, writableHighWaterMark: socket.writableHighWaterMark })
    this.#socket = socket
    // Those of the parser that stopped, and of a server that knows this instead.
    socket.removeAllListeners("data").removeAllListeners("timeout")
    this.push(first)
    socket.on("data", (data) => this.push(data) || socket.pause())
    socket.on("end", () => this.push(null))
    socket.on("timeout", () => this.emit("timeout"))
    socket.on("error", (error) => this.destroy(error))
    socket.on("close", () => this.destroy())
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done)
  }

  override _final(done: () => void): void {
    this.#socket.end(done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy()
    done(error)
  }

  resetAndDestroy(): this {
    this.#socket.resetAndDestroy()
    return this.destroy()
  }

  setTimeout(millis: number): this {
    this.#socket.setTimeout(millis)
    return this
  }

  get bytesRead(): number {
    return this.#socket.bytesRead
  }

  get localPort(): number | undefined {
    return this.#socket.localPort
  }

  get remotePort(): number | undefined {
    return this.#socket.remotePort
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress
  }
}
