/**
 * The part of the keys of the cache that applications use.
 */
export { make, makePublic, type Resource } from "../domain/Resource.ts"
