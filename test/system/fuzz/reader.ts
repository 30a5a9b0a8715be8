/** An answer as it came, as far as it came. */
export interface Response {
  readonly status: number
  /** By name in lower case, each line on its own. */
  readonly fields: ReadonlyMap<string, ReadonlyArray<string>>
  /** How the end of the body is told: there is none, `Content-Length`, chunks, or the end of the connection. */
  readonly framing: "none" | "length" | "chunked" | "close"
  readonly body: Buffer
  readonly isComplete: boolean
}

/** What is wrong with what came. */
export class Violation extends Error {}

export const fail = (what: string): never => {
  throw new Violation(what)
}

interface Reading {
  readonly head: Omit<Response, "body" | "isComplete">
  readonly parts: Array<Buffer>
  /** Of the body, or of the chunk, in bytes. */
  left: number
  step: "body" | "size" | "chunk" | "crlf" | "trailers" | "close"
}

const STATUS_LINE = /^HTTP\/1\.1 ([1-5]\d\d) [\t\u0020-\u007e\u0080-\u00ff]*$/
const FIELD =
  /^([\w!#$%&'*+.^`|~-]+):[\t ]*((?:[\u0021-\u007e\u0080-\u00ff](?:[\t\u0020-\u007e\u0080-\u00ff]*[\u0021-\u007e\u0080-\u00ff])?)?)[\t ]*$/
const NO_BODY = new Set([204, 304])

const parseFields = (lines: ReadonlyArray<string>): Map<string, Array<string>> => {
  const fields = new Map<string, Array<string>>()
  for (const line of lines) {
    const match = FIELD.exec(line) ?? fail(`a malformed field: ${JSON.stringify(line.slice(0, 200))}`)
    const name = match[1]!.toLowerCase()
    const values = fields.get(name)
    if (values === undefined) fields.set(name, [match[2]!])
    else values.push(match[2]!)
  }
  return fields
}

/**
 * Reads the answers on one connection by the letter of RFC 9112, and fails with a `Violation` where they are not by it.
 * `hasBody` tells of the n-th final answer whether its request is one whose answer has a body.
 */
export const makeReader = (hasBody: (index: number) => boolean) => {
  const responses: Array<Response> = []
  const interim: Array<number> = []
  let rest: Buffer = Buffer.alloc(0)
  let reading: Reading | undefined
  let isClosing = false

  const begin = (text: string): void => {
    if (isClosing) fail("something after an answer with Connection: close")
    const [first = "", ...lines] = text.split("\r\n")
    const match = STATUS_LINE.exec(first) ?? fail(`a malformed status line: ${JSON.stringify(first.slice(0, 200))}`)
    const status = Number(match[1])
    const fields = parseFields(lines)
    if (status < 200) {
      if (status === 101) fail("switched protocols")
      if (fields.has("content-length") || fields.has("transfer-encoding")) fail("an interim answer with a body")
      interim.push(status)
      return
    }
    const lengths = fields.get("content-length")
    const codings = fields.get("transfer-encoding")
    if (lengths !== undefined && codings !== undefined) fail("both Content-Length and Transfer-Encoding")
    if (lengths !== undefined && (lengths.length > 1 || !/^\d{1,15}$/.test(lengths[0]!))) fail("a bad Content-Length")
    if (codings !== undefined && (codings.length > 1 || codings[0] !== "chunked")) fail("a bad Transfer-Encoding")
    if (status === 204 && (lengths ?? codings) !== undefined) fail("a 204 that speaks of a body")
    const closes = (fields.get("connection") ?? []).some((value) => /(?:^|,)\s*close\s*(?:,|$)/i.test(value))
    isClosing = closes
    const bodiless = NO_BODY.has(status) || !hasBody(responses.length)
    const framing = bodiless
      ? "none"
      : codings !== undefined
      ? "chunked"
      : lengths !== undefined
      ? "length"
      : "close"
    const left = framing === "length" ? Number(lengths![0]) : 0
    const step = framing === "chunked" ? "size" : framing === "close" ? "close" : "body"
    reading = { head: { status, fields, framing }, parts: [], left, step }
  }

  const finish = (isComplete: boolean): void => {
    const { head, parts } = reading!
    responses.push({ ...head, body: Buffer.concat(parts), isComplete })
    if (head.framing === "close") isClosing = true
    reading = undefined
  }

  /** Everything up to the first `end`, without it. */
  const take = (end: string): string | undefined => {
    const at = rest.indexOf(end, 0, "latin1")
    if (at < 0) return undefined
    const text = rest.toString("latin1", 0, at)
    rest = rest.subarray(at + end.length)
    return text
  }

  /** One step on; whether there was one. */
  const advance = (): boolean => {
    if (reading === undefined) {
      if (rest.length > 0 && !"HTTP/1.1 ".startsWith(rest.toString("latin1", 0, 9))) {
        fail(`no answer begins like this: ${JSON.stringify(rest.toString("latin1", 0, 200))}`)
      }
      const head = take("\r\n\r\n")
      if (head === undefined) return false
      begin(head)
      return true
    }
    switch (reading.step) {
      case "body":
      case "chunk": {
        const part = rest.subarray(0, reading.left)
        if (part.length === 0 && reading.left > 0) return false
        if (part.length > 0) reading.parts.push(part)
        rest = rest.subarray(part.length)
        reading.left -= part.length
        if (reading.left > 0) return false
        if (reading.step === "body") finish(true)
        else reading.step = "crlf"
        return true
      }
      case "size": {
        const line = take("\r\n")
        if (line === undefined) return false
        if (!/^[\da-f]{1,8}$/i.test(line)) fail(`a bad chunk size: ${JSON.stringify(line.slice(0, 50))}`)
        reading.left = Number.parseInt(line, 16)
        reading.step = reading.left === 0 ? "trailers" : "chunk"
        return true
      }
      case "crlf": {
        if (rest.length < 2) return false
        if (take("\r\n") !== "") fail("a chunk without its end")
        reading.step = "size"
        return true
      }
      case "trailers": {
        const line = take("\r\n")
        if (line === undefined) return false
        if (line === "") finish(true)
        else parseFields([line])
        return true
      }
      case "close": {
        if (rest.length === 0) return false
        reading.parts.push(rest)
        rest = Buffer.alloc(0)
        return true
      }
    }
  }

  return {
    responses: responses as ReadonlyArray<Response>,
    interim: interim as ReadonlyArray<number>,
    /** Whether an answer has begun that has not ended. */
    isReading: () => reading !== undefined || rest.length > 0,
    isClosing: () => isClosing,
    feed: (data: Buffer): void => {
      rest = rest.length === 0 ? data : Buffer.concat([rest, data])
      while (advance()) { /* on */ }
    },
    /** Nothing more will come; `clean` says that the connection was ended in order. */
    end: (clean: boolean): void => {
      if (reading !== undefined) finish(reading.step === "close" && clean)
      else if (rest.length > 0) finishHead()
    }
  }

  /** Half a head is an answer that was cut. */
  function finishHead(): void {
    responses.push({ status: 0, fields: new Map(), framing: "none", body: Buffer.alloc(0), isComplete: false })
  }
}

export type Reader = ReturnType<typeof makeReader>
