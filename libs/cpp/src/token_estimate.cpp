#include "sage/token_estimate.hpp"

#include <algorithm>
#include <cstddef>

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__) && !defined(SAGE_PORTABLE)
#define SAGE_X86_VARIANTS 1
#endif

#if defined(__GNUC__)
#define SAGE_ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define SAGE_ALWAYS_INLINE inline
#endif

namespace sage {

namespace {

using Byte = std::uint8_t;

// Bytes handled side by side: a vector register of AVX-512, two of AVX2, four of SSE2 or NEON.
constexpr std::size_t lanes = 64;
// No byte costs more than 64, so this many fit a 16-bit lane.
constexpr std::size_t blocks_a_flush = 65535 / 64;
constexpr std::uint64_t segment_cost = 64;

// Flags are 0 or 1 and every choice is arithmetic, so that compilers turn the loops over lanes into vector code.
SAGE_ALWAYS_INLINE Byte in_range(Byte value, Byte first, Byte count) noexcept {
  return static_cast<Byte>(value - first) < count ? 1 : 0;
}
SAGE_ALWAYS_INLINE Byte is_letter(Byte value) noexcept { return in_range(static_cast<Byte>(value | 0x20), 'a', 26); }
SAGE_ALWAYS_INLINE Byte is_digit(Byte value) noexcept { return in_range(value, '0', 10); }
SAGE_ALWAYS_INLINE Byte is_break(Byte value) noexcept { return in_range(value, '\t', 5); }
SAGE_ALWAYS_INLINE Byte is_punctuation(Byte value) noexcept {
  const Byte other = is_letter(value) | is_digit(value) | is_break(value) | (value == ' ' ? 1 : 0);
  return static_cast<Byte>((value < 0x80 ? 1 : 0) & (other ^ 1));
}

SAGE_ALWAYS_INLINE Byte byte_cost(const Byte* at) noexcept {
  const Byte value = at[0], before = at[-1];
  const Byte letter = is_letter(value), letter_before = is_letter(before);
  const Byte digit = is_digit(value), punctuation = is_punctuation(value);
  const Byte long_word =
      letter & letter_before & is_letter(at[-2]) & is_letter(at[-3]) & is_letter(at[-4]) & is_letter(at[-5]);
  int cost = 28 * (letter & (letter_before ^ 1)) + 7 * long_word;
  cost += 12 * digit + 15 * (digit & (is_digit(before) ^ 1));
  cost += 2 * punctuation + 28 * (punctuation & (is_punctuation(before) ^ 1));
  cost += 27 * (is_break(value) & (is_break(before) ^ 1));
  cost += 11 * in_range(value, 0xC0, 0x30) + 11 * in_range(value, 0xE3, 11);
  cost += 64 * in_range(value, 0xF0, 8);
  return static_cast<Byte>(cost);
}

SAGE_ALWAYS_INLINE std::uint64_t stream_cost(const Byte* bytes, std::size_t blocks) noexcept {
  std::uint64_t total = 0;
  while (blocks > 0) {
    const std::size_t batch = std::min(blocks, blocks_a_flush);
    std::uint16_t costs[lanes] = {};
    for (std::size_t block = 0; block < batch; ++block, bytes += lanes)
      for (std::size_t lane = 0; lane < lanes; ++lane)
        costs[lane] = static_cast<std::uint16_t>(costs[lane] + byte_cost(bytes + lane));
    for (const std::uint16_t cost : costs) total += cost;
    blocks -= batch;
  }
  return total;
}

std::uint64_t stream_cost_baseline(const Byte* bytes, std::size_t blocks) { return stream_cost(bytes, blocks); }

#ifdef SAGE_X86_VARIANTS
__attribute__((target("avx2"))) std::uint64_t stream_cost_avx2(const Byte* bytes, std::size_t blocks) {
  return stream_cost(bytes, blocks);
}
__attribute__((target("avx512f,avx512bw,avx512vl"))) std::uint64_t stream_cost_avx512(
    const Byte* bytes, std::size_t blocks) {
  return stream_cost(bytes, blocks);
}
#endif

}  // namespace

std::vector<EstimateVariant> supported_variants() {
  std::vector<EstimateVariant> variants{{"baseline", stream_cost_baseline}};
#ifdef SAGE_X86_VARIANTS
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) variants.push_back({"avx2", stream_cost_avx2});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    variants.push_back({"avx512", stream_cost_avx512});
#endif
  return variants;
}

std::uint64_t estimate_tokens(const CanonicalStream& stream, const EstimateVariant& variant) {
  // The margin after the text costs nothing, so the last run of bytes may reach into it.
  const std::size_t blocks = (stream.size() + lanes - 1) / lanes;
  const std::uint64_t cost = variant.stream_cost(stream.data(), blocks) + segment_cost * stream.segment_count();
  return (cost + 16) >> 5;
}

}  // namespace sage
