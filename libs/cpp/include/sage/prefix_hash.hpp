// Chained hashes of the full blocks of a byte stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sage {

constexpr std::size_t max_block_bytes = 65536;

// h[-1] = block_bytes;  h[i] = avalanche((h[i-1] + 2^64 * block_i) mod p), the block read as one little-endian integer.
// `block_bytes` must be a multiple of 8 from 8 to max_block_bytes. sage_control_plane/features.py is the specification.
std::vector<std::uint64_t> prefix_hashes(const std::uint8_t* stream, std::size_t size, std::size_t block_bytes);

}  // namespace sage
