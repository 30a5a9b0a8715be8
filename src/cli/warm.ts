import { NodeHttpClient } from "@effect/platform-node"
import { Console, Effect, FileSystem, Option, Schedule, Stream } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { HttpClient } from "effect/http"
import type { WarmJob } from "../http/admin/api/model.ts"
import { baseOf, type Client, jsonFlag, serverFlag, toTarget, withServer } from "./client.ts"
import { isPlaylist, urlsOf } from "./playlist.ts"
import { StartupError } from "./StartupError.ts"
import { bar, counted, duration, fit, percent, size } from "./text.ts"
import { secondsLeft } from "./warmEstimate.ts"

/** The number of files that one run requests at a time. The server fetches few at once, and has a short queue. */
const AT_ONCE = 4

/** The interval between two requests for the progress, in milliseconds. */
const POLL_MILLIS = 250

/** The pause before a retry when the server's queue is full, in milliseconds, and the number of retries. */
const BUSY = { millis: 1000, times: 600 }

/** The largest number of files of a run, and the largest depth of playlists in playlists. */
const MAX_URLS = 100_000
const MAX_DEPTH = 3

/** The largest playlist, in characters. */
const MAX_PLAYLIST_BYTES = 8 * 1024 ** 2

const BAR_WIDTH = 30

interface Ended {
  readonly url: string
  readonly job: WarmJob
}

/** Shows the progress: on a terminal one line that is redrawn, elsewhere a line for each file. */
const makeDisplay = (total: number, json: boolean) => {
  const terminal = process.stderr.isTTY === true && !json
  const running = new Map<string, WarmJob>()
  const started = performance.now()
  const ended = { files: 0, bytes: 0, fetched: 0 }

  const draw = (): void => {
    if (!terminal) return
    const jobs = [...running.values()]
    const now = ended.bytes + jobs.reduce((sum, job) => sum + job.bytes, 0)
    const rate = jobs.reduce((sum, job) => sum + job.bytesPerSecond, 0)
    // Parts of files count if their sizes are known.
    const files = ended.files + jobs.reduce((sum, job) => sum + (job.size ? job.bytes / job.size : 0), 0)
    const left = secondsLeft(ended, jobs, total, (performance.now() - started) / 1000)
    const line = `${bar(files, total, BAR_WIDTH)} ${ended.files}/${total} files, ${size(now)}, ${size(rate)}/s` +
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
        ended.files += 1
        ended.bytes += job.bytes
        ended.fetched += Math.max(0, job.bytes - job.cachedBytes)
        draw()
        const clear = terminal ? "\r\u001b[K" : ""
        if (json) return Console.log(JSON.stringify(job))
        if (job.state === "done" && terminal) return Effect.void
        const how = job.state === "done"
          ? `${size(job.bytes)}, ${percent(job.cachedBytes, job.bytes)} already cached`
          : job.error ?? job.state
        return Effect.sync(() => process.stderr.write(`${clear}${ended.files}/${total} ${job.state}: ${url}, ${how}\n`))
      }),
    summary: (failed: number) =>
      Effect.andThen(
        Effect.sync(() => terminal && process.stderr.write("\r\u001b[K")),
        json ? Effect.void : Console.log(
          `${ended.files - failed} of ${counted(total, "file")} cached, ${size(ended.bytes)}; ${
            size(ended.fetched)
          } fetched`
        )
      )
  }
}

/** Has the server fetch one file, and waits until that ends. An interruption cancels the job at the server. */
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

const textAt = (server: URL, url: string) => {
  const at = url.startsWith("/") ? baseOf(server) + url : url
  return Effect.gen(function*() {
    const response = yield* HttpClient.get(at)
    if (response.status !== 200) {
      return yield* new StartupError({ message: `cannot read the playlist ${at}: status ${response.status}` })
    }
    const text = yield* Stream.runFold(
      Stream.decodeText(response.stream),
      () => "",
      (all, piece) => all.length > MAX_PLAYLIST_BYTES ? all : all + piece
    )
    if (text.length > MAX_PLAYLIST_BYTES) {
      return yield* new StartupError({
        message: `cannot read the playlist ${at}: it is larger than ${size(MAX_PLAYLIST_BYTES)}`
      })
    }
    return { at, text }
  }).pipe(
    Effect.scoped,
    Effect.mapError((error) =>
      error._tag === "StartupError"
        ? error
        : new StartupError({ message: `cannot read the playlist ${at}: ${error.message}` })
    )
  )
}

const isPlaylistUrl = (url: string): boolean => /\.m3u8?$/i.test(url.split(/[?#]/, 1)[0]!)

/** `urls`, each followed by the files of the playlist at that URL, if it is one. */
const withPlaylists = (
  server: URL,
  urls: ReadonlyArray<string>,
  depth = 0
): Effect.Effect<ReadonlyArray<string>, StartupError, HttpClient.HttpClient> =>
  Effect.map(
    Effect.forEach(urls, (url) => {
      if (!isPlaylistUrl(url) || depth === MAX_DEPTH) return Effect.succeed([url])
      return Effect.flatMap(textAt(server, url), ({ at, text }) =>
        isPlaylist(text)
          ? Effect.map(withPlaylists(server, urlsOf(text, at), depth + 1), (named) => [url, ...named])
          : Effect.succeed([url]))
    }),
    (lists) => [...new Set(lists.flat())]
  )

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
        "URLs at the origin, or URLs or paths at the server; for a .m3u8 playlist, its files too"
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
    if (given.length === 0) return yield* new StartupError({ message: "specify URLs, or a list of them with --from" })
    const all = yield* Effect.provide(withPlaylists(server, given), NodeHttpClient.layerUndici)
    if (all.length > MAX_URLS) {
      return yield* new StartupError({ message: `${all.length} files are more than ${MAX_URLS}; split the list` })
    }
    const display = makeDisplay(all.length, json)
    const ended = yield* withServer(server, (client) =>
      Effect.forEach(
        all,
        (url) => Effect.tap(warmOne(client, server, url, display.update), display.end),
        { concurrency: AT_ONCE }
      ))
    const failed = ended.filter(({ job }) => job.state !== "done").length
    yield* display.summary(failed)
    if (failed > 0) {
      return yield* new StartupError({ message: `${failed} of ${counted(all.length, "file")} could not be fetched` })
    }
  })
).pipe(
  Command.withDescription(
    "Fetch files ahead. Cached parts are not fetched again, so an interrupted run resumes where it stopped"
  )
)
