;; XXH3, 64 bits, seed 0, of the 16 KiB at an address, as its specification describes it for long inputs
;; (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). `scripts/wasm.ts` assembles this file.
;;
;; Eight accumulators of 64 bits, in four vectors, take the input in stripes of 64 bytes, one word each. The secret moves on by 8 bytes
;; with each stripe. After a block of 16 stripes, the accumulators are scrambled, and the secret begins anew.
(module
  (memory (import "memory" "memory") 1 65536)

  ;; The default secret, 192 bytes.
  (data (i32.const 0)
    "\b8\fe\6c\39\23\a4\4b\be\7c\01\81\2c\f7\21\ad\1c\de\d4\6d\e9\83\90\97\db\72\40\a4\a4\b7\b3\67\1f"
    "\cb\79\e6\4e\cc\c0\e5\78\82\5a\d0\7d\cc\ff\72\21\b8\08\46\74\f7\43\24\8e\e0\35\90\e6\81\3a\26\4c"
    "\3c\28\52\bb\91\c3\00\cb\88\d0\65\8b\1b\53\2e\a3\71\64\48\97\a2\0d\f9\4e\38\19\ef\46\a9\de\ac\d8"
    "\a8\fa\76\3f\e3\9c\34\3f\f9\dc\bb\c7\c7\0b\4f\1d\8a\51\e0\4b\cd\b4\59\31\c8\9f\7e\c9\d9\78\73\64"
    "\ea\c5\ac\83\34\d3\eb\c3\c5\81\a0\ff\fa\13\63\eb\17\0d\dd\51\b7\f0\da\49\d3\16\55\26\29\d4\68\9e"
    "\2b\16\be\58\7d\47\a1\fc\8f\f8\b8\d1\7a\d0\31\ce\45\cb\3a\8f\95\16\04\28\af\d7\fb\ca\bb\4b\40\7e")

  ;; Two accumulators after the two words at $input. Each takes the product of the halves of its own word, and the other word as it is.
  (func $accumulate (param $sums v128) (param $input i32) (param $secret i32) (result v128)
    (local $words v128) (local $mixed v128)
    (local.set $words (v128.load (local.get $input)))
    (local.set $mixed (v128.xor (local.get $words) (v128.load (local.get $secret))))
    (i64x2.add
      (i64x2.add
        (local.get $sums)
        (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $words) (local.get $words)))
      (i64x2.extmul_low_i32x4_u
        (i8x16.shuffle 0 1 2 3 8 9 10 11 0 1 2 3 8 9 10 11 (local.get $mixed) (local.get $mixed))
        (i8x16.shuffle 4 5 6 7 12 13 14 15 4 5 6 7 12 13 14 15 (local.get $mixed) (local.get $mixed)))))

  (func $scramble (param $sums v128) (param $secret i32) (result v128)
    (i64x2.mul
      (v128.xor
        (v128.xor (local.get $sums) (i64x2.shr_u (local.get $sums) (i32.const 47)))
        (v128.load (local.get $secret)))
      (v128.const i64x2 0x9E3779B1 0x9E3779B1)))

  ;; The two halves of the 128-bit product, combined by XOR.
  (func $fold (param $a i64) (param $b i64) (result i64)
    (local $middle i64) (local $carried i64) (local $low i64)
    (local.set $low
      (i64.mul (i64.and (local.get $a) (i64.const 0xFFFFFFFF)) (i64.and (local.get $b) (i64.const 0xFFFFFFFF))))
    (local.set $middle
      (i64.add
        (i64.mul (i64.shr_u (local.get $a) (i64.const 32)) (i64.and (local.get $b) (i64.const 0xFFFFFFFF)))
        (i64.shr_u (local.get $low) (i64.const 32))))
    (local.set $carried
      (i64.add
        (i64.mul (i64.and (local.get $a) (i64.const 0xFFFFFFFF)) (i64.shr_u (local.get $b) (i64.const 32)))
        (i64.and (local.get $middle) (i64.const 0xFFFFFFFF))))
    (i64.xor
      (i64.add
        (i64.mul (i64.shr_u (local.get $a) (i64.const 32)) (i64.shr_u (local.get $b) (i64.const 32)))
        (i64.add (i64.shr_u (local.get $middle) (i64.const 32)) (i64.shr_u (local.get $carried) (i64.const 32))))
      (i64.mul (local.get $a) (local.get $b))))

  ;; What two accumulators add to the result.
  (func $merge (param $sums v128) (param $secret i32) (result i64)
    (local.set $sums (v128.xor (local.get $sums) (v128.load (local.get $secret))))
    (call $fold (i64x2.extract_lane 0 (local.get $sums)) (i64x2.extract_lane 1 (local.get $sums))))

  ;; The low 32 bits of the hash.
  (func (export "hash") (param $input i32) (result i32)
    (local $last i32) (local $secret i32) (local $hash i64)
    (local $sums0 v128) (local $sums1 v128) (local $sums2 v128) (local $sums3 v128)
    (local.set $sums0 (v128.const i64x2 0x00000000C2B2AE3D 0x9E3779B185EBCA87))
    (local.set $sums1 (v128.const i64x2 0xC2B2AE3D27D4EB4F 0x165667B19E3779F9))
    (local.set $sums2 (v128.const i64x2 0x85EBCA77C2B2AE63 0x0000000085EBCA77))
    (local.set $sums3 (v128.const i64x2 0x27D4EB2F165667C5 0x000000009E3779B1))

    (local.set $last (i32.add (local.get $input) (i32.const 16320)))

    ;; All stripes but the last one, which takes the secret from another place.
    (loop $stripes
      (local.set $sums0 (call $accumulate (local.get $sums0) (local.get $input) (local.get $secret)))
      (local.set $sums1 (call $accumulate (local.get $sums1)
        (i32.add (local.get $input) (i32.const 16)) (i32.add (local.get $secret) (i32.const 16))))
      (local.set $sums2 (call $accumulate (local.get $sums2)
        (i32.add (local.get $input) (i32.const 32)) (i32.add (local.get $secret) (i32.const 32))))
      (local.set $sums3 (call $accumulate (local.get $sums3)
        (i32.add (local.get $input) (i32.const 48)) (i32.add (local.get $secret) (i32.const 48))))
      (local.set $input (i32.add (local.get $input) (i32.const 64)))
      (local.set $secret (i32.add (local.get $secret) (i32.const 8)))
      (if (i32.eq (local.get $secret) (i32.const 128))
        (then
          (local.set $secret (i32.const 0))
          (local.set $sums0 (call $scramble (local.get $sums0) (i32.const 128)))
          (local.set $sums1 (call $scramble (local.get $sums1) (i32.const 144)))
          (local.set $sums2 (call $scramble (local.get $sums2) (i32.const 160)))
          (local.set $sums3 (call $scramble (local.get $sums3) (i32.const 176)))))
      (br_if $stripes (i32.lt_u (local.get $input) (local.get $last))))
    (local.set $sums0 (call $accumulate (local.get $sums0) (local.get $last) (i32.const 121)))
    (local.set $sums1 (call $accumulate (local.get $sums1) (i32.add (local.get $last) (i32.const 16)) (i32.const 137)))
    (local.set $sums2 (call $accumulate (local.get $sums2) (i32.add (local.get $last) (i32.const 32)) (i32.const 153)))
    (local.set $sums3 (call $accumulate (local.get $sums3) (i32.add (local.get $last) (i32.const 48)) (i32.const 169)))

    (local.set $hash (i64.mul (i64.const 16384) (i64.const 0x9E3779B185EBCA87)))
    (local.set $hash (i64.add (local.get $hash) (call $merge (local.get $sums0) (i32.const 11))))
    (local.set $hash (i64.add (local.get $hash) (call $merge (local.get $sums1) (i32.const 27))))
    (local.set $hash (i64.add (local.get $hash) (call $merge (local.get $sums2) (i32.const 43))))
    (local.set $hash (i64.add (local.get $hash) (call $merge (local.get $sums3) (i32.const 59))))

    ;; The avalanche.
    (local.set $hash (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 37))))
    (local.set $hash (i64.mul (local.get $hash) (i64.const 0x165667919E3779F9)))
    (i32.wrap_i64 (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 32))))))
