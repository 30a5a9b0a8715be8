import { assert, describe, it } from "@effect/vitest"
import { isPlaylist, urlsOf } from "../../../src/cli/playlist.ts"

const BASE = "https://media.example.org/show/index.m3u8?x=1"

describe("a playlist", () => {
  it("is told by its first line", () => {
    assert.isTrue(isPlaylist("#EXTM3U\n#EXT-X-VERSION:7\n"))
    assert.isTrue(isPlaylist("\uFEFF#EXTM3U"))
    assert.isFalse(isPlaylist("<html>"))
  })

  it("names files by lines and by attributes, relative to itself, each once", () => {
    const text = [
      "#EXTM3U",
      "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"b, URI=\\\"no\\\"\",URI=\"audio/list.m3u8\"",
      "#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"",
      "low/list.m3u8",
      "#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"100@0\"",
      "#EXTINF:4,",
      "#EXT-X-BYTERANGE:1000@100",
      "/seg.mp4#t=1\r",
      "# a comment, not.a.file",
      "#EXTINF:4,",
      "/seg.mp4",
      "https://cdn.example.org/2.ts?token=1",
      "data:text/plain,no",
      ""
    ].join("\n")
    assert.deepStrictEqual(urlsOf(text, BASE), [
      "https://media.example.org/show/audio/list.m3u8",
      "https://media.example.org/show/low/list.m3u8",
      "https://media.example.org/show/init.mp4",
      "https://media.example.org/seg.mp4",
      "https://cdn.example.org/2.ts?token=1"
    ])
  })
})
