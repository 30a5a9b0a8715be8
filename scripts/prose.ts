import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

/**
 * Checks the prose of the project: documents, comments in `src`, and messages of the commands. `docs/internals/style.md` is the
 * guide for authors; this script finds the mistakes that a pattern can find. Prints each finding with advice, and exits with 1 if
 * there are any.
 */

/** A pattern to avoid, and what to write instead. */
interface Rule {
  readonly pattern: RegExp
  readonly advice: string
}

export interface Finding {
  readonly line: number
  readonly found: string
  readonly advice: string
}

/** A paragraph, cell or comment without its code, and the line at which it begins. Lines are separated by `\n`. */
export interface Passage {
  readonly kind: "document" | "comment" | "message"
  readonly line: number
  readonly text: string
}

/** A sentence with more words is too long. */
const MAX_WORDS = 40

/** A sentence may begin with a relative clause, such as "What a viewer asks for", if it has at most this many words. */
const MAX_CLAUSE_WORDS = 12

const BE = "(?:is|are|was|were|be|been|being)"

/** Nouns and comparatives behind "is no" are no riddles: "is no longer", "is no more than". */
const AFTER_NO = "longer|more|less|fewer|older|younger|larger|smaller|slower|faster|later|different|better|worse"

const RULES: ReadonlyArray<Rule> = [
  { pattern: /\bwho(?:m|so)?ever\b/i, advice: "name the person, or: everybody who" },
  { pattern: /\bwhat(?:so)?ever\b/i, advice: "any, every, regardless of" },
  { pattern: /\b(?:of|for|to|by|with|from|between) whom\b/i, advice: "whose, or two sentences" },
  { pattern: new RegExp(`(?<!\\bthere )\\b${BE} none\\b`, "i"), advice: "isn't, doesn't exist" },
  { pattern: new RegExp(`(?<!\\bthere )\\b(?:is|are) no (?!(?:${AFTER_NO})\\b)`, "i"), advice: "is not a" },
  { pattern: /\bfor ever\b/i, advice: "permanently, without end" },
  { pattern: /\b(?:there|here|where)(?:of|in|upon|unto|after|tofore)\b|\bhitherto\b/i, advice: "of it, in it; so far" },
  { pattern: /\b(?:lest|nay|whilst|amongst|albeit)\b/i, advice: "so that … not; while; among; although" },
  { pattern: /\bbears? with\b/i, advice: "tolerates, retries" },
  { pattern: /\bhad better\b|\bought\b|\bshall\b/i, advice: "should, must" },
  { pattern: /\bupon\b/i, advice: "on, when" },
  { pattern: /\ball the same\b/i, advice: "anyway" },
  { pattern: /\bbesides(?:[.,;:)]|$)/i, advice: "also, in addition" },
  { pattern: new RegExp(`\\b${BE} (?:\\w+ )?told\\b`, "i"), advice: "gets, learns, is logged" },
  { pattern: /\btells? of\b/i, advice: "describes, reports" },
  { pattern: /\bto be had\b/i, advice: "available" },
  { pattern: /\bin vain\b/i, advice: "without success" },
  { pattern: /\bwithout a word\b/i, advice: "without a message" },
  { pattern: /\btak(?:e|es|ing) note of\b|\btakes? no notice\b/i, advice: "records; ignores" },
  { pattern: /\bgo(?:es|ing|ne)? on with\b|\bgoes on\b(?! (?:to|the|a)\b)/i, advice: "continues, resumes" },
  {
    pattern: new RegExp(
      `\\b${BE} (?:\\w+ )?(?:asked|waited|looked|seen|gone|let|heeded) (?:for|at|to|on|of|with|after)\\b`,
      "i"
    ),
    advice: "the active voice: requests, waits for, checks"
  },
  { pattern: /\bso long as\b/i, advice: "as long as, while" },
  { pattern: /\bhas (?:the|its|a|an|each|every|all) \w+ (?:be )?(?!used\b)\w+ed\b/i, advice: "the active voice" }
]

const words = (text: string): ReadonlyArray<string> => text.split(/\s+/).filter((word) => /\w/.test(word))

const sentencesOf = (text: string): ReadonlyArray<string> => text.split(/(?<=[.!?;:]["')*]*)\s+/)

const lineAt = ({ line, text }: Passage, index: number): number => line + text.slice(0, index).split("\n").length - 1

/**
 * Finds the patterns of the rules and long sentences, and in documents long clauses at the beginning of a sentence: the first
 * sentence of a doc comment is often a clause.
 */
export const check = (passage: Passage): ReadonlyArray<Finding> => {
  const findings: Array<Finding> = []
  for (const { advice, pattern } of RULES) {
    const match = new RegExp(pattern.source.replaceAll(" ", "\\s+"), pattern.flags).exec(passage.text)
    if (match !== null) {
      findings.push({ line: lineAt(passage, match.index), found: match[0].replace(/\s+/g, " "), advice })
    }
  }
  let index = 0
  for (const sentence of sentencesOf(passage.text)) {
    const at = passage.text.indexOf(sentence, index)
    index = at + sentence.length
    const count = words(sentence).length
    const found = `${words(sentence).slice(0, 6).join(" ")} …`
    if (count > MAX_WORDS) {
      findings.push({ line: lineAt(passage, at), found, advice: `${count} words: split the sentence` })
    } else if (
      passage.kind === "document" && count > MAX_CLAUSE_WORDS && /^(?:What|Who|Where)\b/.test(sentence) &&
      !sentence.endsWith("?")
    ) {
      findings.push({ line: lineAt(passage, at), found, advice: "begin with a noun, or with If" })
    }
  }
  return findings.toSorted((a, b) => a.line - b.line)
}

const blank = (text: string): string => text.replace(/[^\n]+/g, "")

/** Code and quotations become one word, links their text. */
const withoutCode = (text: string): string =>
  text.replace(/`[^`]*`/g, "X").replace(/\{@link ([^}]*)\}/g, "$1").replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/"[^"]*"|(?<!\*)\*[a-z][^*|]*\*(?!\*)/g, "X")

/** The prose of a document: paragraphs, items of lists and cells of tables. Not code, and not what a program has measured. */
export const passagesOfMarkdown = (text: string): ReadonlyArray<Passage> => {
  const prose = text.replace(/<!-- measured[^]*$/, "").replace(/^## \[?\d+\.\d[^]*$/m, "").replace(
    /<!--[^]*?-->/g,
    blank
  )
    .replace(/^```[^]*?^```$/gm, blank).replace(/^ {4}.*$/gm, "")
  const passages: Array<Passage> = []
  let current: Passage | undefined
  for (const [index, content] of prose.split("\n").entries()) {
    const line = index + 1
    if (content.startsWith("|")) {
      for (const cell of content.split("|")) passages.push({ kind: "document", line, text: withoutCode(cell.trim()) })
      current = undefined
    } else if (content.trim() === "") current = undefined
    else if (current === undefined || /^\s*(?:[-*#]|\d+\.)\s/.test(content)) {
      passages.push(current = { kind: "document", line, text: content })
    } else passages[passages.length - 1] = current = { ...current, text: `${current.text}\n${content}` }
  }
  return passages.map(({ kind, line, text }) => ({
    kind,
    line,
    text: withoutCode(text).replace(/^\s*(?:[-*#]+|\d+\.)\s+/, "")
  }))
}

/** The comments of a source file. Comments on lines that follow each other are one. */
export const passagesOfSource = (text: string): ReadonlyArray<Passage> => {
  const passages: Array<Passage> = []
  const lineOf = (index: number): number => text.slice(0, index).split("\n").length
  for (const match of text.matchAll(/\/\*\*([^]*?)\*\/|^[ \t]*\/\/.*(?:\n[ \t]*\/\/.*)*/gm)) {
    const comment = match[1] ?? match[0]
    const prose = comment.replace(/^[ \t]*(?:\*|\/\/) ?/gm, "").replace(/```[^]*?```/g, blank).replace(/^ {4}.*$/gm, "")
    // Paragraphs are passages of their own, as in documents.
    let line = lineOf(match.index)
    for (const part of prose.split(/(\n\s*\n)/)) {
      if (part.trim() !== "") passages.push({ kind: "comment", line, text: withoutCode(part).trim() })
      line += part.split("\n").length - 1
    }
  }
  return passages
}

/** The messages in a source file: strings of more than three words. */
export const messagesOfSource = (text: string): ReadonlyArray<Passage> =>
  text.split("\n").flatMap((content, index) => {
    if (/^\s*(?:\*|\/[/*])/.test(content)) return []
    return [...content.matchAll(/"((?:[^"\\]|\\.)*)"|`([^`]*)`/g)]
      .map((match) => (match[1] ?? match[2] ?? "").replace(/\$\{[^}]*\}/g, "X"))
      .filter((string) => words(string).length > 3)
      .map((string) => ({ kind: "message", line: index + 1, text: string }))
  })

const passagesOf = (path: string, text: string): ReadonlyArray<Passage> => {
  if (path.endsWith(".md")) return passagesOfMarkdown(text)
  return path.startsWith("src/cli/") ? [...passagesOfSource(text), ...messagesOfSource(text)] : passagesOfSource(text)
}

if (import.meta.main) {
  const root = fileURLToPath(new URL("..", import.meta.url))
  const paths = execFileSync("git", ["ls-files", "*.md", "src/*.ts"], { cwd: root, encoding: "utf8" }).trim().split(
    "\n"
  )
  let count = 0
  for (const path of paths) {
    for (const passage of passagesOf(path, readFileSync(`${root}/${path}`, "utf8"))) {
      for (const { advice, found, line } of check(passage)) {
        process.stdout.write(`${path}:${line}: "${found}": ${advice}\n`)
        count += 1
      }
    }
  }
  if (count > 0) process.stdout.write(`${count} findings; docs/internals/style.md says how to write\n`)
  process.exitCode = count > 0 ? 1 : 0
}
