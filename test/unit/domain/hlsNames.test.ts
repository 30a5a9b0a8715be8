import { assert, describe, it } from "@effect/vitest"
import { hlsNames, isHls } from "../../../src/domain/hlsNames.ts"

const namesOf = (...lines: ReadonlyArray<string>) =>
  Array.from(hlsNames(lines.join("\n"))).filter((name) => name !== undefined)

describe("an HLS playlist", () => {
  it("is told by its first line", () => {
    assert.isTrue(isHls("#EXTM3U\n#EXT-X-VERSION:7\n"))
    assert.isFalse(isHls("<html>"))
    assert.isFalse(isHls("# a list\n#EXTM3U"))
  })

  it("names playlists, segments, initialization sections and keys (RFC 8216 §4.3)", () => {
    const names = namesOf(
      "#EXTM3U",
      "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"b, URI=\\\"no\\\"\",URI=\"audio/list.m3u8\"",
      "#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"c\",INSTREAM-ID=\"CC1\"",
      "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"frames.m3u8\"",
      "#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"",
      "low/list.m3u8",
      "#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example.org/1?a=b,c\",IV=0x1",
      "#EXT-X-KEY:METHOD=NONE",
      "#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"100@0\"",
      "#EXTINF:4,a title",
      "#EXT-X-BYTERANGE:1000@100",
      "/seg.mp4#t=1\r",
      "# a comment, not.a.file",
      "#EXTINF:4,",
      "/seg.mp4#t=1",
      "   ",
      "https://cdn.example.org/2.ts?token=1"
    )
    assert.deepStrictEqual(names, [
      "audio/list.m3u8",
      "frames.m3u8",
      "low/list.m3u8",
      "https://keys.example.org/1?a=b,c",
      "init.mp4",
      "/seg.mp4#t=1",
      "/seg.mp4#t=1",
      "https://cdn.example.org/2.ts?token=1"
    ])
  })

  it("names no part that doesn't exist yet, and no other renditions", () => {
    const names = namesOf(
      "#EXTM3U",
      "#EXT-X-PART:DURATION=1,URI=\"1.part.mp4\"",
      "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"2.part.mp4\"",
      "#EXT-X-RENDITION-REPORT:URI=\"../other.m3u8\",LAST-MSN=1"
    )
    assert.deepStrictEqual(names, ["1.part.mp4"])
  })

  it("lets others have their turn while it is read", () => {
    const lines = `${"#".repeat(999)}\n`.repeat(1000)
    assert.isAbove(Array.from(hlsNames(lines)).length, 10)
  })
})
