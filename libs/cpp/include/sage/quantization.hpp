// Vectors as whole numbers, with a bound on what that costs. sage_libs/quantization.py is the reference.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sage {

// Quantize `count` rows of `dimension` floats to int8, each by its own greatest value: row i is about
// values[i] * scales[i], off by a vector no longer than errors[i]. Returns whether all numbers are finite; the values
// are of no use otherwise.
bool quantize_rows(const float* rows, std::size_t count, std::size_t dimension, std::int8_t* values, float* scales,
                   float* errors) noexcept;

// The sum of the squares of a vector's numbers.
double squares_of(const float* vector, std::size_t dimension) noexcept;

// Quantize one vector to whole numbers of at most `peak`.
struct WholeVector {
  float scale, error;
  bool is_finite;
};
WholeVector quantize_vector(const float* vector, std::size_t dimension, int peak, std::int16_t* values) noexcept;

}  // namespace sage
