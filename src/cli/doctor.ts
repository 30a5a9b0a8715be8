import { Clock, Console, Effect, FileSystem, Layer, Path } from "effect"
import { Argument, Command } from "effect/cli"
import { rmdir } from "node:fs/promises"
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
import { rootOf } from "../services/disk/storeLayout.ts"
import { uncacheableAdvice } from "../services/operate/uncacheableAdvice.ts"
import { Origin } from "../services/origin/Origin.ts"
import { jsonFlag } from "./client.ts"
import { StartupError } from "./StartupError.ts"
import { duration, size } from "./text.ts"

/** The result of one check, and what to do if it is not `ok`. */
interface Finding {
  readonly level: "ok" | "warn" | "fail"
  readonly what: string
  readonly message: string
  readonly advice?: string
}

const ok = (what: string, message: string): Finding => ({ level: "ok", what, message })

const warn = (what: string, message: string, advice: string): Finding => ({ level: "warn", what, message, advice })

const fail = (what: string, message: string, advice: string): Finding => ({ level: "fail", what, message, advice })

/** The time that an origin has to connect, and then to begin its response, in milliseconds. */
const ANSWER_MILLIS = 10_000

/** The largest tolerated difference of the clocks, in seconds, the unit of freshness. */
const CLOCK_SECONDS = 5

/** Enough for the connections of viewers and to origins, chunks, and Node's own files. */
const OPEN_FILES = 10_000

/** `src/main.ts` refuses older versions. */
const node = (): Finding => ok("node", `version ${process.versions.node}`)

const openFiles = (): Finding => {
  const { userLimits } = process.report.getReport() as unknown as {
    readonly userLimits?: { readonly open_files?: { readonly soft: number | string } }
  }
  const soft = userLimits?.open_files?.soft
  if (soft === undefined) return ok("open files", "limit unknown")
  return soft === "unlimited" || Number(soft) >= OPEN_FILES
    ? ok("open files", `${soft} allowed`)
    : warn(
      "open files",
      `${soft} allowed; each viewer needs one or two`,
      `Raise the limit: ulimit -n ${OPEN_FILES}, or LimitNOFILE in a systemd unit`
    )
}

const threads = (): Finding =>
  ok("thread pool", `${process.env["UV_THREADPOOL_SIZE"]} threads, half of them for the disk`)

/** Removes the directories again that didn't exist before: they would belong to the user who runs this command, not to the server's. */
const leaveNoDirectory = Effect.fnUntraced(function*(directory: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const created: Array<string> = []
  for (
    let at = rootOf(path, path.resolve(directory));
    !(yield* Effect.orElseSucceed(fs.exists(at), () => true));
    at = path.dirname(at)
  ) {
    created.push(at)
  }
  // Only empty ones can be removed this way.
  yield* Effect.addFinalizer(() => Effect.forEach(created, (at) => Effect.ignore(Effect.tryPromise(() => rmdir(at)))))
})

/** Checks that the directory is writable, and the free space. */
const disk = Effect.gen(function*() {
  const { chunkSize, directory, maxSize, minFree } = yield* CacheConfig
  yield* leaveNoDirectory(directory)
  const store = yield* ChunkStore
  const monitor = yield* DiskMonitor
  const written = yield* Effect.match(store.probe(chunkSize), {
    onSuccess: () => ok("cache directory", `${directory} is readable and writable`),
    onFailure: (error) =>
      fail(
        "cache directory",
        error.message,
        error._tag === "PermissionDenied"
          ? `Let the user that runs Spillway write to ${directory}, or choose another --cache-dir`
          : error._tag === "DiskFull"
          ? "Free some space, or choose another --cache-dir"
          : "Look for errors of this disk in the kernel log (dmesg), or choose another --cache-dir"
      )
  })
  const room = yield* Effect.match(monitor.usage, {
    onFailure: (error) => fail("disk", error.message, "Check that the file system is mounted"),
    onSuccess: ({ free, freeNodes, total, totalNodes }) => {
      const space = `${size(free)} of ${size(total)} free`
      if (free < minFree + chunkSize) {
        return fail(
          "disk",
          `${space}, but --min-free is ${size(minFree)}`,
          "Nothing can be cached: free some space, or lower --min-free"
        )
      }
      if (totalNodes > 0 && freeNodes < totalNodes / 100) {
        return warn(
          "disk",
          `${freeNodes} of ${totalNodes} file nodes free`,
          "Each chunk is a file: raise --chunk-size, or create the file system with more nodes"
        )
      }
      return free - minFree < maxSize
        ? warn(
          "disk",
          `${space}: less than --max-size (${size(maxSize)}) plus --min-free (${size(minFree)})`,
          "The cache will stay smaller than --max-size; lower it if that is not intended"
        )
        : ok("disk", space)
    }
  })
  return [written, room]
}).pipe(Effect.scoped)

/** The response of an origin to a GET of the first byte; its body is not read. */
const ask = (url: string) =>
  Effect.gen(function*() {
    const origin = yield* Origin
    const sent = yield* Clock.currentTimeMillis
    const { headers, status } = yield* origin.request({ method: "GET", url, headers: { range: "bytes=0-0" } })
    return { headers: { ...headers }, status, sent, received: yield* Clock.currentTimeMillis }
  }).pipe(Effect.scoped)

const clockOf = (url: string, date: string | undefined, sent: number, received: number): Finding => {
  const claimed = HttpDate.parse(date)
  if (claimed === undefined) {
    return warn("clock", `${url} has no Date field`, "Make the origin send Date: without it, ages are estimates")
  }
  const apart = Math.max(0, sent - 1000 - claimed, claimed - received) / 1000
  return apart <= CLOCK_SECONDS
    ? ok("clock", `within ${CLOCK_SECONDS} s of the origin's`)
    : warn(
      "clock",
      `differs by ${duration(apart)} from the origin's`,
      "Synchronise both clocks (NTP): ages and freshness are wrong otherwise"
    )
}

const origin = (url: string): Effect.Effect<ReadonlyArray<Finding>, never, Origin> =>
  Effect.match(ask(url), {
    onFailure: (error): ReadonlyArray<Finding> => [fail("origin", error.message, adviceOn(error))],
    onSuccess: ({ headers, received, sent, status }): ReadonlyArray<Finding> => {
      const responds = ok("origin", `${url} responds with status ${status}`)
      const clock = clockOf(url, headers["date"], sent, received)
      if (status !== 200 && status !== 206) {
        return [
          responds,
          clock,
          warn("file", `not a file: status ${status}`, "Specify the URL of a file to check whether it can be cached")
        ]
      }
      const range = parseContentRange(headers["content-range"])
      const ranges = status === 206 && range !== undefined
        ? ok("ranges", "supported by the origin")
        : warn(
          "ranges",
          "the origin sends the whole file for a range request",
          "A seek into an uncached part waits for everything before it; enable ranges at the origin"
        )
      const found = fromHead(makeResource(url), { status, headers }, defaults.chunkSize)
      const { advice = "", message } = typeof found === "string" ? uncacheableAdvice[found] : { message: "" }
      const caching = typeof found === "string"
        ? warn("caching", `not cacheable: ${message} (${found})`, advice)
        : ok("caching", `cacheable: ${size(found.size)}, validator ${found.etag ?? found.lastModified}`)
      return [responds, clock, ranges, caching]
    }
  })

const marks = { ok: "ok  ", warn: "WARN", fail: "FAIL" }

const describe = ({ advice, level, message, what }: Finding): string =>
  `${marks[level]} ${what}: ${message}${advice === undefined || advice === "" ? "" : `\n     > ${advice}`}`

export const doctor = Command.make(
  "doctor",
  {
    urls: Argument.String("url").pipe(
      Argument.withDescription("URL of an origin, or of a file to check whether it can be cached"),
      Argument.variadic()
    ),
    directory: serveFlags.directory,
    minFree: serveFlags.minFree,
    maxSize: serveFlags.maxSize,
    json: jsonFlag
  },
  Effect.fnUntraced(function*({ directory, json, maxSize, minFree, urls }) {
    const diskFindings = yield* Effect.provide(
      disk,
      Layer.merge(ChunkStore.layer, DiskMonitor.layer).pipe(
        Layer.provideMerge(CacheConfig.layer({ directory, maxSize, minFree })),
        Layer.provide(DiskLimiter.layer)
      )
    )
    const config = OriginConfig.layer({ connectTimeout: ANSWER_MILLIS, firstByteTimeout: ANSWER_MILLIS })
    const originFindings = yield* Effect.provide(Effect.forEach(urls, origin), Layer.provide(Origin.layer, config))
    const findings = [node(), openFiles(), threads(), ...diskFindings, ...originFindings.flat()]
    yield* Console.log(json ? JSON.stringify(findings) : findings.map(describe).join("\n"))
    const failures = findings.filter(({ level }) => level === "fail").length
    if (failures > 0) {
      return yield* new StartupError({
        message: `${failures} of ${findings.length} checks failed; see the advice above`
      })
    }
  })
).pipe(
  Command.withDescription("Check the disk, permissions, limits, clock and origins, and give advice")
)
