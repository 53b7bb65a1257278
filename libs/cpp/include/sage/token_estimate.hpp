// The token estimate of a canonical stream. sage_control_plane/features.py states the heuristic and its error.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "sage/canonical_stream.hpp"

namespace sage {

// One build of the counting loop; all give the same value.
struct EstimateVariant {
  std::string_view name;
  // Sum of the costs of `blocks` runs of 64 bytes, in thirty-seconds of a token. Reads up to five bytes before `bytes`.
  std::uint64_t (*stream_cost)(const std::uint8_t* bytes, std::size_t blocks);
};

// The variants that this processor can run, slowest first; never empty.
std::vector<EstimateVariant> supported_variants();

// Estimated tokens of a closed stream, rounded to the nearest.
std::uint64_t estimate_tokens(const CanonicalStream& stream, const EstimateVariant& variant);

}  // namespace sage
