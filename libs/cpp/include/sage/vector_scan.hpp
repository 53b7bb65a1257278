// Which rows can be among the nearest to a query, or within a similarity of it: a scan of all, in whole numbers.
//
// For vectors q and x of length at most 1 and their approximations q' and x', by Cauchy and Schwarz
//
//   |q.x - q'.x'| = |(q - q').x + q'.(x - x')| <= |q - q'| + (1 + |q - q'|) |x - x'|
//
// since |q'| <= |q| + |q - q'|. Both errors are known, so each row has a least and a greatest score. A row is given out
// where its greatest score reaches the floor: the threshold, or for the k nearest the k-th greatest of the least
// scores, below which none of the k nearest can lie. So none is missed, and who orders the candidates by their float
// vectors has the exact answer.
//
// After p dimensions q'.x' is at most the product so far plus |q'_rest| |x'_rest|: a tile of rows of which none can
// reach its floor any more is given up there, which changes nothing in what is found.
//
// Scores themselves are never stored: a tile's estimates are compared as they leave the registers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "sage/packed_rows.hpp"
#include "sage/scan_variant.hpp"

namespace sage {

// A query that cannot be compared. `what` says which and why.
struct UnfitQuery : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// The queries of a scan, coded for a variant. Queries are unit vectors, row-major (count, dimension), or of zeros.
class QueryCodes {
 public:
  // Throws UnfitQuery for NaN, infinity, or a length of more than 1.
  QueryCodes(const ScanVariant& variant, const float* queries, std::size_t count, std::size_t dimension);

  const ScanVariant& variant() const noexcept { return variant_; }
  std::size_t count() const noexcept { return count_; }
  std::size_t dimension() const noexcept { return dimension_; }
  float slack(std::size_t query) const noexcept { return slacks_[query]; }
  float growth(std::size_t query) const noexcept { return growths_[query]; }
  std::size_t tiles() const noexcept { return (count_ + variant_.tile_queries - 1) / variant_.tile_queries; }
  // Tile `index`, which begins with query index * tile_queries. `floors` are those of all queries.
  QueryTile tile(std::size_t index, const float* floors) const noexcept;

 private:
  ScanVariant variant_;
  std::size_t count_, dimension_, stretches_;
  std::size_t tile_bytes_;
  AlignedVector<std::uint8_t> codes_;
  std::vector<float> scales_, slacks_, growths_, rests_;
  std::vector<std::int32_t> corrections_;
};

// Rows by query: those of query i are rows[offsets[i]] up to rows[offsets[i + 1]], ascending.
struct Candidates {
  std::vector<std::int64_t> offsets;
  std::vector<std::int64_t> rows;
};

// What can be among the `k` >= 1 nearest of the rows that are allowed (null allows all; else one byte a row, for
// `allowed_rows` rows, of which later ones are not allowed).
Candidates nearest_candidates(const PackedRows& rows, const QueryCodes& queries, std::size_t k,
                              const std::uint8_t* allowed, std::size_t allowed_rows, std::size_t threads);

struct Pair {
  std::int64_t segment, row, query;
};

// What can have a score of at least `threshold`, by segment, row and query. Throws std::overflow_error where that is
// more than `most` pairs.
std::vector<Pair> pairs_above(const std::vector<const PackedRows*>& segments, const QueryCodes& queries,
                              float threshold, std::size_t most, std::size_t threads);

}  // namespace sage
