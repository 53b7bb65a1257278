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
  const auto whole_of = [scale, steps](float value) {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number, ties to even.
    const float rounded = (value / scale + 12582912.0F) - 12582912.0F;
    const float least = rounded > -steps ? rounded : -steps;
    return least < steps ? least : steps;
  };
  const auto square_off = [scale](float value, float whole) {
    const double off = static_cast<double>(value) - static_cast<double>(whole) * static_cast<double>(scale);
    return off * off;
  };
  double squares[lanes] = {};
  std::size_t at = 0;
  // One step after the other over all lanes: each is vector code by itself.
  for (; at + lanes <= dimension; at += lanes) {
    float whole[lanes];
    for (std::size_t lane = 0; lane < lanes; ++lane) whole[lane] = whole_of(vector[at + lane]);
    for (std::size_t lane = 0; lane < lanes; ++lane) squares[lane] += square_off(vector[at + lane], whole[lane]);
    for (std::size_t lane = 0; lane < lanes; ++lane)
      values[at + lane] = static_cast<Whole>(static_cast<std::int32_t>(whole[lane]));
  }
  double total = 0;
  for (; at < dimension; ++at) {
    const float whole = whole_of(vector[at]);
    values[at] = static_cast<Whole>(whole);
    total += square_off(vector[at], whole);
  }
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

double squares_of(const float* vector, std::size_t dimension) noexcept {
  double sums[lanes] = {};
  std::size_t at = 0;
  for (; at + lanes <= dimension; at += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane)
      sums[lane] += static_cast<double>(vector[at + lane]) * static_cast<double>(vector[at + lane]);
  double total = 0;
  for (; at < dimension; ++at) total += static_cast<double>(vector[at]) * static_cast<double>(vector[at]);
  for (const double sum : sums) total += sum;
  return total;
}

WholeVector quantize_vector(const float* vector, std::size_t dimension, int peak, std::int16_t* values) noexcept {
  return quantize_to(vector, dimension, peak, values);
}

}  // namespace sage
