import { Clock, Console, Effect, Layer } from "effect"
import { Argument, Command } from "effect/cli"
import { adviceOn } from "../domain/OriginError.ts"
import { fromHead } from "../domain/Representation.ts"
import { make as makeResource } from "../domain/Resource.ts"
import { parseContentRange } from "../domain/rfc/ByteRange.ts"
import * as HttpDate from "../domain/rfc/HttpDate.ts"
import { CacheConfig, defaults } from "../services/config/CacheConfig.ts"
import { OriginConfig } from "../services/config/OriginConfig.ts"
import { serveFlags } from "../services/config/settings.ts"
import { ChunkStore } from "../services/disk/ChunkStore.ts"
import { DiskLimiter } from "../services/disk/DiskLimiter.ts"
import { DiskMonitor } from "../services/disk/DiskMonitor.ts"
import { uncacheableAdvice } from "../services/operate/uncacheableAdvice.ts"
import { Origin } from "../services/origin/Origin.ts"
import { jsonFlag } from "./client.ts"
import { StartupError } from "./StartupError.ts"
import { duration, size } from "./text.ts"

/** What was found out about one thing, and what to do about it where it is not well. */
interface Finding {
  readonly level: "ok" | "warn" | "fail"
  readonly what: string
  readonly message: string
  readonly advice?: string
}

const ok = (what: string, message: string): Finding => ({ level: "ok", what, message })

const warn = (what: string, message: string, advice: string): Finding => ({ level: "warn", what, message, advice })

const fail = (what: string, message: string, advice: string): Finding => ({ level: "fail", what, message, advice })

/** How long an origin may take to begin its answer, in milliseconds. */
const ANSWER_MILLIS = 10_000

/** How far the clocks may be apart, in seconds: freshness is counted in seconds too. */
const CLOCK_SECONDS = 5

/** Connections of viewers and to origins, chunks, and what Node has open anyway. */
const OPEN_FILES = 10_000

/** The oldest version of Node that is supported. */
const NODE = { major: 22, minor: 19 }

const node = (): Finding => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  const isNew = major > NODE.major || (major === NODE.major && minor >= NODE.minor)
  return isNew
    ? ok("node", `version ${process.versions.node}`)
    : fail("node", `version ${process.versions.node}`, `Install Node ${NODE.major}.${NODE.minor} or newer`)
}

const openFiles = (): Finding => {
  const { userLimits } = process.report.getReport() as unknown as {
    readonly userLimits?: { readonly open_files?: { readonly soft: number | string } }
  }
  const soft = userLimits?.open_files?.soft
  if (soft === undefined) return ok("open files", "no limit is known")
  return soft === "unlimited" || Number(soft) >= OPEN_FILES
    ? ok("open files", `${soft} allowed`)
    : warn(
      "open files",
      `${soft} allowed, and each viewer takes one or two`,
      `Raise the limit: ulimit -n ${OPEN_FILES}, or LimitNOFILE in a systemd unit`
    )
}

const threads = (): Finding =>
  ok("thread pool", `${process.env["UV_THREADPOOL_SIZE"]} threads, half of them for the disk`)

/** Whether the directory can be written to, and what room there is. */
const disk = Effect.gen(function*() {
  const { chunkSize, directory, maxSize, minFree } = yield* CacheConfig
  const store = yield* ChunkStore
  const monitor = yield* DiskMonitor
  const written = yield* Effect.match(store.probe(chunkSize), {
    onSuccess: () => ok("cache directory", `${directory} can be written to, and read`),
    onFailure: (error) =>
      fail(
        "cache directory",
        error.message,
        error._tag === "PermissionDenied"
          ? `Give the user that runs Spillway the right to write to ${directory}, or choose another --cache-dir`
          : error._tag === "DiskFull"
          ? "Make room, or choose another --cache-dir"
          : "See what the kernel says of this disk (dmesg), or choose another --cache-dir"
      )
  })
  const room = yield* Effect.match(monitor.usage, {
    onFailure: (error) => fail("disk", error.message, "See whether the file system is mounted"),
    onSuccess: ({ free, freeNodes, total, totalNodes }) => {
      const said = `${size(free)} of ${size(total)} free`
      if (free < minFree + chunkSize) {
        return fail(
          "disk",
          `${said}, and --min-free keeps ${size(minFree)}`,
          "Nothing can be cached: make room, or lower --min-free"
        )
      }
      if (totalNodes > 0 && freeNodes < totalNodes / 100) {
        return warn(
          "disk",
          `${freeNodes} of ${totalNodes} file nodes left`,
          "Each chunk is a file: raise --chunk-size, or make a file system with more nodes"
        )
      }
      return free - minFree < maxSize
        ? warn(
          "disk",
          `${said}: less than --max-size (${size(maxSize)}) and --min-free (${size(minFree)})`,
          "Fine if it is meant so: the cache stays within both"
        )
        : ok("disk", said)
    }
  })
  return [written, room]
})

/** What an origin answers to a GET of the first byte, the body unread. */
const ask = (url: string) =>
  Effect.gen(function*() {
    const origin = yield* Origin
    const sent = yield* Clock.currentTimeMillis
    const { headers, status } = yield* origin.request({ method: "GET", url, headers: { range: "bytes=0-0" } })
    return { headers: { ...headers }, status, sent, received: yield* Clock.currentTimeMillis }
  }).pipe(Effect.scoped)

const clockOf = (url: string, date: string | undefined, sent: number, received: number): Finding => {
  const told = HttpDate.parse(date)
  if (told === undefined) {
    return warn("clock", `${url} tells no Date`, "Have the origin send it: without, ages are guesses")
  }
  const apart = Math.max(0, sent - 1000 - told, told - received) / 1000
  return apart <= CLOCK_SECONDS
    ? ok("clock", `within ${CLOCK_SECONDS} s of the origin's`)
    : warn(
      "clock",
      `${duration(apart)} apart from the origin's`,
      "Set both clocks (NTP): files seem older or younger than they are"
    )
}

const origin = (url: string): Effect.Effect<ReadonlyArray<Finding>, never, Origin> =>
  Effect.match(ask(url), {
    onFailure: (error): ReadonlyArray<Finding> => [fail("origin", error.message, adviceOn(error))],
    onSuccess: ({ headers, received, sent, status }): ReadonlyArray<Finding> => {
      const answers = ok("origin", `${url} answers with status ${status}`)
      const clock = clockOf(url, headers["date"], sent, received)
      if (status !== 200 && status !== 206) {
        return [
          answers,
          clock,
          warn("file", `not a file: status ${status}`, "Give the URL of a file, to learn whether it can be cached")
        ]
      }
      const range = parseContentRange(headers["content-range"])
      const ranges = status === 206 && range !== undefined
        ? ok("ranges", "the origin sends the requested range")
        : warn(
          "ranges",
          "the origin answers a request for a range with the whole file",
          "It works, but a seek into what is not cached waits for all before it"
        )
      const found = fromHead(makeResource(url), { status, headers }, defaults.chunkSize)
      const { advice = "", message } = typeof found === "string" ? uncacheableAdvice[found] : { message: "" }
      const kept = typeof found === "string"
        ? warn("caching", `it would stream through uncached: ${message} (${found})`, advice)
        : ok("caching", `it would be cached: ${size(found.size)}, validator ${found.etag ?? found.lastModified}`)
      return [answers, clock, ranges, kept]
    }
  })

const marks = { ok: "ok  ", warn: "WARN", fail: "FAIL" }

const describe = ({ advice, level, message, what }: Finding): string =>
  `${marks[level]} ${what}: ${message}${advice === undefined || advice === "" ? "" : `\n     > ${advice}`}`

export const doctor = Command.make(
  "doctor",
  {
    urls: Argument.String("url").pipe(
      Argument.withDescription("An origin, or better a file there, to see whether it can be cached"),
      Argument.variadic()
    ),
    directory: serveFlags.directory,
    minFree: serveFlags.minFree,
    maxSize: serveFlags.maxSize,
    json: jsonFlag
  },
  Effect.fnUntraced(function*({ directory, json, maxSize, minFree, urls }) {
    const ofDisk = yield* Effect.provide(
      disk,
      Layer.merge(ChunkStore.layer, DiskMonitor.layer).pipe(
        Layer.provideMerge(CacheConfig.layer({ directory, maxSize, minFree })),
        Layer.provide(DiskLimiter.layer)
      )
    )
    const config = OriginConfig.layer({ connectTimeout: ANSWER_MILLIS, firstByteTimeout: ANSWER_MILLIS })
    const ofOrigins = yield* Effect.provide(Effect.forEach(urls, origin), Layer.provide(Origin.layer, config))
    const findings = [node(), openFiles(), threads(), ...ofDisk, ...ofOrigins.flat()]
    yield* Console.log(json ? JSON.stringify(findings) : findings.map(describe).join("\n"))
    const failures = findings.filter(({ level }) => level === "fail").length
    if (failures > 0) return yield* new StartupError({ message: `${failures} of ${findings.length} checks failed` })
  })
).pipe(
  Command.withDescription("Check what Spillway needs: origins, disk, permissions, clock, limits; and say what to do")
)
