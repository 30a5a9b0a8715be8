/**
 * Layers for tests of applications that embed Spillway, and of Spillway itself.
 */
/** What every `ChunkStore` has to do, as cases for your own test runner. */
export * as ChunkStoreContract from "./ChunkStoreContract.ts"
/** A file system that fails or hangs as planned. */
export * as FaultyFileSystem from "./FaultyFileSystem.ts"
/** A disk in memory, whose size and contents a test can change. */
export * as MemoryFileSystem from "./MemoryFileSystem.ts"
/** Origins in memory, which can misbehave. */
export * as MemoryOrigin from "./MemoryOrigin.ts"
/** All of Spillway, with a disk and origins in memory. */
export * as TestSpillway from "./TestSpillway.ts"
