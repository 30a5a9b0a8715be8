import { assert, describe, it } from "@effect/vitest"
import { dashNames } from "../../../src/domain/dashNames.ts"
import { InvalidManifest, isDash } from "../../../src/domain/mpdElements.ts"

const BASE = "https://media.example.org/show/a.mpd?x=1"

const mpd = (content: string, attributes = "type=\"static\" mediaPresentationDuration=\"PT10S\"") =>
  `<?xml version="1.0"?>\n<!-- made by hand -->\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" ${attributes}>${content}</MPD>`

/** A manifest with one representation. */
const one = (content: string, attributes?: string) =>
  mpd(
    `<Period><AdaptationSet><Representation id="v1" bandwidth="5000">${content}</Representation></AdaptationSet></Period>`,
    attributes
  )

const namesOf = (text: string, most = 1000): ReadonlyArray<string> => {
  const names: Array<string> = []
  for (const name of dashNames(text, BASE)) {
    if (name !== undefined) names.push(name.replace("https://media.example.org/show/", ""))
    if (names.length === most) break
  }
  return names
}

describe("a DASH manifest", () => {
  it("is told by its first element", () => {
    assert.isTrue(isDash(one("")))
    assert.isTrue(isDash("<MPD type='static'/>"))
    assert.isTrue(isDash("  <?xml version='1.0'?><!-- <html> --> <m:MPD xmlns:m='urn:mpeg:dash:schema:mpd:2011'/>"))
    assert.isFalse(isDash("<html><MPD/></html>"))
    assert.isFalse(isDash("#EXTM3U"))
    assert.isFalse(isDash("<MPDX/>"))
  })

  const cases: ReadonlyArray<readonly [what: string, text: string, names: ReadonlyArray<string>]> = [
    [
      "numbers segments by the duration of the period",
      one(
        `<SegmentTemplate timescale="1000" duration="4000" startNumber="3" initialization="$RepresentationID$/i.mp4" media="$RepresentationID$-$Bandwidth%07d$-$Number%03d$.m4s"/>`
      ),
      ["v1/i.mp4", "v1-0005000-003.m4s", "v1-0005000-004.m4s", "v1-0005000-005.m4s"]
    ],
    [
      "has no last segment that is due to rounding",
      one(
        `<SegmentTemplate timescale="30000" duration="1001" media="$Number$"/>`,
        `mediaPresentationDuration="PT0.1001S"`
      ),
      ["1", "2", "3"]
    ],
    [
      "has times of equal segments",
      one(`<SegmentTemplate duration="5" media="$Time$.m4s"/>`),
      ["0.m4s", "5.m4s"]
    ],
    [
      "stops at the last number",
      one(`<SegmentTemplate duration="1" endNumber="2" media="$Number$"/>`),
      ["1", "2"]
    ],
    [
      "has one segment without a duration, and dollars",
      one(`<SegmentTemplate media="$$$Number$$Unknown$"/>`),
      ["$1$Unknown$"]
    ],
    [
      "follows a timeline with gaps, repeats, numbers, and times that are larger than exact floats",
      one(
        `<SegmentTemplate timescale="10000000" media="$Number$-$Time$"><SegmentTimeline>` +
          `<S t="17000000000000001" d="20" r="1"/><S d="30"/><S t="17000000000000100" d="20" n="9"/></SegmentTimeline></SegmentTemplate>`,
        `type="dynamic"`
      ),
      ["1-17000000000000001", "2-17000000000000021", "3-17000000000000041", "9-17000000000000100"]
    ],
    [
      "repeats to the next entry, and to the end of the period",
      one(
        `<SegmentTemplate timescale="10" presentationTimeOffset="40" media="$Time$"><SegmentTimeline>` +
          `<S t="40" d="20" r="-1"/><S t="90" d="25" r="-1"/></SegmentTimeline></SegmentTemplate>`
      ),
      ["40", "60", "80", "90", "115"]
    ],
    [
      "inherits the attributes and the timeline of a template, and joins base URLs",
      mpd(
        `<BaseURL> /v/ </BaseURL><BaseURL>https://other.example.org/</BaseURL>` +
          `<Period><BaseURL>p/</BaseURL><SegmentTemplate timescale="1" initialization="i"/>` +
          `<AdaptationSet><SegmentTemplate media="$Time$"><SegmentTimeline><S d="6" r="1"/></SegmentTimeline></SegmentTemplate>` +
          `<Representation id="1"><BaseURL><![CDATA[r1/?a=1&b=2]]></BaseURL></Representation>` +
          `<Representation id="2"><BaseURL>r2/</BaseURL><SegmentTemplate initialization="j&amp;k"/></Representation>` +
          `</AdaptationSet></Period>`
      ),
      ["i", "0", "6"].map((name) => `https://media.example.org/v/p/r1/${name}`)
        .concat(["j&k", "0", "6"].map((name) => `https://media.example.org/v/p/r2/${name}`))
    ],
    [
      "lists segments, with an index and an initialization of their own",
      one(
        `<SegmentList><Initialization sourceURL="i.mp4"/><SegmentURL media="1.mp4" index="1.idx"/><SegmentURL media="/2.mp4"/></SegmentList>`
      ),
      ["i.mp4", "1.mp4", "1.idx", "https://media.example.org/2.mp4"]
    ],
    [
      "lists parts of one file",
      one(
        `<BaseURL>a.mp4</BaseURL><SegmentList><Initialization range="0-9"/><SegmentURL mediaRange="10-19"/></SegmentList>`
      ),
      ["a.mp4"]
    ],
    [
      "has whole files, with a SegmentBase or without anything",
      one(`<BaseURL>a.mp4</BaseURL><SegmentBase indexRange="0-9"><Initialization range="0-9"/></SegmentBase>`)
        .replace("</AdaptationSet>", `<Representation><BaseURL>a.vtt</BaseURL></Representation></AdaptationSet>`),
      ["a.mp4", "a.vtt"]
    ],
    [
      "counts the segments of each period",
      mpd(
        [`id="0"`, `start="PT4S"`, `start="PT0H0M8.0S" duration="PT1M"`].map((attributes, at) =>
          `<Period ${attributes}><AdaptationSet><Representation><SegmentTemplate duration="30" timescale="10" media="${at}-$Number$"/></Representation></AdaptationSet></Period>`
        ).join(""),
        `mediaPresentationDuration="PT68S"`
      ),
      ["0-1", "0-2", "1-1", "1-2"].concat(Array.from({ length: 20 }, (_, at) => `2-${at + 1}`))
    ],
    [
      "is only what is in its namespace",
      one(
        `<x:BaseURL xmlns:x="urn:x">no/</x:BaseURL><EventStream><BaseURL>no/</BaseURL></EventStream><BaseURL>a.mp4</BaseURL>`
      ),
      ["a.mp4"]
    ]
  ]

  it.each(cases)("%s", (_, text, names) => {
    assert.deepStrictEqual(namesOf(text), names)
  })

  const endless: ReadonlyArray<readonly [what: string, text: string]> = [
    ["a duration of next to nothing", one(`<SegmentTemplate timescale="1000000000" duration="1" media="$Number$"/>`)],
    [
      "an entry that is repeated without end",
      one(
        `<SegmentTemplate media="$Number$"><SegmentTimeline><S d="0" r="99999999999999999999"/></SegmentTimeline></SegmentTemplate>`
      )
    ]
  ]

  it.each(endless)("with %s names files one by one, so that the caller can stop", (_, text) => {
    assert.strictEqual(namesOf(text, 5).length, 5)
  })

  const invalid: ReadonlyArray<readonly [what: string, text: string, says: RegExp]> = [
    ["ends too early", one("").slice(0, -3), /root tag/],
    ["has an element that is not closed", one("<SegmentList>"), /tag/i],
    ["is nested too deep", one("<a>".repeat(100)), /nested deeper than 32/],
    ["has too many elements", one(`<SegmentList>${"<SegmentURL/>".repeat(100_001)}</SegmentList>`), /more than 100000/],
    ["has another root", "<html/>", /root isn't MPD/],
    ["has an entity of its own", one("<BaseURL>&a;</BaseURL>"), /entity/],
    ["has no duration", one(`<SegmentTemplate duration="1" media="$Number$"/>`, ""), /duration of a period/],
    ["is live without a timeline", one(`<SegmentTemplate duration="1" media="$Number$"/>`, `type="dynamic"`), /clock/]
  ]

  it.each(invalid)("is refused if it %s", (_, text, says) => {
    try {
      namesOf(text)
      assert.fail("not refused")
    } catch (error) {
      assert.instanceOf(error, InvalidManifest)
      assert.match((error as Error).message, says)
    }
  })

  it("lets others have their turn while it is parsed", () => {
    const turns = Array.from(dashNames(one(`<!--${" ".repeat(1_000_000)}-->`), BASE))
    assert.isAbove(turns.filter((name) => name === undefined).length, 10)
  })
})
