// The scan with AVX2: int16 queries against rows widened to int16, 16 products an instruction.
#include "sage/scan_variant.hpp"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__) && !defined(SAGE_PORTABLE)
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#define SAGE_AVX2 __attribute__((target("avx2,fma")))
#define SAGE_AVX2_INLINE SAGE_AVX2 inline __attribute__((always_inline))

namespace sage {

namespace {

// Four rows to a vector, a quad of each in two 32-bit sums.
constexpr int vector_rows = 4;
constexpr std::size_t prefetch_lines = 32;

SAGE_AVX2_INLINE __m256i four_numbers(const std::int16_t* codes) {
  std::int64_t packed;
  std::memcpy(&packed, codes, sizeof packed);
  return _mm256_set1_epi64x(packed);
}

// The sums of eight rows, from those of two vectors.
SAGE_AVX2_INLINE __m256 eight_sums(__m256i first, __m256i second) {
  const __m256i mixed = _mm256_hadd_epi32(first, second);
  return _mm256_cvtepi32_ps(_mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0)));
}

// `vectors` vectors of rows from `first` on against `queries` queries; their product is how many sums are held.
template <int vectors, int queries>
SAGE_AVX2_INLINE std::uint32_t scan_part(const Panel& panel, const QueryTile& tile, const float* floors,
                                         const TileResult& result, std::size_t first) {
  __m256i sums[vectors][queries];
#pragma GCC unroll 4
  for (int vector = 0; vector < vectors; ++vector)
#pragma GCC unroll 6
    for (int query = 0; query < queries; ++query) sums[vector][query] = _mm256_setzero_si256();

  const std::int8_t* values = panel.values + first * quad;
  const std::int16_t* codes = static_cast<const std::int16_t*>(tile.codes);
  std::size_t at = 0;
  for (std::size_t stretch = 0;; ++stretch) {
    const std::size_t end = std::min(panel.quads, (stretch + 1) * stretch_quads);
    for (; at < end; ++at, values += panel_line, codes += queries * quad) {
      // Few queries wait for memory; a prefetch needs no address that is there.
      if (vectors == 4) _mm_prefetch(values + prefetch_lines * panel_line, _MM_HINT_T0);
      __m256i rows[vectors];
#pragma GCC unroll 4
      for (int vector = 0; vector < vectors; ++vector)
        rows[vector] = _mm256_cvtepi8_epi16(
            _mm_load_si128(reinterpret_cast<const __m128i*>(values + vector * vector_rows * static_cast<int>(quad))));
#pragma GCC unroll 6
      for (int query = 0; query < queries; ++query) {
        const __m256i numbers = four_numbers(codes + query * static_cast<int>(quad));
#pragma GCC unroll 4
        for (int vector = 0; vector < vectors; ++vector)
          sums[vector][query] = _mm256_add_epi32(sums[vector][query], _mm256_madd_epi16(rows[vector], numbers));
      }
    }
    const bool is_whole = end == panel.quads;
    if (!is_whole && stretch < tile.first_check) continue;
    std::uint32_t any = 0;
#pragma GCC unroll 2
    for (int pair = 0; pair < vectors / 2; ++pair) {
      const std::size_t row = first + static_cast<std::size_t>(pair) * 8;
      const __m256 scales = _mm256_load_ps(panel.scales + row), errors = _mm256_load_ps(panel.errors + row);
      const __m256 rests = is_whole ? _mm256_setzero_ps() : _mm256_load_ps(panel.rests + stretch * panel_rows + row);
#pragma GCC unroll 6
      for (int query = 0; query < queries; ++query) {
        const __m256 sum = eight_sums(sums[2 * pair][query], sums[2 * pair + 1][query]);
        const __m256 estimate = _mm256_mul_ps(sum, _mm256_mul_ps(scales, _mm256_set1_ps(tile.scales[query])));
        __m256 slack = _mm256_fmadd_ps(_mm256_set1_ps(tile.growths[query]), errors, _mm256_set1_ps(tile.slacks[query]));
        if (!is_whole)
          slack = _mm256_fmadd_ps(
              _mm256_set1_ps(tile.rests[stretch * queries + static_cast<std::size_t>(query)]), rests, slack);
        const __m256 reaches =
            _mm256_cmp_ps(_mm256_add_ps(estimate, slack), _mm256_set1_ps(floors[query]), _CMP_GE_OQ);
        const auto reached = static_cast<std::uint32_t>(_mm256_movemask_ps(reaches));
        any |= reached;
        if (is_whole) {
          result.reached[query] |= reached << row;
          _mm256_storeu_ps(result.estimates + static_cast<std::size_t>(query) * panel_rows + row, estimate);
        }
      }
    }
    if (is_whole || any == 0) return any;
  }
}

template <int queries>
SAGE_AVX2 bool scan_queries(const Panel& panel, const QueryTile& tile, const float* floors, const TileResult& result) {
  constexpr int vectors = queries <= 3 ? 4 : 2;
  std::fill_n(result.reached, queries, 0U);
  std::uint32_t any = 0;
  for (std::size_t first = 0; first < panel_rows; first += vectors * vector_rows)
    any |= scan_part<vectors, queries>(panel, tile, floors, result, first);
  return any != 0;
}

bool scan_avx2(const Panel& panel, const QueryTile& tile, const float* floors, const TileResult& result) {
  switch (tile.queries) {
    case 1: return scan_queries<1>(panel, tile, floors, result);
    case 2: return scan_queries<2>(panel, tile, floors, result);
    case 3: return scan_queries<3>(panel, tile, floors, result);
    case 4: return scan_queries<4>(panel, tile, floors, result);
    case 5: return scan_queries<5>(panel, tile, floors, result);
    default: return scan_queries<6>(panel, tile, floors, result);
  }
}

}  // namespace

std::vector<ScanVariant> avx2_scan() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return {};
  return {{"avx2", 6, 32767, scan_avx2}};
}

}  // namespace sage

#else

namespace sage {
std::vector<ScanVariant> avx2_scan() { return {}; }
}  // namespace sage

#endif
