#include "sage/packed_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <stdexcept>

namespace sage {

namespace {

// Lengths are rounded up by more than float arithmetic loses.
constexpr double rounding_up = 1 + 1e-6;

// Of at most a stretch.
std::int32_t squares_of(const std::int8_t* values, std::size_t count) noexcept {
  std::int32_t sum = 0;
  for (std::size_t at = 0; at < count; ++at) {
    const std::int32_t value = values[at];
    sum += value * value;
  }
  return sum;
}

template <typename T>
void reserve_for(AlignedVector<T>& values, std::size_t size) {
  if (size > values.capacity()) values.reserve(std::max(size, values.capacity() + values.capacity() / 2));
}

}  // namespace

PackedRows::PackedRows(std::size_t dimension)
    : dimension_(dimension),
      quads_((dimension + quad - 1) / quad),
      stretches_((dimension - 1) / stretch_dimensions) {}

std::size_t PackedRows::size() const {
  const std::shared_lock lock(mutex_);
  return rows_;
}

std::size_t PackedRows::memory() const {
  const std::shared_lock lock(mutex_);
  return values_.capacity() + sizeof(float) * (scales_.capacity() + errors_.capacity() + rests_.capacity());
}

void PackedRows::append(const std::int8_t* values, const float* scales, const float* errors, std::size_t count) {
  const std::unique_lock lock(mutex_);
  if (count > max_rows - rows_) throw std::length_error("too many rows");
  const std::size_t total = (rows_ + count + panel_rows - 1) / panel_rows;
  // All memory is had before anything changes.
  reserve_for(values_, total * quads_ * panel_line);
  reserve_for(scales_, total * panel_rows);
  reserve_for(errors_, total * panel_rows);
  reserve_for(rests_, total * stretches_ * panel_rows);
  values_.resize(total * quads_ * panel_line);
  scales_.resize(total * panel_rows);
  errors_.resize(total * panel_rows);
  rests_.resize(total * stretches_ * panel_rows);

  for (std::size_t i = 0; i < count; ++i, ++rows_, values += dimension_) {
    const std::size_t panel_index = rows_ / panel_rows, lane = rows_ % panel_rows;
    std::int8_t* target = values_.data() + panel_index * quads_ * panel_line + lane * quad;
    std::size_t quads = dimension_ / quad;
    for (std::size_t at = 0; at < quads; ++at, target += panel_line) std::memcpy(target, values + at * quad, quad);
    std::copy_n(values + quads * quad, dimension_ % quad, target);
    scales_[rows_] = scales[i];
    errors_[rows_] = errors[i];
    std::int64_t squares = 0;
    std::size_t at = dimension_;
    for (std::size_t stretch = stretches_; stretch-- > 0;) {
      const std::size_t end = (stretch + 1) * stretch_dimensions;
      squares += squares_of(values + end, at - end);
      at = end;
      const double length = std::sqrt(static_cast<double>(squares)) * static_cast<double>(scales[i]);
      rests_[(panel_index * stretches_ + stretch) * panel_rows + lane] = static_cast<float>(length * rounding_up);
    }
  }
}

}  // namespace sage
