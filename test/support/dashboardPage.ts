import axe from "axe-core"
import { Effect, type Scope } from "effect"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import type { Browser, Page } from "playwright-core"
import { temporaryDirectory } from "./disks.ts"
import { eventually } from "./Program.ts"

/** Where screenshots are put, to be looked at; without it, they go with the test. */
const KEPT = process.env["SPILLWAY_TEST_SCREENSHOTS"]

export interface Look {
  readonly width: number
  readonly height: number
  readonly colorScheme: "light" | "dark"
}

/** The dashboard in a browser. */
export interface DashboardPage {
  readonly page: Page
  /** What the console was told of, and what went wrong in scripts. */
  readonly complaints: ReadonlyArray<string>
  /** The URLs that were asked for. */
  readonly requests: ReadonlyArray<string>
  readonly textOf: (selector: string) => Effect.Effect<string>
  /** Waits until that is what the element says. */
  readonly says: (selector: string, text: string | RegExp) => Effect.Effect<void>
  readonly evaluate: <A>(expression: string) => Effect.Effect<A>
  /** What accessibility rules are broken, and by what. */
  readonly violations: Effect.Effect<ReadonlyArray<string>>
  /** Takes a picture of all of it, or of what is seen of it at once: its path. */
  readonly picture: (name: string, options?: { readonly fullPage?: boolean }) => Effect.Effect<string>
}

/** Opens `url` in a profile of its own; it is closed with the scope. */
export const openDashboard = Effect.fnUntraced(function*(
  browser: Browser,
  url: string,
  { colorScheme, height, width }: Look = { width: 1440, height: 900, colorScheme: "light" }
): Effect.fn.Return<DashboardPage, never, Scope.Scope> {
  const context = yield* Effect.acquireRelease(
    Effect.promise(() => browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: "reduce" })),
    (context) => Effect.promise(() => context.close())
  )
  const directory = KEPT ?? (yield* temporaryDirectory)
  const page = yield* Effect.promise(() => context.newPage())
  const complaints: Array<string> = []
  const requests: Array<string> = []
  page.on("console", (message) => {
    if (message.type() !== "log") complaints.push(`${message.type()}: ${message.text()}`)
  })
  page.on("pageerror", (error) => complaints.push(error.message))
  page.on("request", (request) => requests.push(request.url()))
  yield* Effect.promise(() => page.goto(url))

  const textOf = (selector: string) => Effect.promise(() => page.locator(selector).innerText())
  return {
    page,
    complaints,
    requests,
    textOf,
    says: (selector, text) =>
      eventually(
        `"${text}" in ${selector}`,
        Effect.map(textOf(selector), (said) => typeof text === "string" ? said === text : text.test(said))
      ),
    evaluate: (expression) => Effect.promise(() => page.evaluate(expression)),
    violations: Effect.promise(async () => {
      await page.evaluate(axe.source)
      const { violations } = await page.evaluate<axe.AxeResults>("axe.run()")
      return violations.flatMap(({ id, impact, nodes }) =>
        nodes.map(({ failureSummary, html }) => `${impact} ${id}: ${html}\n${failureSummary}`)
      )
    }),
    picture: (name, { fullPage = true } = {}) =>
      Effect.promise(async () => {
        mkdirSync(directory, { recursive: true })
        const path = join(directory, `${name}.png`)
        await page.screenshot({ path, fullPage })
        return path
      })
  }
})

/** Elements of which something is outside the window or outside what they are in, and texts that lie upon each other. */
export const misplaced = `(() => {
  const found = []
  const name = (element) => element.tagName + "." + element.className + "#" + element.id
  if (document.documentElement.scrollWidth > innerWidth) found.push("the page is too wide")
  for (const element of document.querySelectorAll("header *, main *")) {
    const { height, left, right, width } = element.getBoundingClientRect()
    if (width === 0 || height === 0 || element.closest("svg, .uplot")) continue
    if (left < -1 || right > innerWidth + 1) found.push(name(element) + " is outside the window")
    const isCut = getComputedStyle(element).textOverflow === "ellipsis"
    if (!isCut && element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== "inline") {
      found.push(name(element) + " is too wide for its place")
    }
  }
  // A dialog lies upon all others.
  const around = document.querySelector("dialog:modal") ?? document
  const texts = [...around.querySelectorAll("h1, h2, h3, p, dt, dd, li, button")].filter((element) =>
    !element.querySelector("h1, h2, h3, p, dt, dd, li, button") && element.getClientRects().length > 0 && !element.closest(".skip")
  )
  const boxes = texts.map((element) => ({ element, box: element.getBoundingClientRect() })).filter(({ box }) => box.width * box.height > 0)
  boxes.forEach(({ box: a, element }, index) => {
    for (const { box: b, element: other } of boxes.slice(index + 1)) {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left)
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)
      if (wide > 2 && high > 3) found.push(name(element) + " is upon " + name(other))
    }
  })
  return found
})()`
