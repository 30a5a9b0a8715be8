import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { copyFileSync } from "node:fs"
import { chromiumPath, startBrowser } from "../support/browser.ts"
import { openDashboard } from "../support/dashboardPage.ts"
import { insideOf, makeDisk, takeAllRoom } from "../support/disks.ts"
import { openView, startProgram, view, type Viewer } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

/** Where the picture in the documentation is to be written. */
const target = process.env["SPILLWAY_DASHBOARD_PICTURE"]

/** Reads so many bytes per second. */
const readSlowly = (viewer: Viewer, rate: number) =>
  Effect.forkScoped(
    Effect.forever(Effect.andThen(Effect.sleep("100 millis"), () => viewer.readTo(viewer.received() + rate / 10)))
  )

describe.skipIf(target === undefined || chromiumPath === undefined)("The dashboard", () => {
  it.live(
    "has its picture taken: the real program, while a disk of 256 MiB is full for some seconds",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        origin.files.set("/films/the-long-river.mp4", fileOf(150 * MiB, 1, { rate: 2 * MiB }))
        origin.files.set("/series/s02e05.mp4", fileOf(90 * MiB, 2, { rate: 1.2 * MiB }))
        origin.files.set("/downloads/image.iso", fileOf(300 * MiB, 3, { rate: 0.8 * MiB }))
        origin.files.set("/music/quintet.flac", fileOf(16 * MiB, 4))
        const disk = yield* makeDisk(256 * MiB)
        const flags = ["--min-free", "16MiB", "--memory", "32MiB", "--max-size", "220MiB", "--read-deadline", "10s"]
        const program = yield* startProgram([origin.url, "--cache-dir", disk.mountPoint, ...flags], {
          prefix: disk.prefix
        })
        yield* view(`${program.url}/music/quintet.flac`)
        const watch = (path: string, rate: number) =>
          Effect.flatMap(openView(program.url + path), (viewer) => readSlowly(viewer, rate))
        const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), `${program.url}/_spillway/`, {
          width: 1280,
          height: 1290,
          colorScheme: "light"
        })
        const listen = Effect.andThen(
          view(`${program.url}/music/quintet.flac`, { range: "bytes=1000000-1699999" }),
          Effect.sleep("200 millis")
        )
        yield* Effect.forkScoped(Effect.forever(listen))
        for (const path of ["/films/the-long-river.mp4", "/series/s02e05.mp4"]) yield* watch(path, 4 * MiB)
        yield* Effect.sleep("12 seconds")
        yield* watch("/downloads/image.iso", 4 * MiB)
        yield* Effect.sleep("12 seconds")
        yield* Effect.scoped(
          Effect.andThen(takeAllRoom(insideOf(program, disk.mountPoint)), Effect.sleep("12 seconds"))
        )
        yield* Effect.sleep("22 seconds")
        copyFileSync(yield* dashboard.picture("documentation", { fullPage: false }), target!)
      })
  )
})
