import { Console, Effect, FileSystem, Option, Schedule } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { WarmJob } from "../http/admin/api/model.ts"
import { type Client, jsonFlag, serverFlag, toTarget, withServer } from "./client.ts"
import { invalidInvocation, StartupError } from "./StartupError.ts"
import { bar, counted, duration, fit, percent, size } from "./text.ts"
import { secondsLeft } from "./warmEstimate.ts"

/** The number of files that one run requests at a time. The server fetches few at once, and has a short queue. */
const AT_ONCE = 4

/** The interval between two requests for the progress, in milliseconds. */
const POLL_MILLIS = 250

/** The pause before a retry when the server's queue is full, in milliseconds, and the number of retries. */
const BUSY = { millis: 1000, times: 600 }

/** The largest number of URLs of a run. */
const MAX_URLS = 100_000

const BAR_WIDTH = 30

interface Ended {
  readonly url: string
  readonly job: WarmJob
}

/** The number of files of a job, as far as it is known, and of those that are done. */
const filesOf = ({ files, state }: WarmJob) => files ?? { total: 1, done: state === "done" ? 1 : 0, failed: 0 }

/** Shows the progress of `urls` jobs: on a terminal one line that is redrawn, elsewhere a line for each job. */
const makeDisplay = (urls: number, json: boolean) => {
  const terminal = process.stderr.isTTY === true && !json
  const running = new Map<string, WarmJob>()
  const started = performance.now()
  const ended = { jobs: 0, files: 0, done: 0, bytes: 0, fetched: 0 }

  const draw = (): void => {
    if (!terminal) return
    const jobs = [...running.values()]
    const waiting = urls - ended.jobs - jobs.length
    const total = jobs.reduce((sum, job) => sum + filesOf(job).total, ended.files + waiting)
    const over = jobs.reduce(
      (sum, { files }) => sum + (files === undefined ? 0 : files.done + files.failed),
      ended.files
    )
    const now = jobs.reduce((sum, job) => sum + job.bytes, ended.bytes)
    const rate = jobs.reduce((sum, job) => sum + job.bytesPerSecond, 0)
    // Parts of files count if their sizes are known.
    const part = jobs.reduce((sum, job) => sum + (job.size ? job.bytes / job.size : 0), over)
    const left = secondsLeft(ended, jobs, total, (performance.now() - started) / 1000)
    const line = `${bar(part, total, BAR_WIDTH)} ${over}/${total} files, ${size(now)}, ${size(rate)}/s` +
      (left === undefined ? "" : `, ${duration(left)} left`)
    process.stderr.write(`\r${fit(line, process.stderr.columns)}\u001b[K`)
  }

  return {
    update: (url: string, job: WarmJob): void => {
      running.set(url, job)
      draw()
    },
    end: ({ job, url }: Ended) =>
      Effect.suspend(() => {
        running.delete(url)
        const { done, total } = filesOf(job)
        ended.jobs += 1
        ended.files += total
        ended.done += done
        ended.bytes += job.bytes
        ended.fetched += Math.max(0, job.bytes - job.cachedBytes)
        draw()
        const clear = terminal ? "\r\u001b[K" : ""
        if (json) return Console.log(JSON.stringify(job))
        if (job.state === "done" && terminal) return Effect.void
        const files = job.files === undefined ? "" : `${counted(total, "file")}, `
        const how = job.state === "done"
          ? `${files}${size(job.bytes)}, ${percent(job.cachedBytes, job.bytes)} already cached`
          : job.error ?? job.state
        return Effect.sync(() => process.stderr.write(`${clear}${ended.jobs}/${urls} ${job.state}: ${url}, ${how}\n`))
      }),
    /** Prints what is cached. Fails if that isn't all. */
    summary: Effect.suspend(() => {
      const { bytes, done, fetched, files } = ended
      if (terminal) process.stderr.write("\r\u001b[K")
      const all = counted(files, "file")
      const line = `${done} of ${all} cached, ${size(bytes)}; ${size(fetched)} fetched`
      return Effect.andThen(
        json ? Effect.void : Console.log(line),
        done === files
          ? Effect.void
          : Effect.fail(new StartupError({ message: `${files - done} of ${all} could not be fetched` }))
      )
    })
  }
}

/** Has the server fetch one file, or a playlist with its files, and waits until that ends. An interruption cancels the job at the server. */
const warmOne = Effect.fnUntraced(function*(
  client: Client,
  server: URL,
  url: string,
  update: (url: string, job: WarmJob) => void
) {
  const begin = client.warm({ payload: { url: toTarget(server, url) } })
  let job = yield* Effect.retry(begin, {
    while: (error) => error._tag === "Unavailable" && error.message.includes("wait"),
    times: BUSY.times,
    schedule: Schedule.spaced(BUSY.millis)
  })
  const { id } = job
  yield* Effect.gen(function*() {
    while (job.state === "waiting" || job.state === "running") {
      update(url, job)
      yield* Effect.sleep(POLL_MILLIS)
      job = yield* client.warmJob({ params: { id } })
    }
  }).pipe(Effect.onInterrupt(() => Effect.ignore(client.cancelWarm({ params: { id } }))))
  return { url, job }
})

/** Why a list can't be read. */
const LIST_ERRORS: Readonly<Record<string, string>> = {
  NotFound: "there is no such file",
  PermissionDenied: "permission denied",
  BadResource: "it is a directory"
}

/** The URLs of a list, one per line. Empty lines and lines that start with `#` are ignored. */
const fromList = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  const text = yield* fs.readFileString(path === "-" ? "/dev/stdin" : path).pipe(
    Effect.mapError(({ message, reason }) =>
      new StartupError({ message: `cannot read the list ${path}: ${LIST_ERRORS[reason._tag] ?? message}` })
    )
  )
  return text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"))
})

export const warm = Command.make(
  "warm",
  {
    urls: Argument.String("url").pipe(
      Argument.withDescription(
        "URLs at the origin, or URLs or paths at the server; for an HLS playlist or a DASH manifest, its files too"
      ),
      Argument.variadic()
    ),
    from: Flag.String("from").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription("List of URLs, one per line; - for standard input"),
      Flag.optional
    ),
    server: serverFlag,
    json: jsonFlag
  },
  Effect.fnUntraced(function*({ from, json, server, urls }) {
    const listed = Option.isSome(from) ? yield* fromList(from.value) : []
    const given = [...urls, ...listed].map((url) => toTarget(server, url))
    if (given.length === 0) return yield* invalidInvocation("specify URLs, or a list of them with --from")
    if (given.length > MAX_URLS) {
      return yield* invalidInvocation(`${given.length} URLs are more than ${MAX_URLS}; split the list`)
    }
    const all = [...new Set(given)]
    const display = makeDisplay(all.length, json)
    yield* withServer(server, (client) =>
      Effect.forEach(
        all,
        (url) => Effect.tap(warmOne(client, server, url, display.update), display.end),
        { concurrency: AT_ONCE, discard: true }
      ))
    yield* display.summary
  })
).pipe(
  Command.withDescription(
    "Fetch files ahead. Cached parts are not fetched again, so an interrupted run resumes where it stopped"
  )
)
