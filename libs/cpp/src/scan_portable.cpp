// The scan in plain loops over 16 rows, which compilers turn into vector code where they can.
#include <algorithm>

#include "sage/scan_variant.hpp"

namespace sage {

namespace {

constexpr std::size_t most_queries = 4;

// Note the rows that can reach the floors, by what is known up to `stretch`.
bool note_reached(const Panel& panel, const QueryTile& tile, const float* floors, std::size_t stretch,
                  const std::int32_t (*sums)[panel_rows], const TileResult& result) {
  std::uint32_t any = 0;
  for (std::size_t query = 0; query < tile.queries; ++query) {
    std::uint32_t reached = 0;
    const float rest = tile.rests[stretch * tile.queries + query];
    for (std::size_t row = 0; row < panel_rows; ++row) {
      const float estimate = static_cast<float>(sums[query][row]) * (panel.scales[row] * tile.scales[query]);
      float most = estimate + (tile.slacks[query] + tile.growths[query] * panel.errors[row]);
      if (stretch < tile.stretches) most += rest * panel.rests[stretch * panel_rows + row];
      reached |= static_cast<std::uint32_t>(most >= floors[query]) << row;
      result.estimates[query * panel_rows + row] = estimate;
    }
    result.reached[query] = reached;
    any |= reached;
  }
  return any != 0;
}

bool scan_portable(const Panel& panel, const QueryTile& tile, const float* floors, const TileResult& result) {
  std::int32_t sums[most_queries][panel_rows] = {};
  const std::int8_t* values = panel.values;
  const std::int16_t* codes = static_cast<const std::int16_t*>(tile.codes);
  for (std::size_t at = 0; at < panel.quads;) {
    const std::size_t end = std::min(panel.quads, (at / stretch_quads + 1) * stretch_quads);
    for (; at < end; ++at, values += panel_line, codes += tile.queries * quad)
      for (std::size_t query = 0; query < tile.queries; ++query)
        for (std::size_t row = 0; row < panel_rows; ++row) {
          std::int32_t sum = 0;
          for (std::size_t one = 0; one < quad; ++one) sum += values[row * quad + one] * codes[query * quad + one];
          sums[query][row] += sum;
        }
    const std::size_t stretch = end / stretch_quads - 1;
    if (end < panel.quads && stretch >= tile.first_check &&
        !note_reached(panel, tile, floors, stretch, sums, result))
      return false;
  }
  return note_reached(panel, tile, floors, tile.stretches, sums, result);
}

}  // namespace

std::vector<ScanVariant> supported_scans() {
  std::vector<ScanVariant> variants{{"portable", most_queries, 32767, scan_portable}};
  for (const auto& more : {avx2_scan(), vnni_scan()}) variants.insert(variants.end(), more.begin(), more.end());
  return variants;
}

}  // namespace sage
