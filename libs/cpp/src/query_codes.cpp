#include <algorithm>
#include <cmath>
#include <cstring>

#include "sage/quantization.hpp"
#include "sage/vector_scan.hpp"

namespace sage {

namespace {

// What float arithmetic on scores near 1 may be off by, in the scan and where scores are ordered.
constexpr float float_error = 2e-6F;
// What counts as a length of 1, of queries as of rows.
constexpr double most_length = 1 + 1e-4;
// Sums side by side, which compilers turn into vector code.
constexpr std::size_t lanes = 8;
// Behind this much above the floor, by the share of a query's own length that is left, a check cannot succeed yet.
constexpr float hopeless = 0.02F;

// Of at most a stretch: whole numbers, which doubles add without an error, in whatever order.
double squares_of(const std::int16_t* values, std::size_t count) noexcept {
  double sums[lanes] = {};
  std::size_t at = 0;
  for (; at + lanes <= count; at += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::int32_t value = values[at + lane];
      sums[lane] += static_cast<double>(value * value);
    }
  double total = 0;
  for (; at < count; ++at) {
    const std::int32_t value = values[at];
    total += static_cast<double>(value * value);
  }
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

QueryCodes::QueryCodes(const ScanVariant& variant, const float* queries, std::size_t count, std::size_t dimension)
    : variant_(variant), count_(count), dimension_(dimension), stretches_((dimension - 1) / stretch_dimensions) {
  const std::size_t quads = (dimension + quad - 1) / quad, width = variant.tile_queries;
  const bool is_wide = variant.query_peak > 127;
  const std::size_t number = is_wide ? sizeof(std::int16_t) : sizeof(std::int8_t);
  // No sum of products with int8 leaves 32 bits.
  const auto largest = static_cast<int>(2147483647U / (128U * static_cast<unsigned>(quads * quad)));
  const int peak = std::min(variant.query_peak, largest);
  tile_bytes_ = quads * quad * number * width;
  codes_.resize(tile_bytes_ * tiles());
  scales_.resize(count), slacks_.resize(count), growths_.resize(count);
  rests_.resize((stretches_ + 1) * count), corrections_.resize((stretches_ + 1) * count);

  std::vector<std::int16_t> values(quads * quad);
  std::vector<std::int32_t> sums(stretches_ + 1);
  for (std::size_t query = 0; query < count; ++query) {
    const float* vector = queries + query * dimension;
    const WholeVector whole = quantize_vector(vector, dimension, peak, values.data());
    if (!whole.is_finite) throw UnfitQuery("query " + std::to_string(query) + " holds NaN or infinity");
    const double squares = squares_of(vector, dimension);
    if (squares > most_length * most_length)
      throw UnfitQuery("query " + std::to_string(query) + " has length " + std::to_string(std::sqrt(squares)) + "; bring it to length 1");
    scales_[query] = whole.scale;
    slacks_[query] = whole.error * static_cast<float>(most_length) + float_error;
    growths_[query] = static_cast<float>(most_length) + whole.error;

    const std::size_t first = query / width * width, queries_of_tile = std::min(width, count - first);
    std::uint8_t* codes = codes_.data() + query / width * tile_bytes_ + (query - first) * quad * number;
    for (std::size_t at = 0; at < quads; ++at, codes += queries_of_tile * quad * number) {
      if (is_wide) {
        std::memcpy(codes, values.data() + at * quad, quad * sizeof(std::int16_t));
        continue;
      }
      for (std::size_t one = 0; one < quad; ++one) codes[one] = static_cast<std::uint8_t>(values[at * quad + one]);
    }

    const std::size_t place = first * (stretches_ + 1) + (query - first);
    std::int32_t sum = 0;
    for (std::size_t stretch = 0; stretch <= stretches_ && !is_wide; ++stretch) {
      const std::size_t end = stretch == stretches_ ? dimension : (stretch + 1) * stretch_dimensions;
      for (std::size_t at = stretch * stretch_dimensions; at < end; ++at) sum += values[at];
      sums[stretch] = sum;
    }
    double rest = 0;
    std::size_t at = dimension;
    for (std::size_t stretch = stretches_ + 1; stretch-- > 0;) {
      const std::size_t end = stretch == stretches_ ? dimension : (stretch + 1) * stretch_dimensions;
      rest += squares_of(values.data() + end, at - end);
      at = end;
      const double length = std::sqrt(rest) * static_cast<double>(whole.scale) * (1 + 1e-6);
      rests_[place + stretch * queries_of_tile] = static_cast<float>(length);
      // Only int8 codes, whose sums are small, are corrected.
      corrections_[place + stretch * queries_of_tile] = is_wide ? 0 : -128 * sums[stretch];
    }
  }
}

QueryTile QueryCodes::tile(std::size_t index, const float* floors) const noexcept {
  const std::size_t first = index * variant_.tile_queries;
  const std::size_t queries = std::min(variant_.tile_queries, count_ - first);
  const std::size_t place = first * (stretches_ + 1);
  QueryTile tile{queries,
                 stretches_,
                 codes_.data() + index * tile_bytes_,
                 scales_.data() + first,
                 slacks_.data() + first,
                 growths_.data() + first,
                 rests_.data() + place,
                 corrections_.data() + place,
                 0};
  // As a guess: rows have left what the query has left.
  for (; tile.first_check < stretches_; ++tile.first_check) {
    bool may_succeed = true;
    for (std::size_t query = 0; query < queries && may_succeed; ++query) {
      const float rest = tile.rests[tile.first_check * queries + query];
      may_succeed = rest * rest + hopeless < floors[first + query];
    }
    if (may_succeed) break;
  }
  return tile;
}

}  // namespace sage
