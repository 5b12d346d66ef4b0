// What tensor cores do with float32: a product of 16 × 8 and 8 × 8 in one instruction, rounded to TF32.
#pragma once

#ifdef __CUDACC__  // the CPU runner has its own versions of these two
// Round to TF32: 8 bits of exponent, 10 of mantissa.
__device__ inline float to_tf32(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
}
// One tensor-core instruction of a warp, D += A·B with A 16×8, B 8×8 in TF32 and D in float32 (PTX: mma.m16n8k8).
__device__ inline void mma_m16n8k8(float d[4], const float a[4], const float b[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#endif
