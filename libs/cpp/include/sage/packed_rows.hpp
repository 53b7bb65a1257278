// Unit vectors in int8, laid out for scanning: panels of 16 rows, in which four dimensions of all rows lie side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <vector>

#include "sage/aligned_vector.hpp"

namespace sage {

constexpr std::size_t panel_rows = 16;
constexpr std::size_t quad = 4;
constexpr std::size_t panel_line = panel_rows * quad;
// A scan may give a tile up after each such stretch; what is left of a row's length there is kept beside it.
constexpr std::size_t stretch_dimensions = 64;
constexpr std::size_t max_dimension = 65536;
constexpr std::size_t max_rows = std::size_t{1} << 31;

// Rows that only grow. Row i is values[i] * scales[i], off from a vector of length at most 1 by one of length errors[i].
// Scans and appends may come from several threads: an append waits for the scans in progress.
class PackedRows {
 public:
  // `dimension` is from 1 to max_dimension.
  explicit PackedRows(std::size_t dimension);

  // Add `count` rows: values row-major (count, dimension), scales and errors (count). Throws std::bad_alloc, with the
  // rows as they were, or std::length_error beyond max_rows.
  void append(const std::int8_t* values, const float* scales, const float* errors, std::size_t count);

  std::size_t dimension() const noexcept { return dimension_; }
  std::size_t size() const;
  // Bytes that the rows take, with the space kept for more.
  std::size_t memory() const;

  // What follows is for a scan, which holds `mutex` shared.
  std::shared_mutex& mutex() const noexcept { return mutex_; }
  std::size_t rows() const noexcept { return rows_; }
  std::size_t panels() const noexcept { return (rows_ + panel_rows - 1) / panel_rows; }
  std::size_t quads() const noexcept { return quads_; }
  // Ends of stretches within the dimension, not counting its own end.
  std::size_t stretches() const noexcept { return stretches_; }
  const std::int8_t* panel(std::size_t index) const noexcept { return values_.data() + index * quads_ * panel_line; }
  const float* scales(std::size_t panel_index) const noexcept { return scales_.data() + panel_index * panel_rows; }
  const float* errors(std::size_t panel_index) const noexcept { return errors_.data() + panel_index * panel_rows; }
  // Lengths of the rows' rests behind each stretch: [stretch][row of the panel].
  const float* rests(std::size_t panel_index) const noexcept {
    return rests_.data() + panel_index * stretches_ * panel_rows;
  }

 private:
  std::size_t dimension_, quads_, stretches_;
  std::size_t rows_ = 0;
  AlignedVector<std::int8_t> values_;
  AlignedVector<float> scales_, errors_, rests_;
  mutable std::shared_mutex mutex_;
};

}  // namespace sage
