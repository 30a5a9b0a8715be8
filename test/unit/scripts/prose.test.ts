import { assert, describe, it } from "@effect/vitest"
import { check, messagesOfSource, passagesOfMarkdown, passagesOfSource } from "../../../scripts/prose.ts"

const found = (text: string): ReadonlyArray<string> =>
  check({ kind: "document", line: 1, text }).map(({ found }) => found)

const documented = (markdown: string): ReadonlyArray<string> =>
  passagesOfMarkdown(markdown).flatMap(check).map(({ found, line }) => `${line}: ${found}`)

describe("the prose check", () => {
  it.each([
    ["The file is for whoever asks.", "whoever"],
    ["The range is of a file that is none.", "is none"],
    ["It stays on the disk for ever.", "for ever"],
    ["The source thereof is the origin.", "thereof"],
    ["The server had better have a limit.", "had better"],
    ["The cache bears with slow origins.", "bears with"],
    ["The viewer is told that the file is gone.", "is told"],
    ["A name that is no URL gets 400.", "is no "],
    ["The chunk that is asked for is missing.", "is asked for"],
    ["The name is of a person, of whom\nnothing is known.", "of whom"]
  ])("rejects %j", (sentence, expected) => {
    assert.deepStrictEqual(found(sentence), [expected])
  })

  it.each([
    "Spillway caches responses on disk in chunks. If the cache fails, the response continues from the origin.",
    "There is no limit, and the index is no longer complete.",
    "What does a viewer get while the disk of the cache fills up, or the directory is not writable?",
    "The disk has the same status as before, and nobody waits."
  ])("accepts %j", (sentence) => {
    assert.deepStrictEqual(found(sentence), [])
  })

  it("gives the line and the advice", () => {
    assert.deepStrictEqual(check({ kind: "document", line: 7, text: "One line.\nIt stays for ever." }), [
      { line: 8, found: "for ever", advice: "permanently, without end" }
    ])
  })

  it("rejects a sentence of more than 40 words, and accepts two shorter ones", () => {
    const half = `The disk ${"very ".repeat(20)}slowly fails`
    assert.deepStrictEqual(found(`${half}, and ${half}.`), ["The disk very very very very …"])
    assert.deepStrictEqual(found(`${half}. ${half}.`), [])
  })

  it("rejects a sentence of a document that begins with a long clause", () => {
    const text = "Where the disk cannot be written to for a while, the bytes come from the origin."
    assert.lengthOf(check({ kind: "document", line: 1, text }), 1)
    assert.deepStrictEqual(check({ kind: "comment", line: 1, text }), [])
  })

  it("reads paragraphs, items and cells of a document, and no code, quotations or measurements", () => {
    const page = [
      "One `whoever` and \"whoever\".",
      "    whoever in code",
      "```",
      "whoever in code",
      "```",
      "| cell | whoever |",
      "- an item",
      "  of two lines for",
      "  ever",
      "<!-- measured -->",
      "whoever"
    ]
    assert.deepStrictEqual(documented(page.join("\n")), ["6: whoever", "8: for ever"])
  })

  it("reads the unreleased part of a changelog", () => {
    assert.deepStrictEqual(documented("## Unreleased\n\n- whoever\n\n## 0.1.0 – 2030-01-01\n\n- lest\n"), [
      "3: whoever"
    ])
  })

  it("reads comments of a source, and neither code nor examples", () => {
    const source = [
      "/**",
      " * Reads `whoever`.",
      " *",
      " *     whoever",
      " */",
      "const whoever = \"whoever\"",
      "  // It stays for",
      "  // ever."
    ]
    const findings = passagesOfSource(source.join("\n")).flatMap(check)
    assert.deepStrictEqual(findings.map(({ found, line }) => `${line}: ${found}`), ["7: for ever"])
  })

  it("reads messages of more than three words", () => {
    const messages = messagesOfSource(
      "const a = \"no word\"\nfail(`${name} is for whoever asks`)\n// \"a comment for whoever reads\""
    )
    assert.deepStrictEqual(messages, [{ kind: "message", line: 2, text: "X is for whoever asks" }])
  })
})
