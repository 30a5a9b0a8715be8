import { Result } from "effect"
import { type AST, getStaticTOMLValue, ParseError, parseTOML } from "toml-eslint-parser"

/** The keys that lead to a value; indices of lists are numbers. */
export type Path = ReadonlyArray<PropertyKey>

/** A TOML text as values that know where they are written. */
export interface TomlDocument {
  readonly value: Readonly<Record<string, unknown>>
  /** The line of the value at `path`, or of the nearest value around it. The first line is 1. */
  readonly lineOf: (path: Path) => number
}

/** Why a text isn't TOML. */
export interface TomlError {
  readonly line: number
  readonly column: number
  readonly reason: string
}

const keyOf = (path: Path): string => JSON.stringify(path)

/** The line of each value below `node`, which is at `path`. A table that is written in several places is where it begins. */
const collect = (node: AST.TOMLNode, path: Path, lines: Map<string, number>): void => {
  const note = (path: Path): void => {
    const key = keyOf(path)
    if (!lines.has(key)) lines.set(key, node.loc.start.line)
  }
  switch (node.type) {
    case "TOMLTable":
      for (let i = 1; i <= node.resolvedKey.length; i++) note(node.resolvedKey.slice(0, i))
      return node.body.forEach((entry) => collect(entry, node.resolvedKey, lines))
    case "TOMLKeyValue": {
      const names = node.key.keys.map((key) => key.type === "TOMLBare" ? key.name : key.value)
      names.forEach((_, i) => note(path.concat(names.slice(0, i + 1))))
      return collect(node.value, path.concat(names), lines)
    }
    case "TOMLInlineTable":
      return node.body.forEach((entry) => collect(entry, path, lines))
    case "TOMLArray":
      return node.elements.forEach((element, i) => {
        lines.set(keyOf([...path, i]), element.loc.start.line)
        collect(element, [...path, i], lines)
      })
  }
}

/** Parses `text`. The error is the first one. */
export const parseDocument = (text: string): Result.Result<TomlDocument, TomlError> => {
  try {
    const program = parseTOML(text)
    const lines = new Map<string, number>()
    for (const node of program.body[0].body) collect(node, [], lines)
    const lineOf = (path: Path): number => path.length === 0 ? 1 : lines.get(keyOf(path)) ?? lineOf(path.slice(0, -1))
    return Result.succeed({ value: getStaticTOMLValue(program), lineOf })
  } catch (error) {
    if (!(error instanceof ParseError)) throw error
    const { column, lineNumber, message } = error
    return Result.fail({
      line: lineNumber,
      column: column + 1,
      reason: message.replace(/^[A-Z](?=[a-z])/, (first) => first.toLowerCase())
    })
  }
}
