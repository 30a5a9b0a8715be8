import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import CachePolicy from "http-cache-semantics"
import { isHeuristicallyCacheable, whyUncacheable } from "../../src/domain/rfc/Cacheability.ts"
import { parse, requestDirectives } from "../../src/domain/rfc/CacheControl.ts"
import {
  freshnessOf,
  HEURISTIC_MILLIS,
  isFresh,
  mayRevalidateBehind,
  mayServeStale
} from "../../src/domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../src/domain/rfc/HeaderFields.ts"

/**
 * Compares Spillway's rules of RFC 9111 with those of `http-cache-semantics`, an independent reading of it. Where they are
 * meant to differ, the table below says why, and shows that they do.
 */

const NOW = Date.UTC(2030, 0, 1, 12, 0, 0)
const DAY = 24 * 3600
const date = (seconds: number) => new Date(NOW + seconds * 1000).toUTCString()

/** A GET that was answered by the origin at `NOW`, after `delay` seconds, and the same GET `elapsed` seconds later. */
interface Exchange {
  readonly status: number
  readonly response: HeaderFields
  readonly request: HeaderFields
  readonly delay: number
  readonly elapsed: number
}

/** What is said of an exchange. Of a response that is not stored, nothing else is said. */
interface Verdict {
  readonly stored: boolean
  /** Milliseconds. */
  readonly lifetime?: number
  /** What the later request gets: the response, the response while the origin is asked, or what the origin says. */
  readonly use?: "fresh" | "behind" | "ask"
  /** Whether the later request gets the response when the origin fails. */
  readonly onError?: boolean
}

const own = ({ delay, elapsed, request, response, status }: Exchange): Verdict => {
  const directives = parse(response["cache-control"])
  const asked = requestDirectives(request)
  // RFC 9111 §3: the last of the conditions, and the directive of the request, are the caller's.
  const mayBeKept = isHeuristicallyCacheable(status) || response["expires"] !== undefined ||
    ["public", "max-age", "s-maxage"].some((name) => directives.has(name))
  const authorized = request["authorization"] !== undefined
  const stored = whyUncacheable(status, response, authorized) === undefined && mayBeKept && asked?.noStore !== true
  if (!stored) return { stored }
  const freshness = freshnessOf(response, { requested: NOW - delay * 1000, received: NOW })
  const now = NOW + elapsed * 1000
  const use = isFresh(freshness, now, asked)
    ? "fresh"
    : mayRevalidateBehind(freshness, now, asked)
    ? "behind"
    : "ask"
  return { stored, lifetime: freshness.lifetime, use, onError: mayServeStale(freshness, now, asked) }
}

let clock = NOW
class Policy extends CachePolicy {
  now(): number {
    return clock
  }
}

const theirs = ({ elapsed, request, response, status }: Exchange): Verdict => {
  clock = NOW
  const policy = new Policy({ headers: request }, { status, headers: response })
  if (!policy.storable()) return { stored: false }
  const lifetime = Math.max(0, Math.floor(policy.maxAge() * 1000))
  clock = NOW + elapsed * 1000
  const found = policy.evaluateRequest({ headers: request })
  const use = found.response === undefined ? "ask" : found.revalidation === undefined ? "fresh" : "behind"
  let onError = true
  try {
    policy.revalidatedPolicy({ headers: request })
  } catch {
    onError = false
  }
  return { stored: true, lifetime, use, onError }
}

type Aspect = keyof Verdict
const everything: ReadonlyArray<Aspect> = ["stored", "lifetime", "use", "onError"]

/** Where the two are meant to differ, and `example`, an exchange on which they do. */
interface Deviation {
  readonly name: string
  readonly reason: string
  readonly aspects: ReadonlyArray<Aspect>
  readonly applies: (exchange: Exchange) => boolean
  readonly example: Partial<Exchange>
}

const says = (exchange: Exchange, ...names: ReadonlyArray<string>): boolean => {
  const directives = parse(exchange.response["cache-control"])
  return names.some((name) => directives.has(name))
}
const asks = (exchange: Exchange, ...names: ReadonlyArray<string>): boolean => {
  const directives = parse(exchange.request["cache-control"])
  return names.some((name) => directives.has(name))
}
const saysLifetime = (exchange: Exchange): boolean =>
  says(exchange, "s-maxage", "max-age", "no-cache") || exchange.response["expires"] !== undefined
const cacheControls = ({ request, response }: Exchange): ReadonlyArray<string> =>
  [request["cache-control"], response["cache-control"]].filter((field) => field !== undefined)
const argumentsOf = (field: string | undefined): ReadonlyArray<string> =>
  [...parse(field)].filter(([name]) => name !== "private" && name !== "no-cache").map(([, argument]) => argument)
const isSeconds = (text: string): boolean => /^\d{1,9}$/.test(text)
const secondsBetween = (earlier: string | undefined, later: string | undefined): number =>
  earlier === undefined ? 0 : (later === undefined ? NOW : Date.parse(later)) / 1000 - Date.parse(earlier) / 1000

const deviations: ReadonlyArray<Deviation> = [
  {
    name: "206",
    reason: "Spillway keeps parts of files, the library understands no partial content (RFC 9111 §3.3).",
    aspects: everything,
    applies: ({ status }) => status === 206,
    example: { status: 206, response: { "cache-control": "max-age=60" } }
  },
  {
    name: "must-understand",
    reason: "The library does not know it: no-store stays in force beside it (§5.2.2.3).",
    aspects: everything,
    applies: (exchange) => says(exchange, "must-understand"),
    example: { response: { "cache-control": "must-understand, no-store, max-age=60" } }
  },
  {
    name: "CDN-Cache-Control",
    reason: "The library does not know it (RFC 9213).",
    aspects: everything,
    applies: ({ response }) => response["cdn-cache-control"] !== undefined,
    example: { response: { "cdn-cache-control": "max-age=60", "cache-control": "no-store" } }
  },
  {
    name: "Set-Cookie",
    reason:
      "Spillway does not keep it without public or s-maxage; the library keeps it stale, without public or immutable.",
    aspects: everything,
    applies: (exchange) => exchange.response["set-cookie"] !== undefined && !says(exchange, "public"),
    example: { response: { "cache-control": "max-age=60", "set-cookie": "a=b" } }
  },
  {
    name: "Vary",
    reason: "Spillway does not keep what hardly anybody else can use; the library keeps it, and finds out later.",
    aspects: everything,
    applies: ({ response }) => /\*|cookie|authorization/i.test(response["vary"] ?? ""),
    example: { response: { "cache-control": "max-age=60", "vary": "cookie" } }
  },
  {
    name: "letter case",
    reason: "Directives are compared in any case (§5.2); the library knows the lower one.",
    aspects: everything,
    applies: (exchange) => cacheControls(exchange).some((field) => field !== field.toLowerCase()),
    example: { response: { "cache-control": "No-Store" } }
  },
  {
    name: "commas in quotes",
    reason: "They end no directive (RFC 9110 §5.6.4); for the library they do.",
    aspects: everything,
    applies: (exchange) => cacheControls(exchange).some((field) => field.includes("\"")),
    example: { response: { "cache-control": "x=\"a, no-store, b\", max-age=60" } }
  },
  {
    name: "missing commas",
    reason: "Spillway forgives them, lest it overlook a no-store.",
    aspects: everything,
    applies: (exchange) => cacheControls(exchange).some((field) => /[^,\s]\s+[^,\s]/.test(field)),
    example: { response: { "cache-control": "no-store max-age=60" } }
  },
  {
    name: "directives said twice",
    reason: "The first counts (§4.2.1); for the library the last does.",
    aspects: everything,
    applies: (exchange) => cacheControls(exchange).some((field) => field.split(",").length > parse(field).size),
    example: { response: { "cache-control": "max-age=1, max-age=60" } }
  },
  {
    name: "delta-seconds",
    reason:
      "Seconds are digits only (§1.2.2), anything else is stale or ignored; the library takes the leading digits.",
    aspects: ["lifetime", "use", "onError"],
    applies: ({ request, response }) =>
      [
        ...argumentsOf(request["cache-control"]),
        ...argumentsOf(response["cache-control"]),
        response["age"] ?? ""
      ].some((text) => text !== "" && !isSeconds(text)),
    example: { response: { "cache-control": "max-age=60.5" } }
  },
  {
    name: "dates",
    reason: "A date in another format is invalid (RFC 9110 §5.6.7); the library takes what JavaScript takes.",
    aspects: ["lifetime", "use", "onError"],
    applies: ({ response }) =>
      ["date", "expires", "last-modified"].some((name) => !/^$|GMT$|^0$/.test(response[name] ?? "")),
    example: { response: { "expires": "2030-01-01T13:00:00Z", "date": date(0) } }
  },
  {
    name: "Pragma in a response",
    reason: "It has no meaning there (§5.4); for the library it is no-cache.",
    aspects: ["lifetime", "use", "onError"],
    applies: ({ response }) => response["pragma"] !== undefined,
    example: { response: { "pragma": "no-cache", "expires": date(60) } }
  },
  {
    name: "proxy-revalidate",
    reason: "It concerns what is stale (§5.2.2.8); for the library the response is stale at once.",
    aspects: ["lifetime", "use", "onError"],
    applies: (exchange) => says(exchange, "proxy-revalidate"),
    example: { response: { "cache-control": "proxy-revalidate, max-age=60" } }
  },
  {
    name: "immutable",
    reason:
      "A day applies without another lifetime (RFC 8246); in the library it is the minimum, with Expires as well.",
    aspects: ["lifetime", "use", "onError"],
    applies: (exchange) => says(exchange, "immutable") && !says(exchange, "s-maxage", "max-age", "no-cache"),
    example: { response: { "cache-control": "immutable", "expires": date(60) } }
  },
  {
    name: "the limit of guesses",
    reason: "Spillway guesses an hour at most, the library any time.",
    aspects: ["lifetime", "use", "onError"],
    applies: (exchange) => {
      const { response } = exchange
      const age = secondsBetween(response["last-modified"], response["date"])
      return !saysLifetime(exchange) && age * 100 > HEURISTIC_MILLIS
    },
    example: { response: { "last-modified": date(-DAY) }, elapsed: 7200 }
  },
  {
    name: "no guess beside must-revalidate",
    reason: "Who says must-revalidate fears stale files; the library guesses nevertheless (§4.2.2).",
    aspects: ["lifetime"],
    applies: (exchange) =>
      !saysLifetime(exchange) && says(exchange, "must-revalidate") &&
      exchange.response["last-modified"] !== undefined,
    example: { response: { "cache-control": "must-revalidate", "last-modified": date(-600) } }
  },
  {
    name: "must-revalidate",
    reason:
      "It concerns what is stale (§5.2.2.2); the library asks the origin each time, but uses what is stale on errors.",
    aspects: ["use", "onError"],
    applies: (exchange) => says(exchange, "must-revalidate"),
    example: { response: { "cache-control": "must-revalidate, max-age=60" } }
  },
  {
    name: "s-maxage and no-cache",
    reason:
      "They forbid stale responses (§4.2.4); the library sends them for max-stale, stale-while-revalidate, on errors.",
    aspects: ["use", "onError"],
    applies: (exchange) => {
      const forbidsBehind = says(exchange, "no-cache") && says(exchange, "stale-while-revalidate")
      return says(exchange, "no-cache", "s-maxage") &&
        (forbidsBehind || says(exchange, "stale-if-error") || asks(exchange, "max-stale"))
    },
    example: { response: { "cache-control": "no-cache" }, request: { "cache-control": "max-stale" } }
  },
  {
    name: "the apparent age",
    reason:
      "A response is as old as its Date says, if that is older than its Age (§4.2.3); the library looks at Age only.",
    aspects: ["use", "onError"],
    applies: ({ response }) => secondsBetween(response["date"], undefined) > Number(response["age"] ?? 0),
    example: { response: { "cache-control": "max-age=60", "date": date(-100) } }
  },
  {
    name: "the response's delay",
    reason: "The time between request and response is part of the age (§4.2.3); the library leaves it out.",
    aspects: ["use", "onError"],
    applies: ({ delay }) => delay > 0,
    example: { response: { "cache-control": "max-age=5" }, delay: 10 }
  },
  {
    name: "Pragma beside Cache-Control",
    reason: "It counts only in the absence of Cache-Control (§5.4); for the library always.",
    aspects: ["use", "onError"],
    applies: ({ request }) => request["pragma"] !== undefined && request["cache-control"] !== undefined,
    example: {
      response: { "cache-control": "max-age=60" },
      request: { "cache-control": "max-age=100", "pragma": "no-cache" }
    }
  },
  {
    name: "stale-while-revalidate for max-age",
    reason: "Who asks for max-age wants nothing stale (§5.2.1.1); the library revalidates behind it.",
    aspects: ["use"],
    applies: (exchange) => says(exchange, "stale-while-revalidate") && asks(exchange, "max-age"),
    example: {
      response: { "cache-control": "max-age=60, stale-while-revalidate=60" },
      request: { "cache-control": "max-age=100" },
      elapsed: 80
    }
  },
  {
    name: "disconnected",
    reason:
      "If the origin fails and no directive forbids it, a stale response may be sent (§4.2.4); the library never does.",
    aspects: ["onError"],
    applies: (exchange) => !says(exchange, "stale-if-error"),
    example: { response: { "cache-control": "max-age=60" }, elapsed: 100 }
  },
  {
    name: "errors and the request",
    reason:
      "Its no-cache, max-age and min-fresh forbid, and its stale-if-error allows (RFC 5861 §4); the library reads none.",
    aspects: ["onError"],
    applies: (exchange) =>
      asks(exchange, "no-cache", "max-age", "min-fresh", "stale-if-error") ||
      exchange.request["pragma"] !== undefined,
    example: {
      response: { "cache-control": "max-age=60, stale-if-error=10" },
      request: { "cache-control": "stale-if-error=60" },
      elapsed: 100
    }
  }
]

const plain: Exchange = { status: 200, response: {}, request: {}, delay: 0, elapsed: 0.5 }

describe("http-cache-semantics is meant to differ", () => {
  it.each(deviations)("$name: $reason", ({ applies, aspects, example }) => {
    const exchange = { ...plain, ...example }
    assert.isTrue(applies(exchange))
    const ours = own(exchange)
    const others = theirs(exchange)
    assert.isTrue(aspects.some((aspect) => ours[aspect] !== others[aspect]), JSON.stringify({ ours, others }))
  })
})

describe("http-cache-semantics agrees", () => {
  /** One of `choices`, or, in most cases, none. */
  const rarely = (...choices: ReadonlyArray<string>) =>
    Schema.Literals([...choices.flatMap(() => ["", "", "", "", ""]), ...choices])

  const withSeconds = (name: string): ReadonlyArray<string> =>
    ["0", "1", "10", "59", "60", "61", "100", "3600"].map((seconds) => `${name}=${seconds}`)
  const lifetime = Schema.Literals(["", ...withSeconds("max-age"), ...withSeconds("s-maxage"), "max-age=x"])
  const staleWhileRevalidate = Schema.Literals(["", ...withSeconds("stale-while-revalidate")])
  const staleIfError = Schema.Literals(["", ...withSeconds("stale-if-error")])
  const responseDirective = rarely(
    "public",
    "private",
    "no-store",
    "no-cache",
    "must-revalidate",
    "proxy-revalidate",
    "immutable",
    "private=x",
    "no-cache=x",
    "must-understand",
    "x-other=1",
    "max-age=5.5",
    "s-maxage=-1",
    "max-age=10",
    "Public"
  )
  const requestDirective = rarely(
    "no-cache",
    "no-store",
    "max-stale",
    "no-transform",
    "only-if-cached",
    "MAX-AGE=1",
    "max-age=x",
    ...withSeconds("max-age"),
    ...withSeconds("max-stale"),
    ...withSeconds("min-fresh"),
    ...withSeconds("stale-if-error")
  )
  const headerFields = (fields: Record<string, string>): HeaderFields =>
    Object.fromEntries(Object.entries(fields).filter(([name, value]) => name !== "" && value !== ""))
  const list = (directives: ReadonlyArray<string>) => directives.filter((directive) => directive !== "").join(", ")

  const inputs = {
    status: Schema.Literals([200, 200, 200, 200, 200, 200, 206, 302, 404, 501]),
    directives: Schema.Tuple([lifetime, staleWhileRevalidate, staleIfError, responseDirective, responseDirective]),
    age: rarely("0", "1", "20", "60", "3600", "-1", "5.5"),
    date: rarely(date(0), date(60), date(-1), date(-50), "yesterday"),
    expires: Schema.Literals(["", "", "", date(0), date(1), date(60), date(3600), date(-60), "0", "never"]),
    lastModified: Schema.Literals(["", "", date(-100), date(-600), date(-3600), date(-DAY), date(100)]),
    vary: rarely("accept-language", "accept-encoding, origin", "cookie"),
    other: rarely("set-cookie", "cdn-cache-control", "pragma"),
    asked: Schema.Tuple([requestDirective, requestDirective]),
    pragma: rarely("no-cache", "x"),
    authorization: rarely("Basic YTpi"),
    delay: Schema.Literals([0, 0, 0, 0, 0, 0, 2]),
    elapsed: Schema.Literals([0, 1, 5, 9, 10, 20, 49, 50, 59, 60, 61, 70, 100, 119, 120, 160, 600, 3599, 3600, 7200])
  }

  const compared = new Map<string, number>()

  it.prop("on everything else", inputs, (input) => {
    const exchange: Exchange = {
      status: input.status,
      response: headerFields({
        "cache-control": list(input.directives),
        "age": input.age,
        "date": input.date,
        "expires": input.expires,
        "last-modified": input.lastModified,
        "vary": input.vary,
        [input.other]: "no-cache"
      }),
      request: headerFields({
        "cache-control": list(input.asked),
        "pragma": input.pragma,
        "authorization": input.authorization
      }),
      delay: input.delay,
      // Between two whole seconds, so that nothing hangs on whether a limit belongs to what it limits.
      elapsed: input.elapsed + 0.5
    }
    const excluded = new Set(deviations.filter(({ applies }) => applies(exchange)).flatMap(({ aspects }) => aspects))
    if (excluded.has("stored")) return
    const ours = own(exchange)
    const others = theirs(exchange)
    for (const aspect of everything) {
      if (excluded.has(aspect)) continue
      assert.strictEqual(ours[aspect], others[aspect], `${aspect}: ${JSON.stringify({ exchange, ours, others })}`)
      const outcome = `${aspect} ${aspect === "lifetime" ? ours.lifetime !== 0 : ours[aspect]}`
      if (aspect === "stored" || ours.stored) compared.set(outcome, (compared.get(outcome) ?? 0) + 1)
    }
  }, { arbitrary: { runs: 20_000 } })

  const outcomes = [
    "stored true",
    "stored false",
    "lifetime true",
    "lifetime false",
    "use fresh",
    "use behind",
    "use ask",
    "onError true",
    "onError false"
  ]
  it.each(outcomes)("often on: %s", (outcome) => {
    assert.isAbove(compared.get(outcome) ?? 0, 100)
  })
})
