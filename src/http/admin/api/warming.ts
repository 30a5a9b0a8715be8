import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { OriginConfig } from "../../../services/config/OriginConfig.ts"
import { DiskBreaker } from "../../../services/disk/DiskBreaker.ts"
import { makeAddressing } from "../../../services/operate/addressing.ts"
import { type Job, Warmer } from "../../../services/operate/Warmer.ts"
import { Conflict, NotFound, refusalOf, Unavailable } from "./errors.ts"
import { diskFailed } from "./inspection.ts"
import { jobOf } from "./present.ts"
import { SpillwayApi } from "./SpillwayApi.ts"

/** What is fetched ahead. */
export const layer = HttpApiBuilder.group(
  SpillwayApi,
  "warming",
  Effect.fnUntraced(function*(handlers) {
    const addressing = yield* makeAddressing
    const breaker = yield* DiskBreaker
    const { offline } = yield* OriginConfig
    const warmer = yield* Warmer

    const known = (id: string, job: Job | undefined) =>
      job === undefined
        ? Effect.fail(new NotFound({ message: `There is no job ${id}, or it ended long ago` }))
        : Effect.succeed(jobOf(job))

    return handlers.handleAll({
      warm: Effect.fnUntraced(function*({ payload: { url } }) {
        const resource = addressing.resourceOf(url)
        if ("status" in resource) return yield* refusalOf(resource)
        if (offline) return yield* new Conflict({ message: "The server asks no origin (--offline)" })
        if (!addressing.isServed(resource)) {
          return yield* new Conflict({ message: `No origin is configured for ${resource.url}` })
        }
        const failure = breaker.unwritable()
        if (failure !== undefined) return yield* diskFailed(failure)
        const job = warmer.add(url, resource)
        if (job === undefined) return yield* new Unavailable({ message: "As many jobs wait as may" })
        return jobOf(job)
      }),
      warmJobs: () => Effect.sync(() => ({ jobs: warmer.jobs().map(jobOf) })),
      warmJob: ({ params: { id } }) => Effect.suspend(() => known(id, warmer.job(id))),
      cancelWarm: ({ params: { id } }) => Effect.flatMap(warmer.cancel(id), (job) => known(id, job))
    })
  })
)
