import { assert, describe, it } from "@effect/vitest"
import { longestGuess, PLAYLIST_MILLIS } from "../../../src/domain/Guess.ts"
import { HEURISTIC_MILLIS } from "../../../src/domain/rfc/Freshness.ts"

const type = (value: string) => ({ "content-type": value })

describe("longestGuess", () => {
  it.each([
    "application/vnd.apple.mpegurl",
    "Application/X-mpegURL; charset=utf-8",
    "audio/mpegurl",
    "audio/x-mpegurl",
    "application/mpegurl",
    "application/dash+xml",
    "application/dash-patch+xml",
    "application/vnd.ms-sstr+xml",
    "application/f4m+xml"
  ])("a playlist of the type %s gets seconds", (value) => {
    assert.strictEqual(longestGuess(200, "http://a/live", type(value)), PLAYLIST_MILLIS)
  })

  it.each([
    "http://a/live/index.m3u8",
    "http://a/live/INDEX.M3U8?token=a/b.mp4",
    "http://a/live/index.m3u8;jsessionid=1",
    "http://a/radio.m3u",
    "http://a/live/stream.mpd#t=1",
    "http://a/live.isml/Manifest",
    "http://a/film.ism/manifest(format=mpd-time-csf)",
    "http://a/film.f4m"
  ])("a playlist at %s gets seconds, whatever its type", (url) => {
    assert.strictEqual(longestGuess(200, url, type("text/plain")), PLAYLIST_MILLIS)
    assert.strictEqual(longestGuess(200, url, {}), PLAYLIST_MILLIS)
  })

  it.each([
    "http://a/film.mp4",
    "http://a/film.mp4?next=index.m3u8",
    "http://a/index.m3u8/1.ts",
    "http://a/v2/image/manifests/latest",
    "http://a/manifest.json"
  ])("what is at %s gets an hour", (url) => {
    assert.strictEqual(longestGuess(200, url, type("video/mp4")), HEURISTIC_MILLIS)
    assert.strictEqual(longestGuess(301, url, {}), HEURISTIC_MILLIS)
  })

  it.each([400, 404, 410, 501])("an error of %i gets nothing", (status) => {
    assert.strictEqual(longestGuess(status, "http://a/film.mp4", type("text/html")), 0)
  })
})
