// What tensor cores do with float32: a product of 16 × 8 and 8 × 8 in one instruction, rounded to TF32.
// Hopper has a faster one for a whole warpgroup, wgmma. It is left out: it needs code for sm_90a, and CuPy's RawModule
// compiles for the device's own number, sm_90.
#pragma once

// TF32 has 10 bits of mantissa. The instruction below ignores the other 13 of its operands: it rounds them towards zero.
// A number that has grown by a third to two thirds of the last of the 10 bits is rounded to nearest, or nearly so: by at
// most 2/3 of that bit, with next to no bias. What TF32 can hold, infinity and NaN stay what they are. This is a single
// instruction; cvt.rna.tf32, which does round to nearest, becomes two for each number and a third to move it.
__device__ inline float for_tf32(float x) { return x * (1 + 1 / 3072.0f); }

#ifdef __CUDACC__  // the CPU runner has its own version of this
// One tensor-core instruction of a warp, D += A·B with A 16×8, B 8×8 in TF32 and D in float32 (PTX: mma.m16n8k8).
__device__ inline void mma_m16n8k8(float d[4], const float a[4], const float b[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#endif
