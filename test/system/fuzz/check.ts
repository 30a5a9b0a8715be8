import { fileAt, fileOfSize, type KnownFile, others, VARIANTS } from "./files.ts"
import { BEHIND_CLOSE, type FuzzRequest, type Plan } from "./grammar.ts"
import { fail, type Response } from "./reader.ts"

/** What came of a plan. */
export interface Outcome {
  readonly responses: ReadonlyArray<Response>
  readonly interim: ReadonlyArray<number>
  /** Who ended the connection. */
  readonly ended: "server" | "sender"
  /** Whether the sender left before it had what it asked for, as its plan says. */
  readonly hasLeft: boolean
  /** Whether it gave up waiting. */
  readonly isOverdue: boolean
}

type Fields = Pick<FuzzRequest, "fields">

const valuesOf = ({ fields }: Fields, name: string): ReadonlyArray<string> =>
  fields.filter(([other]) => other.toLowerCase() === name).map(([, value]) => value.replace(/^[\t ]+|[\t ]+$/g, ""))

const oneOf = (response: Response, name: string): string | undefined => {
  const values = response.fields.get(name)
  if (values !== undefined && values.length > 1) fail(`${name} more than once`)
  return values?.[0]
}

/** Half-open. */
type Slice = readonly [start: number, end: number]

/**
 * What a `Range` field selects of `size` bytes (RFC 9110 §14.1.2), part by part; `undefined` for one that says nothing. Written
 * anew, with exact numbers, so as not to agree with the program by descent.
 */
export const select = (field: string, size: number): ReadonlyArray<Slice> | undefined => {
  if (!/^bytes=/i.test(field)) return undefined
  const members = field.slice(6).split(",").map((member) => member.replace(/^[\t ]+|[\t ]+$/g, "")).filter((member) =>
    member !== ""
  )
  if (members.length === 0) return undefined
  const total = BigInt(size)
  const slices: Array<Slice> = []
  for (const member of members) {
    const match = /^(\d*)-(\d*)$/.exec(member)
    if (match === null || member === "-") return undefined
    const [, first = "", last = ""] = match
    if (first !== "" && last !== "" && BigInt(last) < BigInt(first)) return undefined
    let start = BigInt(first === "" ? 0 : first)
    let end = last === "" ? total : BigInt(last) + 1n
    if (first === "") {
      end = total
      start = BigInt(last) >= total ? 0n : total - BigInt(last)
    }
    if (end > total) end = total
    if (start < end) slices.push([Number(start), Number(end)])
  }
  return slices
}

const parseContentRange = (text: string | undefined): { readonly file: KnownFile; readonly slice: Slice } => {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(text ?? "") ?? fail(`a bad Content-Range: ${text}`)
  const file = fileOfSize(Number(match[3])) ?? fail(`Content-Range of a file that is not: ${text}`)
  const slice: Slice = [Number(match[1]), Number(match[2]) + 1]
  if (slice[0] >= slice[1] || slice[1] > file.bytes.length) fail(`Content-Range outside the file: ${text}`)
  return { file, slice }
}

/** Whether `body` is what it should be, or as much of it as came. */
const sameBytes = (body: Buffer, expected: Buffer, isComplete: boolean): boolean =>
  isComplete ? body.equals(expected) : body.equals(expected.subarray(0, body.length))

/** The parts of a `multipart/byteranges` body (RFC 9110 §14.6). */
const judgeMultipart = (
  response: Response,
  type: string
): { readonly file: KnownFile; readonly slices: Array<Slice> } => {
  const match = /^multipart\/byteranges\s*;\s*boundary=(?:"([^"]{1,70})"|([\w'()+,./:=?-]{1,70}))$/i.exec(type) ??
    fail(`a multipart body without boundary: ${type}`)
  const delimiter = `\r\n--${match[1] ?? match[2]}`
  const pieces = `\r\n${response.body.toString("latin1")}`.split(delimiter)
  const slices: Array<Slice> = []
  let file: KnownFile | undefined
  if (pieces[0] !== "") fail("something before the first part")
  const ends = pieces.length > 1 && /^--[\t ]*(?:\r\n[^]*)?$/.test(pieces.at(-1)!)
  if (response.isComplete && !ends) fail("no end of the last part")
  for (const piece of pieces.slice(1, ends ? -1 : undefined)) {
    const isLast = piece === pieces.at(-1)
    const end = piece.indexOf("\r\n\r\n")
    if (end < 0) {
      if (isLast && !response.isComplete) break
      fail("a part without a head")
    }
    const lines = piece.slice(0, end).split("\r\n")
    if (!/^[\t ]*$/.test(lines[0]!)) fail("something behind a boundary")
    const ranges = lines.filter((line) => /^content-range:/i.test(line))
    if (ranges.length !== 1) fail("a part without one Content-Range")
    const part = parseContentRange(ranges[0]!.slice("content-range:".length).trim())
    if (file !== undefined && part.file !== file) fail("parts of two files")
    file = part.file
    const expected = part.file.bytes.subarray(...part.slice)
    const body = Buffer.from(piece.slice(end + 4), "latin1")
    if (!sameBytes(body, expected, response.isComplete || !isLast)) fail(`wrong bytes in part ${ranges[0]}`)
    slices.push(part.slice)
  }
  return { file: file ?? fail("a multipart body without parts"), slices }
}

const IMF_DATE =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$/

/** What Node says by itself when it can read no further: a head, and the end. */
const isNodes = ({ fields, status }: Response): boolean => [400, 408, 413, 431].includes(status) && fields.size === 1

/** What no body is to show of the inside. */
const INDISCREET = /\n\s+at |node_modules|\.ts:\d|\.js:\d|file:\/\/|127\.0\.0\.1:\d/

/** The largest text that Spillway or the origin says: metrics. */
const MAX_TEXT_BYTES = 64 * 1024

/** What can be said of an answer without knowing the request. The file that its bytes are of, where they are of one. */
export const judgeAlone = (
  response: Response
): { readonly file?: KnownFile; readonly slices?: ReadonlyArray<Slice>; readonly isPage?: boolean } => {
  const { body, fields, framing, isComplete, status } = response
  if (status === 0) return {}
  if (isNodes(response)) {
    if (body.length > 0 || oneOf(response, "connection") !== "close") fail(`a strange ${status}`)
    return {}
  }
  if (!IMF_DATE.test(oneOf(response, "date") ?? "")) fail("no Date")
  const age = oneOf(response, "age")
  if (age !== undefined && !/^\d{1,10}$/.test(age)) fail(`a bad Age: ${age}`)
  const cacheStatus = oneOf(response, "cache-status")
  if (cacheStatus !== undefined && !/(?:^|, )spillway(?:;|$)/.test(cacheStatus)) {
    fail(`a bad Cache-Status: ${cacheStatus}`)
  }
  const etag = oneOf(response, "etag")
  if (etag !== undefined && !/^(?:W\/)?"[\u0021\u0023-\u007e\u0080-\u00ff]*"$/.test(etag)) fail(`a bad ETag: ${etag}`)
  for (const name of ["content-type", "last-modified", "location", "accept-ranges", "retry-after", "vary"]) {
    oneOf(response, name)
  }
  if (fields.has("x-injected")) fail("an injected field")
  const type = oneOf(response, "content-type") ?? ""
  const contentRange = oneOf(response, "content-range")
  if (contentRange !== undefined && status !== 206 && status !== 416) fail(`Content-Range in a ${status}`)
  if (status === 206 && /^multipart\//i.test(type)) {
    if (contentRange !== undefined) fail("Content-Range and parts")
    return framing === "none" ? {} : judgeMultipart(response, type)
  }
  if (status === 206) {
    const { file, slice } = parseContentRange(contentRange)
    const length = oneOf(response, "content-length")
    if (length !== undefined && Number(length) !== slice[1] - slice[0]) {
      fail("Content-Length is not that of Content-Range")
    }
    const isWhole = framing === "none" || sameBytes(body, file.bytes.subarray(...slice), isComplete)
    if (!isWhole) fail(`wrong bytes of ${file.path}, ${contentRange}`)
    return { file, slices: [slice] }
  }
  if (status === 416) {
    const match = /^bytes \*\/(\d+)$/.exec(contentRange ?? "") ?? fail(`a bad Content-Range: ${contentRange}`)
    return { file: fileOfSize(Number(match[1])) ?? fail("416 of a file that is not") }
  }
  if (framing === "none") return {}
  if (status === 200) {
    const length = oneOf(response, "content-length")
    // A page of Spillway's may be as long as a file, by chance.
    const isText = /^(?:text\/|application\/json)/.test(type)
    const file = isText ? undefined : fileOfSize(length === undefined ? body.length : Number(length))
    if (file !== undefined && !sameBytes(body, file.bytes, isComplete)) fail(`wrong bytes of ${file.path}`)
    if (file !== undefined) return { file }
    if (!isComplete && length === undefined) return {}
    if (type.startsWith("text/html")) return { isPage: true }
    if (!isText) fail(`a body of ${body.length} bytes that no file has`)
  }
  if (body.length > MAX_TEXT_BYTES) fail(`a ${status} with much to say`)
  // Who may see the metrics may see the hosts of origins.
  if (INDISCREET.test(body.toString("latin1").replaceAll(/(?<=origin=")[^"]*/g, ""))) {
    fail(`an indiscreet ${status}: ${body.toString("latin1", 0, 300)}`)
  }
  return {}
}

const TAG_LIST =
  /^[\t ]*(?:W\/)?"[\u0021\u0023-\u007e\u0080-\u00ff]*"(?:[\t ]*,[\t ]*(?:W\/)?"[\u0021\u0023-\u007e\u0080-\u00ff]*")*[\t ]*$/

/** Whether a list of entity tags names `etag`, by weak comparison; `undefined` for what is no such list. */
const names = (field: string, etag: string | undefined): boolean | undefined => {
  if (field === "*") return true
  if (!TAG_LIST.test(field)) return undefined
  return (field.match(/"[^"]*"/g) ?? []).some((tag) => tag === etag)
}

/** More ranges than these may be refused, though they could be satisfied. */
const MANY_RANGES = 16

/** What a request that no condition stops may be answered with. */
const partStatuses = (request: FuzzRequest, file: KnownFile): ReadonlyArray<number> => {
  const ranges = valuesOf(request, "range")
  if (ranges.length > 1) return [200, 206, 400, 416]
  const slices = select(ranges[0] ?? "", file.bytes.length)
  // Positions beyond what a number holds exactly may count as equal.
  if (slices === undefined) return /\d{16}/.test(ranges[0] ?? "") ? [200, 206, 416] : [200]
  const ifRanges = valuesOf(request, "if-range")
  const applies = ifRanges.length === 0 || (ifRanges.length === 1 && ifRanges[0] === file.etag)
  // A date may count as a strong validator.
  const mayApply = applies || (ifRanges.length === 1 && ifRanges[0] === file.lastModified)
  if (!mayApply) return [200]
  const count = ranges[0]!.split(",").length
  const statuses = [slices.length > 0 ? 206 : 416]
  // Several ranges may be answered with everything, and HEAD need not look at any.
  if (!applies || count > 1 || file.ranges === false || request.method === "HEAD") statuses.push(200)
  // What cannot be satisfied is the origin's to refuse, and the test origin reads only the plainest fields.
  if (slices.length === 0 && !/^bytes=\d*-\d*$/.test(ranges[0]!)) statuses.push(200)
  // Spillway ignores a range of an empty file, which the test origin refuses.
  if (file.bytes.length === 0) statuses.push(200)
  if (count > MANY_RANGES) statuses.push(416)
  return statuses
}

/** Whether a request says that its sender has the file already; `undefined` where that is for the server to decide. */
const isKnownToSender = (request: FuzzRequest, file: KnownFile): boolean | undefined => {
  const tags = valuesOf(request, "if-none-match")
  if (tags.length > 0) return tags.length > 1 ? undefined : names(tags[0]!, file.etag)
  const dates = valuesOf(request, "if-modified-since")
  const modified = Date.parse(file.lastModified ?? "")
  if (dates.length === 0 || Number.isNaN(modified)) return false
  const date = IMF_DATE.test(dates[0]!) ? Date.parse(dates[0]!) : Number.NaN
  return dates.length > 1 || Number.isNaN(date) ? undefined : modified <= date
}

/** The statuses with which a request for a file that Spillway caches may be answered. */
const expectedOf = (request: FuzzRequest, file: KnownFile): ReadonlyArray<number> => {
  const known = isKnownToSender(request, file)
  const parts = partStatuses(request, file)
  const statuses = known === true
    // The test origin, which refuses what cannot be satisfied, compares tags as they are.
    ? [304, ...parts.filter((status) => status === 416)]
    : [...parts, ...known === undefined ? [304] : []]
  if (["if-match", "if-unmodified-since"].some((name) => valuesOf(request, name).length > 0)) statuses.push(412)
  if (/only-if-cached/i.test(valuesOf(request, "cache-control").join())) statuses.push(504)
  return statuses
}

/** Whether somebody else may have sent a request that came from this machine. */
const isStranger = (request: FuzzRequest): boolean =>
  !["localhost", "127.0.0.1:80", "[::1]:8080"].includes(valuesOf(request, "host")[0] ?? "") ||
  ["via", "forwarded", "x-forwarded-for", "origin"].some((name) => valuesOf(request, name).length > 0)

/** A header that is nearly as large as may be, or larger. */
const LARGE_HEADER_BYTES = 15_500

const isLarge = ({ wire }: FuzzRequest): boolean => wire.indexOf("\r\n\r\n") > LARGE_HEADER_BYTES

/** Whether a request is for a WebSocket, which no route of the test allows. */
const isForWebSocket = (request: FuzzRequest): boolean =>
  valuesOf(request, "connection").some((value) => /upgrade/i.test(value)) &&
  valuesOf(request, "upgrade").some((value) => /websocket/i.test(value))

/** The target that a request names: plain `.` segments of its path name nothing (RFC 3986 §5.2.4). */
const namedBy = ({ target }: FuzzRequest): string => {
  const [path = "", ...query] = target.split("?")
  return [path.split("/").filter((segment) => segment !== ".").join("/"), ...query].join("?")
}

/** Judges an answer to a request that is valid. */
const judgeAnswer = (request: FuzzRequest, response: Response): void => {
  const found = judgeAlone(response)
  const { isComplete, status } = response
  if (status === 0) return
  const may = (...statuses: ReadonlyArray<number>) => {
    if (!statuses.includes(status)) fail(`${status} where ${statuses.join(", ")} is expected`)
  }
  if (request.version === "HTTP/1.0" && response.framing === "chunked") fail("chunks for HTTP/1.0")
  if (isNodes(response)) return isLarge(request) ? undefined : fail(`${status}, as if the request could not be read`)
  const expectations = valuesOf(request, "expect")
  const isUnmet = request.version === "HTTP/1.1" && expectations.some((value) => !/^100-continue$/i.test(value))
  if (isUnmet || status === 417) return isUnmet ? may(417) : fail("417 without an expectation")
  if (status === 501) return isForWebSocket(request) ? undefined : fail("501 without a WebSocket")
  if (request.method !== "GET" && request.method !== "HEAD") {
    if (status === 206 && valuesOf(request, "range").length === 0) fail("206 without Range")
    return
  }
  const target = namedBy(request)
  const path = target.split("?", 1)[0]!
  if (found.isPage === true && path !== "/_spillway/") fail("the dashboard, elsewhere")
  if (path === "/_spillway") return may(308)
  if (path.startsWith("/_spillway/")) {
    if (!isStranger(request)) return may(200, 400, 404)
    if (status === 200 && request.method === "GET" && response.body.toString() !== "{\"status\":\"ok\"}") {
      fail("a stranger is shown more than that Spillway is alive")
    }
    return may(...path === "/_spillway/health" ? [200] : [400, 403])
  }
  const other = others.get(path)
  // What is not cached is not asked for.
  const isCacheOnly = /only-if-cached/i.test(valuesOf(request, "cache-control").join())
  if (other !== undefined) return may(other, ...isCacheOnly ? [504] : [])
  const file = fileAt(target)
  const query = target.split("?")[1]
  const isKnown = file !== undefined && (query === undefined || (/^\d+$/.test(query) && Number(query) < VARIANTS))
  if (!isKnown) return may(400, 403, 404, 414, 200, ...isCacheOnly ? [504] : [])
  if (isForWebSocket(request)) return may(501)
  if (found.file !== undefined && found.file !== file) fail(`bytes of ${found.file.path} for ${request.target}`)
  if (status === 206 && valuesOf(request, "range").length === 0) fail("206 without Range")
  const passes = valuesOf(request, "authorization").length > 0 ||
    /no-store/i.test(valuesOf(request, "cache-control").join())
  if (file.kind === "cut") return may(200, 206, 304, 412, 416, 502, 504)
  if (file.kind === "passed" || passes) {
    // The test origin does not know what to say to some of them.
    const isStrange = valuesOf(request, "range").some((range) => select(range, file.bytes.length) === undefined)
    return may(200, 206, 304, 412, 416, 504, ...isStrange ? [502] : [])
  }
  may(...expectedOf(request, file))
  if (status === 200 && request.method === "GET" && isComplete && found.file !== file) fail("200 without the file")
  if (status === 200 && Number(oneOf(response, "content-length")) !== file.bytes.length) fail("200 of another length")
  const [range, another] = valuesOf(request, "range")
  const asked = another === undefined ? select(range ?? "", file.bytes.length) : undefined
  if (asked !== undefined && found.slices !== undefined) judgeSelection(asked, found.slices, isComplete)
}

/** That parts are what was selected: in any order and joined where they touch, all of it, and no more (RFC 9110 §15.3.7.2). */
const judgeSelection = (asked: ReadonlyArray<Slice>, got: ReadonlyArray<Slice>, isComplete: boolean): void => {
  // Gaps between ranges that are smaller than the overhead of a part may be sent too.
  const gap = 256
  for (const [start, end] of got) {
    let at = start
    for (const slice of asked.toSorted((a, b) => a[0] - b[0])) {
      if (slice[0] <= at + gap && slice[1] > at) at = slice[1]
    }
    if (at < end || !asked.some((slice) => slice[0] >= start && slice[0] < end)) {
      fail(`${start}-${end} was not asked for`)
    }
  }
  if (!isComplete) return
  for (const [start, end] of asked) {
    if (!got.some((slice) => slice[0] <= start && slice[1] >= end)) {
      fail(`${start}-${end} was asked for, and did not come`)
    }
  }
}

/** How many requests on one connection Spillway answers at least, however fast they come. */
const PIPELINED = 16

const closesAfter = (request: FuzzRequest | undefined, response: Response | undefined): boolean =>
  response !== undefined &&
  (response.framing === "close" || request?.version === "HTTP/1.0" ||
    (response.fields.get("connection") ?? []).some((value) => /close/i.test(value)))

/** A body that the server need not read to its end before it ends the connection. */
const LARGE_BODY_BYTES = 200_000

/** Judges all that came of a plan; fails with a `Violation`. */
export const judge = (plan: Plan, outcome: Outcome): void => {
  const { kind, requests } = plan
  const { ended, hasLeft, interim, isOverdue, responses } = outcome
  const text = plan.bytes.toString("latin1")
  const continues = interim.filter((status) => status !== 103).length
  if (continues > (text.match(/expect/gi) ?? []).length) fail("100 without an expectation")
  if (continues < interim.length && !text.includes("HTTP/1.1")) fail("103 for HTTP/1.0")
  const most = kind === "valid"
    ? requests.length
    : kind === "malformed"
    ? requests.length + 1
    : text.split("HTTP/").length + 1
  if (responses.length > most) fail(`${responses.length} answers to ${most} requests`)
  responses.forEach((response, i) => {
    const request = kind === "mutated" ? undefined : requests[i]
    const isNext = i < responses.length - 1
    if (isNext && !response.isComplete) fail("an answer behind one that was cut")
    // Half a request is malformed as well.
    if ((kind === "malformed" || hasLeft) && isNodes(response)) judgeAlone(response)
    else if (request !== undefined) judgeAnswer(request, response)
    else {
      const { file } = judgeAlone(response)
      if (plan.defect === BEHIND_CLOSE && response.status === 206 && response.body.length <= 1) return
      // The origin may answer before what is wrong with the body has come.
      const isPassed = !/^(?:GET|HEAD) /.test(text)
      if (kind === "malformed" && !isPassed && (response.status < 400 || file !== undefined)) {
        fail(`${response.status} to a request that is malformed`)
      }
    }
    // To cut one may cost those before it that have not been read yet.
    const mayBeCut = hasLeft || kind !== "valid" ||
      requests.slice(i).some(({ target }) => fileAt(target)?.kind === "cut")
    if (!response.isComplete && !mayBeCut) fail(`answer ${i + 1} was cut`)
  })
  if (isOverdue) fail(`no end after ${responses.length} answers`)
  if (kind === "malformed" && ended === "sender" && !hasLeft) fail("the connection goes on after a malformed request")
  if (kind !== "valid" || hasLeft) return
  const last = responses.length - 1
  if (responses.length === requests.length || closesAfter(requests[last], responses[last])) return
  if (last >= 0 && !responses[last]!.isComplete) return
  // What breaks off right behind its head may take that along.
  if (fileAt(requests[last + 1]?.target ?? "")?.kind === "cut") return
  if (responses.length >= PIPELINED && ended === "server") return
  if (requests.slice(0, last + 2).some(({ wire }) => wire.length > LARGE_BODY_BYTES)) return
  fail(`${responses.length} answers to ${requests.length} requests`)
}
