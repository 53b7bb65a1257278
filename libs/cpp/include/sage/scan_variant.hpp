// The inner loop of a scan: one panel of rows against one tile of queries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "sage/packed_rows.hpp"

namespace sage {

// Queries that a loop holds in registers together. Arrays are by query; those by stretch have `stretches` + 1 entries,
// [stretch][query], of which the last is the whole.
struct QueryTile {
  std::size_t queries, stretches;
  // By quad: four numbers of each query, int16 or int8 as the variant wants them.
  const void* codes;
  const float* scales;
  // A score is at most estimate + slack + growth * (the row's error).
  const float* slacks;
  const float* growths;
  // Lengths of the queries' rests behind each stretch.
  const float* rests;
  // -128 times the sum of the query's numbers up to the stretch's end.
  const std::int32_t* corrections;
  // Stretches behind which it is worth asking whether any row can still reach its floor.
  std::size_t first_check;
};

struct Panel {
  const std::int8_t* values;
  const float* scales;
  const float* errors;
  const float* rests;
  std::size_t quads;
};

// What a tile gives: by query, the rows whose score can reach the query's floor (bit = row), and their estimates.
struct TileResult {
  std::uint32_t* reached;
  float* estimates;
};

struct ScanVariant {
  std::string_view name;
  // Most queries of a tile, and the greatest whole number of a query: above 127 its codes are int16.
  std::size_t tile_queries;
  int query_peak;
  // Returns whether any row can reach its floor; only then is the result filled.
  bool (*scan)(const Panel& panel, const QueryTile& tile, const float* floors, const TileResult& result);
};

// The variants that this processor can run, slowest first; never empty.
std::vector<ScanVariant> supported_scans();

// Each is empty where the compiler or the processor has no such instructions.
std::vector<ScanVariant> avx2_scan();
std::vector<ScanVariant> vnni_scan();

constexpr std::size_t stretch_quads = stretch_dimensions / quad;

}  // namespace sage
