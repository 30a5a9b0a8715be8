import { Schema } from "effect"
import type { TargetError } from "../../../domain/RequestTarget.ts"

/**
 * What the control API refuses with: the status says which, and the body is `{ message }`.
 */

const message = { message: Schema.String }

/** 400: the request is not of the form that is described. */
export class BadRequest extends Schema.Error<BadRequest>("spillway/http/api/BadRequest")({
  _tag: Schema.tagDefaultOmit("BadRequest"),
  ...message
}, { description: "The request is not of this form", httpApiStatus: 400 }) {}

/** 404: nothing is known of what was named. */
export class NotFound extends Schema.Error<NotFound>("spillway/http/api/NotFound")({
  _tag: Schema.tagDefaultOmit("NotFound"),
  ...message
}, { description: "Nothing is known of it", httpApiStatus: 404 }) {}

/** 409: it cannot be done in the state that things are in. */
export class Conflict extends Schema.Error<Conflict>("spillway/http/api/Conflict")({
  _tag: Schema.tagDefaultOmit("Conflict"),
  ...message
}, { description: "Not in this state", httpApiStatus: 409 }) {}

/** 503: the disk cannot be used now, or there are as many of these as there may be. */
export class Unavailable extends Schema.Error<Unavailable>("spillway/http/api/Unavailable")({
  _tag: Schema.tagDefaultOmit("Unavailable"),
  ...message
}, { description: "Not now", httpApiStatus: 503 }) {}

/** Why a URL or path can't be cached. */
export const refusalOf = ({ reason }: TargetError): BadRequest => new BadRequest({ message: reason })
