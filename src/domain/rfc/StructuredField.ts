/**
 * Dictionaries of structured fields (RFC 8941 §3.2), as far as cache directives need them.
 */

/** Reads from the front of a text, once, each step giving what it took or `undefined`. */
class Cursor {
  readonly text: string
  at = 0

  constructor(text: string) {
    this.text = text
  }

  get ended(): boolean {
    return this.at >= this.text.length
  }

  /** Takes `character`, if it is next. */
  take(character: string): boolean {
    const found = this.text[this.at] === character
    if (found) this.at++
    return found
  }

  /** Takes what the sticky `pattern` matches here. Its parts must exclude one another, so that it never tries twice. */
  match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)?.[0]
    if (found !== undefined) this.at += found.length
    return found
  }
}

const spaces = / */y
const optionalWhitespace = /[ \t]*/y
const key = /[a-z*][a-z0-9_.*-]*/y
const token = /[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*/y
const digits = /-?\d+(?:\.\d*)?/y
const isNumber = /^-?(?:\d{1,15}|\d{1,12}\.\d{1,3})$/
const byteSequence = /:[A-Za-z0-9+/=]*:/y
const boolean = /\?[01]/y

/** A string with its quotes (§4.2.5). */
const takeString = (cursor: Cursor): string | undefined => {
  const { text } = cursor
  for (let end = cursor.at + 1; end < text.length; end++) {
    const character = text[end]!
    if (character === "\"") {
      const taken = text.slice(cursor.at, end + 1)
      cursor.at = end + 1
      return taken
    }
    if (character === "\\") {
      end++
      if (text[end] !== "\"" && text[end] !== "\\") return undefined
    } else if (character < " " || character > "~") {
      return undefined
    }
  }
  return undefined
}

const takeNumber = (cursor: Cursor): string | undefined => {
  const number = cursor.match(digits)
  return number !== undefined && isNumber.test(number) ? number : undefined
}

/** A bare item as it is written (§4.2.3.1). */
const takeBareItem = (cursor: Cursor): string | undefined => {
  switch (cursor.text[cursor.at]) {
    case "\"":
      return takeString(cursor)
    case ":":
      return cursor.match(byteSequence)
    case "?":
      return cursor.match(boolean)
    default:
      return cursor.match(token) ?? takeNumber(cursor)
  }
}

/** Passes over the parameters of what was taken last (§4.2.3.2); says whether they are well-formed. */
const skipParameters = (cursor: Cursor): boolean => {
  while (cursor.take(";")) {
    cursor.match(spaces)
    if (cursor.match(key) === undefined) return false
    if (cursor.take("=") && takeBareItem(cursor) === undefined) return false
  }
  return true
}

/** An inner list as it is written (§4.2.1.2). */
const takeInnerList = (cursor: Cursor): string | undefined => {
  const start = cursor.at
  cursor.take("(")
  for (;;) {
    cursor.match(spaces)
    if (cursor.take(")")) return cursor.text.slice(start, cursor.at)
    if (takeBareItem(cursor) === undefined || !skipParameters(cursor)) return undefined
    const next = cursor.text[cursor.at]
    if (next !== " " && next !== ")") return undefined
  }
}

/**
 * The members of a dictionary, each with its value as it is written, strings in their quotes and `?1` where there is none;
 * parameters are left out. The last of several members of a name counts. `undefined` for a field that is malformed.
 */
export const parseDictionary = (field: string): ReadonlyMap<string, string> | undefined => {
  const members = new Map<string, string>()
  const cursor = new Cursor(field)
  cursor.match(spaces)
  while (!cursor.ended) {
    const name = cursor.match(key)
    if (name === undefined) return undefined
    const value = !cursor.take("=")
      ? "?1"
      : cursor.text[cursor.at] === "("
      ? takeInnerList(cursor)
      : takeBareItem(cursor)
    if (value === undefined || !skipParameters(cursor)) return undefined
    members.set(name, value)
    cursor.match(optionalWhitespace)
    if (cursor.ended) return members
    if (!cursor.take(",")) return undefined
    cursor.match(optionalWhitespace)
    if (cursor.ended) return undefined
  }
  return members
}
