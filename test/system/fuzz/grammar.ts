import { make, type Random } from "../simulation/random.ts"
import { files, type KnownFile, LAST_MODIFIED, others, VARIANTS } from "./files.ts"

/** A request that is valid HTTP, as it is on the wire. */
export interface FuzzRequest {
  readonly method: string
  /** Path and query, whatever form the target has on the wire. */
  readonly target: string
  readonly version: "HTTP/1.0" | "HTTP/1.1"
  /** Names as they are written, several of a name possible. */
  readonly fields: ReadonlyArray<readonly [name: string, value: string]>
  readonly wire: string
}

/** When the sender leaves, and how: `end` says that it will send no more, `reset` is rude. */
export interface Leaving {
  readonly how: "end" | "destroy" | "reset"
  readonly when: "sent" | "received"
  /** Bytes. */
  readonly after: number
}

/** What is done on one connection. */
export interface Plan {
  readonly seed: number
  /**
   * `valid`: nothing but `requests`. `malformed`: these, and then a request that must be refused, and something behind it.
   * `mutated`: bytes at which nobody knows what they mean.
   */
  readonly kind: "valid" | "malformed" | "mutated"
  readonly requests: ReadonlyArray<FuzzRequest>
  /** What is wrong with it. */
  readonly defect?: string
  readonly bytes: Buffer
  /** Where the bytes are parted into segments, in order, and for how many milliseconds nothing is sent then. */
  readonly parts: ReadonlyArray<readonly [offset: number, millis: number]>
  readonly leaving?: Leaving
  /** The sender reads nothing for so many milliseconds after the first bytes. */
  readonly stall: number
}

/** A body that looks like a request: who takes it for one has lost the framing. */
export const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

const times = <A>(count: number, make: (i: number) => A): Array<A> => Array.from({ length: count }, (_, i) => make(i))

const numbers = (random: Random, size: number): string =>
  random.weighted<() => string>([
    [() => String(random.int(0, Math.max(0, size - 1))), 12],
    [() => String(random.pick([0, 1, 65_535, 65_536, 65_537, 131_072, size - 1, size, size + 1])), 8],
    [() => String(size + random.int(0, 1000)), 2],
    [() => `${"0".repeat(random.int(1, 30))}${random.int(0, size)}`, 1],
    [() => random.pick(["9007199254740991", "9007199254740993", "18446744073709551615", "9".repeat(300)]), 2]
  ])()

const oneRange = (random: Random, size: number): string =>
  random.weighted<() => string>([
    [() => {
      const start = random.int(0, Math.max(0, size - 1))
      return `${start}-${start + random.int(0, size)}`
    }, 8],
    [() => `${numbers(random, size)}-`, 4],
    [() => `-${numbers(random, size)}`, 4],
    [() => `${numbers(random, size)}-${numbers(random, size)}`, 4]
  ])()

/** So short that several of them seldom touch. */
const shortRange = (random: Random, size: number): string => {
  const start = random.int(0, Math.max(0, size - 1))
  return `${start}-${start + random.int(0, 200)}`
}

const rangeField = (random: Random, size: number): string =>
  random.weighted<() => string>([
    [() => `bytes=${oneRange(random, size)}`, 20],
    [() => `${random.pick(["Bytes", "BYTES", "bYtEs"])}=${oneRange(random, size)}`, 1],
    [() => `bytes=${times(random.int(2, 6), () => oneRange(random, size)).join(random.pick([",", ", ", " ,\t"]))}`, 6],
    [() => `bytes=${times(random.int(2, 5), () => shortRange(random, size)).join(", ")}`, 4],
    [() => `bytes=${times(random.int(20, 400), (i) => `${i * 2}-${i * 2}`).join(",")}`, 1],
    [() => `bytes=${times(random.int(2, 50), () => "0-").join(",")}`, 1],
    [() => `bytes=,${oneRange(random, size)},,`, 1],
    [() => `bytes= ${oneRange(random, size)} `, 1],
    [
      () =>
        random.pick([
          "bytes",
          "bytes=",
          "bytes=-",
          "bytes=--1",
          "bytes=5-2",
          "bytes=a-b",
          "bytes=0x0-0x5",
          "bytes=1.5-2",
          "bytes=1-2-3",
          "bytes=+1-2",
          "bytes 0-5",
          "bytes=0-5;q=1",
          "bytes=0-5,x",
          "bytes=0-1,5-2",
          "items=0-5",
          "seconds=1-2",
          "none",
          "",
          "=",
          "bytes=\u00b2-\u00b3",
          "bytes=0-5\u00a0"
        ]),
      4
    ]
  ])()

const DATES = [
  LAST_MODIFIED,
  "Tue, 05 Mar 2024 10:20:29 GMT",
  "Wed, 06 Mar 2024 10:20:30 GMT",
  "Thu, 01 Jan 1970 00:00:00 GMT",
  "Tuesday, 05-Mar-24 10:20:30 GMT",
  "Tue Mar  5 10:20:30 2024",
  "Tue, 99 Foo 0000 99:99:99 GMT",
  "yesterday",
  "0",
  "-1",
  ""
]

const tagField = (random: Random, own: string): string =>
  random.weighted<() => string>([
    [() => own, 8],
    [() => `W/${own}`, 2],
    [() => "\"other\"", 4],
    [() => `"x", ${own}, "y"`, 2],
    [() => "*", 2],
    [() => `"x","y" ,  W/"z"`, 1],
    [() => random.pick(["\"", "W/", "x", "\"\" \"\"", "*, *", ",,,", "", "\u00ff", "\"".repeat(500), "w/\"a\""]), 3]
  ])()

/** Conditional fields, mostly one. */
const conditions = (random: Random, { etag }: KnownFile): Array<readonly [string, string]> => {
  const tag = () => tagField(random, etag ?? "\"none\"")
  const choose = random.weighted<() => readonly [string, string]>([
    [() => ["If-None-Match", tag()], 8],
    [() => ["If-Modified-Since", random.pick(DATES)], 5],
    [() => ["If-Match", tag()], 3],
    [() => ["If-Unmodified-Since", random.pick(DATES)], 2],
    [() => ["If-Range", random.chance(0.6) ? tag() : random.pick(DATES)], 6]
  ])
  return random.chance(0.3) ? times(random.chance(0.15) ? 2 : 1, choose) : []
}

const FIELDS: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
  ["User-Agent", ["Mozilla/5.0 (X11)", "", "\u00e9\u00ff", "a".repeat(3000)]],
  ["Accept", ["*/*", "video/*;q=0.9"]],
  ["Accept-Encoding", ["gzip, br", "identity;q=0", "", "gzip;q=nonsense"]],
  ["Cache-Control", [
    "no-cache",
    "max-age=0",
    "no-store",
    "max-stale=10",
    "min-fresh=9",
    "max-age=999999999999999999",
    "=,=",
    "\""
  ]],
  ["Pragma", ["no-cache"]],
  ["Cookie", ["a=b; c=d", ";;;"]],
  ["TE", ["trailers", "gzip;q=0.5", "chunked"]],
  ["Connection", ["keep-alive", "TE", "etag, content-length, content-range, cache-status", ",,", "upgrade"]],
  ["Upgrade", ["websocket", "h2c", "TLS/1.3", ""]],
  ["Via", ["1.1 a, 1.0 b"]],
  ["Forwarded", ["for=127.0.0.1;host=localhost"]],
  ["X-Forwarded-For", ["127.0.0.1"]],
  ["Origin", ["null", "http://evil.example"]],
  ["Referer", ["http://evil.example/?a=b"]],
  ["Content-Type", ["text/html", "multipart/form-data; boundary=\"", "/"]],
  ["Content-Encoding", ["gzip"]],
  ["Content-Range", ["bytes 0-5/10"]],
  ["Trailer", ["Content-Length"]],
  ["Max-Forwards", ["0"]],
  ["__proto__", ["1"]],
  ["constructor", ["1"]],
  ["X-Long", ["b".repeat(6000)]],
  ["X-Empty", [""]]
]

const strange = (name: string, random: Random): string =>
  random.weighted([[name, 6], [name.toLowerCase(), 2], [name.toUpperCase(), 1]])

const chunkedBody = (random: Random, data: string): string => {
  let wire = ""
  for (let rest = data; rest.length > 0;) {
    const length = random.int(1, Math.min(rest.length, 5000))
    const size = random.pick([length.toString(16), length.toString(16).toUpperCase(), `000${length.toString(16)}`])
    const extension = random.chance(0.2) ? random.pick([";a=b", ";a", ";a=\"b;c\""]) : ""
    wire += `${size}${extension}\r\n${rest.slice(0, length)}\r\n`
    rest = rest.slice(length)
  }
  return `${wire}0\r\n${random.chance(0.3) ? "X-Trailer: 1\r\nExpires: 0\r\n" : ""}\r\n`
}

const bodyData = (random: Random): string =>
  random.weighted<() => string>([
    [() => SMUGGLED.repeat(random.int(1, 3)), 6],
    [() => "x".repeat(random.int(1, 5000)), 3],
    [() => "", 2],
    [() => "y".repeat(300_000), 1]
  ])()

/** A target as it is written, and what it names. */
const writtenTarget = (random: Random, target: string): string =>
  random.weighted<() => string>([
    [() => target, 12],
    [() => `http://localhost${target}`, 1],
    [() => `http://other.example:8080${target}`, 1],
    [() => `HTTP://Other.Example${target}`, 1]
  ])()

const strangeTargets = [
  "/../a",
  "/%2e%2e/a",
  "/./a",
  "/a/..",
  "/%2E%2e%2fa",
  "//a",
  "///",
  "//other.example/a",
  "/@other.example/",
  "/a%00",
  "/%zz",
  "/%",
  "/a%0d%0aX-Injected:%201",
  "/%0d%0a%0d%0a",
  "/a?b=%0d%0aSet-Cookie:%20x",
  "/a;b",
  "/<script>",
  "/a\"b",
  "/{a}|b^c`d",
  "/a?????",
  "/...",
  "/_spillway/health",
  "/_spillway/metrics",
  "/_spillway/",
  "/_spillway/../a",
  "/_spillway",
  "/a#b",
  "/\\a",
  `/${"a".repeat(8100)}`,
  `/${"a".repeat(8192)}`,
  `/?${"b".repeat(9000)}`,
  "*"
]

const plain: KnownFile = { path: "/", bytes: Buffer.alloc(0), etag: "\"x\"", kind: "passed" }

const method = (random: Random, heads: boolean): string =>
  random.weighted([
    ["GET", 30],
    ["HEAD", heads ? 5 : 0],
    [random.pick(["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MKCOL", "QUERY", "PURGE"]), 3]
  ])

const host = (random: Random): string =>
  random.weighted([["localhost", 8], [
    random.pick(["127.0.0.1:80", "[::1]:8080", "media.example.org", "", "a%2db"]),
    2
  ]])

/** `isLast`: nothing follows, so that it may be the one that ends the connection. */
const makeRequest = (random: Random, isLast: boolean, heads = true): FuzzRequest => {
  const file = random.chance(0.03) ? files.find(({ kind }) => kind === "cut")! : random.pick(
    files.filter(({ kind, path }) => kind !== "cut" && path !== "/smuggled")
  )
  const [target, about, written] = random.weighted<() => readonly [string, KnownFile, string?]>([
    [() => [`${file.path}${random.chance(0.5) ? `?${random.int(0, VARIANTS - 1)}` : ""}`, file], 20],
    [() => [random.pick([...others.keys()]), plain], 3],
    [() => {
      const strange = random.pick(strangeTargets)
      return [strange, plain, strange]
    }, 4]
  ])()
  const verb = method(random, heads)
  const version = isLast && random.chance(0.12) ? "HTTP/1.0" : "HTTP/1.1"
  const fields: Array<readonly [string, string]> = []
  if (version === "HTTP/1.1" || random.chance(0.5)) fields.push(["Host", host(random)])
  if (random.chance(0.55)) fields.push(["Range", rangeField(random, about.bytes.length)])
  fields.push(...conditions(random, about))
  for (let i = random.weighted([[0, 5], [random.int(1, 4), 4], [random.int(30, 110), 0.3]]); i > 0; i--) {
    const [name, values] = random.pick(FIELDS)
    const value = random.pick(values)
    const used = fields.reduce((sum, [name, value]) => sum + name.length + value.length + 4, target.length)
    if (used + value.length < 12_000) fields.push([name, value])
  }
  if (random.chance(0.05)) fields.push(["Authorization", random.pick(["Bearer x", "Basic YTpi", "\u00ff"])])
  if (random.chance(0.02)) fields.push(["Cache-Control", "only-if-cached"])
  if (random.chance(0.02)) fields.push(["Expect", random.pick(["100-continue", "100-Continue", "200-ok"])])
  if (random.chance(0.03)) fields.push(["Range", rangeField(random, about.bytes.length)])
  if (isLast && random.chance(0.6)) fields.push(["Connection", "close"])
  let body = ""
  const bodied = random.chance(verb === "GET" || verb === "HEAD" ? 0.06 : 0.7)
  if (bodied) {
    const data = bodyData(random)
    if (version === "HTTP/1.1" && random.chance(0.4)) {
      fields.push(["Transfer-Encoding", "chunked"])
      body = chunkedBody(random, data)
    } else {
      fields.push(["Content-Length", String(data.length)])
      body = data
    }
  }
  const shuffled = random.chance(0.3) ? fields.toSorted(() => random.next() - 0.5) : fields
  const lines = shuffled.map(([name, value]) =>
    `${strange(name, random)}:${random.pick([" ", "", "  ", "\t"])}${value}`
  )
  const wire = [`${verb} ${written ?? writtenTarget(random, target)} ${version}`, ...lines, "", body].join("\r\n")
  return { method: verb, target, version, fields: shuffled, wire }
}

const get = (...lines: ReadonlyArray<string>): string =>
  ["GET /a HTTP/1.1", "Host: localhost", ...lines, "", ""].join("\r\n")

const post = (...lines: ReadonlyArray<string>): string => get(...lines).replace("GET", "POST")

export const BEHIND_CLOSE = "a request behind Connection: close"

/** Requests that no server may take for what they might mean. What follows each must not be answered. */
export const defects: ReadonlyArray<readonly [name: string, make: (random: Random) => string]> = [
  ["length and chunked", () => post("Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n"],
  ["chunked and length", () => post("Transfer-Encoding: chunked", "Content-Length: 4") + "0\r\n\r\n"],
  ["two lengths", () => post("Content-Length: 0", `Content-Length: ${SMUGGLED.length}`)],
  ["a list of lengths", () => post("Content-Length: 0, 0")],
  [
    "a length that is none",
    (random) =>
      post(
        `Content-Length: ${
          random.pick(["+4", "-1", "0x4", "4 4", "4;", "1e3", "d", "", "9".repeat(40), "4,", "\u00b2"])
        }`
      )
  ],
  ["a coding that does not end in chunked", () => post("Transfer-Encoding: chunked, gzip")],
  [
    "a coding that is none",
    (random) =>
      post(
        `Transfer-Encoding: ${random.pick(["xchunked", "chunked\u000b", "identity", "chunked;q=1", "\"chunked\""])}`
      ) +
      "0\r\n\r\n"
  ],
  ["two codings", () => post("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n"],
  [
    "a chunk size that is none",
    (random) =>
      post("Transfer-Encoding: chunked") +
      `${random.pick(["zz", "-1", "0x3", "+3", "f".repeat(20), "", "3 3", "3;\0", "g", "\u00b3"])}\r\nabc\r\n0\r\n\r\n`
  ],
  ["a chunk longer than it says", () => post("Transfer-Encoding: chunked") + "3\r\nabcdef\r\n0\r\n\r\n"],
  ["a chunk that ends in LF", () => post("Transfer-Encoding: chunked") + "3\r\nabc\n0\r\n\r\n"],
  ["a chunk size that ends in LF", () => post("Transfer-Encoding: chunked") + "3\nabc\r\n0\r\n\r\n"],
  ["a chunk size that ends in CR", () => post("Transfer-Encoding: chunked") + "3\rabc\r\n0\r\n\r\n"],
  [
    "an endless chunk extension",
    () => post("Transfer-Encoding: chunked") + `3;${"a".repeat(40_000)}\r\nabc\r\n0\r\n\r\n`
  ],
  ["a bare CR in a value", () => get("X-A: a\rb")],
  ["a bare LF in a value", () => get("X-A: a\nX-B: b")],
  ["lines that end in LF", () => get().replaceAll("\r\n", "\n")],
  ["a NUL in a value", () => get("X-A: a\0b")],
  ["a space before the colon", () => get("Content-Length : 4") + "abcd"],
  ["a field without a name", () => get(": a")],
  ["a field without a colon", () => get("nonsense")],
  ["a name that is no token", (random) => get(`X${random.pick(["(", " ", "\"", "{", "@", "\u00e9", "\0"])}A: 1`)],
  ["a folded line", (random) => get("X-A: a", `${random.pick([" ", "\t"])}Content-Length: 4`)],
  ["a folded coding", () => post("Transfer-Encoding:", " chunked") + "0\r\n\r\n"],
  ["a first field that begins with a space", () => "GET /a HTTP/1.1\r\n Host: localhost\r\n\r\n"],
  ["no host", () => "GET /a HTTP/1.1\r\n\r\n"],
  ["two hosts", () => get("Host: localhost")],
  ["a host that is none", (random) => get().replace("localhost", random.pick(["a b", "a/b", "a@b", "[::1", "a:b"]))],
  [
    "a method that is none",
    (random) => get().replace("GET", random.pick(["BREW", "get", "G\0T", "GE T", "\u00e9", "G".repeat(99)]))
  ],
  [
    "a version that is none",
    (random) =>
      get().replace(
        "HTTP/1.1",
        random.pick(["HTTP/3.0", "HTTP/1.10", "http/1.1", "HTTP/1,1", "HTTP/", "HTCPCP/1.0", "HTTP/11", "HTTP/2.0"])
      )
  ],
  ["a target with a space", () => get().replace("/a", "/a b")],
  [
    "a target with a control",
    (random) => get().replace("/a", `/a${random.pick(["\0", "\u0001", "\u007f", "\r", "\t"])}b`)
  ],
  [
    "a target that is none",
    (random) => get().replace("/a", random.pick(["a", "", "?", "\\", "/\u00e9", "/\u00ff\u00fe"]))
  ],
  ["a header too large", (random) => get(`X-A: ${"a".repeat(random.int(16_500, 60_000))}`)],
  ["too many fields", (random) => get(...times(random.int(128, 2500), () => "a:b"))],
  ["a target too large", (random) => get().replace("/a", `/${"a".repeat(random.int(16_500, 60_000))}`)],
  ["the start of TLS", () => "\u0016\u0003\u0001\u0002\0\u0001\0\u0001\u00fc\u0003\u0003"],
  ["the preface of HTTP/2", () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  [BEHIND_CLOSE, () => get("Connection: close", "Range: bytes=0-0") + SMUGGLED],
  ["CONNECT", () => "CONNECT other.example:80 HTTP/1.1\r\nHost: other.example:80\r\n\r\n"],
  ["an answer", () => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
  ["noise", (random) => times(random.int(1, 400), () => String.fromCharCode(random.int(0, 255))).join("") + "\r\n\r\n"]
]

const tokens = [
  "\r\n",
  "\n",
  "\r",
  "\0",
  "\r\n\r\n",
  " ",
  "\t",
  ":",
  ",",
  "%00",
  "%0d%0a",
  "\u00ff",
  "Content-Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Host: b\r\n",
  "Connection: close\r\n",
  "Expect: 100-continue\r\n",
  "0\r\n\r\n",
  "HTTP/1.1",
  "99999999999999999999",
  "-1",
  "bytes=0-0,-1",
  "a".repeat(5000)
]

const mutate = (random: Random, wire: string): string => {
  const at = random.int(0, wire.length)
  const length = random.weighted([[1, 5], [random.int(1, 40), 4], [random.int(1, 2000), 1]])
  const code = wire.charCodeAt(Math.min(at, wire.length - 1))
  return random.weighted<() => string>([
    [() => wire.slice(0, at) + String.fromCharCode(code ^ (1 << random.int(0, 7))) + wire.slice(at + 1), 6],
    [() => wire.slice(0, at) + String.fromCharCode(random.int(0, 255)) + wire.slice(at + 1), 3],
    [() => wire.slice(0, at) + wire.slice(at + length), 4],
    [() => wire.slice(0, at + length) + wire.slice(at), 3],
    [() => wire.slice(0, at) + random.pick(tokens) + wire.slice(at), 6],
    [() => wire.slice(0, at), 1]
  ])()
}

const partsOf = (random: Random, length: number): Plan["parts"] => {
  const count = random.weighted([[0, 10], [random.int(1, 6), 6], [random.int(7, 60), 1]])
  const offsets = random.chance(0.1)
    ? times(Math.min(length, 200), (i) => i)
    : times(count, () => random.int(0, length)).toSorted((a, b) => a - b)
  return offsets.map((offset) => [offset, random.weighted([[0, 20], [random.int(1, 4), 1]])] as const)
}

const leavingOf = (random: Random, sent: number): Leaving => {
  const when = random.pick(["sent", "received"] as const)
  const after = when === "sent"
    ? random.int(0, sent)
    : random.weighted([[random.int(0, 600), 2], [random.int(0, 200_000), 3]])
  return { how: random.pick(["end", "destroy", "reset"]), when, after }
}

/** The plan that `seed` stands for. */
export const planOf = (seed: number): Plan => {
  const random = make(seed)
  const kind = random.weighted([["valid", 5], ["malformed", 2], ["mutated", 3]] as const)
  const count = random.weighted([[1, 6], [random.int(2, 6), 5], [random.int(7, 40), kind === "valid" ? 0.7 : 0]])
  const isShort = kind === "malformed" && random.chance(0.5)
  const requests = times(
    isShort ? 0 : count,
    (i) => makeRequest(random, kind === "valid" && i === count - 1, kind !== "mutated")
  )
  let wire = requests.map(({ wire }) => wire).join("")
  let defect: string | undefined
  if (kind === "malformed") {
    const [name, make] = random.pick(defects)
    defect = name
    wire += make(random) + (random.chance(0.7) ? SMUGGLED : "")
  }
  if (kind === "mutated") {
    for (let i = random.int(1, 5); i > 0; i--) wire = mutate(random, wire)
  }
  const bytes = Buffer.from(wire, "latin1")
  return {
    seed,
    kind,
    requests,
    ...(defect !== undefined && { defect }),
    bytes,
    parts: partsOf(random, bytes.length),
    ...(random.chance(0.12) && { leaving: leavingOf(random, bytes.length) }),
    stall: random.chance(0.03) ? random.int(5, 60) : 0
  }
}
