import { Effect } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { run } from "./command.ts"
import { temporaryDirectory } from "./disks.ts"

const ffmpeg = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const { code, stderr } = yield* run("ffmpeg", ["-nostdin", "-v", "error", ...args])
  if (code !== 0) return yield* Effect.die(`ffmpeg failed: ${stderr}`)
})

/** Of the film, in seconds. */
export const FILM_SECONDS = 12

/** Of the film, per second. */
export const FILM_FRAMES = 25

/** A picture of the film, decoded. */
export const FRAME_BYTES = 320 * 180 * 3 / 2

/** How many segments each of the HLS playlists has. */
export const HLS_SEGMENTS = 6

/** Moving shapes under noise, which does not compress, and a tone, at so many bits of video per second. */
const encode = (bitRate: string, path: string) => {
  const picture = `testsrc2=size=320x180:rate=${FILM_FRAMES},noise=alls=60:allf=t`
  const inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine", "-t", String(FILM_SECONDS)]
  const video = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-b:v", bitRate]
  return ffmpeg(...inputs, ...video, "-c:a", "aac", path)
}

/** Makes an MP4 of about 30 MB, whose index is at its end, so that players look there first. */
export const makeFilm: Effect.Effect<Buffer> = Effect.scoped(Effect.gen(function*() {
  const path = join(yield* temporaryDirectory, "film.mp4")
  yield* encode("20M", path)
  return Fs.readFileSync(path)
}))

/**
 * Makes HLS of about 4 MB: two playlists, `files.m3u8` and `ranges.m3u8`, and their segments of two seconds, each a file, or
 * all of them ranges of one. By name.
 */
export const makeHls: Effect.Effect<ReadonlyMap<string, Buffer>> = Effect.scoped(Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  const film = join(yield* temporaryDirectory, "film.mp4")
  yield* encode("2.5M", film)
  const cut = ["-i", film, "-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod"]
  yield* ffmpeg(...cut, join(directory, "files.m3u8"))
  yield* ffmpeg(...cut, "-hls_segment_type", "fmp4", "-hls_flags", "single_file", join(directory, "ranges.m3u8"))
  return new Map(Fs.readdirSync(directory).map((name) => [name, Fs.readFileSync(join(directory, name))]))
}))
