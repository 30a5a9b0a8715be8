import { connect, type Socket } from "node:net"

export interface Exchange {
  readonly status: number
  readonly bytes: number
  /** From the request to the first byte of the body, in milliseconds. */
  readonly firstByte: number
  /** Between two pieces of the body, in milliseconds. */
  readonly longestPause: number
}

interface Pending {
  readonly started: number
  readonly onBody: ((piece: Buffer) => void) | undefined
  readonly resolve: (exchange: Exchange) => void
  readonly reject: (error: Error) => void
  status: number
  bytes: number
  left: number
  firstByte: number
  lastPiece: number
  longestPause: number
}

const READ_BYTES = 256 * 1024

const END_OF_HEAD = Buffer.from("\r\n\r\n")

/**
 * One connection that is kept alive, with one request at a time. It reads the head and only counts the body, in a buffer
 * that is used over and over, so that the client costs little beside the servers it measures.
 */
export class Connection {
  readonly #socket: Socket
  #head: Buffer = Buffer.alloc(0)
  #pending: Pending | undefined

  constructor(port: number) {
    this.#socket = connect({
      host: "127.0.0.1",
      port,
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafeSlow(READ_BYTES),
        callback: (count, buffer) => {
          this.#receive(count, buffer as Buffer)
          return true
        }
      }
    })
    this.#socket.on("error", (error) => this.#fail(error))
    this.#socket.on("close", () => this.#fail(new Error("the server has closed the connection")))
  }

  /** `onBody` sees each piece of the body as it comes, and must not keep it. */
  get(path: string, range?: string, onBody?: (piece: Buffer) => void): Promise<Exchange> {
    return new Promise((resolve, reject) => {
      this.#pending = {
        started: performance.now(),
        onBody,
        resolve,
        reject,
        status: 0,
        bytes: 0,
        left: 0,
        firstByte: 0,
        lastPiece: 0,
        longestPause: 0
      }
      const field = range === undefined ? "" : `Range: ${range}\r\n`
      this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${field}\r\n`, "latin1")
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #fail(error: Error): void {
    this.#pending?.reject(error)
    this.#pending = undefined
  }

  #receive(count: number, buffer: Buffer): void {
    const pending = this.#pending
    if (pending === undefined) return this.close()
    let body = count
    if (pending.status === 0) {
      const read = buffer.subarray(0, count)
      const seen = this.#head.length === 0 ? read : Buffer.concat([this.#head, read])
      const end = seen.indexOf(END_OF_HEAD)
      if (end < 0) {
        this.#head = Buffer.from(seen)
        return
      }
      const head = seen.toString("latin1", 0, end)
      const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
      if (length === undefined) return this.#fail(new Error(`no length in the answer:\n${head}`))
      this.#head = Buffer.alloc(0)
      pending.status = Number(head.slice(9, 12))
      pending.left = pending.bytes = Number(length)
      body = seen.length - end - END_OF_HEAD.length
    }
    if (body === 0 && pending.left > 0) return
    const now = performance.now()
    if (pending.firstByte === 0) pending.firstByte = now - pending.started
    else pending.longestPause = Math.max(pending.longestPause, now - pending.lastPiece)
    pending.lastPiece = now
    pending.onBody?.(buffer.subarray(count - body, count))
    pending.left -= body
    if (pending.left < 0) return this.#fail(new Error("more bytes than were announced"))
    if (pending.left > 0) return
    this.#pending = undefined
    pending.resolve(pending)
  }
}
