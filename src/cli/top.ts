import { Clock, Console, Effect, Option, Stream } from "effect"
import { Command, Flag } from "effect/cli"
import type { Snapshot } from "../http/admin/api/model.ts"
import { baseOf, type Client, isLasting, jsonFlag, serverFlag, withServer } from "./client.ts"
import { StartupError } from "./StartupError.ts"
import { linesOf, type View } from "./topScreen.ts"

/** The size of a terminal that doesn't say, or says 0. */
const SCREEN = { columns: 80, rows: 24 }

/** The control sequences of terminals: a screen of its own without a cursor, and back. */
const ENTER = "\u001b[?1049h\u001b[?25l"
const LEAVE = "\u001b[?25h\u001b[?1049l"
const HOME = "\u001b[H"
const CLEAR_LINE = "\u001b[K"
const CLEAR_BELOW = "\u001b[J"

/** How long a server may send nothing until it counts as gone. It sends a snapshot each second. */
const SILENCE = "5 seconds"

/** The pause before a server that is gone is asked again, in milliseconds: it is doubled each time. */
const RETRY_MILLIS = { first: 250, longest: 5000 }

/** How often the screen is drawn while the server is gone, in milliseconds. */
const REDRAW_MILLIS = 1000

/** `q`, and Ctrl-C, which isn't a signal while keys are read. */
const QUIT = ["q", "Q", "\u0003"]

/** Shows another screen until the scope closes. */
const screen = Effect.acquireRelease(
  Effect.sync(() => void process.stdout.write(ENTER)),
  () => Effect.sync(() => void process.stdout.write(LEAVE))
)

/** Waits for the key that ends the program. Without a keyboard, it waits without end. */
const quit = Effect.suspend(() => {
  const { stdin } = process
  if (!stdin.isTTY) return Effect.never
  let onData: (data: Buffer) => void = () => {}
  return Effect.callback<void>((resume) => {
    onData = (data) => {
      if (QUIT.some((key) => data.includes(key))) resume(Effect.void)
    }
    stdin.setRawMode(true)
    stdin.on("data", onData)
  }).pipe(Effect.ensuring(Effect.sync(() => {
    stdin.off("data", onData)
    stdin.setRawMode(false)
    stdin.pause()
  })))
})

const draw = (view: View) =>
  Effect.sync(() => {
    const { columns, rows } = process.stdout
    const lines = linesOf(view, columns || SCREEN.columns, (rows || SCREEN.rows) - 1).map((line) =>
      `${line}${CLEAR_LINE}\n`
    )
    process.stdout.write(HOME + lines.join("") + CLEAR_BELOW)
  })

/** Each snapshot with the one before it. */
const views = <E>(snapshots: Stream.Stream<Snapshot, E>): Stream.Stream<View, E> =>
  Stream.suspend(() => {
    let before: View["before"]
    return Stream.mapEffect(snapshots, (snapshot) =>
      Effect.map(Clock.currentTimeMillis, (now): View => {
        const view = { snapshot, before, now }
        before = { totals: snapshot.totals, millis: now }
        return view
      }))
  })

/** The snapshots of a server, until it ends the connection or is silent. */
const snapshotsOf = (client: Client) =>
  Effect.map(client.events(), (events) => Stream.timeout(Stream.map(events, ({ data }) => data), SILENCE))

const hasEnded = (server: URL) => new StartupError({ message: `${baseOf(server)} has ended the connection` })

/** Draws each snapshot. Once there was one, a server that is gone is asked again until it is back, and the screen says so. */
const watch = Effect.fnUntraced(function*(client: Client, server: URL) {
  let view: View | undefined
  let pause = RETRY_MILLIS.first
  const show = (next: View) => {
    view = next
    pause = RETRY_MILLIS.first
    return draw(next)
  }
  const session = Effect.scoped(
    Effect.flatMap(snapshotsOf(client), (snapshots) => Stream.runForEach(views(snapshots), show))
  )
  const redraw = Effect.flatMap(
    Clock.currentTimeMillis,
    (now) => view?.gone === undefined ? Effect.void : draw({ ...view, now })
  )
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(REDRAW_MILLIS), redraw)))
  while (true) {
    yield* Effect.catchIf(session, (error) => view !== undefined && !isLasting(error), () => Effect.void)
    if (view === undefined) return yield* hasEnded(server)
    const now = yield* Clock.currentTimeMillis
    view = { ...view, before: undefined, now, gone: view.gone ?? { server: baseOf(server), since: now } }
    yield* draw(view)
    yield* Effect.sleep(pause)
    pause = Math.min(2 * pause, RETRY_MILLIS.longest)
  }
})

export const top = Command.make(
  "top",
  {
    count: Flag.Int("count").pipe(
      Flag.filter((count) => count > 0, (count) => `expected a number from 1 on; got ${count}`),
      Flag.withMetavar("NUMBER"),
      Flag.withDescription("Number of snapshots, one per second; without a terminal 1 if omitted"),
      Flag.optional
    ),
    server: serverFlag,
    json: jsonFlag
  },
  ({ count, json, server }) => {
    const isLive = process.stdout.isTTY === true && !json && Option.isNone(count)
    const wanted = Option.getOrElse(count, () => 1)
    return withServer(server, (client) =>
      Effect.gen(function*() {
        if (isLive) {
          yield* screen
          return yield* Effect.raceFirst(quit, watch(client, server))
        }
        const snapshots = yield* snapshotsOf(client)
        const texts = json
          ? Stream.map(snapshots, (snapshot) => JSON.stringify(snapshot))
          // Rates need two snapshots.
          : Stream.map(
            Stream.drop(views(snapshots), 1),
            (view) => `${linesOf(view, Number.POSITIVE_INFINITY).join("\n")}\n`
          )
        let printed = 0
        yield* Stream.runForEach(Stream.take(texts, wanted), (text) => {
          printed += 1
          return Console.log(text)
        })
        if (printed < wanted) return yield* hasEnded(server)
      }).pipe(Effect.scoped))
  }
).pipe(
  Command.withDescription(
    "Show what a server does, live: rates, troubles and streams. q ends it; without a terminal, one snapshot is printed"
  )
)
