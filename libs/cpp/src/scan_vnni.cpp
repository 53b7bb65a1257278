// The scan with AVX512-VNNI: int8 queries, 64 products an instruction.
#include "sage/scan_variant.hpp"

#if defined(SAGE_EMULATE_AVX512)
// For tests on processors without it: the same code, in the instructions that there are.
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#ifndef _mm512_cvtepi32_ps
// SIMDe 0.7.4 has not got it.
inline __m512 emulated_cvtepi32_ps(__m512i whole) {
  alignas(64) std::int32_t from[16];
  alignas(64) float to[16];
  _mm512_storeu_si512(reinterpret_cast<__m512i*>(from), whole);
  for (int lane = 0; lane < 16; ++lane) to[lane] = static_cast<float>(from[lane]);
  return _mm512_loadu_ps(to);
}
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#endif
#define SAGE_VNNI
#define SAGE_HAS_VNNI 1
#elif defined(__x86_64__) && defined(__GNUC__) && !defined(SAGE_PORTABLE)
#include <immintrin.h>
#define SAGE_VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))
#define SAGE_HAS_VNNI 1
#endif

#if defined(SAGE_HAS_VNNI)
#include <algorithm>
#include <cstring>

// GCC 12 warns of its own header (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define SAGE_VNNI_INLINE SAGE_VNNI inline __attribute__((always_inline))

namespace sage {

namespace {

SAGE_VNNI_INLINE __m512i four_numbers(const std::int8_t* codes) {
  std::int32_t packed;
  std::memcpy(&packed, codes, sizeof packed);
  return _mm512_set1_epi32(packed);
}

// A panel against `queries` queries. The instruction multiplies unsigned by signed numbers: rows are taken as 128 more
// than they are, and the corrections take that back. No sum leaves 32 bits: 255 * 127 * max_dimension < 2^31.
template <int queries>
SAGE_VNNI bool scan_queries(const Panel& panel, const QueryTile& tile, const float* floors, const TileResult& result) {
  __m512i sums[queries];
#pragma GCC unroll 12
  for (int query = 0; query < queries; ++query) sums[query] = _mm512_setzero_si512();
  const __m512i flip = _mm512_set1_epi32(static_cast<std::int32_t>(0x80808080U));
  const __m512 scales = _mm512_loadu_ps(panel.scales), errors = _mm512_loadu_ps(panel.errors);
  const std::int8_t* values = panel.values;
  const std::int8_t* codes = static_cast<const std::int8_t*>(tile.codes);
  std::size_t at = 0;
  for (std::size_t stretch = 0;; ++stretch) {
    const std::size_t end = std::min(panel.quads, (stretch + 1) * stretch_quads);
    for (; at < end; ++at, values += panel_line, codes += queries * quad) {
      const __m512i rows = _mm512_xor_si512(_mm512_loadu_si512(reinterpret_cast<const __m512i*>(values)), flip);
#pragma GCC unroll 12
      for (int query = 0; query < queries; ++query)
        sums[query] = _mm512_dpbusd_epi32(sums[query], rows, four_numbers(codes + query * static_cast<int>(quad)));
    }
    const bool is_whole = end == panel.quads;
    if (!is_whole && stretch < tile.first_check) continue;
    std::uint32_t any = 0;
    const __m512 rests = is_whole ? _mm512_setzero_ps() : _mm512_loadu_ps(panel.rests + stretch * panel_rows);
#pragma GCC unroll 12
    for (int query = 0; query < queries; ++query) {
      const std::size_t place = stretch * queries + static_cast<std::size_t>(query);
      const __m512 sum =
          _mm512_cvtepi32_ps(_mm512_add_epi32(sums[query], _mm512_set1_epi32(tile.corrections[place])));
      const __m512 estimate = _mm512_mul_ps(sum, _mm512_mul_ps(scales, _mm512_set1_ps(tile.scales[query])));
      __m512 slack = _mm512_fmadd_ps(_mm512_set1_ps(tile.growths[query]), errors, _mm512_set1_ps(tile.slacks[query]));
      if (!is_whole) slack = _mm512_fmadd_ps(_mm512_set1_ps(tile.rests[place]), rests, slack);
      const std::uint32_t reached = static_cast<std::uint32_t>(_mm512_cmp_ps_mask(
          _mm512_add_ps(estimate, slack), _mm512_set1_ps(floors[query]), _CMP_GE_OQ));
      any |= reached;
      if (is_whole) {
        result.reached[query] = reached;
        _mm512_storeu_ps(result.estimates + static_cast<std::size_t>(query) * panel_rows, estimate);
      }
    }
    if (is_whole || any == 0) return any != 0;
  }
}

bool scan_vnni(const Panel& panel, const QueryTile& tile, const float* floors, const TileResult& result) {
  switch (tile.queries) {
    case 1: return scan_queries<1>(panel, tile, floors, result);
    case 2: return scan_queries<2>(panel, tile, floors, result);
    case 3: return scan_queries<3>(panel, tile, floors, result);
    case 4: return scan_queries<4>(panel, tile, floors, result);
    case 5: return scan_queries<5>(panel, tile, floors, result);
    case 6: return scan_queries<6>(panel, tile, floors, result);
    case 7: return scan_queries<7>(panel, tile, floors, result);
    case 8: return scan_queries<8>(panel, tile, floors, result);
    case 9: return scan_queries<9>(panel, tile, floors, result);
    case 10: return scan_queries<10>(panel, tile, floors, result);
    case 11: return scan_queries<11>(panel, tile, floors, result);
    default: return scan_queries<12>(panel, tile, floors, result);
  }
}

}  // namespace

std::vector<ScanVariant> vnni_scan() {
#if !defined(SAGE_EMULATE_AVX512)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vnni"))
    return {};
#endif
  return {{"avx512-vnni", 12, 127, scan_vnni}};
}

}  // namespace sage

#else

namespace sage {
std::vector<ScanVariant> vnni_scan() { return {}; }
}  // namespace sage

#endif
