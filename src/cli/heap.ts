import { setFlagsFromString } from "node:v8"

/**
 * Settings of V8's heap for what Spillway does: objects of requests, which live short, beside large buffers outside of the heap. The program
 * imports this module before it makes objects. docs/internals/performance.md has the measurements.
 */

// V8 makes objects in the old part of the heap if earlier ones of the same place in the code have lived long. One that is made there and lives
// short keeps all that it refers to, such as everything of a request, until the whole heap is marked.
setFlagsFromString("--no-allocation-site-pretenuring")

// When the heap with the new buffers has become x1.85 as large as what was in use, V8 marks it. By default, it does so from about x1.3 on.
setFlagsFromString("--heap-growing-percent=85")
