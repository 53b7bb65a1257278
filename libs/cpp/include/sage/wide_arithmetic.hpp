// 64 x 64 -> 128-bit products and 128-bit remainders, with and without a compiler's 128-bit integers.
#pragma once

#include <cstdint>

#if defined(__SIZEOF_INT128__) && !defined(SAGE_PORTABLE)
#define SAGE_HAS_INT128 1
#endif

namespace sage {

struct Wide {
  std::uint64_t high;
  std::uint64_t low;
};

#ifdef SAGE_HAS_INT128
// __extension__ keeps -Wpedantic quiet about the one non-standard type.
__extension__ typedef unsigned __int128 uint128;

constexpr Wide multiply(std::uint64_t a, std::uint64_t b) noexcept {
  const uint128 product = static_cast<uint128>(a) * b;
  return {static_cast<std::uint64_t>(product >> 64), static_cast<std::uint64_t>(product)};
}

constexpr std::uint64_t remainder(Wide value, std::uint64_t modulus) noexcept {
  return static_cast<std::uint64_t>((static_cast<uint128>(value.high) << 64 | value.low) % modulus);
}
#else
constexpr Wide multiply(std::uint64_t a, std::uint64_t b) noexcept {
  const std::uint64_t mask = 0xFFFFFFFFu;
  const std::uint64_t low = (a & mask) * (b & mask);
  const std::uint64_t cross = (a >> 32) * (b & mask) + (low >> 32);
  const std::uint64_t middle = (a & mask) * (b >> 32) + (cross & mask);
  return {(a >> 32) * (b >> 32) + (cross >> 32) + (middle >> 32), middle << 32 | (low & mask)};
}

// Long division a bit at a time; `modulus` must be at least 2^63, so that one subtraction a step is enough.
constexpr std::uint64_t remainder(Wide value, std::uint64_t modulus) noexcept {
  std::uint64_t rest = value.high >= modulus ? value.high - modulus : value.high;
  for (int bit = 63; bit >= 0; --bit) {
    const bool carry = (rest >> 63) != 0;
    rest = rest << 1 | ((value.low >> bit) & 1u);
    if (carry || rest >= modulus) rest -= modulus;
  }
  return rest;
}
#endif

}  // namespace sage
