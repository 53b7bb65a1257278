#include "sage/quantization.hpp"

#include <algorithm>
#include <cmath>

namespace sage {

namespace {

// Sums side by side, which compilers turn into vector code.
constexpr std::size_t lanes = 16;

float peak_of(const float* vector, std::size_t dimension) noexcept {
  float peaks[lanes] = {};
  std::size_t at = 0;
  for (; at + lanes <= dimension; at += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const float size = std::fabs(vector[at + lane]);
      peaks[lane] = size > peaks[lane] ? size : peaks[lane];
    }
  float peak = 0;
  for (; at < dimension; ++at) peak = std::max(peak, std::fabs(vector[at]));
  for (const float other : peaks) peak = std::max(peak, other);
  return peak;
}

// NaN times zero is NaN and so is infinity times zero, in whichever lane it stands.
bool is_finite(const float* vector, std::size_t dimension) noexcept {
  float sums[lanes] = {};
  std::size_t at = 0;
  for (; at + lanes <= dimension; at += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane) sums[lane] += vector[at + lane] * 0.0F;
  float sum = 0;
  for (; at < dimension; ++at) sum += vector[at] * 0.0F;
  for (const float other : sums) sum += other;
  return sum == 0.0F;
}

template <typename Whole>
WholeVector quantize_to(const float* vector, std::size_t dimension, int peak, Whole* values) noexcept {
  if (!is_finite(vector, dimension)) return {0, 0, false};
  // The least scale keeps the quotients of subnormal numbers finite.
  const float largest = peak_of(vector, dimension), steps = static_cast<float>(peak);
  const float scale = largest > 0 ? std::max(largest / steps, 1e-38F) : 1.0F;
  double squares[lanes] = {};
  const auto quantize = [&](std::size_t at, double& sum) {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number, ties to even.
    const float rounded = (vector[at] / scale + 12582912.0F) - 12582912.0F;
    const float whole = std::min(std::max(rounded, -steps), steps);
    values[at] = static_cast<Whole>(whole);
    const double off = static_cast<double>(vector[at]) - static_cast<double>(whole) * static_cast<double>(scale);
    sum += off * off;
  };
  std::size_t at = 0;
  for (; at + lanes <= dimension; at += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane) quantize(at + lane, squares[lane]);
  double total = 0;
  for (; at < dimension; ++at) quantize(at, total);
  for (const double other : squares) total += other;
  // Rounded up by more than the arithmetic here and the conversion to float lose.
  return {scale, static_cast<float>(std::sqrt(total) * (1 + 1e-6) + 1e-7), true};
}

}  // namespace

bool quantize_rows(const float* rows, std::size_t count, std::size_t dimension, std::int8_t* values, float* scales,
                   float* errors) noexcept {
  for (std::size_t row = 0; row < count; ++row, rows += dimension, values += dimension) {
    const WholeVector whole = quantize_to(rows, dimension, 127, values);
    if (!whole.is_finite) return false;
    scales[row] = whole.scale;
    errors[row] = whole.error;
  }
  return true;
}

WholeVector quantize_vector(const float* vector, std::size_t dimension, int peak, std::int16_t* values) noexcept {
  return quantize_to(vector, dimension, peak, values);
}

}  // namespace sage
