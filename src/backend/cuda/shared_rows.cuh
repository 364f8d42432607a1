// Matrices of bf16 in shared memory as tensor core operands are loaded from them. For .cu files of this room only.
#pragma once

#include "backend/cuda/mma.cuh"

namespace nosa::cuda {

// Rows of D bf16 in shared memory, in pieces of 16 bytes: piece c of row r lies at c ^ (r % 8), so that a column of
// pieces is in different banks.
template <int D>
struct Rows {
  static constexpr uint32_t kPitch = D * 2, kPieces = D / 8;

  // Operand A, rows [0, 16): piece 2 * step + lane / 16 of row lane % 16; later steps by NextStep, rows by kPitch.
  // Also operand B from [depth, column], to be transposed.
  __device__ static uint32_t First(uint32_t base, int lane) {
    const uint32_t l = static_cast<uint32_t>(lane);
    return base + (l & 15u) * kPitch + (((l >> 4) ^ (l & 7u)) << 4);
  }
  // Operand B from [column, depth], columns [0, 16).
  __device__ static uint32_t FirstOfColumns(uint32_t base, int lane) {
    const uint32_t l = static_cast<uint32_t>(lane);
    return base + ((l & 7u) + ((l >> 4) << 3)) * kPitch + ((((l >> 3) & 1u) ^ (l & 7u)) << 4);
  }
  __device__ static uint32_t AtStep(uint32_t first, int step) { return first ^ (static_cast<uint32_t>(step) * 32u); }
  // Where number `column` of a row is, an even one.
  __device__ static uint32_t Offset(int row, int column) {
    const uint32_t r = static_cast<uint32_t>(row), c = static_cast<uint32_t>(column);
    return r * kPitch + (((c >> 3) ^ (r & 7u)) << 4) + (c & 7u) * 2u;
  }
};

}  // namespace nosa::cuda
