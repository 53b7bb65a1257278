// Fuzz target: whatever the vectors, a scan misses none of the nearest and no pair, in every variant, alone and in
// threads, while rows are added.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "bytes.hpp"
#include "sage/quantization.hpp"
#include "sage/vector_scan.hpp"

namespace {

using sage::checks::Bytes;
using sage::checks::require;

// Numbers of several kinds: spread, few, tiny, equal, and now and then none at all.
std::vector<float> vectors(Bytes& bytes, std::size_t count, std::size_t dimension) {
  std::vector<float> values(count * dimension);
  const unsigned kind = bytes.below(5);
  std::uint32_t state = bytes.word() | 1U;
  const auto random = [&state] {
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return static_cast<float>(static_cast<std::int32_t>(state)) / 2147483648.0F;
  };
  for (std::size_t row = 0; row < count; ++row) {
    float* vector = values.data() + row * dimension;
    for (std::size_t at = 0; at < dimension; ++at) {
      const float value = random();
      vector[at] = kind == 0 ? value : kind == 1 ? (value > 0.9F ? value : 0.0F) : kind == 2 ? value * 1e-39F
                   : kind == 3 ? 1.0F + 1e-4F * value : static_cast<float>(bytes.below(3)) - 1.0F;
    }
    double squares = 0;
    for (std::size_t at = 0; at < dimension; ++at) squares += static_cast<double>(vector[at]) * vector[at];
    const double length = std::sqrt(squares);
    if (length > 0)
      for (std::size_t at = 0; at < dimension; ++at) vector[at] = static_cast<float>(vector[at] / length);
  }
  return values;
}

double score(const float* one, const float* other, std::size_t dimension) {
  double sum = 0;
  for (std::size_t at = 0; at < dimension; ++at) sum += static_cast<double>(one[at]) * other[at];
  return sum;
}

void append(sage::PackedRows& rows, const std::vector<float>& values, std::size_t first, std::size_t last) {
  const std::size_t dimension = rows.dimension(), count = last - first;
  std::vector<std::int8_t> codes(count * dimension);
  std::vector<float> scales(count), errors(count);
  require(sage::quantize_rows(values.data() + first * dimension, count, dimension, codes.data(), scales.data(),
                              errors.data()),
          "finite vectors are quantized");
  for (std::size_t row = 0; row < count; ++row) {
    double squares = 0;
    for (std::size_t at = 0; at < dimension; ++at) {
      const double off = static_cast<double>(values[(first + row) * dimension + at]) -
                         static_cast<double>(codes[row * dimension + at]) * static_cast<double>(scales[row]);
      squares += off * off;
    }
    require(std::sqrt(squares) <= static_cast<double>(errors[row]), "the error bound holds");
  }
  rows.append(codes.data(), scales.data(), errors.data(), count);
}

void check_nearest(const sage::PackedRows& rows, const sage::QueryCodes& codes, const std::vector<double>& scores,
                   std::size_t count, std::size_t k, const std::vector<std::uint8_t>& allowed, std::size_t threads) {
  const bool is_masked = !allowed.empty();
  const sage::Candidates found =
      sage::nearest_candidates(rows, codes, k, is_masked ? allowed.data() : nullptr, allowed.size(), threads);
  for (std::size_t query = 0; query < codes.count(); ++query) {
    std::vector<double> possible;
    for (std::size_t row = 0; row < count; ++row)
      if (!is_masked || allowed[row] != 0) possible.push_back(scores[query * count + row]);
    std::sort(possible.begin(), possible.end(), std::greater<>());
    const double least = possible.size() >= k ? possible[k - 1] : -2;
    const auto first = found.rows.begin() + found.offsets[query], last = found.rows.begin() + found.offsets[query + 1];
    require(std::is_sorted(first, last) && std::adjacent_find(first, last) == last, "rows ascend");
    for (std::size_t row = 0; row < count; ++row) {
      const bool is_found = std::binary_search(first, last, static_cast<std::int64_t>(row));
      const bool is_possible = !is_masked || allowed[row] != 0;
      require(is_possible || !is_found, "only rows that are allowed are found");
      require(is_found || !is_possible || scores[query * count + row] < least, "none of the nearest is missed");
    }
  }
}

void check_pairs(const std::vector<const sage::PackedRows*>& segments, const sage::QueryCodes& codes,
                 const std::vector<double>& scores, std::size_t count, float threshold, std::size_t threads) {
  const std::vector<sage::Pair> found = sage::pairs_above(segments, codes, threshold, 1U << 30, threads);
  std::vector<std::uint8_t> is_found(count * codes.count());
  for (const sage::Pair& pair : found) {
    const auto row = static_cast<std::size_t>(pair.row) + (pair.segment != 0 ? segments[0]->rows() : 0);
    std::uint8_t& flag = is_found[static_cast<std::size_t>(pair.query) * count + row];
    require(flag == 0, "a pair is found once");
    flag = 1;
  }
  for (std::size_t at = 0; at < scores.size(); ++at)
    require(is_found[at] != 0 || scores[at] < static_cast<double>(threshold), "no pair is missed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const std::size_t dimension = 1 + bytes.below(bytes.below(4) == 0 ? 700 : 140);
  const std::size_t count = bytes.below(200), queries = 1 + bytes.below(20), k = 1 + bytes.below(count + 3);
  const std::size_t threads = 1 + bytes.below(3), first_part = bytes.below(count + 1);
  const float threshold = static_cast<float>(bytes.below(201)) / 100.0F - 1.0F;
  const std::vector<float> stored = vectors(bytes, count, dimension);
  std::vector<float> asked = vectors(bytes, queries, dimension);
  // Some queries are rows.
  for (std::size_t query = 0; query < queries && count > 0; query += 2)
    std::copy_n(stored.data() + bytes.below(count) * dimension, dimension, asked.data() + query * dimension);
  std::vector<std::uint8_t> allowed(bytes.below(2) == 0 ? 0 : count);
  for (std::uint8_t& flag : allowed) flag = static_cast<std::uint8_t>(bytes.below(2));

  std::vector<double> scores(queries * count);
  for (std::size_t query = 0; query < queries; ++query)
    for (std::size_t row = 0; row < count; ++row)
      scores[query * count + row] = score(&asked[query * dimension], &stored[row * dimension], dimension);

  sage::PackedRows rows(dimension), front(dimension), back(dimension);
  append(rows, stored, 0, first_part);
  append(front, stored, 0, first_part);
  append(back, stored, first_part, count);
  {
    // Rows are added while others search; what they find is checked below, when all are there.
    const sage::QueryCodes codes(sage::supported_scans().back(), asked.data(), queries, dimension);
    std::thread searching([&] {
      for (int round = 0; round < 3; ++round) sage::nearest_candidates(rows, codes, k, nullptr, 0, threads);
    });
    append(rows, stored, first_part, count);
    searching.join();
  }
  for (const sage::ScanVariant& variant : sage::supported_scans()) {
    const sage::QueryCodes codes(variant, asked.data(), queries, dimension);
    check_nearest(rows, codes, scores, count, k, allowed, threads);
    check_pairs({&front, &back}, codes, scores, count, threshold, threads);
  }

  asked[bytes.below(asked.size())] = bytes.below(2) == 0 ? NAN : INFINITY;
  bool is_refused = false;
  try {
    const sage::QueryCodes codes(sage::supported_scans().back(), asked.data(), queries, dimension);
  } catch (const sage::UnfitQuery&) {
    is_refused = true;
  }
  require(is_refused, "NaN and infinity are refused");
  return 0;
}
