import { assert } from "@effect/vitest"
import { Context, Effect, Layer, Result, type Scope } from "effect"
import type { IncomingHttpHeaders } from "node:http"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { headerBytes, payloadBytes } from "../../src/services/disk/chunkFormat.ts"
import { chunkFiles, readIfThere, temporaryDirectory } from "./disks.ts"
import { openView, type Program, type ProgramFailed, startProgram, view, type ViewFailed } from "./Program.ts"
import {
  type Answer,
  headOf,
  inChunks,
  makeScriptedOrigin,
  type Script,
  type ScriptedFile,
  type ScriptedOrigin,
  type Step,
  stepsOf,
  text
} from "./ScriptedOrigin.ts"
import { MiB, randomBytes, sha256 } from "./TestOrigin.ts"
import { withoutHedges } from "./withoutHedges.ts"

/**
 * Plays: what an origin does, and what viewers of the real program before it see of that.
 */

export const CHUNK = 512 * 1024
export const SIZE = 3 * MiB + 4321

/** The whole file, or a range from a chunk's first byte: no front of a chunk is fetched beside what a script counts. */
export type Kind = "whole" | "range"
export const RANGE = { start: CHUNK, end: 5 * CHUNK + 1000 }

/**
 * How long the viewers may wait, in milliseconds: less than each wait that would be a fault, which is a time-out of 30 s by default, or a
 * `Retry-After` of 30 s. A busy machine stays far below.
 */
const LONGEST_MILLIS = 20_000

/** How many body bytes a viewer has when something happens in mid-body. */
export const AT = 3 * CHUNK + 777

/**
 * What a viewer sees: `all`, every byte of the file as the origin has it in the end; `cut`, right bytes up to somewhere, and
 * then a connection that is cut; or another answer's status.
 */
export type Seen = "none" | "all" | "cut" | number

export interface Options {
  /** Each a viewer of its own, with an origin that begins anew. Both where nothing is said. */
  readonly as?: ReadonlyArray<Kind>
  /** How many at the same time. */
  readonly viewers?: number
  /** Bytes; `SIZE` where nothing is said. */
  readonly size?: number
  readonly file?: Partial<ScriptedFile>
  /** Somebody has seen it before, when the origin behaved. */
  readonly seenBefore?: boolean
  /** The origin repeats the last of the script while they watch; otherwise it behaves after that. */
  readonly forever?: boolean
  /** From this request on, counted from 0, or in the second pass the origin has another file, of the same size or longer. */
  readonly changes?: number | "afterwards" | undefined
  readonly grows?: boolean
  /** The file is announced as so many bytes. */
  readonly announced?: number
  /** Of another answer than the file. */
  readonly body?: string
  readonly fields?: Readonly<Record<string, string>>
  /** How long the viewers wait at least, in milliseconds, from when all have `AT` bytes, if that is awaited. */
  readonly takes?: number
  /** The second request is for the bytes from the first on that is missing, and may have to name their validator. */
  readonly resumes?: "at the byte" | "with If-Range"
  /** Milliseconds before the second pass: none can tell an answer that comes of itself while another is waited for. */
  readonly rest?: number
  /** Nothing is kept. */
  readonly uncached?: boolean
}

export interface Case extends Options {
  readonly name: string
  /** What the origin does at one request after the other. */
  readonly script: ReadonlyArray<Script>
  readonly sees: ReadonlyArray<Seen>
  /** The fewest and the most GETs while they watch. */
  readonly requests: readonly [number, number]
}

export const when = (
  name: string,
  script: Script | ReadonlyArray<Script>,
  sees: Seen | ReadonlyArray<Seen>,
  requests: number | readonly [number, number],
  options: Options = {}
): Case => ({
  name,
  script: typeof script === "function" ? [script] : script,
  sees: typeof sees === "object" ? sees : [sees],
  requests: typeof requests === "number" ? [requests, requests] : requests,
  ...options
})

// --- scripts ----------------------------------------------------------------------------------------------------------

export const only = (...steps: ReadonlyArray<Step>): Script => () => steps
export const after =
  (pause: number, script: Script): Script => (answer, request) => [{ pause }, ...script(answer, request)]
export const spoilt = (change: (answer: Answer) => Partial<Answer>): Script => (answer) =>
  stepsOf({ ...answer, ...change(answer) })
export const withFields = (change: (answer: Answer) => Answer["fields"]): Script =>
  spoilt((answer) => ({ fields: { ...answer.fields, ...change(answer) } }))
export const withLine = (line: string): Script => (answer) => [
  text(headOf(answer).toString("latin1").replace("\r\n", () => `\r\n${line}\r\n`)),
  answer.body
]
export const halfHead = (...then: ReadonlyArray<Step>): Script => (answer) => {
  const head = headOf(answer)
  return [head.subarray(0, head.length / 2), ...then]
}
/** Sends the first `AT` bytes that the viewer asks for, and goes on when all viewers have them. */
export const breaks = (...then: ReadonlyArray<Step>): Script => (answer, { fields }) => {
  const unasked = fields["range"] === undefined ? 0 : RANGE.start - answer.start
  return [headOf(answer), answer.body.subarray(0, unasked + AT), "wait", ...then]
}
export const withClose = (script: Script): Script => (answer, request) =>
  script({ ...answer, fields: { ...answer.fields, connection: "close" } }, request)
export const breaksInChunks = (...then: ReadonlyArray<Step>): Script => (answer) => [
  headOf({ ...answer, fields: { "transfer-encoding": "chunked" } }),
  inChunks(answer.body.subarray(0, AT)),
  "wait",
  ...then
]
/** Something else than the file. */
export const says = (status: string, body: string, fields: Answer["fields"] = {}): Script =>
  only(...stepsOf({ status, fields: { "content-length": String(body.length), ...fields }, body: text(body) }))
/** So many redirects, and then the file. */
export const redirects =
  (count: number, to: (hop: number, path: string, host?: string) => string): Script => (answer, request) => {
    const [path = "", hop = "0"] = request.target.split("?hop=")
    if (Number(hop) >= count) return stepsOf(answer)
    const location = to(Number(hop) + 1, path, request.fields["host"])
    return says("302 Found", "elsewhere", { location })(answer, request)
  }
export const contentRange = (start: number, end: number, size: number): Answer["fields"] => ({
  "content-range": `bytes ${start}-${end - 1}/${size}`,
  "content-length": String(end - start)
})

// --- a play -----------------------------------------------------------------------------------------------------------

/** The program, with a small cache, before `origin`. */
export const startBefore = (
  origin: ScriptedOrigin,
  directory: string,
  flags: ReadonlyArray<string> = []
): Effect.Effect<Program, ProgramFailed, Scope.Scope> => {
  const sizes = ["--chunk-size", String(CHUNK), "--memory", "0", "--min-free", "0", "--max-size", "64MiB"]
  return Effect.flatMap(
    withoutHedges(origin.url),
    (origin) => startProgram([...origin, "--cache-dir", directory, ...sizes, ...flags])
  )
}

/** The program before an origin. Each play has a file of its own there. */
export class Running extends Context.Service<Running, {
  readonly directory: string
  readonly origin: ScriptedOrigin
  readonly program: Program
}>()("spillway/test/support/play/Running") {
  static readonly layer = (...flags: ReadonlyArray<string>) =>
    Layer.effect(
      Running,
      Effect.gen(function*() {
        const directory = yield* temporaryDirectory
        const origin = yield* makeScriptedOrigin
        return { directory, origin, program: yield* startBefore(origin, directory, flags) }
      })
    )
}

interface Outcome {
  /** `undefined` where not even a header came. */
  readonly status: number | undefined
  readonly headers: IncomingHttpHeaders
  readonly size: number
  readonly sha256: string
  readonly isCut: boolean
}

const headersOf = (kind: Kind): Record<string, string> =>
  kind === "range" ? { range: `bytes=${RANGE.start}-${RANGE.end - 1}` } : {}

/** What a viewer gets in the end; `halfway` is told when it has `AT` bytes. */
const watch = (url: string, kind: Kind, halfway: () => void): Effect.Effect<Outcome> =>
  Effect.gen(function*() {
    const opened = yield* Effect.result(openView(url, headersOf(kind)))
    const nothing = { status: undefined, headers: {}, size: 0, sha256: "", isCut: true }
    if (Result.isFailure(opened)) return nothing
    const { headers, readTo, rest, status } = opened.success
    return yield* readTo(AT).pipe(
      Effect.tap(() => Effect.sync(halfway)),
      Effect.andThen(rest),
      Effect.map(({ sha256, size }) => ({ status, headers, size, sha256, isCut: false })),
      Effect.catch(({ received, sha256 }: ViewFailed) =>
        Effect.succeed({ status, headers, size: received, sha256, isCut: true })
      )
    )
  }).pipe(Effect.scoped)

/** What is right of a file: its bytes by status, and its ETag. */
const partsOf = ({ bytes, fields }: ScriptedFile) => ({
  200: bytes,
  206: bytes.subarray(RANGE.start, RANGE.end),
  etag: fields["etag"]
})
type Parts = ReturnType<typeof partsOf>

const digests = new WeakMap<Buffer, string>()
const digest = (bytes: Buffer): string => {
  const known = digests.get(bytes) ?? sha256(bytes)
  digests.set(bytes, known)
  return known
}

/** What it is that was seen. Wrong bytes are nothing that may be seen. */
const judge = (outcome: Outcome, first: Parts, last: Parts): Seen => {
  const { headers, isCut, sha256: hash, size, status } = outcome
  const what = `${status}, ${size} bytes, ${JSON.stringify(headers)}`
  if (status === undefined) return "none"
  assert.notProperty(headers, "x-injected")
  // oxlint-disable-next-line no-control-regex
  for (const value of Object.values(headers)) assert.notMatch(String(value), /[\0-\x08\x0a-\x1f\x7f]/)
  if (status !== 200 && status !== 206) {
    assert.isFalse(isCut, what)
    return status
  }
  if (status === 206) assert.include(headers["content-range"] ?? "none", `bytes ${RANGE.start}-${RANGE.end - 1}/`, what)
  const { etag } = isCut ? first : last
  assert.include([undefined, etag ?? headers.etag], headers.etag, "the ETag of another file")
  if (isCut) {
    assert.strictEqual(hash, sha256(first[status].subarray(0, size)), `wrong bytes before the cut: ${what}`)
    return "cut"
  }
  assert.strictEqual(size, last[status].length, what)
  assert.strictEqual(hash, digest(last[status]), `wrong bytes: ${what}`)
  return "all"
}

/** The chunks of a URL that are on disk. */
const chunksOf = (directory: string, url: string) => {
  const { id } = makeResource(url)
  return chunkFiles(`${directory}/v1/${id.slice(0, 2)}/${id}`).flatMap(({ index, path }) =>
    readIfThere(path).map((file) => ({ index, bytes: file.subarray(headerBytes(payloadBytes(file.length, file))) }))
  )
}

let plays = 0

/** Plays `spec`, and then shows that an origin that behaves is seen as it is, and that what is kept is right. */
export const play = Effect.fnUntraced(function*(spec: Case, kind: Kind) {
  const { directory, origin, program } = yield* Running
  const { changes, forever, requests, script, sees, size = SIZE, takes = 0, viewers = 1 } = spec
  const seed = ++plays
  const path = `/${seed}-${spec.name.replaceAll(/\W+/g, "-").slice(0, 60)}`
  const url = program.url + path
  const first = { bytes: randomBytes(size, seed), fields: { etag: `"${seed}"` }, ...spec.file }
  const change = () => {
    const bytes = randomBytes(spec.grows ? size + CHUNK : size, -seed)
    origin.files.set(path, { ...first, bytes, fields: { etag: `"${seed} b"` } })
  }
  origin.files.set(path, first)
  if (spec.seenBefore) yield* view(url)
  const before = origin.gets(path).length
  origin.scripts.set(path, (nth) => {
    if (nth - before === changes) change()
    const scripted = script[forever ? Math.min(nth - before, script.length - 1) : nth - before]
    // All of them are there before it answers.
    return viewers > 1 && nth === before ? after(200, scripted ?? stepsOf) : scripted
  })

  let started = performance.now()
  let halfway = 0
  const onHalfway = () => {
    halfway += 1
    if (halfway !== viewers) return
    if (origin.release(path)) started = performance.now()
  }
  const outcomes = yield* Effect.all(Array.from({ length: viewers }, () => watch(url, kind, onHalfway)), {
    concurrency: "unbounded"
  })
  const took = performance.now() - started
  const asked = origin.gets(path).slice(before)
  const inTheEnd = origin.files.get(path)!
  const announced = spec.announced === undefined
    ? inTheEnd
    : { bytes: inTheEnd.bytes.subarray(0, spec.announced), fields: {} }
  const seen = outcomes.map((outcome) => judge(outcome, partsOf(first), partsOf(announced)))
  const story = `saw ${seen}, expected ${sees}, after ${asked.length} requests: ${
    asked.map(({ fields, sent }) => `${fields["range"] ?? "all"}: ${sent}`).join(", ")
  }`
  assert.isTrue(seen.every((seen) => sees.includes(seen)), story)
  for (const { headers, isCut, sha256: hash } of outcomes) {
    if (!isCut) assert.include(headers, spec.fields ?? {})
    if (spec.body !== undefined) assert.strictEqual(hash, sha256(text(spec.body)))
  }
  assert.isAtLeast(asked.length, requests[0], story)
  assert.isAtMost(asked.length, requests[1], story)
  assert.isAtLeast(took, takes, "milliseconds")
  assert.isBelow(took, LONGEST_MILLIS, "milliseconds")
  if (spec.resumes !== undefined) {
    const { fields } = asked[1]!
    assert.match(fields["range"] ?? "", new RegExp(`^bytes=${AT + (kind === "range" ? RANGE.start : 0)}-`))
    if (spec.resumes === "with If-Range") assert.strictEqual(fields["if-range"], first.fields.etag)
  }

  // The second pass, with an origin that behaves.
  yield* Effect.sleep(spec.rest ?? 0)
  origin.scripts.delete(path)
  if (changes === "afterwards") change()
  const last = origin.files.get(path)!
  const right = partsOf(last)
  for (const kind of last.bytes.length < RANGE.end ? ["whole"] as const : ["range", "whole"] as const) {
    const already = origin.gets(path).length
    assert.strictEqual(judge(yield* watch(url, kind, () => {}), right, right), "all", "the second pass")
    if (spec.uncached) assert.isAbove(origin.gets(path).length, already, "the second pass asks the origin")
  }
  const chunks = ["", "?hop=1", "?hop=5"].flatMap((query) => chunksOf(directory, origin.url + path + query))
  for (const { bytes, index } of chunks) {
    const places = [first, last].map((file) => file.bytes.subarray(index * CHUNK, index * CHUNK + bytes.length))
    assert.isTrue(places.some((place) => place.equals(bytes)), `chunk ${index} on disk is wrong`)
  }
  if (spec.uncached) assert.isEmpty(chunks)
}, Effect.scoped)
