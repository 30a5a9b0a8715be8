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

/**
 * Makes a film of about 200 KB as HLS, `hls/master.m3u8`, whose segments are encrypted, and as DASH: `dash/template.mpd` with a timeline of
 * segments, and `dash/list.mpd` with ranges of a file for each representation. By name.
 */
export const makePresentations: Effect.Effect<ReadonlyMap<string, Buffer>> = Effect.scoped(Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  const film = join(yield* temporaryDirectory, "film.mp4")
  const inputs = ["-f", "lavfi", "-i", "testsrc=size=160x90:rate=25", "-f", "lavfi", "-i", "sine", "-t", "6"]
  yield* ffmpeg(...inputs, "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac", film)
  for (const name of ["hls", "dash"]) Fs.mkdirSync(join(directory, name))
  Fs.writeFileSync(join(directory, "hls", "key"), Buffer.alloc(16, 7))
  const keyFile = join(yield* temporaryDirectory, "key")
  Fs.writeFileSync(keyFile, `key\n${join(directory, "hls", "key")}\n`)
  const hls = ["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-master_pl_name", "master.m3u8"]
  yield* ffmpeg("-i", film, "-c", "copy", ...hls, "-hls_key_info_file", keyFile, join(directory, "hls", "film.m3u8"))
  const dash = (name: string, ...flags: ReadonlyArray<string>) =>
    ffmpeg("-i", film, "-c", "copy", "-f", "dash", "-seg_duration", "2", ...flags, join(directory, "dash", name))
  yield* dash("template.mpd")
  yield* dash("list.mpd", "-use_template", "0", "-use_timeline", "0", "-single_file", "1")
  return new Map(
    Fs.readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((name) => name.includes("/"))
      .map((name) => [name, Fs.readFileSync(join(directory, name))])
  )
}))
